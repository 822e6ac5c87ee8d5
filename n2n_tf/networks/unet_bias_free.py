"""A residual U-Net without a single bias: twice the contrast comes out as twice the contrast.

Convolutions without biases and ReLU between them, on an image from which mid-gray was subtracted,
make f(m + a * y) = m + a * (f(m + y) - m), m = 0.5, for every a > 0: the network cannot tie what it
does to absolute values, so it generalises over noise levels and leaves no pattern of its own on
images that fill little of the range. Around mid-gray it learns several times as fast as around
black, and the zeros around an image are gray, not black. The shape is DRUNet's: residual
blocks, strided convolutions down, transposed ones up, skips that are added; narrow at full size,
where layers are bound by memory, and of operations that integer kernels have.

Source: the shape, Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior", TPAMI
2021; the rest, Mohan et al., "Robust and Interpretable Blind Image Denoising via Bias-Free
Convolutional Neural Networks", ICLR 2020.
"""

import keras
from keras import layers

from n2n_tf.networks.unet import he_normal

SIZE_MULTIPLE = 8  # halved three times
# One input pixel reaches 67 pixels; rounded up to the grid of the halvings.
HALO = 72
WIDTHS = (1 / 3, 1, 2, 4)  # of the levels, from full size down, in units of `features`
BLOCKS_DOWN = (0, 1, 1, 2)  # residual blocks of each level on the way down
BLOCKS_UP = (1, 1, 1)  # and on the way up
MID_GRAY = 0.5
START = 0.3  # factor on the initial kernels that end a block: blocks begin near the identity


def unet_bias_free(channels: int = 3, features: int = 48, init_scale: float = 1.0) -> keras.Model:
    """Builds the network as a functional Keras model.

    Args:
        channels: channels of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: width at half size; a multiple of 24 gives widths that suit CPUs' kernels.
        init_scale: factor on He-normal initial kernels.

    Returns:
        `keras.Model` named "unet_bias_free": float [batch, height, width, channels] in nominal
        range [0, 1] -> denoised image of the same shape, float32. Height and width must be
        multiples of 8 pixels. At 48 features 74,000 multiply-adds per pixel, at 24 features 19,000
        (the paper's U-Net: 297,000).
    """
    noisy = keras.Input((None, None, channels), name="noisy")
    widths = [max(1, round(features * width)) for width in WIDTHS]
    # In float32: around 0 the numbers of lower precisions lie closest.
    x = layers.Rescaling(1.0, -MID_GRAY, dtype="float32", name="centred")(noisy)
    x = _conv(widths[0], "head", init_scale)(x)
    skips = []
    for level, width in enumerate(widths):
        if level:
            skips.append(x)
            x = _conv(width, f"down{level}", init_scale, size=2, strides=2)(x)
        x = _blocks(x, BLOCKS_DOWN[level], f"enc{level}", init_scale)
    for level in reversed(range(len(skips))):
        x = _upsample(widths[level], f"up{level}", init_scale)(x)
        x = layers.Add(name=f"skip{level}")([x, skips[level]])
        x = _blocks(x, BLOCKS_UP[level], f"dec{level}", init_scale)
    x = _conv(channels, "tail", 0.1 * init_scale)(x)  # near the identity
    x = layers.Activation("linear", dtype="float32", name="correction")(x)
    x = layers.Add(dtype="float32", name="denoised")([noisy, x])
    return keras.Model(noisy, x, name="unet_bias_free")


def _blocks(x, count, name, init_scale):
    """Residual blocks: two convolutions with a ReLU between them, and their input added."""
    for letter in "abcd"[:count]:
        inner = _conv(x.shape[-1], f"{name}{letter}1", init_scale, activation="relu")(x)
        inner = _conv(x.shape[-1], f"{name}{letter}2", START * init_scale)(inner)
        x = layers.Add(name=f"{name}{letter}")([x, inner])
    return x


def _conv(filters, name, init_scale, size=3, strides=1, activation=None):
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        activation=activation,
        use_bias=False,
        kernel_initializer=he_normal(init_scale if activation else init_scale / 2**0.5),
        name=name,
    )


def _upsample(filters, name, init_scale):
    return layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        use_bias=False,
        kernel_initializer=he_normal(init_scale / 2**0.5),  # to be added to as much again
        name=name,
    )
