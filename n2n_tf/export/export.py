"""SavedModel and TFLite exports; each is run and compared with the Keras network before it counts.

A conversion that reports success can still be wrong: a TFLite file without its weights gives NaN,
and an operation outside TFLite's own set runs nowhere but beside a full TensorFlow. So a file gets
its name only after its output equalled the network's on pictures of odd sizes.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np

from n2n_tf.denoising.denoiser import SIGNATURE, Denoiser
from n2n_tf.export.report import foreign_operations, measure, run_network
from n2n_tf.export.tflite import Variant, calibration_arguments, convert
from n2n_tf.export.tflite_graph import wrap
from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, first_line, info_path
from n2n_tf.model_files.keras_file import as_float32, save_network
from n2n_tf.model_files.tflite_domain import CALIBRATED, rounding_step
from n2n_tf.model_files.tflite_file import add_to_info, write_tflite

TOLERANCE = 1e-4  # largest difference of a float32 export to the Keras output, images in [0, 1]
# All that a SavedModel of ours can hold; a folder with anything else is not deleted.
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", INFO_FILE}


class ExportError(ValueError):
    """An export that failed or differs from the network; nothing was written.

    Attributes:
        figures: `n2n_tf.export.report.Figures` of a TFLite file that was measured and refused.
    """

    figures = None


def export_saved_model(network, path, info, overwrite=False):
    """Writes a SavedModel folder with signature `denoise(noisy) -> {"denoised": ...}`.

    It takes float32 [batch, height, width, channels] of any size: padding and cropping are inside.

    Args:
        network: functional `keras.Model`; one of mixed precision is exported in float32.
        path: folder to write.
        info: dict for model.json, see `n2n_tf.denoising.denoiser.describe`.
        overwrite: whether an existing folder may be replaced.

    Returns:
        float, the largest difference to the network's own output on noise images in [0, 1].

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ExportError: if the conversion fails, its result differs by more than `TOLERANCE`, or `path`
            is something else than an earlier export.
    """
    network, path = as_float32(network), pathlib.Path(path)
    if path.suffix == ".tflite":
        raise ExportError(f"{path}: is the name of a TFLite file, not of a SavedModel folder.")
    with _temporary_folder(path, overwrite) as folder:
        with _failures_named(f"{path}: SavedModel export"):
            _write_saved_model(network, folder, info)
        return _compare(network, folder, info, path)


def export_keras(network, folder, info, overwrite=False):
    """Writes the network as Keras's own file, and its model.json: what `Denoiser.load` takes.

    That makes a model of this project's of weights from elsewhere (`.pth`, `.npz`).

    Args:
        network: functional `keras.Model`.
        folder: `pathlib.Path`, made if there is none.
        info: dict for model.json, see `n2n_tf.model_files.keras_file.describe`.
        overwrite: whether an existing network may be replaced.

    Raises:
        FileExistsError: if there is one and `overwrite` is false.
    """
    check_free(folder / NETWORK_FILE, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder, info, overwrite)


def export_tflite(
    network,
    path,
    info,
    variant=Variant(),  # noqa: B008, it cannot be changed
    calibration_dir=None,
    max_psnr_drop=0.1,
    overwrite=False,
):
    """Writes a TFLite file, and its model.json beside it: x.tflite and x.tflite.json.

    The file is run by LiteRT in a process of its own before it gets its name.

    Args:
        network: functional `keras.Model`; one of mixed precision is exported in float32.
        path: file to write.
        info: dict, the network's model.json, see `n2n_tf.model_files.keras_file.describe`.
        variant: `n2n_tf.export.tflite.Variant`: size, precision, and what the file takes.
        calibration_dir: folder of images for integer arithmetic; None: embedded photographs.
        max_psnr_drop: float, by how many dB the file may be worse than the network.
        overwrite: whether an existing file may be replaced.

    Returns:
        `n2n_tf.export.report.Figures`.

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
    with _temporary_folder(path, overwrite, inner=path.name) as file:
        calibration = None
        if variant.precision in CALIBRATED:
            calibration = calibration_arguments(info, calibration_dir)
        with (
            tempfile.TemporaryDirectory() as saved_model,
            _failures_named(f"{path}: TFLite conversion"),
        ):
            _write_saved_model(network, saved_model, info)
            write_tflite(file, convert(saved_model, variant.precision, calibration), info)
        with _failures_named(f"{path}: running the exported model"):
            figures = measure(network, file, info)
        try:
            _check(figures, info, path, max_psnr_drop)
        except ExportError as error:
            error.figures = figures
            raise
        add_to_info(file, {"measured": dataclasses.asdict(figures)})
    return figures


