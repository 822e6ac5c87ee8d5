"""A U-Net for phones: at half the image's size from its first layer on, narrow, and of operations
that integer kernels and GPU delegates have: convolutions, ReLU, additions, depth-to-space.

Not in the paper. Against the paper's U-Net it has: 2x2 pixels folded into channels at the beginning
and unfolded at the end (four times fewer positions to compute at), strided convolutions in place of
poolings, skips that are added and not concatenated, ReLU, which integer kernels fuse into the
convolution before it, and the input added to the output.
"""

import keras
import tensorflow as tf
from keras import layers

from n2n_tf.networks.unet import he_normal

SIZE_MULTIPLE = 16  # folded once, halved three times
# One input pixel reaches 91 pixels; rounded up to the grid of the halvings.
HALO = 96
WIDTHS = (1.0, 1.5, 2.0, 3.0)  # of the levels, in units of `features`


def unet_mobile(channels=3, features=32, init_scale=1.0):
    """Builds the network as a functional Keras model.

    Args:
        channels: int, channels of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: int, width of the finest level; a multiple of 8 suits the kernels of phones.
        init_scale: float, factor on He-normal initial kernels.

    Returns:
        `keras.Model` named "unet_mobile": float [batch, height, width, channels] in nominal range
        [0, 1] -> denoised image of the same shape, float32. Height and width must be multiples of
        16 pixels. At 32 features under 20,000 multiply-adds per pixel (the paper's U-Net: 297,000).
    """
    x = noisy = keras.Input((None, None, channels), name="noisy")
    widths = [int(features * width) for width in WIDTHS]
    x = _conv(widths[0], "stem", init_scale)(SpaceToDepth(name="fold")(x))
    skips = []
    for level, width in enumerate(widths):
        if level:
            skips.append(x)
            x = _conv(width, f"down{level}", init_scale, strides=2)(x)
        x = _conv(width, f"enc{level}", init_scale)(x)
    for level in reversed(range(len(skips))):
        x = _upsample(widths[level], f"up{level}", init_scale)(x)
        x = layers.Add(name=f"skip{level}")([x, skips[level]])
        x = _conv(widths[level], f"dec{level}a", init_scale)(x)
        x = _conv(widths[level], f"dec{level}b", init_scale)(x)
    x = _conv(4 * channels, "last", 0.1 * init_scale, activation=None)(x)  # near the identity
    x = layers.Activation("linear", dtype="float32", name="correction")(x)
    x = DepthToSpace(dtype="float32", name="unfold")(x)
    x = layers.Add(dtype="float32", name="denoised")([noisy, x])
    return keras.Model(noisy, x, name="unet_mobile")


@keras.saving.register_keras_serializable("n2n_tf")
class SpaceToDepth(layers.Layer):
    """Folds cells of 2x2 pixels into channels: [b, 2h, 2w, c] -> [b, h, w, 4c].

    Its own class, since `keras.ops.space_to_depth` is younger than the oldest Keras supported.
    """

    def call(self, x):
        """One TFLite operation, as its inverse is."""
        return tf.nn.space_to_depth(x, 2)

    def compute_output_shape(self, shape):
        """Sides may be unknown."""
        batch, height, width, channels = shape
        return batch, height and height // 2, width and width // 2, 4 * channels


@keras.saving.register_keras_serializable("n2n_tf")
class DepthToSpace(layers.Layer):
    """Unfolds channels into cells of 2x2 pixels: [b, h, w, 4c] -> [b, 2h, 2w, c]."""

    def call(self, x):
        """The inverse of `SpaceToDepth`."""
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape):
        """Sides may be unknown."""
        batch, height, width, channels = shape
        return batch, height and 2 * height, width and 2 * width, channels // 4


def _conv(filters, name, init_scale, strides=1, activation="relu"):
    return layers.Conv2D(
        filters,
        3,
        strides,
        padding="same",
        activation=activation,
        kernel_initializer=he_normal(init_scale),
        name=name,
    )


def _upsample(filters, name, init_scale):
    return layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer=he_normal(init_scale), name=name
    )
