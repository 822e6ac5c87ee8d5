"""TFLite files in many sizes and precisions: described, converted, refused if they lose much."""

import dataclasses
import math
import os
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.export.measure import Figures, foreign_operations, measure
from n2n_tf.export.replacing import ExportError, failures_named, place_beside
from n2n_tf.export.sample_images import Uint8Arguments, calibration_arguments
from n2n_tf.export.saved_model import TOLERANCE, write_saved_model
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.keras_file import as_float32
from n2n_tf.model_files.tflite_domain import CALIBRATED, INPUTS, rounding_step
from n2n_tf.model_files.tflite_file import add_measured, write_tflite
from n2n_tf.pipelines.padding import round_up

PRECISIONS = {
    "float32": "32-bit weights and arithmetic",
    "float16": "16-bit weights, half the size; a phone's GPU computes in 16 bits anyway",
    "dynamic": "8-bit weights; activations are quantised while it runs",
    "int8": "8-bit weights and activations, for NPUs and DSPs",
    "int16x8": "8-bit weights, 16-bit activations, as camera raw needs; no delegate takes it",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the files that a network is exported to.

    Attributes:
        size: (height, width) of its input in pixels; None: any.
        precision: key of `PRECISIONS`.
        input: key of `n2n_tf.model_files.tflite_domain.INPUTS`.
        dtype: of a mosaic: "uint16" or "float32".
        levels: of a mosaic: "inputs", or {"black_level": [4 levels], "white_level": level}.
    """

    size: tuple[int, int] | None = None
    precision: str = "float32"
    input: str = "image"
    dtype: str = "uint16"
    levels: str | dict = "inputs"

    @property
    def name(self) -> str:
        """File name: model_256x256_int8.tflite."""
        size = "x".join(map(str, self.size)) if self.size else "dynamic"
        kind = "" if self.input == "image" else f"_{self.input}"
        return f"model{kind}_{size}_{self.precision}.tflite"

    def describe(self, info: ModelInfo) -> ModelInfo:
        """The file's `ModelInfo`: the network's, and what a caller must know of the file.

        Raises:
            ValueError: if the size is none that the network takes, or its channels do not fit.
        """
        mosaic = self.input == "bayer_mosaic"
        if mosaic and info.channels != 4:
            raise ValueError(
                f"a network of {info.channels} channels cannot take a mosaic; train one with "
                "--channels 4."
            )
        integers = self.precision in CALIBRATED
        if info.channels == 4 and info.noise_level and integers:
            raise ValueError(
                "a network for Gaussian noise takes raws after Anscombe's transform, scaled to "
                f"their noise, which integers cannot hold: {self.precision} needs one trained "
                "with --noise raw. float16 and dynamic hold it."
            )
        if self.input == "rgb_uint8" and info.channels != 3:
            raise ValueError(f"a network of {info.channels} channels cannot take RGB pixels.")
        if (
            mosaic
            and self.precision in CALIBRATED
            and (self.dtype == "float32" or self.levels == "inputs")
        ):
            raise ValueError(
                f"a sensor mosaic in {self.precision} takes uint16 pixels and fixed levels "
                "(--black_level, --white_level)."
            )
        tile = self._tile(info.size_multiple * (2 if mosaic else 1), mosaic) or info.tile
        known = {
            "precision": self.precision,
            "input": self.input,
            "tile": tile,
            "takes_and_returns": INPUTS[self.input],
        }
        if tile:
            # A margin of a quarter where the network's own would leave nothing inside; the
            # difference this makes is measured.
            quarter = min(tile) // 4 // info.size_multiple * info.size_multiple
            known["halo"] = min(info.halo, quarter)
        if mosaic:
            # Were only some colours of a highlight pulled below white, raw developers would make
            # it violet. Integer kernels have no comparison to see to that.
            keeps = self.precision not in CALIBRATED
            known |= {"dtype": self.dtype, "levels": self.levels, "pattern": "RGGB"}
            known["keeps_clipped"] = keeps
        if self.precision in CALIBRATED:
            # Pictures scaled to its noise may leave [0, 1], which these files' integers cannot.
            known["noise_level"] = None
        return info.but(**known)

    def _tile(self, multiple, mosaic):
        for side in self.size or ():
            if side % multiple or side <= 0:
                below, above = side // multiple * multiple, round_up(side + 1, multiple)
                raise ValueError(
                    f"a side of {side} pixels is not a multiple of {multiple}, as this network "
                    f"needs; {f'{below} and ' if below else ''}{above} are."
                )
        return self.size and tuple(side // (2 if mosaic else 1) for side in self.size)


def convert(
    saved_model: str | os.PathLike,
    precision: str,
    calibration: list[dict[str, np.ndarray]] | None = None,
) -> bytes:
    """Converts a SavedModel with the signature `denoise`.

    Args:
        saved_model: its folder.
        precision: key of `PRECISIONS`.
        calibration: for those in `CALIBRATED`, a list of dicts of arguments.

    Returns:
        bytes. Whatever the converter raises is passed on.
    """
    sets = tf.lite.OpsSet
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["denoise"]
    )
    converter.target_spec.supported_ops = [sets.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in CALIBRATED:
        converter.representative_dataset = lambda: iter(calibration)
        quantised = {
            "int8": sets.TFLITE_BUILTINS_INT8,
            "int16x8": sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        # Casts and rounding around the network stay what they are.
        converter.target_spec.supported_ops = [quantised[precision], sets.TFLITE_BUILTINS]
    if precision == "int8" and isinstance(calibration[0], Uint8Arguments):
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def export_tflite(
    network: keras.Model,
    path: str | os.PathLike,
    info: ModelInfo,
    variant: Variant = Variant(),
    calibration_dir: str | os.PathLike | None = None,
    max_psnr_drop: float = 0.1,
    overwrite: bool = False,
) -> Figures:
    """Writes a TFLite file, and its model.json beside it: x.tflite and x.tflite.json.

    The file is run by LiteRT in a process of its own before it gets its name.

    Args:
        network: functional `keras.Model`; one of mixed precision is exported in float32.
        path: file to write.
        info: the network's `ModelInfo`, see `n2n_tf.model_files.keras_file.describe`.
        variant: `n2n_tf.export.tflite.Variant`: size, precision, and what the file takes.
        calibration_dir: folder of images for integer arithmetic; None: embedded photographs.
        max_psnr_drop: by how many dB the file may be worse than the network.
        overwrite: whether an existing file may be replaced.

    Returns:
        `n2n_tf.export.measure.Figures`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ValueError: if the variant does not fit the network.
        ExportError: if the conversion fails, the file has operations that phones lack, or its
            result is not the network's; nothing is written then.
    """
    network, path = as_float32(network), pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ExportError(f"{path}: the name of a TFLite file must end in .tflite.")
    info = variant.describe(info)
    with place_beside(path, overwrite, inner=path.name) as file:
        calibration = None
        if variant.precision in CALIBRATED:
            calibration = calibration_arguments(info, calibration_dir)
        with (
            tempfile.TemporaryDirectory() as saved_model,
            failures_named(f"{path}: TFLite conversion"),
        ):
            write_saved_model(network, saved_model, info)
            write_tflite(file, convert(saved_model, variant.precision, calibration), info)
        with failures_named(f"{path}: running the exported model"):
            figures = measure(network, file, info)
        try:
            _check(figures, info, path, max_psnr_drop)
        except ExportError as error:
            error.figures = figures
            raise
        add_measured(file, dataclasses.asdict(figures))
    return figures


def _check(figures, info, path, max_psnr_drop):
    """ExportError for a file that must not be used."""
    if foreign := foreign_operations(figures, info):
        raise ExportError(f"{path}: has operations that phones lack: {', '.join(foreign)}.")
    if not math.isfinite(figures.max_difference):
        raise ExportError(f"{path}: returns NaN, infinity or another shape; not written.")
    allowed = TOLERANCE + (1.01 * rounding_step(info))
    if info.precision == "float32" and figures.max_difference > allowed:
        raise ExportError(
            f"{path}: the exported model differs from the network by "
            f"{figures.max_difference:.2g}, more than {allowed:.2g}; not written."
        )
    if figures.psnr_drop > max_psnr_drop:
        raise ExportError(
            f"{path}: loses {figures.psnr_drop:.2f} dB on noisy photographs ({figures.psnr:.2f} "
            f"instead of {figures.psnr_keras:.2f} dB), more than {max_psnr_drop:g}; not written."
        )
