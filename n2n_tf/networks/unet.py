"""The paper's U-Net: five poolings, additive width, three 1x1 convolutions at the end.

Source: paper section 5.1 ("a modified version of U-Net with three 1x1 convolution layers added at
the end"); layer for layer the official arch_unet.py as it runs, without its blind-spot option.
"""

import keras
from keras import layers

SIZE_MULTIPLE = 32  # five 2x2 poolings
# One input pixel reaches 157 pixels; rounded up to the grid of the poolings, on which tiles must
# lie for the inside of a tile to equal the same part of the whole image.
HALO = 160
LEVELS = 5


def unet(
    channels: int = 3,
    features: int = 48,
    tail_features: int | None = None,
    init_scale: float = 0.1,
    residual: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds the U-Net as a functional Keras model.

    Args:
        channels: channels of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: width of the encoder; the decoder is twice as wide. 48 in the paper.
        tail_features: int, width of the last stage. Default `2 * features`, which is the official
            code's constant 96 at 48 features.
        init_scale: factor on He-normal initial kernels. 0.1 in the official code; with 1.0
            short training runs start faster.
        residual: add the input to the output. Not in the paper: the network then begins near
            the identity instead of learning it, which short training runs do not get to.
        dropout: float in [0, 1), share of what every layer of the decoder takes that is left out in
            training, as `n2n_tf.method.one_image.self2self` wants it.

    Returns:
        `keras.Model` named "unet", or "unet_residual": float [batch, height, width, channels] in
        nominal range [0, 1] -> denoised image of the same shape, float32. Height and width must be
        multiples of 32 pixels. 1,259,475 parameters for RGB at 48 features.

    Example:
        >>> unet(channels=3).count_params()
        1259475
    """
    width, tail = 2 * features, tail_features or 2 * features
    x = noisy = keras.Input((None, None, channels), name="noisy")
    skips = [noisy]
    x = _conv(features, "enc_conv0", init_scale)(x)
    for level in range(1, LEVELS + 1):
        x = _conv(features, f"enc_conv{level}", init_scale)(x)
        x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
        skips.append(x)
    x = _conv(features, "enc_conv6", init_scale)(x)
    for level in range(LEVELS, 0, -1):
        out = tail if level == 1 else width
        x = _upsample(x.shape[-1], f"up{level}", init_scale)(x)
        x = layers.Concatenate(name=f"cat{level}")([x, skips[level - 1]])
        x = _dropped(x, dropout)
        x = _conv(out, f"dec_conv{level}a", init_scale)(x)
        x = _dropped(x, dropout)
        x = _conv(out, f"dec_conv{level}b", init_scale)(x)
    x = _dropped(x, dropout)
    x = _conv(tail, "nin_a", init_scale, size=1)(x)
    x = _conv(tail, "nin_b", init_scale, size=1)(x)
    last_scale = 0.1 * init_scale if residual else init_scale  # begin near the identity
    x = _conv(channels, "nin_c", last_scale, size=1, activation=False)(x)
    x = layers.Activation("linear", dtype="float32", name="denoised")(x)
    if residual:
        x = layers.Add(dtype="float32", name="input_plus")([noisy, x])
    return keras.Model(noisy, x, name="unet_residual" if residual else "unet")


def he_normal(scale: float) -> keras.initializers.Initializer:
    """Initial kernels of variance 2 / fan_in * scale^2: He-normal times `scale`."""
    # One object per layer: a Keras initializer used twice gives identical weights to all layers
    # of the same shape.
    return keras.initializers.VarianceScaling(2.0 * scale**2, "fan_in", "untruncated_normal")


def _dropped(x, share):
    return layers.Dropout(share)(x) if share else x


def _conv(filters, name, init_scale, size=3, activation=True):
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        activation=keras.layers.LeakyReLU(negative_slope=0.2) if activation else None,
        kernel_initializer=he_normal(init_scale),
        name=name,
    )


def _upsample(filters, name, init_scale):
    # The official call ConvTranspose2d(in, out, 2, 2, 0, False) means bias=False, but its sixth
    # positional argument is output_padding: the layer does carry a bias.
    return layers.Conv2DTranspose(
        filters, 2, strides=2, kernel_initializer=he_normal(init_scale), name=name
    )
