"""Whole image files: read plane by plane, denoised, written as it goes."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from n2n_tf.denoising.mosaics import is_mosaic
from n2n_tf.denoising.noise_level import NoiseEstimate, estimate_noise
from n2n_tf.denoising.stack_window import blended, runs_of, windows
from n2n_tf.model_files.info import ModelError
from n2n_tf.pipelines.files.conversions import outer_axes, writing
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
_SPARSE = 5  # every fifth pixel of every fifth row tells how many levels there are
_FEW_LEVELS = 4
_FEW = "its levels are so few that rounding costs much of the result: give it as floats"


def denoise_file(
    source: pathlib.Path,
    target: pathlib.Path,
    denoiser_for: Callable[[str], Denoiser],
    axes: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[str, np.ndarray, np.ndarray], None] | None = None,
    stack_window: bool = False,
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
        stack_window: whether planes get help from those around them in time or depth, see
            `n2n_tf.denoising.stack_window`. A file of one plane has none, which a note says.
        **how: arguments of `Denoiser.__call__`.

    Returns:
        (megapixels, notes): float, pixels of all planes and channels; list of str, what the result
        does not keep.

    Raises:
        ImageFileError: if the file cannot be read, or the result not be written in this format, or
            it is not known how its planes follow one another.
        ModelError: if the model cannot take such images.
    """
    pixels = 0
    with open_planes(source, axes) as planes:
        another = target.suffix.lower() not in planes.suffixes or planes.recoloured
        if another:
            check_result(planes, target)
        runs = _runs(planes) if stack_window else None
        with writing(planes, target, overwrite) as write:
            if runs:
                made = _with_neighbours(planes, runs, another, denoiser_for, progress, **how)
            else:
                made = _one_by_one(planes, denoiser_for, progress, bool(watch), **how)
            for index, plane, result in made:
                write(index, result)
                if watch and index == len(planes) // 2:
                    colours = plane.colours[0]
                    where = f", plane {index + 1} of {len(planes)}" if len(planes) > 1 else ""
                    pair = (upright(p, planes.orientation) for p in (plane.pixels, result))
                    watch(where, *(pixels[..., colours] for pixels in pair))
                pixels += plane.pixels[..., 0].size * len(plane.colours)
    return pixels / 1e6, planes.notes


def _one_by_one(planes, denoiser_for, progress, watched, **how):
    """(index, plane, result) of every plane."""
    for index in range(len(planes)):
        plane = planes.read(index)
        _note_few_levels(planes, plane)
        steps = _Steps(progress, index, len(planes), len(plane.colours))
        # Of a large picture source and result need not be in memory together.
        in_place = not (watched or plane.premultiplied or plane.blank is not None)

        def denoise(part, white, steps=steps, in_place=in_place):
            denoiser = _denoiser_of(denoiser_for, part)
            return denoise_pixels(denoiser, part, white, steps.next(), in_place=in_place, **how)

        yield index, plane, denoise_plane(plane, denoise, how.get("noise") != "none")


def _note_few_levels(planes, plane):
    """Whole numbers cannot hold the denoised picture of hardly any photons."""
    if plane.dtype.kind == "f" or _FEW in planes.notes:
        return
    sample = plane.pixels[::_SPARSE, ::_SPARSE, : plane.colours[-1].stop]
    if 1 <= np.quantile(sample, 0.99) - int(sample.min()) <= _FEW_LEVELS:
        planes.notes.append(_FEW)


def _runs(planes):
    """Numbers of the planes that are neighbours, or None for a file of one plane."""
    if len(planes) == 1:
        planes.notes.append("it holds one plane, which has no neighbours")
        return None
    found = runs_of(outer_axes(planes))
    if found is None:
        raise ImageFileError(
            f"{planes.path}: --stack_window is for planes along T (time) or Z (depth); these have "
            f"the axes {planes.axes}. If they are frames, say so, e.g. --axes=TYX."
        )
    return found


class _Seen(NamedTuple):
    """A colour image or channel of a plane: in floats, denoised by itself, and its noise."""

    noisy: np.ndarray
    alone: np.ndarray
    law: NoiseEstimate


