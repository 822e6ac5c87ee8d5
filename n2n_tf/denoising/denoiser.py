"""Denoiser: load any trained model, call it on an image of any size and type."""

import functools
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoising.given_back import with_detail_kept
from n2n_tf.denoising.tiling import denoise_tiled
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelError, first_line, read_info
from n2n_tf.model_files.keras_file import describe, load_network
from n2n_tf.model_files.npz_file import unet_from_npz
from n2n_tf.model_files.tflite_domain import decode, encode
from n2n_tf.model_files.tflite_file import read_tflite_info
from n2n_tf.networks.padding import round_up
from n2n_tf.pipelines.files.image_files import to_float, to_integer

DEFAULT_TILE = 1024
SIGNATURE = "denoise"  # of exports: denoise(noisy) -> {"denoised": ...}


class Denoiser:
    """A trained network, ready for whole pictures.

    Args:
        run: callable, float32 [1, height, width, channels] -> the same shape, for sides that are
            multiples of `size_multiple`.
        channels: int, channels the network takes.
        size_multiple: int, in pixels.
        halo: int, margin in pixels by which tiles overlap on each side.
        tile: int, side in pixels of the window the network sees at once, at least twice the halo
            and a bit. Larger pictures are cut into such windows; memory grows with its square.
        info: dict, what model.json says about the model.
        fixed: bool, `run` takes windows of exactly `tile`, which may then be (height, width).

    Attributes:
        network: the Keras network, None for a model loaded from an export.
        run: the callable of the arguments. A loaded export's takes sides of any length.

    Example:
        >>> identity = Denoiser(lambda x: x, channels=3, size_multiple=32, halo=160)
        >>> photo = np.zeros((45, 67, 3), np.uint16)
        >>> identity(photo).shape, identity(photo).dtype
        ((45, 67, 3), dtype('uint16'))
    """

    def __init__(
        self, run, channels, size_multiple, halo, tile=DEFAULT_TILE, info=None, fixed=False
    ):
        self.channels, self.size_multiple, self.halo = channels, size_multiple, halo
        self.fixed, self.tile = fixed, tile
        if not fixed:  # no window may be too small to keep anything inside its halo
            least = round_up(2 * halo + size_multiple, size_multiple)
            self.tile = max(round_up(tile, size_multiple), least)
        self.info = info or {}
        self.network = None
        self.run = run

    @classmethod
    def load(cls, model, tile=DEFAULT_TILE):
        """Loads a model.

        Args:
            model: path of a training's `model_dir`, of a `.keras`, `.tflite`, `.npz` (see
                `n2n_tf.model_files.npz_file`) or official `.pth` file, of a SavedModel folder; or
                the name of a model shipped in `saved_models/`; or a Keras network, bare or within
                its trainer.
            tile: int, see `Denoiser`.

        Raises:
            ModelError: if there is no such model, or it is damaged or unusable.
        """
        if isinstance(model, keras.Model):
            network = getattr(model, "network", model)
            return cls._of_network(network, describe(network), tile)
        path = pathlib.Path(model)
        if not path.exists():
            path = shipped.SHIPPED / path
        if not path.exists():
            raise ModelError(
                f"{model}: no such file or folder, and no shipped model (there are: "
                f"{', '.join(shipped.shipped_models()) or 'none'})."
            )
        try:
            return cls._loader(path)(path, tile)
        except ModelError as error:
            if str(path) in str(error):
                raise
            raise ModelError(f"{path}: {error}") from error

    @classmethod
    def _loader(cls, path):
        if path.is_dir():
            saved_model = (path / "saved_model.pb").exists()
            return cls._of_saved_model if saved_model else cls._of_folder
        loaders = {
            ".keras": cls._of_keras,
            ".tflite": cls._of_tflite,
            ".pth": cls._of_pth,
            ".npz": cls._of_npz,
        }
        if path.suffix not in loaders:
            raise ModelError(
                f"{path}: not a model. Models are .keras, .tflite, .pth and .npz files, SavedModel "
                "folders and the folders written by n2n-train."
            )
        return loaders[path.suffix]

    @classmethod
    def _of_network(cls, network, info, tile):
        channels, least = info["channels"], info["size_multiple"]
        _check_channels(network.input_shape[-1], channels)
        signature = [tf.TensorSpec((None, None, None, channels), tf.float32)]
        compiled = tf.function(lambda noisy: network(noisy, training=False), signature)
        smallest = np.zeros((1, least, least, channels), np.float32)
        try:
            returned = tuple(compiled(smallest).shape)
        except (ValueError, tf.errors.OpError) as error:  # which, depends on the CPU's kernels
            raise ModelError(
                f"The network cannot take an image of {least} x {least} pixels: size_multiple in "
                f"{INFO_FILE} is wrong ({first_line(error)})."
            ) from error
        if returned != smallest.shape:
            raise ModelError(f"The network returns {returned} for images {smallest.shape}.")
        denoiser = cls(compiled, channels, least, info["halo"], tile, info)
        denoiser.network = network
        return denoiser

    @classmethod
    def _of_folder(cls, path, tile):
        if not (path / NETWORK_FILE).exists():
            raise ModelError(
                f"{path}: holds no {NETWORK_FILE}. A training writes it at the end of each epoch."
            )
        info = shipped.check_whole(path, read_info(path / INFO_FILE))
        return cls._of_network(load_network(path / NETWORK_FILE), info, tile)

    @classmethod
    def _of_keras(cls, path, tile):
        network = load_network(path)
        beside = path.parent / INFO_FILE
        ours = path.name == NETWORK_FILE and beside.exists()
        return cls._of_network(network, read_info(beside) if ours else describe(network), tile)

    @classmethod
    def _of_pth(cls, path, tile):
        from n2n_tf.model_files.torch_file import unet_from_pth

        try:
            network = unet_from_pth(path)
        except ValueError as error:
            raise ModelError(str(error)) from error
        return cls._of_network(network, describe(network), tile)

    @classmethod
    def _of_npz(cls, path, tile):
        network = unet_from_npz(path)
        return cls._of_network(network, describe(network), tile)

    @classmethod
    def _of_saved_model(cls, path, tile):
        info = read_info(path / INFO_FILE)
        try:
            loaded = tf.saved_model.load(str(path))
            serve = loaded.signatures[SIGNATURE]
            channels = serve.structured_input_signature[1]["noisy"].shape[-1]
            serve.structured_outputs["denoised"]  # raises if there is none
        except Exception as error:  # TensorFlow raises many types on damaged files
            raise ModelError(f"{path}: {_not_an_export('SavedModel', error)}") from error
        _check_channels(channels, info["channels"])

        def run(noisy, keep_alive=loaded):
            return serve(noisy=tf.constant(noisy))["denoised"]

        return cls(run, info["channels"], info["size_multiple"], info["halo"], tile, info)

    @classmethod
    def _of_tflite(cls, path, tile):
        from ai_edge_litert.interpreter import Interpreter

        info = read_tflite_info(path)
        fixed = info["tile"]
        smallest = np.zeros((1, *(fixed or [info["size_multiple"]] * 2), info["channels"]))
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
            signature = interpreter.get_signature_runner(SIGNATURE)
            taken = int(signature.get_input_details()["noisy"]["shape_signature"][-1])
            if info["input"] != "bayer_mosaic":
                _check_channels(taken, info["channels"])
            run = functools.partial(_run_tflite, signature, info)
            run(smallest.astype(np.float32))
        except ModelError:
            raise
        except Exception as error:  # LiteRT raises ValueError, RuntimeError and others
            raise ModelError(f"{path}: {_not_an_export('.tflite file', error)}") from error
        return cls(
            run,
            info["channels"],
            info["size_multiple"],
            info["halo"],
            tuple(fixed) if fixed else tile,
            info,
            bool(fixed),
        )

    def __call__(self, image, white_level=None, progress=None, keep_detail=False):
        """Denoises one image.

        Args:
            image: array [height, width] or [height, width, channels]. Floats are in nominal range
                [0, 1] and may leave it. A one-channel network denoises colour plane by plane.
            white_level: number that stands for 1.0. Default: 255 for uint8, 65535 for uint16, 1 for
                floats.
            progress: None or callable(tiles done, tiles in all), called before the first tile too.
            keep_detail: bool, see `n2n_tf.denoising.given_back.with_detail_kept`; for weak noise.

        Returns:
            Array of the same shape. Floats give float32, not clipped; uint8 and uint16 give the
            same type, clipped and rounded.

        Raises:
            ValueError: for another type of pixels or number of channels, NaN or infinite pixels,
                an empty image, a white level that the type cannot hold.
            ModelError: if the network returns NaN or infinite pixels.
        """
        image = np.asarray(image)
        self._check(image, white_level)
        floats = to_float(image[..., None] if image.ndim == 2 else image, white_level)
        if not np.isfinite(floats).all():
            raise ValueError("The image holds NaN or infinite pixels; mend or mask them first.")
        denoised = self._denoise(floats, progress)
        if not np.isfinite(denoised).all():
            raise ModelError(
                "The network returned NaN or infinite pixels: it is damaged or its training "
                "diverged, or the image's values are far outside [0, 1]."
            )
        if keep_detail:
            denoised = with_detail_kept(floats, denoised)
        denoised = denoised.reshape(image.shape)
        if image.dtype.kind == "u":
            return to_integer(denoised, image.dtype, white_level)
        return denoised if white_level is None else denoised * np.float32(white_level)

    def _denoise(self, floats, progress):
        """All channels at once, or plane by plane with a one-channel network."""
        step = floats.shape[2] if self.channels != 1 else 1
        starts = range(0, floats.shape[2], step)

        def report(plane, done, tiles):
            if progress:
                progress(plane * tiles + done, len(starts) * tiles)

        parts = [
            denoise_tiled(
                self.run,
                floats[..., start : start + step],
                self.tile,
                self.halo,
                self.size_multiple,
                functools.partial(report, plane),
                self.fixed,
            )
            for plane, start in enumerate(starts)
        ]
        return np.concatenate(parts, axis=-1)

    def _check(self, image, white_level):
        integer = image.dtype.kind == "u" and image.dtype.itemsize <= 2
        if not integer and image.dtype.kind != "f":
            raise ValueError(f"Pixels must be uint8, uint16 or float. Received: {image.dtype}.")
        if image.ndim not in (2, 3) or image.size == 0:
            raise ValueError(
                "An image is an array [height, width] or [height, width, channels] with at least "
                f"one pixel. Received: shape={image.shape}."
            )
        channels = 1 if image.ndim == 2 else image.shape[2]
        if self.channels not in (1, channels):
            raise ValueError(
                f"This model denoises images of {self.channels} channels. Received: {channels}."
            )
        if white_level is None:
            return
        largest = np.iinfo(image.dtype).max if integer else np.finfo(np.float32).max
        if not 0 < white_level <= largest:
            raise ValueError(
                f"`white_level` must be above 0 and at most {largest:g} for {image.dtype} pixels. "
                f"Received: {white_level}."
            )


def _check_channels(taken, said):
    if taken != said:
        raise ModelError(f"It takes {taken} channels, but its {INFO_FILE} says channels={said}.")


def _not_an_export(kind, error):
    return f"no {kind} with a signature {SIGNATURE}(noisy) -> denoised ({first_line(error)})."


def _run_tflite(signature, info, noisy):
    return decode(signature(**encode(noisy, info))["denoised"], info)
