"""What an image file is made of: planes, one after another, each with colours and channels."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_NO_MEASUREMENT = 1e37  # beyond this


@dataclasses.dataclass(frozen=True)
class Plane:
    """One plane of a file.

    Attributes:
        pixels: [height, width, samples] of the type in which the file stores them.
        colours: slices of samples that are denoised together: three that are RGB, or one channel.
            Samples in none of them, transparency, stay as they are.
        white: the largest value of the type (4095 for 12 bits), 1.0 for floats.
        blank: None, or the value that stands for "nothing was measured here", and stays.
        premultiplied: whether the colours were multiplied by the last sample, transparency.

    Example:
        >>> plane = Plane(np.zeros((5, 6, 4), np.uint8), (slice(0, 3),), 255)
        >>> [plane.pixels[..., c].shape for c in plane.colours]
        [(5, 6, 3)]
    """

    pixels: np.ndarray
    colours: tuple[slice, ...]
    white: float
    blank: float | None = None
    premultiplied: bool = False

    @property
    def levels(self) -> np.ndarray:
        """The pixels with colours that are not multiplied by transparency.

        Numbers that stand for no measurement are NaN, and integers around them float32.
        """
        if self.premultiplied:
            return straight(self.pixels)
        gaps = _gaps(self)
        if gaps is None:
            return self.pixels
        dtype = self.dtype if self.dtype.kind == "f" else np.dtype(np.float32)
        return np.where(gaps, dtype.type(np.nan), self.pixels.astype(dtype))

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels."""
        return self.pixels.dtype


def fingerprint(pixels: np.ndarray) -> tuple:
    """What tells whether pixels, which may be overwritten meanwhile, have changed."""
    return pixels.shape, hashlib.sha256(np.ascontiguousarray(pixels)).digest()


def channels(first: int, last: int) -> tuple[slice, ...]:
    """Every sample from `first` to before `last` as a channel of its own."""
    return tuple(slice(c, c + 1) for c in range(first, last))


def white_of(dtype: npt.DTypeLike, bits: int | None = None) -> float:
    """The largest value of an integer type, or of so many of its bits; 1.0 for floats."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return 1.0
    return 2**bits - 1 if bits and dtype.kind == "u" else int(np.iinfo(dtype).max)


def denoise_plane(
    plane: Plane, denoise: Callable[[np.ndarray, float], np.ndarray], takes_nan: bool = True
) -> np.ndarray:
    """Denoises the colours of a plane.

    Args:
        plane: `Plane`.
        denoise: callable(pixels [height, width, 1 or 3], white) -> the same shape and type.
        takes_nan: whether it may be given NaN, see `Plane.levels`; else it gets all numbers.

    Returns:
        array like `plane.pixels`.
    """
    if not takes_nan and not plane.premultiplied:
        source, gaps = plane.pixels, None
    else:
        source, gaps = plane.levels, _gaps(plane)
    opaque = plane.colours[-1].stop
    if plane.colours == (slice(0, source.shape[2]),):  # a large picture is not copied
        result = denoise(source, plane.white)
    else:
        result = np.empty_like(source)
        result[..., opaque:] = source[..., opaque:]
        for samples in plane.colours:
            result[..., samples] = denoise(source[..., samples], plane.white)
    if plane.premultiplied:
        result = multiplied(result)
    if gaps is not None:
        result[gaps] = 0
        result = _of_type(result, plane)
        result[gaps] = plane.pixels[gaps]
    if plane.blank is not None:
        kept = (plane.pixels == plane.blank) | (result == plane.blank)  # none becomes blank
        result[kept] = plane.pixels[kept]
    return result


def _gaps(plane):
    """Where floats, or integers that are floats too, stand for no measurement; None if nowhere."""
    pixels, blank = plane.pixels, plane.blank
    if plane.premultiplied:
        return None
    if pixels.dtype.kind == "f":
        ends = (end.reduce(pixels, axis=None) for end in (np.fmin, np.fmax))  # without copies
        if max(map(abs, ends)) > _NO_MEASUREMENT:
            return (np.abs(pixels) > _NO_MEASUREMENT) | (pixels == blank)
    elif pixels.dtype.itemsize > 2:
        return None
    gaps = None if blank is None else pixels == blank
    return gaps if gaps is not None and gaps.any() else None


def _of_type(result, plane):
    dtype = plane.pixels.dtype
    if dtype.kind == "f":
        return result
    return np.clip(np.floor(result + 0.5), np.iinfo(dtype).min, plane.white).astype(dtype)


def straight(pixels: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by alpha (the last sample) -> the colours themselves."""
    white = white_of(pixels.dtype)
    colour, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:]
    colour = np.divide(colour * white, alpha, out=np.zeros_like(colour), where=alpha > 0)
    return _with_alpha(colour, alpha, white)


def multiplied(pixels: np.ndarray) -> np.ndarray:
    """Undoes `straight`."""
    white = white_of(pixels.dtype)
    alpha = pixels[..., -1:]
    return _with_alpha(pixels[..., :-1] * (alpha / white), alpha, white)


def _with_alpha(colour, alpha, white):
    if alpha.dtype.kind != "f":
        colour = np.clip(np.floor(colour + 0.5), 0, white)
    return np.concatenate([colour.astype(alpha.dtype), alpha], axis=2)
