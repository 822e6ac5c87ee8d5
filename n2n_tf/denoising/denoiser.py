"""Denoiser: load any trained model, call it on an image of any size and type."""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from n2n_tf.denoising import engines
from n2n_tf.denoising.given_back import with_detail_kept
from n2n_tf.denoising.tiling import Tiling, denoise_tiled
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.load import load_model
from n2n_tf.pipelines.files.image_files import to_float, to_integer

if TYPE_CHECKING:
    import keras

DEFAULT_TILE = 1024


class Denoiser:
    """A trained network, ready for whole pictures.

    Args:
        run: callable, float32 [1, height, width, channels] -> the same shape, for sides that are
            multiples of `info.size_multiple`, or of exactly `info.tile`.
        info: `ModelInfo`.
        tile: side in pixels of the window the network sees at once. Larger pictures are cut into
            such windows; memory grows with its square. Raised to what the network needs, and
            ignored if `info.tile` says what it takes.

    Attributes:
        channels: int, of the images that the network takes.
        tiling: `n2n_tf.denoising.tiling.Tiling`.
        engine: what runs the network, in words.
        run, info: the arguments. A loaded export's `run` takes sides of any length.

    Example:
        >>> identity = Denoiser(lambda x: x, ModelInfo(channels=3, size_multiple=32, halo=160))
        >>> photo = np.zeros((45, 67, 3), np.uint16)
        >>> identity(photo).shape, identity(photo).dtype
        ((45, 67, 3), dtype('uint16'))
    """

    def __init__(self, run: Callable, info: ModelInfo, tile: int = DEFAULT_TILE) -> None:
        self.run, self.info, self.channels = run, info, info.channels
        self.tiling = Tiling.of(info, tile)
        self.engine, self._source, self._network = "a function", None, None

    @classmethod
    def load(
        cls,
        model: "str | os.PathLike | keras.Model",
        tile: int = DEFAULT_TILE,
        engine: str = "auto",
        before_keras: Callable[[], None] = lambda: None,
    ) -> "Denoiser":
        """Loads a model.

        Args:
            model: as `n2n_tf.model_files.load.load_model` takes it: a name, a path, a network.
            tile: see `Denoiser`.
            engine, before_keras: see `n2n_tf.denoising.engines.load`.

        Raises:
            ModelError: if there is no such model, or it is damaged or unusable.
        """
        loaded, said = engines.load(model, engine, before_keras)
        denoiser = cls(loaded.run, loaded.info, tile)
        denoiser.engine, denoiser._source, denoiser._network = said, model, loaded.network
        return denoiser

    @property
    def network(self) -> "keras.Model | None":
        """The Keras network, loaded when it is first asked for; None if the model is an export."""
        if self._network is None and self._source is not None:
            self._network = load_model(self._source).network
        return self._network

    def __call__(
        self,
        image: np.ndarray,
        white_level: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        keep_detail: bool = False,
        axes: str | None = None,
    ) -> np.ndarray:
        """Denoises one image, or every plane of a stack.

        Args:
            image: array [height, width] or [height, width, channels], or as `axes` says. Floats are
                in nominal range [0, 1] and may leave it. A one-channel network denoises colour
                plane by plane.
            white_level: number that stands for 1.0. Default: 255 for uint8, 65535 for uint16, 1 for
                floats.
            progress: None or callable(tiles done, tiles in all), called before the first tile too.
            keep_detail: see `n2n_tf.denoising.given_back.with_detail_kept`; for weak noise.
            axes: a letter for each axis of `image`: Y and X, C for channels, any others for what
                is denoised plane by plane, such as "ZYX" or "TCYX". Default: "YX" or "YXC", the
                latter with at most 3 channels, or as many as the network takes.

        Returns:
            Array of the same shape. Floats give float32, not clipped; uint8 and uint16 give the
            same type, clipped and rounded.

        Raises:
            ValueError: for another type of pixels or number of channels, NaN or infinite pixels,
                an empty image, axes that do not fit, a white level that the type cannot hold.
            ModelError: if the network returns NaN or infinite pixels.
        """
        image = np.asarray(image)
        _check_pixels(image, white_level)
        axes = axes or self._usual_axes(image)
        planes, order = _as_planes(image, axes)
        if self.channels not in (1, planes.shape[-1]):
            raise ValueError(
                f"This model denoises images of {self.channels} channels. Received: "
                f"{planes.shape[-1]}."
            )

        def report(plane: int, done: int, tiles: int) -> None:
            if progress:
                progress(plane * tiles + done, len(planes) * tiles)

        denoised = [
            self._denoise_plane(p, white_level, functools.partial(report, number), keep_detail)
            for number, p in enumerate(planes)
        ]
        moved = np.stack(denoised).reshape([image.shape[axis] for axis in order])
        dtype = image.dtype if image.dtype.kind == "u" else np.float32
        return np.ascontiguousarray(np.transpose(moved, np.argsort(order)), dtype)

    def _usual_axes(self, image):
        if image.ndim == 2:
            return "YX"
        if image.ndim == 3 and (image.shape[2] <= 3 or self.channels != 1):
            return "YXC"
        raise ValueError(
            "An image is an array [height, width] or [height, width, channels] of at most 3 "
            f'channels; for any other say what its axes are, like axes="ZYX". Received: '
            f"shape={image.shape}."
        )

    def _denoise_plane(self, image, white_level, progress, keep_detail):
        """One image [height, width, channels]."""
        floats = to_float(image, white_level)
        if not np.isfinite(floats).all():
            raise ValueError("The image holds NaN or infinite pixels; correct or mask them first.")
        denoised = self._denoise(floats, progress)
        if not np.isfinite(denoised).all():
            raise ModelError(
                "The network returned NaN or infinite pixels: it is damaged or its training "
                "diverged, or the image's values are far outside [0, 1]."
            )
        if keep_detail:
            denoised = with_detail_kept(floats, denoised)
        if image.dtype.kind == "u":
            return to_integer(denoised, image.dtype, white_level)
        return denoised if white_level is None else denoised * np.float32(white_level)

    def _denoise(self, floats, progress):
        """All channels at once, or one by one with a one-channel network."""
        step = floats.shape[2] if self.channels != 1 else 1
        starts = range(0, floats.shape[2], step)

        def report(channel, done, tiles):
            progress(channel * tiles + done, len(starts) * tiles)

        parts = [
            denoise_tiled(
                self.run,
                floats[..., start : start + step],
                self.tiling,
                functools.partial(report, channel),
            )
            for channel, start in enumerate(starts)
        ]
        return np.concatenate(parts, axis=-1)


