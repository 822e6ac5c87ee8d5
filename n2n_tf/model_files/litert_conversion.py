"""Makes the LiteRT form of a network.

Run as a program, that of a file:

    python -m n2n_tf.model_files.litert_conversion network.keras network.tflite

It takes images of any size. Transposed convolutions whose kernel is their stride, as U-Nets have
them, become convolutions of 1x1 and a depth-to-space: the same sums, but LiteRT's fast kernels take
a transposed convolution only of a fixed size.
"""

import pathlib
import re
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from n2n_tf.model_files.info import ModelError, ModelInfo, first_line
from n2n_tf.model_files.litert import SIGNATURE, open_tflite
from n2n_tf.model_files.litert_form import write_form
from n2n_tf.model_files.load import load_model
from n2n_tf.pipelines.files.atomic_files import temporary_folder

TOLERANCE = 1e-5  # largest difference to the Keras network, for images in [0, 1]


def litert_graph(network: keras.Model, info: ModelInfo) -> bytes:
    """Converts a network and compares the result with it.

    Its weights are kept in 16 bits if every one of them is a number of 16 bits, else in 32.

    Args:
        network: functional `keras.Model` in float32, with inputs of any height and width.
        info: its `ModelInfo`.

    Returns:
        bytes of a `.tflite` file with the signature denoise(noisy) -> denoised.

    Raises:
        ModelError: if the result differs by more than `TOLERANCE`. What the converter raises is
            passed on.
    """
    graph = converted(network, info, _in_16_bits if fits_float16(network) else None)
    difference = largest_difference(network, graph, info)
    if not difference <= TOLERANCE:
        raise ModelError(f"its LiteRT form differs by {difference:.2g}, more than {TOLERANCE:g}")
    return graph


def converted(
    network: keras.Model,
    info: ModelInfo,
    adjust: Callable[[tf.lite.TFLiteConverter], None] | None = None,
) -> bytes:
    """Converts a network.

    Args:
        network: as for `litert_graph`.
        info: its `ModelInfo`.
        adjust: None or callable(converter), which sets what the result is to be like.

    Returns:
        bytes of a `.tflite` file. What the converter raises is passed on.
    """
    archive = keras.export.ExportArchive()
    same = keras.models.clone_model(network, clone_function=_shuffling)
    archive.track(same)
    signature = [tf.TensorSpec((1, None, None, info.channels), tf.float32, "noisy")]
    run = lambda noisy: {"denoised": same(noisy, training=False)}  # noqa: E731
    archive.add_endpoint(SIGNATURE, run, input_signature=signature)
    with temporary_folder() as folder:
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if adjust:
            adjust(converter)
        return converter.convert()


def _in_16_bits(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def fits_float16(network: keras.Model) -> bool:
    """Whether every weight of a network is a number of 16 bits."""
    return all((w == np.float16(w).astype(w.dtype)).all() for w in network.get_weights())


def largest_difference(network: keras.Model, graph: bytes, info: ModelInfo) -> float:
    """Of a converted network to the network itself, on noise in [0, 1] of two sizes.

    In units of the largest value returned, where that is above 1. NaN if either returns NaN.
    """
    run, m = open_tflite("the converted network", info, graph), info.size_multiple
    differences = []
    for height, width in ((3 * m, 2 * m), (m, 4 * m)):
        noisy = np.random.default_rng(0).random((1, height, width, info.channels), np.float32)
        expected = np.asarray(network(noisy, training=False))
        scale = max(1.0, float(np.abs(expected).max()))
        differences.append(float(np.abs(run(noisy) - expected).max()) / scale)
    return float(np.max(differences))


def _shuffling(layer):
    """A transposed convolution whose kernel is its stride as `Shuffling`; other layers as is."""
    if (
        type(layer) is layers.Conv2DTranspose
        and layer.kernel_size == layer.strides
        and layer.strides[0] == layer.strides[1]
        and layer.output_padding is None
        and layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
    ):
        return Shuffling(layer)
    return layer


class Shuffling(layers.Layer):
    """What a transposed convolution computes whose kernel is its stride.

    Args:
        layer: the `keras.layers.Conv2DTranspose`, whose weights are used.
    """

    def __init__(self, layer: layers.Conv2DTranspose) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Images [batch, height, width, channels] -> [batch, height * n, width * n, filters]."""
        n, _, _, channels = self.layer.kernel.shape
        kernel = tf.transpose(self.layer.kernel, (3, 0, 1, 2))  # in, row, column, out
        cells = tf.nn.conv2d(images, tf.reshape(kernel, (1, 1, channels, -1)), 1, "VALID")
        if self.layer.use_bias:
            cells = tf.nn.bias_add(cells, tf.tile(self.layer.bias, [n * n]))
        return self.layer.activation(tf.nn.depth_to_space(cells, n))

    def compute_output_shape(self, shape: tuple) -> tuple:
        """Of the transposed convolution."""
        return self.layer.compute_output_shape(shape)


def main(source: str, target: str, precision: str = "float32") -> None:
    """Converts a file that holds a network; other precisions: `n2n_tf.export.fast_form`."""
    loaded = load_model(source)
    graph = litert_graph(loaded.network, loaded.info)
    write_form(pathlib.Path(target), graph, loaded.info, pathlib.Path(source))


def told(program: Callable[..., None], arguments: list[str]) -> None:
    """Runs a conversion that ends, if it fails, with one line that says why."""
    try:
        program(*arguments)
    except Exception as error:  # TensorFlow's converter raises many types, with pages of text
        lacking = re.search(r"^(?:Custom|Flex) ops: (.+)$", str(error), re.MULTILINE)
        sys.exit(f"LiteRT has no {lacking[1]}" if lacking else first_line(error))


if __name__ == "__main__":
    told(main, sys.argv[1:])
