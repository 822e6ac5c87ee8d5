"""SavedModel and TFLite exports; each is run and compared with the Keras network before it counts.

A conversion that reports success can still be wrong: a TFLite file without its weights gives NaN,
and an operation outside TFLite's own set runs nowhere but beside a full TensorFlow. So a file gets
its name only after its output equalled the network's on a picture of odd size.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoiser import INFO_FILE, Denoiser
from n2n_tf.tiling import reflect_pad_batch

TOLERANCE = 1e-4  # largest difference of a float32 export to the Keras output, images in [0, 1]


class ExportError(ValueError):
    """An export that failed or differs from the network; nothing was written."""


def export_saved_model(network, path, info, overwrite=False):
    """Writes a SavedModel folder with signature `denoise(noisy) -> {"denoised": ...}`.

    It takes float32 [batch, height, width, channels] of any size: padding and cropping are inside.

    Args:
        network: functional `keras.Model`.
        path: folder to write.
        info: dict for model.json, see `n2n_tf.denoiser.describe`.
        overwrite: whether an existing folder may be replaced.

    Returns:
        float, the largest difference to the network's own output on a noise image in [0, 1].

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ExportError: if the conversion fails or its result differs by more than `TOLERANCE`.
    """
    with _temporary_folder(path, overwrite) as folder:
        _write_saved_model(network, folder, info)
        return _compare(network, folder, info)


def export_tflite(network, path, info, overwrite=False):
    """Writes a float32 TFLite file, and its model.json beside it as `<name>.json`.

    Any height and width; only TFLite's own operations. Arguments, results and errors are those of
    `export_saved_model`.
    """
    path = pathlib.Path(path)
    with _temporary_folder(path, overwrite, inner=path.name) as file:
        with tempfile.TemporaryDirectory() as saved_model:
            _write_saved_model(network, saved_model, info)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                saved_model, signature_keys=["denoise"]
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            try:
                file.write_bytes(converter.convert())
            except Exception as error:  # the converter raises its own and MLIR's types
                raise ExportError(f"{path}: TFLite conversion failed ({error}).") from error
        file.with_suffix(".json").write_text(json.dumps(info, indent=2) + "\n")
        return _compare(network, file, info)


def _write_saved_model(network, folder, info):
    archive = keras.export.ExportArchive()
    archive.track(network)

    def denoise(noisy):
        height, width = tf.shape(noisy)[1], tf.shape(noisy)[2]
        padded = reflect_pad_batch(noisy, info["size_multiple"])
        return {"denoised": network(padded, training=False)[:, :height, :width]}

    spec = tf.TensorSpec((None, None, None, info["channels"]), tf.float32, name="noisy")
    archive.add_endpoint("denoise", denoise, input_signature=[spec])
    archive.write_out(str(folder), verbose=False)
    (pathlib.Path(folder) / INFO_FILE).write_text(json.dumps(info, indent=2) + "\n")


def _compare(network, exported, info):
    """Largest difference between export and network on a noise image of odd size."""
    m = info["size_multiple"]
    image = np.random.default_rng(0).random((2 * m + 1, 3 * m - 1, info["channels"]), np.float32)
    expected = Denoiser.load(network)(image)
    try:
        got = Denoiser.load(exported)(image)
    except Exception as error:
        raise ExportError(f"{exported.name}: the exported model fails ({error}).") from error
    difference = float(np.max(np.abs(got - expected)))
    if not difference <= TOLERANCE:  # also when it is NaN
        raise ExportError(
            f"{exported.name}: differs from the network by {difference:.2g}, more than "
            f"{TOLERANCE:g}; not written."
        )
    return difference


@contextlib.contextmanager
def _temporary_folder(path, overwrite, inner=None):
    """Gives a place beside `path`; what is there gets its final name when the block ends well.

    With `inner`, the place is the file `inner` in a folder of its own, and all files of that folder
    move beside `path`.
    """
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another name or --overwrite.")
    if path.is_dir() and not (path / "saved_model.pb").exists():
        raise ExportError(f"{path}: is a folder but no SavedModel; it will not be replaced.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary.chmod(0o755)
        yield temporary / inner if inner else temporary
        if inner:
            for file in sorted(temporary.iterdir()):
                os.replace(file, path.parent / file.name)
        else:
            if path.exists():
                shutil.rmtree(path)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
