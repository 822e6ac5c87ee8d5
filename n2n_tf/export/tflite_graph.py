"""The graph of a `.tflite` file: the network between the translations of its input and output.

`wrap` puts in front of and behind the network, inside the file, what `encode` and `decode` of
`n2n_tf.model_files.tflite_domain` do outside it.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.tflite_domain import CALIBRATED, CELLS, Stabilised, levels_of
from n2n_tf.networks.padding import reflect_pad_batch


def wrap(
    network: keras.Model, info: ModelInfo
) -> tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]:
    """Builds the function that a file computes.

    Args:
        network: functional `keras.Model` in float32.
        info: `ModelInfo` of the file; `tile` is [h, w] of the network's input, or None for
            any size, which is then padded and cropped inside.

    Returns:
        `(function, signature)`: callable of tensors -> {"denoised": tensor}, and its list of
        `tf.TensorSpec`.
    """
    tile, multiple = info.tile, info.size_multiple

    def run(image):
        if tile:
            return network(image, training=False)
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        padded = reflect_pad_batch(image, multiple)
        return network(padded, training=False)[:, :height, :width]

    kind = info.input
    height, width = tile or (None, None)
    batch = 1 if tile else None
    if kind == "bayer_mosaic":
        return _mosaic(run, info, batch, tile and (2 * height, 2 * width))
    shape = (batch, height, width, info.channels)
    if kind == "image":
        return lambda noisy: {"denoised": run(noisy)}, [tf.TensorSpec(shape, tf.float32, "noisy")]
    if info.precision == "int8":  # its own quantisation of [0, 1] with the step 1/255 is uint8
        # Pixels pass the first ReLU unchanged; it parts their quantisation from that of what the
        # network concatenates them with.
        clipped = lambda noisy: {"denoised": _clip(run(tf.nn.relu(noisy)), 1.0)}  # noqa: E731
        return clipped, [tf.TensorSpec(shape, tf.float32, "noisy")]

    def denoise(noisy):
        denoised = run(tf.cast(noisy, tf.float32) * np.float32(1 / 255))
        return {"denoised": tf.cast(tf.clip_by_value(denoised * 255 + 0.5, 0.0, 255.0), tf.uint8)}

    return denoise, [tf.TensorSpec(shape, tf.uint8, "noisy")]


def _clip(image, white):
    """To [0, white] by operations whose int8 kernels agree with float, unlike RELU and MINIMUM."""
    return white - tf.nn.relu(white - tf.nn.relu(image))


def _mosaic(run, info, batch, size):
    dtype, calibrated = tf.as_dtype(info.dtype), info.precision in CALIBRATED
    height, width = size or (None, None)
    signature = [tf.TensorSpec((batch, height, width, 1), dtype, "noisy")]
    if info.levels == "inputs":
        signature += [
            tf.TensorSpec((4,), tf.float32, "black_level"),
            tf.TensorSpec((1,), tf.float32, "white_level"),
        ]
    if info.takes_noise_profile:
        signature += [tf.TensorSpec((1,), tf.float32, name) for name in ("shot", "read")]

    def denoise(noisy, *more):
        given = {spec.name: value for spec, value in zip(signature[1:], more, strict=True)}
        levels = "black_level", "white_level"
        fixed = dict(zip(levels, map(tf.constant, levels_of(info)), strict=True))
        black_level, white_level = (given.get(name, fixed[name]) for name in levels)
        raw = tf.cast(noisy, tf.float32)
        into_cells, out_of_cells = (_by_convolution if calibrated else _by_arithmetic)(
            black_level, white_level - black_level
        )
        planes = into_cells(raw)
        if not info.takes_noise_profile:
            planes = run(planes)
        else:
            stable = Stabilised(given["shot"], given["read"], tf)
            planes = stable.undo(run(stable.apply(planes)))
        planes = out_of_cells(planes)
        shape = tf.shape(raw) if size is None else (batch, height, width, 1)
        mosaic = _clip(tf.nn.conv2d_transpose(planes, CELLS, shape, 2, "VALID"), white_level)
        if info.keeps_clipped:
            mosaic = tf.where(raw >= white_level, raw, mosaic)
        return {"denoised": tf.cast(tf.round(mosaic), dtype) if dtype.is_integer else mosaic}

    return denoise, signature


def _by_arithmetic(black, span):
    """Mosaic in raw units -> normalised planes, and normalised planes -> planes in raw units."""
    return (
        lambda raw: (tf.nn.conv2d(raw, CELLS, 2, "VALID") - black) / span,
        lambda planes: planes * span + black,
    )


def _by_convolution(black, span):
    """The same for integer kernels, whose subtraction and multiplication of images are far off."""
    diagonal = np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4)
    return (
        lambda raw: tf.nn.bias_add(tf.nn.conv2d(raw, CELLS / span, 2, "VALID"), -black / span),
        lambda planes: tf.nn.bias_add(tf.nn.conv2d(planes, diagonal * span, 1, "VALID"), black),
    )
