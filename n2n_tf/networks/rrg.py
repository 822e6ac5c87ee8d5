"""CycleISP's denoising network of recursive residual groups: "Ours, RRGs" of the paper's table 2.

    T_0 = conv(y)      T_n = RRG_n(T_(n-1)), n = 1 .. 4      f(y) = y + conv(T_4)

A group (RRG) is 8 dual attention blocks, a convolution, and its input added. A block (DAB) takes
conv, PReLU, conv, weighs the result once channel by channel and once pixel by pixel, joins both
weighted versions by a 1x1 convolution, and adds its input.

What the publications leave open is decided here: one slope for all channels of a PReLU (the
"channel-shared" of He et al., ICCV 2015: 32 numbers in all, and a file for phones stays small);
the reduction of 16 of the channel attention and the 7 x 7 window of the spatial one are those of
SE-Net and CBAM, which it is built of; convolutions have biases.

Channel attention averages over all that it is given: no margin, however wide, makes a tile equal to
the same part of the whole image. So tiles of one size (`TILE`) belong to the network wherever it is
used; figures are those of the network with these tiles.

Source: Zamir et al., "CycleISP: Real Image Restoration via Improved Data Synthesis", CVPR 2020,
section 3.1; Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018; Woo et al., "CBAM", ECCV 2018.
"""

import keras
from keras import layers

from n2n_tf.networks.unet import he_normal

SIZE_MULTIPLE = 1
# Side in pixels, of packed raw in cells: a block of SIDD, which the paper's figures are of.
TILE = 128
# A compromise: channel attention aside one pixel reaches 166, of which the farthest weigh nothing.
HALO = 24
REDUCTION = 16
WINDOW = 7


def rrg(
    channels: int = 4, features: int = 64, groups: int = 4, blocks: int = 8, init_scale: float = 1.0
) -> keras.Model:
    """Builds the network as a functional Keras model.

    Args:
        channels: channels of the image: 1 gray, 3 RGB, 4 packed Bayer.
        features: width; 64 in CycleISP.
        groups: recursive residual groups.
        blocks: dual attention blocks in each.
        init_scale: factor on He-normal initial kernels.

    Returns:
        `keras.Model` named "rrg": float [batch, height, width, channels] in nominal range [0, 1] ->
        denoised image of the same shape, float32; any height and width. 2,801,732 parameters for
        packed raw at 64 features.

    Example:
        >>> rrg(channels=4).count_params()
        2801732
    """
    noisy = keras.Input((None, None, channels), name="noisy")
    x = _conv(features, "head", init_scale)(noisy)
    for group in range(1, groups + 1):
        inner = x
        for block in range(1, blocks + 1):
            inner = _dual_attention_block(inner, f"g{group}b{block}", init_scale)
        inner = _conv(features, f"g{group}_conv", init_scale)(inner)
        x = layers.Add(name=f"g{group}")([x, inner])
    x = _conv(channels, "tail", 0.1 * init_scale)(x)  # begin near the identity
    x = layers.Activation("linear", dtype="float32", name="correction")(x)
    x = layers.Add(dtype="float32", name="denoised")([noisy, x])
    return keras.Model(noisy, x, name="rrg")


def _dual_attention_block(x, name, init_scale):
    features = x.shape[-1]
    inner = _conv(features, f"{name}_conv1", init_scale)(x)
    inner = layers.PReLU(
        keras.initializers.Constant(0.25), shared_axes=[1, 2, 3], name=f"{name}_prelu"
    )(inner)
    inner = _conv(features, f"{name}_conv2", init_scale)(inner)
    both = layers.Concatenate(name=f"{name}_both")(
        [_channel_attention(inner, f"{name}_ca"), _spatial_attention(inner, f"{name}_sa")]
    )
    # Kernels this small make every block begin near the identity: 32 follow one another.
    both = _conv(features, f"{name}_join", 0.1 * init_scale, size=1)(both)
    return layers.Add(name=name)([x, both])


def _channel_attention(x, name):
    """Each channel times a number in 0..1 that the means of all channels decide."""
    features = x.shape[-1]
    means = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    weights = layers.Conv2D(
        max(1, features // REDUCTION), 1, activation="relu", name=f"{name}_squeeze"
    )(means)
    weights = layers.Conv2D(features, 1, activation="sigmoid", name=f"{name}_weights")(weights)
    return layers.Multiply(name=name)([x, weights])


def _spatial_attention(x, name):
    """Each pixel times a number in 0..1 that mean and maximum over the channels around decide."""
    mean = keras.ops.mean(x, axis=-1, keepdims=True)
    highest = keras.ops.max(x, axis=-1, keepdims=True)
    pooled = layers.Concatenate(name=f"{name}_pooled")([mean, highest])
    weights = layers.Conv2D(
        1, WINDOW, padding="same", activation="sigmoid", name=f"{name}_weights"
    )(pooled)
    return layers.Multiply(name=name)([x, weights])


def _conv(filters, name, init_scale, size=3):
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        kernel_initializer=he_normal(init_scale),
        name=name,
    )
