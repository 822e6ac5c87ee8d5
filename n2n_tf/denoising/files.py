"""Whole image files: read plane by plane, denoised, written as it goes."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from n2n_tf.model_files.info import ModelError
from n2n_tf.pipelines.files.conversions import writing
from n2n_tf.pipelines.files.image_files import upright
from n2n_tf.pipelines.files.image_limits import ImageFileError
from n2n_tf.pipelines.files.planes import denoise_plane
from n2n_tf.pipelines.files.stacks import open_planes

if TYPE_CHECKING:
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.pipelines.files.array_planes import ArrayPlanes
    from n2n_tf.pipelines.files.picture_planes import PicturePlanes
    from n2n_tf.pipelines.files.tiff_planes import TiffPlanes

_EXACT = 2**24  # integers up to this are floats of 32 bits too


def denoise_file(
    source: pathlib.Path,
    target: pathlib.Path,
    denoiser_for: Callable[[str], Denoiser],
    axes: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
    **how: Any,
) -> tuple[float, list[str]]:
    """Denoises every plane of an image file into a file of the same kind.

    Every colour image and every channel is denoised on its own; transparency stays. A file of many
    planes needs the memory of one.

    Args:
        source: path of a file that `n2n_tf.pipelines.files.stacks.open_planes` reads.
        target: path of the file to write; its suffix decides the format.
        denoiser_for: callable("gray" or "RGB") -> `Denoiser`.
        axes: None or the user's words for the axes of the file.
        overwrite: whether an existing file is replaced.
        progress: None or callable(done, total): tiles of all planes.
        watch: None or callable(words for the plane, pixels before, pixels after), called for the
            first colour image or channel of the middle plane, upright.
        **how: arguments of `Denoiser.__call__`.

    Returns:
        (megapixels, notes): float, pixels of all planes and channels; list of str, what the result
        does not keep.

    Raises:
        ImageFileError: if the file cannot be read, or the result not be written in this format.
        ModelError: if the model cannot take such images.
    """
    pixels = 0
    with open_planes(source, axes) as planes:
        if target.suffix.lower() not in planes.suffixes or planes.recoloured:
            check_result(planes, target)
        with writing(planes, target, overwrite) as write:
            for index in range(len(planes)):
                plane = planes.read(index)
                steps = _Steps(progress, index, len(planes), len(plane.colours))
                # Of a large picture source and result need not be in memory together.
                how["in_place"] = not (watch or plane.premultiplied or plane.blank is not None)

                def denoise(part, white, steps=steps):
                    denoiser = denoiser_for("gray" if part.shape[2] == 1 else "RGB")
                    return denoise_pixels(denoiser, part, white, steps.next(), **how)

                result = denoise_plane(plane, denoise)
                write(index, result)
                if watch and index == len(planes) // 2:
                    colours = plane.colours[0]
                    where = f", plane {index + 1} of {len(planes)}" if len(planes) > 1 else ""
                    pair = (upright(p, planes.orientation) for p in (plane.pixels, result))
                    watch(where, *(pixels[..., colours] for pixels in pair))
                pixels += plane.pixels[..., 0].size * len(plane.colours)
    return pixels / 1e6, planes.notes


def visit_planes(
    source: pathlib.Path,
    denoiser_for: Callable[[str], Denoiser],
    axes: str | None = None,
    **how: Any,
) -> None:
    """Shows every plane of a file to denoisers, and writes nothing; see `denoise_file`."""

    def denoise(part, white):
        kind = "gray" if part.shape[2] == 1 else "RGB"
        return denoise_pixels(denoiser_for(kind), part, white, **how)

    with open_planes(source, axes) as planes:
        for index in range(len(planes)):
            denoise_plane(planes.read(index), denoise)


def check_result(planes: ArrayPlanes | PicturePlanes | TiffPlanes, target: pathlib.Path) -> None:
    """Raises ImageFileError, before any work, if another format cannot hold the planes."""
    from n2n_tf.pipelines.files.image_files import check_format

    suffix = target.suffix.lower()
    if suffix in (".npy", ".tif", ".tiff"):
        return
    plane = planes.read(0)
    check_format(target, plane.pixels.dtype, plane.pixels.shape[2] > plane.colours[-1].stop)


class _Steps:
    """Progress over planes and their parts, which may have any number of tiles each."""

    def __init__(self, progress, plane, planes, parts):
        self._progress, self._at, self._of = progress, plane * parts, planes * parts

    def next(self):
        """The callable for the next part."""
        at, self._at = self._at, self._at + 1
        if not self._progress:
            return None
        return lambda done, tiles: self._progress(at * tiles + done, self._of * tiles)


def denoise_pixels(
    denoiser: Denoiser,
    pixels: np.ndarray,
    white: float,
    progress: Callable[[int, int], None] | None = None,
    white_level: float | None = None,
    in_place: bool = False,
    **how: Any,
) -> np.ndarray:
    """Denoises an image of any type, in its own units, and gives the same type back.

    What a network takes away is found in 32-bit floats and subtracted in the type of the file, so
    that an image from which nothing is taken away comes back to the bit, whatever its type.

    Args:
        denoiser: `Denoiser`.
        pixels: array [height, width, 1 or 3] of integers up to 32 bits or floats.
        white: the largest value that may be written, e.g. 4095.
        progress: as for `Denoiser.__call__`.
        white_level: likewise.
        in_place: likewise.
        **how: likewise.

    Returns:
        array like `pixels`.

    Raises:
        ImageFileError: for a colour image and a model of other channels.

    Example:
        >>> same = lambda image, *_, **how: image
        >>> same.channels = 1
        >>> denoise_pixels(same, np.int32([[[-(2**31)], [2**31 - 1]]]), 2**31 - 1).ravel().tolist()
        [-2147483648, 2147483647]
    """
    _check_channels(denoiser, pixels.shape[2])
    dtype = pixels.dtype
    full = dtype.kind == "u" and white == np.iinfo(dtype).max
    if dtype == np.float32 or (dtype in (np.uint8, np.uint16) and full):
        return denoiser(pixels, white_level, progress, in_place=in_place, **how)
    values = pixels.astype(np.float64)
    offset = _offset(values)
    noisy = np.float32(values - offset)
    level = white_level or (None if dtype.kind == "f" else float(white))
    result = values - (np.float64(noisy) - denoiser(noisy, level, progress, **how))
    if dtype.kind == "f":
        return result.astype(dtype)
    least = 0 if dtype.kind == "u" else np.iinfo(dtype).min
    return np.clip(np.floor(result + 0.5), least, white).astype(dtype)


def _offset(values):
    """What is taken from numbers that are too large for floats of 32 bits; 0 for others."""
    finite = values[np.isfinite(values)]
    if not finite.size or np.abs(finite).max() < _EXACT:
        return 0.0
    return float(np.floor(finite.min()))


def _check_channels(denoiser, channels):
    if denoiser.channels == 4:
        raise ImageFileError("is a picture, and this model denoises camera raws only.")
    if denoiser.channels not in (1, channels):
        raise ModelError(
            f"This model denoises images of {denoiser.channels} channels. Received: {channels}."
        )
