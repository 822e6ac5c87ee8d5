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

from n2n_tf.denoising.shared_detail import own_energies

BLOCK = 8  # side in pixels
MOST_BLOCKS = 30_000  # looked at in each channel
CORRELATED = 0.58  # whiteness below which noise is correlated; white noise of 2/255 has 0.62 to 1
_OWN_CORRELATED = 0.25  # the same of what a channel does not share with others
_OWN_ENOUGH = 0.3  # the least share of the flattest blocks' energy that tells this
_TEXTURE = 0.55  # spread of the flattest blocks' energies, from which on they hold texture
TEXTURE_FALL = 0.25  # high / middle energy of the texture that is left in the flattest blocks
_BANDS = (1, 4), (5, 7), (9, 14)  # row + column of the frequencies that are low, middle, high
HIGH = 21  # frequencies of a block that are high
_WHITE = 0.8, 1.41  # a quantile of high / middle energy over blocks, and its value in white noise
FLATTEST = 200, 0.05  # blocks, at least, and share of them, in which the noise is looked at
_LEAST_MASK = 0.002  # of the blocks are wholly of a value, at least, where it is a mask's
_MASKS = 3  # values, at most, of masks
_BY_CHANCE = 8  # pixels of a block of integers may have one value
_HALF_CLIPPED = 0.4  # distance in deviations of a block's mean from the level that clipped half


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Of each block its mean and the mean energies of its three bands; float64 [blocks].

    Of white noise every energy is the variance. Energies from which something was subtracted may be
    below 0 in a block.
    """

    level: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray

    def flattest(self, count: int) -> np.ndarray:
        """Indices of the `count` blocks with the least energy at low frequencies."""
        return np.argsort(self.low, kind="stable")[:count]

    def only(self, chosen: np.ndarray) -> "Blocks":
        """Some of the blocks."""
        return Blocks(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


class Cut:
    """Blocks that are cut out of an image.

    Args:
        planes: array [H, W, channels].

    Attributes:
        pixels: [channels, blocks, 64] of the image's dtype.
        overlap: how many blocks a pixel is in on average.
        least, most: [channels, blocks], extremes of a block's pixels; NaN if one of these is.
        finite: bool [channels, blocks], whether all pixels are, and none is of a masked area: one
            of a value within the picture's range that others fill wholly.
        varied: bool [channels, blocks], finite and of more than one value.
    """

    def __init__(self, planes: np.ndarray) -> None:
        self.pixels, self.overlap = block_pixels(planes)
        self.least, self.most = self.pixels.min(2), self.pixels.max(2)
        self.finite = np.isfinite(self.least) & np.isfinite(self.most)
        self.varied = self.finite & (self.least != self.most)
        for c in range(len(self.pixels)):
            self.finite[c] &= ~self._partly_masked(c)
        self.varied &= self.finite

    def _partly_masked(self, c):
        """Blocks of a channel that hold such a value beside others.

        At the ends of the range it is what clipping left, see `before_clipping`.
        """
        constant = self.least[c, self.finite[c] & ~self.varied[c]]
        partly = np.zeros(self.finite.shape[1], bool)
        values, counts = np.unique(constant, return_counts=True)
        largest = np.argsort(-counts)[:_MASKS]
        masks = values[largest][counts[largest] >= _LEAST_MASK * len(partly)]
        if len(masks) == 0:
            return partly
        ends = self.least[c, self.finite[c]].min(), self.most[c, self.finite[c]].max()
        few = _BY_CHANCE if self.pixels.dtype.kind in "ui" else 1
        for value in masks:
            if value not in ends:
                partly |= (self.pixels[c] == value).sum(1) >= few
        return partly & self.varied[c]


def block_pixels(planes: np.ndarray) -> tuple[np.ndarray, float]:
    """Evenly chosen, overlapping blocks of an image [H, W, channels].

    Returns:
        [channels, blocks, 64] of the image's dtype, and how many blocks a pixel is in on average.
    """
    if min(planes.shape[:2]) < BLOCK:
        return np.empty((planes.shape[2], 0, BLOCK**2), planes.dtype), 1.0
    view = np.lib.stride_tricks.sliding_window_view(planes, (BLOCK, BLOCK), axis=(0, 1))
    down, right = 1, 1  # odd steps, so that a grid of 2 or 8 pixels is met at all its phases
    while (view.shape[0] // down) * (view.shape[1] // right) > MOST_BLOCKS:
        down, right = (down + 2, right) if down == right else (down, down)
    chosen = np.moveaxis(view[::down, ::right], 2, 0)
    return chosen.reshape(planes.shape[2], -1, BLOCK**2), BLOCK**2 / (down * right)


def measure(cut: Cut) -> tuple[list[tuple[Blocks, Blocks]], np.ndarray]:
    """Splits blocks into frequencies.

    Args:
        cut: `Cut`. Blocks that are not varied count as zeros.

    Returns:
        of each channel `Blocks` as they are, and without the detail that the channels share; and
        bool [channels], whether a channel shares its noise with others.
    """
    channels, blocks = cut.varied.shape
    level, unit = np.empty((channels, blocks, 1)), np.empty((channels, 1))
    centred = np.empty((blocks, BLOCK**2), np.float32)
    bands = [np.empty((channels, blocks, basis.shape[1]), np.float32) for basis in _bases()]
    parts = [slice(first, first + _AT_ONCE) for first in range(0, blocks, _AT_ONCE)]
    for c, varied in enumerate(cut.varied):
        for part in parts:
            level[c, part] = _values(cut, c, part).mean(1, keepdims=True)
        ends = cut.most[c] - level[c, :, 0], level[c, :, 0] - cut.least[c]
        unit[c] = max(*(end[varied].max(initial=0) for end in ends), 1e-300)
        for part in parts:
            values = _values(cut, c, part)
            values -= level[c, part]
            np.divide(values, unit[c], out=centred[part], casting="same_kind")
        for band, basis in zip(bands, _bases(), strict=True):
            np.matmul(centred, basis, out=band[c])
    energies = [np.einsum("cnk,cnk->cn", band, band) / band.shape[2] for band in bands]
    own, shared = energies, np.zeros(channels, bool)
    if channels > 1:
        own, shared = own_energies(bands, energies, cut.varied.all(0))
    both = [[unit**2 * energy for energy in each] for each in (energies, own)]
    split = [
        tuple(Blocks(level[c, :, 0], *(energy[c] for energy in each)) for each in both)
        for c in range(channels)
    ]
    return split, shared


_AT_ONCE = 1024  # blocks, whose pixels in float64 fit into a processor's cache


def _values(cut, channel, part):
    """Pixels of some blocks as float64, zeros for those that are not varied."""
    values = cut.pixels[channel, part].astype(np.float64)
    values[~cut.varied[channel, part]] = 0
    return values


def dct_bands(centred: np.ndarray) -> list[np.ndarray]:
    """Blocks [..., 64] without their means -> their low, middle and high coefficients."""
    return [centred @ basis for basis in _bases()]


def noise_alone(blocks: Blocks, own: Blocks, alone: bool) -> tuple[float, Blocks]:
    """Tells noise from texture, and white noise from correlated.

    The flattest blocks of a photograph hold texture too. Its energy falls towards high frequencies,
    so it is estimated from the middle ones and taken off. Correlated noise falls as well, but is
    alike everywhere; or, where several channels were compared, what they do not share falls. It is
    taken for white noise after the filter [a, 1, a] along rows and columns; a = 1/2 is the bilinear
    demosaicing of red and blue. It gets the energies that the same noise had if it were white.

    Args:
        blocks: of a channel.
        own: what it does not share with other channels.
        alone: whether there are no others.

    Returns:
        the correlation of neighbours, 0 unless the noise is clearly correlated, and `Blocks` whose
        `high` is the noise's variance.
    """
    least, share = FLATTEST
    chosen = blocks.flattest(max(least, int(share * len(blocks.low))))
    ratio = _whiteness(blocks, chosen)
    if alone:
        middle = blocks.middle[chosen]
        correlated = middle.std() < _TEXTURE * middle.mean()
    else:
        high, middle = own.high[chosen].sum(), own.middle[chosen].sum()
        correlated = high < _OWN_CORRELATED * middle
        correlated &= middle > _OWN_ENOUGH * blocks.middle[chosen].sum()
    if ratio >= CORRELATED or not correlated:
        high = (own.high - TEXTURE_FALL * own.middle) / (1 - TEXTURE_FALL)
        return 0.0, dataclasses.replace(blocks, high=high)
    correlations, energies = _coloured()
    correlation = float(np.interp(-ratio, -energies[2] / energies[1], correlations))
    scale = [np.interp(correlation, correlations, energy) for energy in energies]
    bands = blocks.low, blocks.middle, blocks.high
    return correlation, Blocks(
        blocks.level, *(band / by for band, by in zip(bands, scale, strict=True))
    )


def filter_of(correlation: float) -> np.ndarray:
    """The filter [a, 1, a] of rows and columns that gives white noise this correlation, float32.

    It leaves the variance as it is.
    """
    a = np.linspace(0, 0.5, 51)
    a = np.interp(correlation, 2 * a / (1 + 2 * a**2), a)
    return np.float32([a, 1, a]) / np.float32(np.sqrt(1 + 2 * a**2))


def _whiteness(blocks, chosen):
    """High / middle energy of blocks, 1 for white noise.

    Texture weakens high frequencies beside middle ones, as correlation does, but nothing makes them
    stronger: of the blocks' ratios a high quantile speaks.
    """
    chosen = chosen[blocks.middle[chosen] > 0]
    quantile, white = _WHITE
    if len(chosen) == 0:
        return 1.0
    return np.quantile(blocks.high[chosen] / blocks.middle[chosen], quantile) / white


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
    gain, read = line
    level, factor = blocks.level, np.ones_like(blocks.level)
    if ends == (None, None):
        return level, factor
    mean, variance, added = _clipped_normal()
    deviation = np.sqrt(np.maximum(gain * blocks.level + read, 1e-300))
    for end, sign in zip(ends, (1, -1), strict=True):
        if end is not None:
            distance = sign * (blocks.level - end) / deviation
            near = np.flatnonzero(distance < mean[-1])  # all together, if levels rise
            near = slice(near[0], near[-1] + 1) if len(near) else slice(0)
            level = level - sign * deviation * _looked_up(distance, near, mean, added)
            factor = factor * _looked_up(distance, near, mean, variance)
            factor[distance < _HALF_CLIPPED] = np.nan
    return level, factor


def _looked_up(places, near, at, values):
    """`np.interp`, where all places but those of a slice are beyond the end of the table."""
    found = np.full(places.shape, values[-1])
    found[near] = np.interp(places[near], at, values)
    return found


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
    """The DCT of a block as float32 [64, coefficients] for each band."""
    return [np.ascontiguousarray(blocks_dct()[:, mask], np.float32) for mask in _masks()]


def blocks_dct() -> np.ndarray:
    """The DCT of blocks: float64 [64 pixels, 64 frequencies], by row and column of each."""
    return np.einsum("ux,vy->xyuv", _dct(), _dct()).reshape(BLOCK**2, BLOCK**2)


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
