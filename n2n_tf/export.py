"""SavedModel and TFLite exports; each is run and compared with the Keras network before it counts.

A conversion that reports success can still be wrong: a TFLite file without its weights gives NaN,
and an operation outside TFLite's own set runs nowhere but beside a full TensorFlow. So a file gets
its name only after its output equalled the network's on pictures of odd sizes.
"""

import contextlib
import json
import math
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoiser import SIGNATURE, Denoiser
from n2n_tf.model_files import INFO_FILE, as_float32, first_line, info_path
from n2n_tf.tiling import reflect_pad, reflect_pad_batch, round_up

TOLERANCE = 1e-4  # largest difference of a float32 export to the Keras output, images in [0, 1]
# All that a SavedModel of ours can hold; a folder with anything else is not deleted.
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", INFO_FILE}


class ExportError(ValueError):
    """An export that failed or differs from the network; nothing was written."""


def export_saved_model(network, path, info, overwrite=False):
    """Writes a SavedModel folder with signature `denoise(noisy) -> {"denoised": ...}`.

    It takes float32 [batch, height, width, channels] of any size: padding and cropping are inside.

    Args:
        network: functional `keras.Model`; one of mixed precision is exported in float32.
        path: folder to write.
        info: dict for model.json, see `n2n_tf.denoiser.describe`.
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


def export_tflite(network, path, info, overwrite=False):
    """Writes a float32 TFLite file, and its model.json beside it: x.tflite and x.tflite.json.

    Any height and width; only TFLite's own operations. Arguments, results and errors are those of
    `export_saved_model`.
    """
    network, path = as_float32(network), pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ExportError(f"{path}: the name of a TFLite file must end in .tflite.")
    with _temporary_folder(path, overwrite, inner=path.name) as file:
        with (
            tempfile.TemporaryDirectory() as saved_model,
            _failures_named(f"{path}: TFLite conversion"),
        ):
            _write_saved_model(network, saved_model, info)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                saved_model, signature_keys=[SIGNATURE]
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            file.write_bytes(converter.convert())
        info_path(file).write_text(json.dumps(info, indent=2) + "\n")
        return _compare(network, file, info, path)


def _write_saved_model(network, folder, info):
    archive = keras.export.ExportArchive()
    archive.track(network)

    def denoise(noisy):
        height, width = tf.shape(noisy)[1], tf.shape(noisy)[2]
        padded = reflect_pad_batch(noisy, info["size_multiple"])
        return {"denoised": network(padded, training=False)[:, :height, :width]}

    spec = tf.TensorSpec((None, None, None, info["channels"]), tf.float32, name="noisy")
    archive.add_endpoint(SIGNATURE, denoise, input_signature=[spec])
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
        padded = reflect_pad(noisy, round_up(height, m), round_up(width, m))
        expected = np.asarray(network(padded[None], training=False))[:, :height, :width]
        got = np.asarray(run(noisy[None]))
        comparable = got.shape == expected.shape and np.isfinite(got - expected).all()
        yield float(np.max(np.abs(got - expected))) if comparable else math.inf


def check_free(path, overwrite=False):
    """Checks that an export may be written to `path`, before the work is done.

    Args:
        path: a SavedModel folder, or a `.tflite` file, whose model.json is checked too.
        overwrite: whether an earlier export may be replaced.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ExportError: if `path` is something else than an earlier export.
    """
    path = pathlib.Path(path)
    file = path.suffix == ".tflite"
    for place in (path, info_path(path)) if file else (path,):
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
