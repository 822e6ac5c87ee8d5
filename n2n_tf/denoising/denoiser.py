"""Denoiser: load any trained model, call it on an image of any size and type."""

import dataclasses
import functools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from n2n_tf.denoising import engines, mosaics
from n2n_tf.denoising.given_back import constant_areas
from n2n_tf.denoising.large import as_made, denoise_picture
from n2n_tf.denoising.noise_level import NoiseEstimate, estimate_noise
from n2n_tf.denoising.noise_notes import parse_law
from n2n_tf.denoising.raw_noise import estimate_raw_noise
from n2n_tf.denoising.tiling import Tile, Tiling, denoised_rows, image_window
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.load import load_model
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.pipelines.files.image_files import to_float, to_integer

if TYPE_CHECKING:
    import keras

DEFAULT_TILE = 1024


class Denoiser:
    """A trained network, ready for whole pictures, from several threads too.

    Args:
        run: callable, float32 [1, height, width, channels] -> the same shape, for sides that are
            multiples of `info.size_multiple`, or of exactly `info.tile`.
        info: `ModelInfo`.
        tile: side in pixels of the window the network sees at once. Larger pictures are cut into
            such windows, or others with as many pixels; memory grows with its square. Raised to
            what the network needs, and ignored if `info.tile` says what it takes.

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
        self._load_luminance = None
        self._running = threading.Lock()  # a network has all processors; other work goes on

    @classmethod
    def load(
        cls,
        model: "str | os.PathLike | keras.Model",
        tile: int = DEFAULT_TILE,
        engine: str = "auto",
        before_keras: Callable[[], None] = lambda: None,
        precision: str = "float32",
    ) -> "Denoiser":
        """Loads a model.

        Args:
            model: as `n2n_tf.model_files.load.load_model` takes it: a name, a path, a network.
            tile: see `Denoiser`.
            engine, before_keras, precision: see `n2n_tf.denoising.engines.load`.

        Raises:
            ModelError: if there is no such model, or it is damaged or unusable.
        """
        loaded, said = engines.load(model, engine, before_keras, precision)
        denoiser = cls(loaded.run, loaded.info, tile)
        denoiser.engine, denoiser._source, denoiser._network = said, model, loaded.network
        if denoiser.channels == 3 and loaded.info.noise_level:
            denoiser._load_luminance = functools.partial(
                cls.load, DEFAULTS["gray"], tile, engine, before_keras, precision
            )
        return denoiser

    @property
    def network(self) -> "keras.Model | None":
        """The Keras network, loaded when it is first asked for; None if the model is an export."""
        if self._network is None and self._source is not None:
            self._network = load_model(self._source).network
        return self._network

    @functools.cached_property
    def luminance(self) -> "Denoiser | None":
        """What denoises luminance where channels share their noise; loaded when first asked for."""
        return self._load_luminance and self._load_luminance()

    def __call__(
        self,
        image: np.ndarray,
        white_level: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        noise: str | NoiseEstimate = "auto",
        strength: float = 1.0,
        axes: str | None = None,
        tell: Callable[[NoiseEstimate, float], None] | None = None,
        in_place: bool = False,
    ) -> np.ndarray:
        """Denoises one image, or every plane of a stack.

        The noise is estimated first, whatever the units. A network for Gaussian noise gets the
        picture scaled so that its noise is such as the network knows; what any network takes away
        beyond noise is given back (`n2n_tf.denoising.known_noise`). A picture without noise comes
        back as it is, and so do NaN pixels. A network for RGB images with Gaussian noise knows
        noise that is independent in red, green and blue. Where they share it, as in most JPEG files
        and in gray pictures of three channels, the shipped gray model denoises the luminance; where
        they share a part of it, mixtures of channels that share none are denoised. Gray pictures in
        which every second pixel differs are denoised as four.

        Args:
            image: array [height, width] or [height, width, channels], or as `axes` says. A
                one-channel network denoises colour plane by plane.
            white_level: number that stands for 1.0, for networks that know no noise level and with
                noise "none". Default: what the network was trained with, else 255 for uint8, 65535
                for uint16, 1 for floats.
            progress: None or callable(tiles done, tiles in all), called before the first tile too.
            noise: "auto", "none" for the bare network, or the noise if it is known: a
                `NoiseEstimate`, or in words like "gauss:1.5" and "poisson_gaussian:2,-900".
            strength: by how much the noise is taken to be stronger than that, 0 to 1.5 or so.
            axes: a letter for each axis of `image`: Y and X, C for channels, any others for what
                is denoised plane by plane, such as "ZYX" or "TCYX". Default: "YX" or "YXC", the
                latter with at most 3 channels, or as many as the network takes.
            tell: None or callable(noise assumed, share of what the network took away that was
                given back), called for every plane; not with noise "none".
            in_place: whether `image` may be overwritten, which saves the memory of a result.

        Returns:
            Array of the same shape. Floats give float32, not clipped; uint8 and uint16 give the
            same type, rounded and clipped at its ends.

        Raises:
            ValueError: for a noise in other words, another type of pixels or number of channels, an
                empty image, axes that do not fit, a white level that the type cannot hold; with
                noise "none", for NaN or infinite pixels.
            ModelError: if the network returns NaN or infinite pixels.
        """
        image = np.asarray(image)
        noise = parse_law(noise) if isinstance(noise, str) else noise
        _check_pixels(image, white_level)
        axes = axes or self._usual_axes(image)
        planes, order = _as_planes(image, axes)
        if self.channels not in (1, planes.shape[-1]):
            raise ValueError(
                f"This model denoises images of {self.channels} channels. Received: "
                f"{planes.shape[-1]}."
            )

        step = self.channels  # a one-channel network takes colours one by one
        parts = [
            (plane, c) for plane in range(len(planes)) for c in range(0, planes.shape[3], step)
        ]

        most = -1  # a network may be asked twice

        def ran(number: int, done: int, tiles: int) -> None:
            nonlocal most
            if progress and number * tiles + done > most:
                most = number * tiles + done
                progress(most, len(parts) * tiles)

        dtype = image.dtype if image.dtype.kind == "u" else np.dtype(np.float32)
        in_place = in_place and noise != "none" and image.flags.writeable and image.dtype == dtype
        moved = planes if in_place else np.empty(planes.shape, dtype)
        for number, (plane, first) in enumerate(parts):
            part = np.s_[plane, :, :, first : first + step]
            progressed = functools.partial(ran, number)
            if noise == "none":
                self._as_trained(planes[part], white_level, progressed, moved[part])
                continue
            if noise == "auto" and self._is_mosaic(planes[part]):
                self._by_phases(planes[part], strength, progressed, tell, moved[part])
                continue
            known = None if noise == "auto" else noise
            estimate = estimate_raw_noise if step == 4 else estimate_noise
            law = known or estimate(planes[part])
            law = law.of_channels(*range(first, first + step)).scaled(strength)
            if law.shared and self.luminance:
                law, given_back = self._by_luminance(
                    planes[part], law, strength, progressed, moved[part]
                )
            elif law.apart and self.info.noise_level:
                given_back = self._apart(planes[part], law, progressed, moved[part])
            else:
                given_back = self.known(planes[part], law, moved[part], white_level, progressed)
            if tell:
                tell(law, given_back)
        moved = moved.reshape([image.shape[axis] for axis in order])
        return np.ascontiguousarray(np.transpose(moved, np.argsort(order)))

    def bare(
        self,
        image: np.ndarray,
        white_level: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """The network alone, as the paper's protocol has it: like a call with noise "none"."""
        return self(image, white_level, progress, noise="none")

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

    def _run(self, windows):
        """The network on one window [1, height, width, channels], which has all processors."""
        with self._running:
            denoised = np.asarray(self.run(windows))
        if not np.isfinite(denoised).all():
            raise ModelError(
                "The network returned NaN or infinite pixels: it is damaged or its training "
                "diverged, or the image's values are far outside [0, 1]."
            )
        return denoised

    def _as_trained(self, image, white_level, progress, out):
        """One image [height, width, channels] by the bare network, into `out`."""
        white_level = white_level or self.info.white_level
        window_of = image_window(image)

        def floats(tile: Tile) -> np.ndarray:
            window = to_float(window_of(tile), white_level)
            if not np.isfinite(window).all():
                raise ValueError(
                    "The image holds NaN or infinite pixels; correct or mask them first."
                )
            return window

        for row, band in denoised_rows(self._run, image.shape, floats, self.tiling, progress):
            if image.dtype.kind == "u":
                band = to_integer(band, image.dtype, white_level)
            elif white_level is not None:
                band *= np.float32(white_level)
            out[row : row + len(band)] = band

    def _is_mosaic(self, image):
        return self.info.noise_level and mosaics.is_mosaic(image)

    def _by_phases(self, image, strength, progress, tell, out):
        """A mosaic [height, width, 1] into `out`, each of its phases as a picture of its own."""

        def told(law: NoiseEstimate, given_back: float) -> None:
            tell(dataclasses.replace(law, assumed=(*law.assumed, mosaics.TOLD)), given_back)

        for number, phase in enumerate(mosaics.phases()):
            part = np.ascontiguousarray(image[phase])

            def progressed(done: int, tiles: int, number: int = number) -> None:
                progress(number * tiles + done, 4 * tiles)

            out[phase] = self(part, None, progressed, strength=strength, tell=tell and told)

    def _by_luminance(self, image, law, strength, progress, out):
        """One RGB image whose channels share their noise, into `out` -> its law, share given back.

        The network's colours, with the luminance of the gray model.
        """
        gray = (image == image[..., :1]).all()
        luminance = np.float32(image[..., :1] if gray else _luminance(image))
        clean, colour = np.empty(luminance.shape, np.float32), np.empty(image.shape, np.float32)
        law_of_it = estimate_noise(luminance).scaled(strength)
        given_back = self.luminance.known(luminance, law_of_it, clean, None, progress)
        if gray:
            colour[...] = clean
        else:
            self.known(image, law, colour, None, progress)
            colour += clean - np.float32(_luminance(colour))
        out[...] = to_integer(colour, out.dtype, 1) if out.dtype.kind == "u" else colour
        return dataclasses.replace(law_of_it, shared=True), given_back

    def _apart(self, image, law, progress, out):
        """One RGB image whose channels share a part of their noise, into `out` -> share given back.

        The network gets mixtures of the channels that have none in common.
        """
        matrix, law = law.apart
        image = np.float32(image)
        with np.errstate(invalid="ignore"):  # infinite pixels
            mixed = image @ np.float32(matrix).T
            given_back = self.known(mixed, law, mixed, None, progress)
            result = mixed @ np.float32(np.linalg.inv(matrix)).T
        result = np.where(constant_areas(image) | ~np.isfinite(result), image, result)
        out[...] = to_integer(result, out.dtype, 1) if out.dtype.kind == "u" else result
        return given_back

    def _white(self, dtype, white_level):
        """What becomes 1 for a network that knows no noise level."""
        white = white_level or self.info.white_level
        return np.float32(white or (np.iinfo(dtype).max if dtype.kind == "u" else 1))

    def known(
        self,
        image: np.ndarray,
        law: NoiseEstimate,
        out: np.ndarray,
        white_level: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        finish: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> float:
        """Denoises one image [height, width, channels] with noise of a known law.

        Args:
            image, white_level, progress: as for a call.
            law: the noise of its channels.
            out: array of the same shape, for the result; it may be `image`.
            finish: as `n2n_tf.denoising.large.denoise_picture` takes it.

        Returns:
            the mean share of what the network took away that was given back.
        """
        levels = self.info.noise_level
        white = self._white(image.dtype, white_level)

        def run(windows: np.ndarray) -> np.ndarray:
            return self._run(windows) if levels else self._run(windows / white) * white

        def write(rows: slice, result: np.ndarray) -> None:
            out[rows] = to_integer(result, out.dtype, 1) if out.dtype.kind == "u" else result

        return denoise_picture(
            run, image, law, levels, self.tiling, write, progress, finish or as_made
        )


def _luminance(image):
    """That of RGB pixels [H, W, 3], as JPEG has it, float64 [H, W, 1]."""
    return image @ np.array([[0.299], [0.587], [0.114]])


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
