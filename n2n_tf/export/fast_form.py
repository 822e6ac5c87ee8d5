"""Makes the LiteRT form of a network in 8 bits, which is faster, and measures what that costs.

Run as a program, as `n2n_tf.model_files.litert_form` does:

    python -m n2n_tf.export.fast_form network.keras network_dynamic.tflite dynamic
"""

import dataclasses
import math
import pathlib
import sys
import tempfile

import keras
import tensorflow as tf

from n2n_tf.export.measure import measure
from n2n_tf.export.sample_images import calibration_arguments
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.keras_file import as_float32
from n2n_tf.model_files.litert_conversion import converted, told
from n2n_tf.model_files.litert_form import write_form
from n2n_tf.model_files.load import load_model
from n2n_tf.model_files.tflite_domain import CALIBRATED
from n2n_tf.pipelines.padding import round_up

MOST = 1.0  # dB; what loses more is of no use
SIDE = 256  # pixels, of the parts of photographs that it is calibrated and measured with


def fast_graph(network: keras.Model, info: ModelInfo, precision: str) -> tuple[bytes, ModelInfo]:
    """Converts a network and compares it, on noisy photographs, with what it becomes.

    Args:
        network: functional `keras.Model` in float32, with inputs of any height and width.
        info: its `ModelInfo`.
        precision: "dynamic" (8-bit weights, activations quantised while it runs) or "int8".

    Returns:
        bytes of a `.tflite` file for images of any size, and its `ModelInfo`, whose `measured`
        holds the `n2n_tf.export.measure.Figures` and "psnr_drop" in dB.

    Raises:
        ModelError: if it loses more than `MOST`, or returns NaN.
    """
    side = round_up(SIDE, info.size_multiple)
    info = info.but(precision=precision, sha256=None)
    if precision in CALIBRATED and info.channels == 4 and info.noise_level:
        raise ModelError(
            "raws that are scaled to their noise may leave [0, 1], and integers cannot"
        )
    if precision in CALIBRATED:  # its integers hold [0, 1] only
        info = info.but(noise_level=None)

    def adjust(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision in CALIBRATED:
            arguments = calibration_arguments(info.but(tile=(side, side)))
            converter.representative_dataset = lambda: iter(arguments)
            kinds = tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS
            converter.target_spec.supported_ops = list(kinds)

    graph = converted(network, info, adjust)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "fast.tflite"
        file.write_bytes(graph)
        figures = measure(network, file, info.but(tile=(side, side)))
    lost = figures.psnr_drop
    if not math.isfinite(figures.max_difference) or not lost <= MOST:
        raise ModelError(f"in {precision} it loses {lost:.2f} dB on noisy photographs")
    return graph, info.but(measured=dataclasses.asdict(figures) | {"psnr_drop": lost})


def main(source: str, target: str, precision: str) -> None:
    """Converts a file that holds a network."""
    loaded = load_model(source)
    graph, info = fast_graph(as_float32(loaded.network), loaded.info, precision)
    write_form(pathlib.Path(target), graph, info, pathlib.Path(source))


if __name__ == "__main__":
    told(main, sys.argv[1:])
