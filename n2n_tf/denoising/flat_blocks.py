"""Blocks of a picture's channel, split into frequencies: what the noise is measured on.

Where the low frequencies of a block hold no more energy than noise would, the place is flat, and
the high ones, which had no part in choosing it, give the variance of the noise there.

Source: M. Colom, A. Buades, "Analysis and Extension of the Ponomarenko et al. Method, Estimating a
Noise Curve from a Single Image", Image Processing On Line 3, 2013.
"""

import dataclasses
import functools
import math

import numpy as np

BLOCK = 8  # side in pixels
MOST_BLOCKS = 60_000  # looked at in each channel
CORRELATED = 0.58  # whiteness below which noise is correlated; white noise of 2/255 has 0.62 to 1
_BANDS = (1, 4), (5, 7), (9, 14)  # row + column of the frequencies that are low, middle, high
_WHITE = 0.8, 1.41  # a quantile of high / middle energy over blocks, and its value in white noise
_FLATTEST = 200, 0.05  # blocks, at least, and share of them, in which correlation is looked for
_HALF_CLIPPED = 0.4  # distance in deviations of a block's mean from the level that clipped half


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Of each block its mean and the mean energies of its three bands; float64 [blocks].

    Of white noise every energy is the variance.
    """

    level: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray

    def flattest(self, count: int) -> np.ndarray:
        """Indices of the `count` blocks with the least energy at low frequencies."""
        return np.argsort(self.low, kind="stable")[:count]


def block_pixels(plane: np.ndarray) -> tuple[np.ndarray, int]:
    """Evenly chosen, overlapping blocks without NaN or infinity.

    Returns:
        float64 [blocks, 64], and the step in pixels from block to block.
    """
    if min(plane.shape) < BLOCK:
        return np.empty((0, BLOCK**2)), 1
    view = np.lib.stride_tricks.sliding_window_view(plane, (BLOCK, BLOCK))
    step = 1
    while (view.shape[0] // step) * (view.shape[1] // step) > MOST_BLOCKS:
        step += 2 if step > 1 else 1  # odd beyond 2, so that JPEG's grid is met at all its phases
    pixels = view[::step, ::step].reshape(-1, BLOCK**2)
    return pixels[np.isfinite(pixels).all(1)].astype(np.float64), step


def measure(pixels: np.ndarray) -> Blocks:
    """float64 [blocks, 64] -> `Blocks`."""
    level = pixels.mean(1)
    pixels = pixels - level[:, None]
    return Blocks(level, *(np.square(pixels @ basis).mean(1) for basis in _bases()))


def whitened(blocks: Blocks) -> tuple[float, Blocks]:
    """Tells correlated noise, and gives the energies that the same noise had if it were white.

    Texture weakens high frequencies beside middle ones, as correlation does, but nothing makes them
    stronger: of the flattest blocks' ratios a high quantile speaks. Correlated noise is taken for
    white noise after the filter [a, 1, a] along rows and columns; a = 1/2 is the bilinear
    demosaicing of red and blue.

    Returns:
        the correlation of neighbours, 0 unless the noise is clearly correlated, and `Blocks`.
    """
    least, share = _FLATTEST
    chosen = blocks.flattest(max(least, int(share * len(blocks.low))))
    chosen = chosen[blocks.middle[chosen] > 0]
    if len(chosen) == 0:
        return 0.0, blocks
    quantile, white = _WHITE
    ratio = np.quantile(blocks.high[chosen] / blocks.middle[chosen], quantile) / white
    if ratio >= CORRELATED:
        return 0.0, blocks
    correlations, energies = _coloured()
    correlation = float(np.interp(-ratio, -energies[2] / energies[1], correlations))
    scale = [np.interp(correlation, correlations, energy) for energy in energies]
    bands = blocks.low, blocks.middle, blocks.high
    return correlation, Blocks(
        blocks.level, *(band / by for band, by in zip(bands, scale, strict=True))
    )


def before_clipping(
    blocks: Blocks, line: tuple[float, float], ends: tuple[float | None, float | None]
) -> tuple[np.ndarray, np.ndarray]:
    """What clipping did to blocks, if noise of variance `line` (gain, read) was clipped.

    Args:
        blocks: as they were found.
        line: (gain, read).
        ends: the lowest and the highest level, each None if nothing was clipped there.

    Returns:
        the levels before clipping, and the factor by which variances shrank; NaN where most pixels
        were clipped.
    """
    mean, variance, added = _clipped_normal()
    deviation = np.sqrt(np.maximum(np.polyval(line, blocks.level), 1e-300))
    level, factor = blocks.level, np.ones_like(blocks.level)
    for end, sign in zip(ends, (1, -1), strict=True):
        if end is not None:
            distance = sign * (blocks.level - end) / deviation
            level = level - sign * deviation * np.interp(distance, mean, added)
            factor = factor * np.interp(distance, mean, variance)
            factor[distance < _HALF_CLIPPED] = np.nan
    return level, factor


def _masks():
    order = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel()
    return [(order >= first) & (order <= last) for first, last in _BANDS]


def _dct():
    """The orthonormal DCT of BLOCK samples, one frequency a row."""
    frequency, sample = np.ogrid[:BLOCK, :BLOCK]
    rows = np.cos(np.pi * frequency * (sample + 0.5) / BLOCK) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


@functools.cache
def _bases():
    """The DCT of a block as float64 [64, coefficients] for each band."""
    basis = np.einsum("ux,vy->xyuv", _dct(), _dct()).reshape(BLOCK**2, BLOCK**2)
    return [np.ascontiguousarray(basis[:, mask]) for mask in _masks()]


@functools.cache
def _coloured():
    """Energies of white noise of variance 1 after the filters [a, 1, a] of one row, one column.

    Returns:
        correlations of neighbours, rising, float64 [n], and mean energies of the bands [3, n].
    """
    a = np.linspace(0, 0.5, 51)[:, None]
    lags = np.concatenate([1 + 2 * a**2, 2 * a, a**2, 0 * a.repeat(5, 1)], 1) / (1 + 2 * a**2)
    apart = np.abs(np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK)))
    along = np.einsum("ux,nxy,uy->nu", _dct(), lags[:, apart], _dct())
    both = np.einsum("nu,nv->nuv", along, along).reshape(len(a), -1)
    return lags[:, 1], np.array([both[:, mask].mean(1) for mask in _masks()])


@functools.cache
def _clipped_normal():
    """Of N(z, 1) clipped below 0: its mean, its variance, and what clipping added to the mean."""
    z = np.linspace(-1, 6, 701)
    above = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in z])
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    mean = z * above + density
    return mean, (z * z + 1) * above + z * density - mean**2, mean - z
