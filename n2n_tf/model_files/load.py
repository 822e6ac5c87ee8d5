"""A model's name or path -> the network or export, ready to run, and what is known of it."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import (
    INFO_FILE,
    NETWORK_FILE,
    ModelError,
    ModelInfo,
    first_line,
    read_info,
)
from n2n_tf.model_files.litert import SIGNATURE, check_channels, not_an_export, open_tflite
from n2n_tf.model_files.tflite_file import read_tflite_info

if TYPE_CHECKING:  # TensorFlow and Keras take seconds to import: only what needs them does
    import keras


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model that can be run.

    Attributes:
        run: callable, float32 [1, height, width, channels] in nominal range [0, 1] -> the same
            shape, for sides that are multiples of `info.size_multiple`; of exactly `info.tile` if
            that is set. A SavedModel's, and a TFLite file's without a tile, take any sides.
        info: `ModelInfo`, without the checksum of the file it came from.
        network: the Keras network; None for an export.
    """

    run: Callable
    info: ModelInfo
    network: "keras.Model | None" = None


def load_model(model: "str | os.PathLike | keras.Model") -> LoadedModel:
    """Loads a model.

    Args:
        model: path of a training run's `model_dir`, of a `.keras`, `.tflite`, `.npz` (see
            `n2n_tf.model_files.npz_file`) or official `.pth` file, or of a SavedModel folder; the
            name of a model shipped in `saved_models/`; or a Keras network, bare or within its
            trainer.

    Raises:
        ModelError: if there is no such model, or it is damaged or unusable.
    """
    if not isinstance(model, str | os.PathLike):
        return _of_network(getattr(model, "network", model))
    path = find_model(model)
    try:
        return _loader(path)(path)
    except ModelError as error:
        if str(path) in str(error):
            raise
        raise ModelError(f"{path}: {error}") from error


def find_model(model: str | os.PathLike) -> pathlib.Path:
    """The path of a model that is there: as given, or of the shipped model of this name.

    Raises:
        ModelError: if there is no such model.
    """
    path = pathlib.Path(model)
    if not path.exists():
        path = shipped.SHIPPED / path
    if not path.exists():
        raise ModelError(
            f"{model}: no such file or folder, and no shipped model (there are: "
            f"{', '.join(shipped.shipped_models()) or 'none'})."
        )
    return path


def network_file(path: pathlib.Path) -> pathlib.Path | None:
    """The file that holds a model's network; None for an export, and for what is no model."""
    if path.is_dir():
        exported = (path / "saved_model.pb").exists()
        return None if exported or not (path / NETWORK_FILE).exists() else path / NETWORK_FILE
    return path if path.suffix in (".keras", ".pth", ".npz") else None


def info_beside(file: pathlib.Path) -> ModelInfo | None:
    """What the model.json beside a network.keras says, without its checksum; None for others.

    Raises:
        ModelError: if it is missing, damaged, or another network's.
    """
    info = file.with_name(INFO_FILE)
    if file.name != NETWORK_FILE or not info.exists():
        return None
    return shipped.check_whole(file, read_info(info))


def _loader(path):
    if path.is_dir():
        return _of_saved_model if (path / "saved_model.pb").exists() else _of_folder
    loaders = {".keras": _of_keras, ".tflite": _of_tflite, ".pth": _of_pth, ".npz": _of_npz}
    if path.suffix not in loaders:
        raise ModelError(
            f"{path}: not a model. Models are .keras, .tflite, .pth and .npz files, SavedModel "
            "folders and the folders written by n2n-train."
        )
    return loaders[path.suffix]


def _of_network(network, info=None):
    """Compiled once for all sizes, and tried on the smallest image."""
    import tensorflow as tf

    from n2n_tf.model_files.keras_file import describe

    info = info or describe(network)
    check_channels(network.input_shape[-1], info.channels)
    signature = [tf.TensorSpec((None, None, None, info.channels), tf.float32)]
    compiled = tf.function(lambda noisy: network(noisy, training=False), signature)
    smallest = np.zeros((1, info.size_multiple, info.size_multiple, info.channels), np.float32)
    try:
        returned = tuple(compiled(smallest).shape)
    except (ValueError, tf.errors.OpError) as error:  # which, depends on the CPU's kernels
        raise ModelError(
            f"The network cannot take an image of {info.size_multiple} x {info.size_multiple} "
            f"pixels: size_multiple in {INFO_FILE} is wrong ({first_line(error)})."
        ) from error
    if returned != smallest.shape:
        raise ModelError(f"The network returns {returned} for images {smallest.shape}.")
    return LoadedModel(compiled, info, network)


def _of_folder(path):
    if not (path / NETWORK_FILE).exists():
        raise ModelError(
            f"{path}: holds no {NETWORK_FILE}. A training run writes it at the end of each epoch."
        )
    read_info(path / INFO_FILE)  # raises if there is none
    return _of_keras(path / NETWORK_FILE)


def _of_keras(path):
    """With the model.json beside it where the file has its usual name, else by its layers."""
    from n2n_tf.model_files.keras_file import load_network

    info = info_beside(path)
    return _of_network(load_network(path), info)


def _of_pth(path):
    from n2n_tf.model_files.torch_file import unet_from_pth

    try:
        return _of_network(unet_from_pth(path))
    except ValueError as error:
        raise ModelError(str(error)) from error


def _of_npz(path):
    from n2n_tf.model_files.npz_file import network_from_npz

    return _of_network(network_from_npz(path))


def _of_saved_model(path):
    import tensorflow as tf

    info = read_info(path / INFO_FILE)
    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures[SIGNATURE]
        channels = serve.structured_input_signature[1]["noisy"].shape[-1]
        serve.structured_outputs["denoised"]  # raises if there is none
    except Exception as error:  # TensorFlow raises many types on damaged files
        raise ModelError(f"{path}: {not_an_export('SavedModel', error)}") from error
    check_channels(channels, info.channels)

    def run(noisy, keep_alive=loaded):
        return serve(noisy=tf.constant(noisy))["denoised"]

    return LoadedModel(run, info.but(sha256=None))


def _of_tflite(path):
    info = read_tflite_info(path)
    return LoadedModel(open_tflite(path, info), info.but(sha256=None))
