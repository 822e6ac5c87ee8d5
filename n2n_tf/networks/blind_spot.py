"""Blind-spot networks: what comes out for a pixel depends on its surroundings, not on itself.

Two ways to such a body, one head:

    blind_spot_unet     four half-planes: a U-Net whose layers see only rows above, on the image
                        turned four ways, moved down by a row; 1x1 convolutions join the four
    blind_spot_dilated  a convolution without its middle, then dilated ones that never meet it:
                        3x3 and dilation 2, 5x5 and dilation 3

The head gives for each pixel a mean and a covariance of the clean colour; with the variance of the
noise, known or found by a small network of its own, the output is the posterior mean, in which the
pixel itself takes part after all:

    denoised = mean + C (C + N)^-1 (y - mean)      C = A A^T, N = diag(shot * mean + read)

Layers "mean", "factor" (A, its rows one after another) and "law" (shot, read) are what
`n2n_tf.method.blind_spot` learns by.

Source: Laine et al., "High-Quality Self-Supervised Deep Image Denoising", NeurIPS 2019; Wu et al.,
"Unpaired Learning of Deep Image Denoising", ECCV 2020 (DBSN), whose distillation to a second
network is left out.
"""

import functools

import keras
from keras import layers, ops

from n2n_tf.networks.unet import he_normal

SIZE_MULTIPLE = {"blind_spot_unet": 32, "blind_spot_dilated": 1}
HALO = {"blind_spot_unet": 192, "blind_spot_dilated": 48}
for _of_name in (SIZE_MULTIPLE, HALO):
    _of_name |= {f"{name}_residual": pixels for name, pixels in _of_name.items()}
SIZE_MULTIPLE["blind_spot_dilated_residual"] = 2  # a single row has no neighbours to mirror
LEVELS = 5
MODULES = 6  # of the dilated network, in each of its two branches
LEAST = 1e-6  # variance that is always there: noise of 0.26 on the 0..255 scale

Law = tuple[float, float] | str


def blind_spot_unet(
    channels: int = 3,
    features: int = 48,
    init_scale: float = 1.0,
    law: Law = "gauss",
    residual: bool = False,
) -> keras.Model:
    """Builds Laine's network as a functional Keras model.

    Args:
        channels: of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: width, as of `n2n_tf.networks.unet.unet`.
        init_scale: factor on He-normal initial kernels.
        law: (shot, read) of known noise of the variance shot * x + read, images in [0, 1]; or what
            is learned: "gauss" (read), "poisson" (shot), "both".
        residual: add the mean of the four pixels beside each one to its mean. Not in the paper:
            the network then begins near a blur, which short training runs need.

    Returns:
        `keras.Model` named "blind_spot_unet", or "blind_spot_unet_residual": float [batch, height,
        width, channels] in nominal range [0, 1] -> posterior mean of the same shape, float32.
        Height and width must be multiples of 32 pixels.
    """
    noisy = keras.Input((None, None, channels), name="noisy")
    half_plane = _half_plane(channels, features, init_scale)
    parts = []
    for turns in range(4):
        seen = half_plane(ops.rot90(noisy, turns, axes=(1, 2)))
        seen = _moved_down(seen)  # rows above it, not its own
        parts.append(ops.rot90(seen, -turns, axes=(1, 2)))
    x = layers.Concatenate(name="surroundings")(parts)
    name = "blind_spot_unet_residual" if residual else "blind_spot_unet"
    return _with_head(noisy, x, 4 * 2 * features, init_scale, law, residual, name)


def blind_spot_dilated(
    channels: int = 3,
    features: int = 48,
    init_scale: float = 1.0,
    law: Law = "gauss",
    residual: bool = False,
) -> keras.Model:
    """Builds a dilated blind-spot network; arguments and results as of `blind_spot_unet`.

    Height and width may be any; with `residual` they must be even.
    """
    noisy = keras.Input((None, None, channels), name="noisy")
    parts = []
    for size, dilation in ((3, 2), (5, 3)):
        name = f"d{dilation}"
        x = _conv(features, f"{name}_first", init_scale, size=1)(_around(noisy, size, name))
        for module in range(MODULES):
            inner = _conv(features, f"{name}_m{module}a", init_scale, dilation=dilation)(x)
            inner = _conv(features, f"{name}_m{module}b", 0.3 * init_scale, 1, activation=False)(
                inner
            )
            x = layers.Add(name=f"{name}_m{module}")([x, inner])
        parts.append(x)
    x = layers.Concatenate(name="surroundings")(parts)
    name = "blind_spot_dilated_residual" if residual else "blind_spot_dilated"
    return _with_head(noisy, x, 2 * features, init_scale, law, residual, name)


def _around(image, size, name):
    """The pixels around each one as channels: a convolution of them has no middle."""
    radius = size // 2
    padded = layers.ZeroPadding2D(radius, name=f"{name}_pad")(image)
    moved = [
        layers.Cropping2D(((row, size - 1 - row), (column, size - 1 - column)))(padded)
        for row in range(size)
        for column in range(size)
        if (row, column) != (radius, radius)
    ]
    return layers.Concatenate(name=f"{name}_around")(moved)


