"""Denoiser: load any trained model, call it on an image of any size and type."""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.networks import NETWORKS
from n2n_tf.tiling import denoise_tiled, round_up
from pipelines.image_files import to_float, to_integer

SHIPPED = pathlib.Path(__file__).resolve().parents[1] / "saved_models"
NETWORK_FILE, INFO_FILE = "network.keras", "model.json"
DEFAULT_TILE = 1024
# What model.json must say, and within what bounds.
REQUIRED = {"channels": (1, 64), "size_multiple": (1, 4096), "halo": (0, 4096)}


class ModelError(ValueError):
    """A model that cannot be used; the message names the file and what to do."""


class Denoiser:
    """A trained network, ready for whole pictures.

    Args:
        run: callable, float32 [1, height, width, channels] -> the same shape, for sides that are
            multiples of `size_multiple`.
        channels: int, channels the network takes.
        size_multiple: int, in pixels.
        halo: int, margin in pixels by which tiles overlap on each side.
        tile: int, side in pixels of the window the network sees at once. Larger pictures are cut
            into such windows; memory grows with its square.
        info: dict, what model.json says about the model.

    Attributes:
        network: the Keras network, None for a model loaded from an export.

    Example:
        >>> identity = Denoiser(lambda x: x, channels=3, size_multiple=32, halo=160)
        >>> photo = np.zeros((45, 67, 3), np.uint16)
        >>> identity(photo).shape, identity(photo).dtype
        ((45, 67, 3), dtype('uint16'))
    """

    def __init__(self, run, channels, size_multiple, halo, tile=DEFAULT_TILE, info=None):
        self.channels, self.size_multiple, self.halo = channels, size_multiple, halo
        # No window may be too small to keep anything inside its halo.
        least = round_up(2 * halo + size_multiple, size_multiple)
        self.tile = max(round_up(tile, size_multiple), least)
        self.info = info or {}
        self.network = None
        self._run = run

    @classmethod
    def load(cls, model, tile=DEFAULT_TILE):
        """Loads a model.

        Args:
            model: path of a training's `model_dir`, of a `.keras`, `.tflite` or official `.pth`
                file, of a SavedModel folder; or the name of a model shipped in `saved_models/`; or
                a Keras network.
            tile: int, see `Denoiser`.

        Raises:
            ModelError: if there is no such model, or it is damaged or unusable.
        """
        if isinstance(model, keras.Model):
            return cls._of_network(model, describe(model), tile)
        path = pathlib.Path(model)
        if not path.exists():
            path = SHIPPED / str(model)
        if not path.exists() or path == SHIPPED:
            raise ModelError(f"{model}: no such file or folder, and no model of that name shipped.")
        if path.is_dir() and (path / "saved_model.pb").exists():
            return cls._of_saved_model(path, tile)
        if path.is_dir():
            return cls._of_folder(path, tile)
        loaders = {".keras": cls._of_keras, ".tflite": cls._of_tflite, ".pth": cls._of_pth}
        if path.suffix not in loaders:
            raise ModelError(
                f"{path}: not a model. Models are .keras, .tflite and .pth files, SavedModel "
                "folders and the folders written by n2n-train."
            )
        return loaders[path.suffix](path, tile)

    @classmethod
    def _of_network(cls, network, info, tile):
        channels = info["channels"]
        signature = [tf.TensorSpec((None, None, None, channels), tf.float32)]
        compiled = tf.function(lambda noisy: network(noisy, training=False), signature)
        denoiser = cls(compiled, channels, info["size_multiple"], info["halo"], tile, info)
        denoiser.network = network
        return denoiser

    @classmethod
    def _of_folder(cls, path, tile):
        if not (path / NETWORK_FILE).exists():
            raise ModelError(
                f"{path}: holds no {NETWORK_FILE}. A training writes it at the end of each epoch."
            )
        return cls._of_network(load_network(path / NETWORK_FILE), read_info(path / INFO_FILE), tile)

    @classmethod
    def _of_keras(cls, path, tile):
        network = load_network(path)
        beside = path.parent / INFO_FILE
        ours = path.name == NETWORK_FILE and beside.exists()
        return cls._of_network(network, read_info(beside) if ours else describe(network), tile)

    @classmethod
    def _of_pth(cls, path, tile):
        from n2n_tf.torch_weights import unet_from_pth

        network = unet_from_pth(path)
        return cls._of_network(network, describe(network), tile)

    @classmethod
    def _of_saved_model(cls, path, tile):
        info = read_info(path / INFO_FILE)
        try:
            loaded = tf.saved_model.load(str(path))
            serve = loaded.signatures["denoise"]
        except Exception as error:  # TensorFlow raises many types on damaged files
            raise ModelError(
                f"{path}: not a SavedModel with signature 'denoise' ({error})."
            ) from error

        def run(noisy, keep_alive=loaded):
            return serve(noisy=tf.constant(noisy))["denoised"]

        return cls(run, info["channels"], info["size_multiple"], info["halo"], tile, info)

    @classmethod
    def _of_tflite(cls, path, tile):
        from ai_edge_litert.interpreter import Interpreter

        info = read_info(path.with_suffix(".json"))
        try:
            interpreter = Interpreter(model_path=str(path))
            signature = interpreter.get_signature_runner("denoise")
        except Exception as error:  # LiteRT raises ValueError and RuntimeError
            raise ModelError(
                f"{path}: not a .tflite file with signature 'denoise' ({error})."
            ) from error

        def run(noisy):
            return signature(noisy=np.ascontiguousarray(noisy, np.float32))["denoised"]

        return cls(run, info["channels"], info["size_multiple"], info["halo"], tile, info)

    def __call__(self, image, white_level=None, progress=None):
        """Denoises one image.

        Args:
            image: array [height, width] or [height, width, channels]. Floats are in nominal range
                [0, 1] and may leave it. A one-channel network denoises colour plane by plane.
            white_level: number that stands for 1.0. Default: 255 for uint8, 65535 for uint16, 1 for
                floats.
            progress: None or callable(tiles done, tiles in all).

        Returns:
            Array of the same shape. Floats give float32, not clipped; uint8 and uint16 give the
            same type, clipped and rounded.

        Raises:
            ValueError: for another type of pixels or number of channels, NaN or infinite pixels,
                an empty image.
        """
        image = np.asarray(image)
        planes = image[..., None] if image.ndim == 2 else image
        self._check(planes)
        floats = to_float(planes, white_level)
        if not np.isfinite(floats).all():
            raise ValueError("The image holds NaN or infinite pixels; mend or mask them first.")
        step = floats.shape[2] if self.channels != 1 else 1
        parts = [
            denoise_tiled(
                self._run,
                floats[..., start : start + step],
                self.tile,
                self.halo,
                self.size_multiple,
                progress,
            )
            for start in range(0, floats.shape[2], step)
        ]
        denoised = np.concatenate(parts, axis=-1).reshape(image.shape)
        if image.dtype.kind == "u":
            return to_integer(denoised, image.dtype, white_level)
        return denoised * np.float32(white_level) if white_level else denoised

    def _check(self, planes):
        if planes.dtype not in (np.uint8, np.uint16) and planes.dtype.kind != "f":
            raise ValueError(f"Pixels must be uint8, uint16 or float. Received: {planes.dtype}.")
        if planes.ndim != 3 or 0 in planes.shape:
            raise ValueError(
                "An image is an array [height, width] or [height, width, channels] with at least "
                f"one pixel. Received: shape={planes.shape}."
            )
        if self.channels not in (1, planes.shape[2]):
            raise ValueError(
                f"This model denoises images of {self.channels} channels. Received: "
                f"{planes.shape[2]}."
            )