def _check_pixels(image, white_level):
    integer = image.dtype.kind == "u" and image.dtype.itemsize <= 2
    if not integer and image.dtype.kind != "f":
        raise ValueError(f"Pixels must be uint8, uint16 or float. Received: {image.dtype}.")
    if image.size == 0:
        raise ValueError(f"An image has at least one pixel. Received: shape={image.shape}.")
    if white_level is None:
        return
    largest = np.iinfo(image.dtype).max if integer else np.finfo(np.float32).max
    if not 0 < white_level <= largest:
        raise ValueError(
            f"`white_level` must be above 0 and at most {largest:g} for {image.dtype} pixels. "
            f"Received: {white_level}."
        )


def _as_planes(image, axes):
    """An array of any axes as [planes, height, width, channels], and the order of its axes then."""
    axes = axes.upper()
    if len(axes) != image.ndim or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(
            "`axes` must name every axis of the image once, Y and X among them. Received: "
            f"axes={axes!r} for shape={image.shape}."
        )
    last = [axes.index(letter) for letter in "YXC" if letter in axes]
    order = [axis for axis in range(image.ndim) if axis not in last] + last
    moved = np.transpose(image, order)
    sides = moved.shape[-len(last) :]
    return moved.reshape(-1, *sides[:2], sides[2] if len(sides) == 3 else 1), order
