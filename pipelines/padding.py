"""Reflection: what stands beyond the border of a picture, for arrays and for tensors."""

import types
from typing import Any

import numpy as np


def round_up(size: Any, multiple: int) -> Any:
    """Smallest multiple of `multiple` that is at least `size`, an int or an int tensor.

    >>> round_up(33, 32)
    64
    """
    return -(-size // multiple) * multiple


def reflected(places: Any, length: Any, library: types.ModuleType = np) -> Any:
    """Where places in and beyond a row of pixels lie in it, mirrored at its ends again and again.

    Like `np.pad(mode="reflect")`: the border pixel itself is not repeated, and a single pixel is.

    Args:
        places: int array, or int tensor, counted from the row's first pixel; negative ones lie
            before it.
        length: pixels in the row, at least 1: int or scalar int tensor.
        library: `numpy`, or `tensorflow` for tensors, eagerly or in a graph.

    Returns:
        like `places`, each in 0..length - 1.

    >>> reflected(np.arange(-2, 6), 3).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = library.maximum(2 * (length - 1), 1)
    index = places % period
    return library.minimum(index, period - index)


def reflect_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mirrors an array at its bottom and right border, as `reflected` says.

    Args:
        image: `[h, w, channels]`, any dtype.
        height: rows wanted, in pixels, at least h.
        width: columns wanted, at least w.

    Returns:
        `[height, width, channels]`.

    >>> reflect_pad(np.arange(3).reshape(1, 3, 1), 1, 8)[0, :, 0].tolist()
    [0, 1, 2, 1, 0, 1, 2, 1]
    """
    for axis, padded in enumerate((height, width)):
        size = image.shape[axis]
        if padded != size:
            image = np.take(image, reflected(np.arange(padded), size), axis)
    return image