def describe(network, **more):
    """What model.json says about a network: what tiling needs, and anything in `more`.

    Raises:
        ModelError: if the network takes no image of any size, or is none of ours and `more` does
            not give `size_multiple` and `halo`.
    """
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1:3] != (None, None):
        raise ModelError(
            f"Network {network.name!r} must take images [batch, height, width, channels] of any "
            f"height and width. Received: input_shape={shape}."
        )
    info = {"network": network.name, "channels": shape[-1]}
    if network.name in NETWORKS:
        _, info["size_multiple"], info["halo"] = NETWORKS[network.name]
    info |= more
    if missing := REQUIRED.keys() - info.keys():
        raise ModelError(
            f"Network {network.name!r} is none of ours: say its {', '.join(sorted(missing))} in a "
            f"{INFO_FILE} beside {NETWORK_FILE}."
        )
    return info


def read_info(path):
    """Reads and checks a model.json.

    Raises:
        ModelError: if it is missing, damaged or lacks something.
    """
    try:
        info = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; it was written beside the model, copy both.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}).") from error
    for key, (low, high) in REQUIRED.items():
        value = info.get(key) if isinstance(info, dict) else None
        if not isinstance(value, int) or not low <= value <= high:
            raise ModelError(
                f"{path}: {key!r} must be a whole number in {low}..{high}, is {value!r}."
            )
    return info


def load_network(path):
    """Reads a `.keras` file; code stored in such a file is never run.

    Raises:
        ModelError: if it is damaged or asks for code to be run.
    """
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types on damaged files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: cannot be loaded as a Keras model ({reason})") from error
    return network.network if hasattr(network, "network") else network