def _check(figures, info, path, max_psnr_drop):
    """ExportError for a file that must not be used."""
    if foreign := foreign_operations(figures, info):
        raise ExportError(f"{path}: has operations that phones lack: {', '.join(foreign)}.")
    if not math.isfinite(figures.max_difference):
        raise ExportError(f"{path}: returns NaN, infinity or another shape; not written.")
    allowed = TOLERANCE + (1.01 * rounding_step(info))
    if info["precision"] == "float32" and figures.max_difference > allowed:
        raise ExportError(
            f"{path}: the exported model differs from the network by "
            f"{figures.max_difference:.2g}, more than {allowed:.2g}; not written."
        )
    if figures.psnr_drop > max_psnr_drop:
        raise ExportError(
            f"{path}: loses {figures.psnr_drop:.2f} dB on noisy photographs ({figures.psnr:.2f} "
            f"instead of {figures.psnr_keras:.2f} dB), more than {max_psnr_drop:g}; not written."
        )


def _write_saved_model(network, folder, info):
    archive = keras.export.ExportArchive()
    archive.track(network)
    denoise, signature = wrap(network, {"input": "image", "tile": None} | info)
    archive.add_endpoint(SIGNATURE, denoise, input_signature=signature)
    archive.write_out(str(folder), verbose=False)
    (pathlib.Path(folder) / INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")


@contextlib.contextmanager
def _failures_named(what):
    """TensorFlow, its converter and LiteRT raise many types: all become one ExportError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{what} failed: {first_line(error)}.") from error


def _compare(network, exported, info, path):
    """Largest difference between export and network; ExportError if it is above `TOLERANCE`."""
    with _failures_named(f"{path}: running the exported model"):
        difference = max(_differences(network, exported, info))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path}: the exported model differs from the network by {difference:.2g}, more than "
            f"{TOLERANCE:g}; not written."
        )
    return difference


def _differences(network, exported, info):
    """Largest difference on noise images of odd sizes, which the network takes only padded."""
    m, run = info["size_multiple"], Denoiser.load(exported).run
    for height, width in ((2 * m + 1, 3 * m - 1), (1, m + 1)):
        noisy = np.random.default_rng(0).random((height, width, info["channels"]), np.float32)
        expected = run_network(network, noisy[None], m)
        got = np.asarray(run(noisy[None]))
        comparable = got.shape == expected.shape and np.isfinite(got - expected).all()
        yield float(np.max(np.abs(got - expected))) if comparable else math.inf


def check_free(path, overwrite=False):
    """Checks that an export may be written to `path`, before the work is done.

    Args:
        path: a SavedModel folder, or a `.tflite` or `.keras` file, whose model.json is checked too.
        overwrite: whether an earlier export may be replaced.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ExportError: if `path` is something else than an earlier export.
    """
    path = pathlib.Path(path)
    beside = {".tflite": info_path(path), ".keras": path.with_name(INFO_FILE)}.get(path.suffix)
    file = beside is not None
    for place in (path, beside) if file else (path,):
        if place.is_symlink() or (place.exists() and place.is_dir() == file):
            kind = "file" if file else "folder"
            raise ExportError(f"{place}: is not a plain {kind}; it will not be replaced.")
        if place.exists() and not overwrite:
            raise FileExistsError(f"{place} exists already; give another name or --overwrite.")
    if path.is_dir():
        held = {entry.name for entry in path.iterdir()}
        if "saved_model.pb" not in held or held - SAVED_MODEL_FILES:
            raise ExportError(f"{path}: is a folder but no SavedModel; it will not be replaced.")


@contextlib.contextmanager
def _temporary_folder(path, overwrite, inner=None):
    """Gives a place beside `path`; what is there gets its final name when the block ends well.

    With `inner`, the place is the file `inner` in a folder of its own, and all files of that folder
    move beside `path`.
    """
    path = pathlib.Path(path)
    check_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new = temporary / (inner or "new")
    try:
        if not inner:
            new.mkdir()
        yield new
        if inner:
            for file in sorted(temporary.iterdir()):
                os.replace(file, path.parent / file.name)
        else:
            _replace_folder(new, path, temporary / "old")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new, path, old):
    """Moves `new` to `path`; a folder there moves to `old`, and back if that fails."""
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