def _half_plane(channels, features, init_scale):
    """A U-Net in which no pixel sees a row below its own."""
    x = image = keras.Input((None, None, channels))
    skips = [image]
    x = _down_conv(features, "enc0", init_scale)(x)
    for level in range(1, LEVELS + 1):
        x = _down_conv(features, f"enc{level}", init_scale)(x)
        # Moved down, a pair of rows that is pooled ends with the upper one of where it goes.
        x = layers.MaxPooling2D(2, name=f"pool{level}")(_moved_down(x))
        skips.append(x)
    x = _down_conv(features, "enc6", init_scale)(x)
    for level in range(LEVELS, 0, -1):
        x = layers.UpSampling2D(2, name=f"up{level}")(x)
        x = layers.Concatenate(name=f"cat{level}")([x, skips[level - 1]])
        x = _down_conv(2 * features, f"dec{level}a", init_scale)(x)
        x = _down_conv(2 * features, f"dec{level}b", init_scale)(x)
    return keras.Model(image, x, name="half_plane")


def _down_conv(filters, name, init_scale):
    """A 3x3 convolution of a pixel's row and the two above."""
    return keras.Sequential(
        [
            layers.ZeroPadding2D(((2, 0), (1, 1))),
            layers.Conv2D(filters, 3, kernel_initializer=he_normal(init_scale)),
            layers.LeakyReLU(negative_slope=0.2),
        ],
        name=name,
    )


def _moved_down(x):
    """By one row; the last is lost, the first is 0."""
    return layers.Cropping2D(((0, 1), (0, 0)))(layers.ZeroPadding2D(((1, 0), (0, 0)))(x))


def _beside(image):
    """The mean of the four pixels beside each one; mirrored beyond the border."""
    wide = ops.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
    columns = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1]
    return (columns + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]) / 4


def _with_head(noisy, x, width, init_scale, law, residual, name):
    """1x1 convolutions, and from mean, covariance and noise the posterior mean."""
    channels = noisy.shape[-1]
    x = _conv(width, "nin_a", init_scale, 1)(x)
    x = _conv(max(width // 4, 4 * channels), "nin_b", init_scale, 1)(x)
    mean = layers.Conv2D(
        channels,
        1,
        kernel_initializer=he_normal(0.1 * init_scale),
        dtype="float32",
        name="correction" if residual else "mean",
    )(x)
    if residual:
        mean = layers.Add(dtype="float32", name="mean")([_beside(noisy), mean])
    factor = layers.Conv2D(
        channels**2,
        1,
        kernel_initializer=he_normal(0.1 * init_scale),
        bias_initializer=keras.initializers.Constant(0.05),
        dtype="float32",
        name="factor",
    )(x)
    variances = _law(noisy, law)  # [batch, 1, 1, 2]
    noise = variances[..., :1] * ops.maximum(mean, 0.0) + variances[..., 1:] + LEAST
    rows = [factor[..., channels * row : channels * (row + 1)] for row in range(channels)]
    root = ops.stack(rows, axis=-2)  # [batch, height, width, channels, channels]
    covariance = ops.matmul(root, ops.swapaxes(root, -1, -2))
    total = covariance + ops.expand_dims(noise, -1) * ops.eye(channels)
    gain = ops.solve(total, ops.expand_dims(noisy - mean, -1))
    denoised = layers.Add(dtype="float32", name="denoised")(
        [mean, ops.squeeze(ops.matmul(covariance, gain), -1)]
    )
    return keras.Model(noisy, denoised, name=name)


def _law(noisy, law):
    """Shot and read of each image: the numbers given, or what a small network makes of it."""
    x = noisy
    for number in range(3):
        x = _conv(16, f"law{number}", 1.0)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    learned = isinstance(law, str)
    # Softplus of -6: a standard deviation of 13 on the 0..255 scale to begin with.
    head = layers.Conv2D(
        2,
        1,
        activation="softplus",
        kernel_initializer=he_normal(0.1),
        bias_initializer=keras.initializers.Constant(-6.0),
        dtype="float32",
        name="law_learned",
    )
    kept = {"gauss": (0.0, 1.0), "poisson": (1.0, 0.0), "both": (1.0, 1.0)}
    if learned and law not in kept:
        raise ValueError(
            f"`law` must be (shot, read) or one of {', '.join(kept)}. Received: {law!r}."
        )
    factors = kept[law] if learned else (0.0, 0.0)
    known = (0.0, 0.0) if learned else law
    return layers.Add(dtype="float32", name="law")(
        [head(x) * ops.convert_to_tensor(factors), 0.0 * head(x) + ops.convert_to_tensor(known)]
    )


def _conv(filters, name, init_scale, size=3, activation=True, dilation=1):
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        dilation_rate=dilation,
        activation=layers.LeakyReLU(negative_slope=0.2) if activation else None,
        kernel_initializer=he_normal(init_scale),
        name=name,
    )


BUILDERS = {
    "blind_spot_unet": blind_spot_unet,
    "blind_spot_dilated": blind_spot_dilated,
    "blind_spot_unet_residual": functools.partial(blind_spot_unet, residual=True),
    "blind_spot_dilated_residual": functools.partial(blind_spot_dilated, residual=True),
}
