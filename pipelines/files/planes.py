"""What an image file is made of: planes, one after another, each with colours and channels."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt


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
    def straight(self) -> np.ndarray:
        """The pixels, with colours that are not multiplied by transparency."""
        return straight(self.pixels) if self.premultiplied else self.pixels


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


def denoise_plane(plane: Plane, denoise: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """Denoises the colours of a plane.

    Args:
        plane: `Plane`.
        denoise: callable(pixels [height, width, 1 or 3], white) -> the same shape and type.

    Returns:
        array like `plane.pixels`.
    """
    source = plane.straight
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
    if plane.blank is not None:
        kept = (plane.pixels == plane.blank) | (result == plane.blank)  # none becomes blank
        result[kept] = plane.pixels[kept]
    return result


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
