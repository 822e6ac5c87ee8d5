"""A U-Net for phones, narrow and for the most part at half the image's size.

It is made of operations that integer kernels and GPU delegates have: convolutions, leaky ReLU,
additions.

Not in the paper. Against the paper's U-Net it has: a first layer that steps by two pixels, strided
convolutions in place of poolings, skips that are added and not concatenated, and the input added to
the output. Its last layers work at full size and see the noisy image itself, without which fine
detail is lost. A space-to-depth stem would be the first layer's equal, but TFLite has no int16
kernel of it; plain ReLU would fuse into the convolutions, but in training the coarse levels died.
"""

import keras
from keras import layers

from n2n_tf.networks.unet import he_normal

SIZE_MULTIPLE = 16  # halved four times
# One input pixel reaches 118 pixels; rounded up to the grid of the halvings.
HALO = 128
WIDTHS = (1.0, 1.5, 2.0, 3.0)  # of the levels, in units of `features`
FINE_WIDTH = 2 / 3  # of the last layers


def unet_mobile(channels: int = 3, features: int = 24, init_scale: float = 1.0) -> keras.Model:
    """Builds the network as a functional Keras model.

    Args:
        channels: channels of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: width at half size; a multiple of 24 gives widths that suit phones' kernels.
        init_scale: factor on He-normal initial kernels.

    Returns:
        `keras.Model` named "unet_mobile": float [batch, height, width, channels] in nominal range
        [0, 1] -> denoised image of the same shape, float32. Height and width must be multiples of
        16 pixels. At 24 features 15,000 multiply-adds per pixel (the paper's U-Net: 297,000).
    """
    x = noisy = keras.Input((None, None, channels), name="noisy")
    widths = [int(features * width) for width in WIDTHS]
    skips = []
    for level, width in enumerate(widths):
        x = _conv(width, f"down{level}", init_scale, size=3 if level else 4, strides=2)(x)
        x = _conv(width, f"enc{level}a", init_scale)(x)
        if level:  # twice where it is cheap
            x = _conv(width, f"enc{level}b", init_scale)(x)
        skips.append(x)
    for level in (2, 1, 0):
        x = _upsample(widths[level], f"up{level}", init_scale)(x)
        x = layers.Add(name=f"skip{level}")([x, skips[level]])
        x = _conv(widths[level], f"dec{level}a", init_scale)(x)
        x = _conv(widths[level], f"dec{level}b", init_scale)(x)
    fine = round(features * FINE_WIDTH)
    x = layers.Concatenate(name="fine")([_upsample(fine, "up_fine", init_scale)(x), noisy])
    x = _conv(fine, "fine_a", init_scale)(x)
    x = _conv(fine, "fine_b", init_scale)(x)
    x = _conv(channels, "last", 0.1 * init_scale, size=1, activation=None)(x)  # near the identity
    x = layers.Activation("linear", dtype="float32", name="correction")(x)
    x = layers.Add(dtype="float32", name="denoised")([noisy, x])
    return keras.Model(noisy, x, name="unet_mobile")


def _leaky():
    return layers.LeakyReLU(negative_slope=0.2)


def _conv(filters, name, init_scale, size=3, strides=1, activation=_leaky):
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        activation=activation and activation(),
        kernel_initializer=he_normal(init_scale),
        name=name,
    )


def _upsample(filters, name, init_scale):
    return layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer=he_normal(init_scale), name=name
    )