def _with_neighbours(
    planes, runs, in_order, denoiser_for, progress, noise="auto", tell=None, white_level=None, **how
):
    """(index, plane, result) of every plane, each read once, with the help of those around it.

    `in_order`: whether all runs go on at once, for results written one plane after another.
    """
    first = planes.read(0)
    offsets = [_offset(first.levels[..., samples]) for samples in first.colours]
    steps = _Steps(progress, 0, len(planes), 2 * len(offsets))
    level = _level(first.pixels.dtype, first.white, white_level)

    def denoised(image, law, **more):
        denoiser = _denoiser_of(denoiser_for, image)
        return denoiser(image, level, steps.next(), noise=law, **how, **more)

    def seen(index):
        plane, parts = planes.read(index), []
        for samples, offset in zip(plane.colours, offsets, strict=True):
            part = plane.levels[..., samples]
            if noise == "auto" and is_mosaic(part):
                raise ImageFileError(f"{planes.path}: holds mosaics; leave --stack_window out.")
            noisy = _in_floats(part, offset)
            law = noise if noise != "auto" else estimate_noise(noisy if offset else part)
            parts.append(_Seen(noisy, denoised(noisy, law, tell=tell), law))
        return index, plane, parts

    def made(run):
        for at, around in windows(map(seen, run)):
            index, plane, _ = around[at]
            others = zip(*(parts for _, _, parts in around), strict=True)  # each colour's planes

            def denoise(part, white, at=at, others=others):
                near = next(others)
                noisy, alone, _ = zip(*near, strict=True)
                made = blended(noisy, alone, at, near[at].law, denoised)
                return _changed(part, near[at].noisy, made, white)

            yield index, plane, denoise_plane(plane, denoise)

    each = [made(run) for run in runs]
    if in_order:
        of_index = {index: one for one, run in zip(each, runs, strict=True) for index in run}
        yield from (next(of_index[index]) for index in range(len(planes)))
    else:
        yield from itertools.chain(*each)


def visit_planes(
    source: pathlib.Path,
    denoiser_for: Callable[[str], Denoiser],
    axes: str | None = None,
    **how: Any,
) -> None:
    """Shows every plane of a file to denoisers, and writes nothing; see `denoise_file`."""

    def denoise(part, white):
        return denoise_pixels(_denoiser_of(denoiser_for, part), part, white, **how)

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
    if (dtype == np.float32 and white == 1) or (dtype in (np.uint8, np.uint16) and full):
        return denoiser(pixels, white_level, progress, in_place=in_place, **how)
    noisy = _in_floats(pixels, _offset(pixels))
    denoised = denoiser(noisy, _level(dtype, white, white_level), progress, **how)
    return _changed(pixels, noisy, denoised, white)


def _offset(pixels):
    """What is taken from numbers that are too large for floats of 32 bits; 0 for others."""
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    if not finite.size or np.abs(finite).max() < _EXACT:
        return 0.0
    return float(np.floor(finite.min()))


def _in_floats(pixels, offset):
    return np.float32(pixels.astype(np.float64) - offset)


def _level(dtype, white, white_level):
    return white_level or (None if dtype.kind == "f" and white == 1 else float(white))


def _changed(pixels, noisy, denoised, white):
    """Pixels less what was taken from them, in their type."""
    values, dtype = pixels.astype(np.float64), pixels.dtype
    with np.errstate(invalid="ignore"):
        values -= np.nan_to_num(np.float64(noisy) - denoised, nan=0, posinf=0, neginf=0)
    if dtype.kind == "f":
        return values.astype(dtype)
    least = 0 if dtype.kind == "u" else np.iinfo(dtype).min
    return np.clip(np.floor(values + 0.5), least, white).astype(dtype)


def _denoiser_of(denoiser_for, image):
    denoiser = denoiser_for("gray" if image.shape[2] == 1 else "RGB")
    _check_channels(denoiser, image.shape[2])
    return denoiser


def _check_channels(denoiser, channels):
    if denoiser.channels == 4:
        raise ImageFileError("is a picture, and this model denoises camera raws only.")
    if denoiser.channels not in (1, channels):
        raise ModelError(
            f"This model denoises images of {denoiser.channels} channels. Received: {channels}."
        )
