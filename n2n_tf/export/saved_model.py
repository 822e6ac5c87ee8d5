"""SavedModel and Keras exports; each is run and compared with the network before it counts.

A conversion that reports success can still be wrong, so an export gets its name only after its
output equalled the network's on pictures of odd sizes.
"""

import math
import os
import pathlib

import keras
import numpy as np

from n2n_tf.export.measure import run_network
from n2n_tf.export.replacing import ExportError, check_free, failures_named, place_beside
from n2n_tf.export.tflite_graph import wrap
from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelInfo
from n2n_tf.model_files.keras_file import as_float32, save_network
from n2n_tf.model_files.load import SIGNATURE, load_model
from n2n_tf.pipelines.files.atomic_files import write_json

TOLERANCE = 1e-4  # largest difference of a float32 export to the Keras output, images in [0, 1]


def export_saved_model(
    network: keras.Model, path: str | os.PathLike, info: ModelInfo, overwrite: bool = False
) -> float:
    """Writes a SavedModel folder with signature `denoise(noisy) -> {"denoised": ...}`.

    It takes float32 [batch, height, width, channels] of any size: padding and cropping are inside.

    Args:
        network: functional `keras.Model`; one of mixed precision is exported in float32.
        path: folder to write.
        info: its `ModelInfo`.
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
    with place_beside(path, overwrite) as folder:
        with failures_named(f"{path}: SavedModel export"):
            write_saved_model(network, folder, info, any_size=True)
        return _compare(network, folder, info, path)


def export_keras(
    network: keras.Model, folder: pathlib.Path, info: ModelInfo, overwrite: bool = False
) -> None:
    """Writes the network as Keras's own file, and its model.json: what `Denoiser.load` takes.

    That makes a model of this project's of weights from elsewhere (`.pth`, `.npz`).

    Args:
        network: functional `keras.Model`.
        folder: `pathlib.Path`, made if there is none.
        info: its `ModelInfo`.
        overwrite: whether an existing network may be replaced.

    Raises:
        FileExistsError: if there is one and `overwrite` is false.
    """
    check_free(folder / NETWORK_FILE, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder, info, overwrite)


def write_saved_model(
    network: keras.Model, folder: str | os.PathLike, info: ModelInfo, any_size: bool = False
) -> None:
    """Writes the function of `info` as a SavedModel; with `any_size`, that without its `tile`."""
    archive = keras.export.ExportArchive()
    archive.track(network)
    denoise, signature = wrap(network, info.but(tile=None) if any_size else info)
    archive.add_endpoint(SIGNATURE, denoise, input_signature=signature)
    archive.write_out(str(folder), verbose=False)
    write_json(pathlib.Path(folder) / INFO_FILE, info.to_json())


def _compare(network, exported, info, path):
    """Largest difference between export and network; ExportError if it is above `TOLERANCE`."""
    with failures_named(f"{path}: running the exported model"):
        difference = max(_differences(network, exported, info))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{path}: the exported model differs from the network by {difference:.2g}, more than "
            f"{TOLERANCE:g}; not written."
        )
    return difference


def _differences(network, exported, info):
    """Largest difference on noise images of odd sizes, which the network takes only padded."""
    m, run = info.size_multiple, load_model(exported).run
    for height, width in ((2 * m + 1, 3 * m - 1), (1, m + 1)):
        noisy = np.random.default_rng(0).random((height, width, info.channels), np.float32)
        expected = run_network(network, noisy[None], m)
        got = np.asarray(run(noisy[None]))
        comparable = got.shape == expected.shape and np.isfinite(got - expected).all()
        yield float(np.max(np.abs(got - expected))) if comparable else math.inf
