"""Gray pictures in which every second pixel differs, such as Bayer mosaics that were saved as TIFF.

Nothing tells such a pattern from noise within a block of pixels, and networks that learnt pictures
blur it. Its four phases, every second pixel of every second row, are pictures like any other.
"""

from collections.abc import Iterator

import numpy as np

TOLD = "every second pixel differs, as in a Bayer mosaic: its four phases were denoised apart"
_SIDE, _MOST = 16, 2500  # pixels of a block, and blocks that are looked at
_FEWEST = 16  # blocks
_CLEARLY = 30.0  # times what white noise does; photographs stay below 15
_OF_NOISE = 0.455  # median of the square of a standard normal number


def phases() -> Iterator[tuple[slice, slice]]:
    """The rows and columns of each phase.

    Example:
        >>> [np.arange(8).reshape(2, 4)[phase].tolist() for phase in phases()]
        [[[0, 2]], [[1, 3]], [[4, 6]], [[5, 7]]]
    """
    return ((slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1))


def is_mosaic(image: np.ndarray) -> bool:
    """Whether an image [height, width] or [height, width, channels] is gray, and a mosaic.

    Example:
        >>> is_mosaic(np.zeros((64, 64, 3)))
        False
    """
    gray = image.ndim == 2 or image.shape[2] == 1
    return gray and every_second_pixel_differs(image.reshape(image.shape[:2]))


def every_second_pixel_differs(image: np.ndarray) -> bool:
    """Whether pixels differ by their phase, all over a picture and by more than its noise explains.

    Every second column, or row, is compared with those on both sides, so that a slope is no
    difference. Where phases mean nothing, the squares of a block's means are about the variance of
    the differences by their number.

    Args:
        image: array [height, width] of any numeric type.

    Example:
        >>> noisy = np.random.default_rng(0).normal(100, 5, (128, 128))
        >>> columns = 30 * (np.arange(128) % 2)
        >>> every_second_pixel_differs(noisy), every_second_pixel_differs(noisy + columns)
        (False, True)
    """
    blocks = _blocks(image)
    if len(blocks) < _FEWEST:
        return False
    a, b, c, d = (blocks[:, rows, columns] for rows, columns in phases())
    columns, rows = (_between(a + c, b + d), _between(*(s.swapaxes(1, 2) for s in (a + b, c + d))))
    for differences in (columns, rows, a - b - c + d):
        means, variances = differences.mean((1, 2)), differences.var((1, 2))
        expected = _OF_NOISE * np.median(variances) / differences[0].size
        if np.median(means**2) > _CLEARLY * expected + 1e-9 * np.median(blocks.var((1, 2))):
            return True
    return False


def _between(those, others):
    """How far others are from the mean of those on both sides."""
    return others[:, :, :-1] - (those[:, :, :-1] + those[:, :, 1:]) / 2


def _blocks(image):
    """Evenly chosen blocks that hold more than one value: float64 [blocks, _SIDE, _SIDE]."""
    down, across = (length // _SIDE for length in image.shape)
    cut = image[: down * _SIDE, : across * _SIDE].reshape(down, _SIDE, across, _SIDE)
    step = max(1, int(np.ceil(np.sqrt(down * across / _MOST))))
    blocks = cut[::step, :, ::step].swapaxes(1, 2).reshape(-1, _SIDE, _SIDE).astype(np.float64)
    return blocks[np.isfinite(blocks).all((1, 2)) & (np.ptp(blocks, axis=(1, 2)) > 0)]
