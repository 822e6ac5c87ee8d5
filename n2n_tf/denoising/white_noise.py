"""White noise beneath detail: what a picture's blocks hold at their very highest frequencies.

White noise is as strong at the last frequencies as at those before, and detail falls. Lenses pass
hardly any detail as fine as pixels, least of all those of microscopes: there, blocks tell the noise
of their level whether they are flat or not.
"""

import functools

import numpy as np

from n2n_tf.denoising.flat_blocks import BLOCK, FLATTEST, Blocks, blocks_dct

_CORNER = 11, 13  # row + column from which on frequencies are the highest; of these the last ones
_FALL = 0.5  # energy of the last / the highest ones in texture; film grain has more
_WHITE = 0.85  # the same in what is nearly all noise
_RANGES = 4  # of level
_FLATTER = 0.5  # share of a range's blocks that is looked at,
_LEAST = 6  # and how many of them at least, that do not overlap
_BEYOND = 4.0  # deviations of a block's mean by which its level is another
_ONE_PIXEL = 0.3  # share of a block's energy that a hot pixel has, and few others
_COUNTED = 0.8, 1.25  # variance of counts in photons, as measured
_FEWEST = 4  # values of counts; fewer may be drawn
_ALIKE = 0.1  # mean misfit of noise that is alike at all levels
_OFF = 0.3  # log of how far the noise of a range may be off the line of photons; detail has none
_MORE = 2.0  # times a line's variance: what is white cannot be noise of this line,
_MORE_IF_CLIPPED = 1.25  # nor this if clipping took some of the variance that made the line


def white_variance(blocks: Blocks, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """How much of the flattest blocks' energy is alike at the very highest frequencies.

    Args:
        blocks: of a channel.
        pixels: [blocks, 64], their pixels.

    Returns:
        indices of the flattest blocks, and the variance of white noise in them, at least 0.
    """
    least, share = FLATTEST
    chosen = blocks.flattest(max(least, int(share * len(blocks.low))))
    highest, last = _corner_energies(blocks, pixels, chosen)
    return chosen, max(last - _FALL * highest, 0.0) / (1 - _FALL)


def white_line(blocks: Blocks, pixels: np.ndarray, overlap: float) -> tuple[float, float] | None:
    """The line of noise variance in a picture without flat places.

    Args:
        blocks: of a channel, as they are, with their detail.
        pixels: [blocks, 64], their pixels.
        overlap: in how many blocks a pixel is.

    Returns:
        (gain, read), gain 0 if the noise is alike at all levels; None if blocks are few, or what
        they hold at the highest frequencies is not white.
    """
    if _few(len(blocks.level), overlap):
        return None
    level, energy, last = _by_level(blocks, pixels, np.arange(len(blocks.level)))
    if np.mean(last / energy) < _WHITE:
        return None
    flat, steep = (np.polyfit(level, energy, degree, w=1 / energy) for degree in (0, 1))
    misfits = [np.abs(np.polyval(law, level) / energy - 1).mean() for law in (flat, steep)]
    if steep[0] > 0 and misfits[0] > max(2 * misfits[1], _ALIKE):
        return float(steep[0]), float(steep[1])
    return 0.0, float(flat[0])


def line_for_bright(
    line: tuple[float, float],
    blocks: Blocks,
    own: Blocks,
    pixels: np.ndarray,
    overlap: float,
    clipped: bool,
) -> tuple[float, float] | None:
    """A line that is right for bright levels too, where none of the blocks that made `line` lie.

    Dark surroundings are the only flat places of many pictures. They have the noise of reading
    alone, or were clipped, which looks as if the noise grew from 0. What there is where there is
    light, the highest frequencies tell.

    Args:
        line: (gain, read), right for dark levels.
        blocks, pixels, overlap: as for `white_line`.
        own: the same without the detail that other channels share.
        clipped: whether the darkest levels were clipped.

    Returns:
        (gain, read), with the variance of `line` at the level of its blocks if these were not
        clipped; None if bright blocks are few, as noisy as `line` says, or hold more that is not
        white or does not grow with the level as the noise of photons does.
    """
    gain, read = line
    variance = gain * blocks.level + read
    flat = (variance > 0) & (blocks.low <= variance)
    if not flat.any():
        return None
    top = np.quantile(blocks.level[flat], 0.995)
    beyond = top + _BEYOND * np.sqrt(max(gain * top + read, 0.0)) / BLOCK
    bright = np.flatnonzero(blocks.level > beyond)
    bright = bright[~_of_one_pixel(pixels[bright])]
    if _few(len(bright), overlap):
        return None
    dark = blocks.level[flat].mean()
    level, energy, last, of_own = _by_level(blocks, pixels, bright, own)
    upper = slice(_RANGES // 2, None)
    expected, fall = gain * level + read, np.mean((last / energy)[upper])
    if fall < _WHITE:
        return None
    if clipped and (energy * _MORE < expected)[upper].all():
        return 0.0, float(energy[upper].mean())
    white = np.minimum((fall - _FALL) / (1 - _FALL) * energy, of_own)
    if (white < (_MORE_IF_CLIPPED if clipped else _MORE) * expected)[upper].any():
        return None
    above, floor = level - dark, gain * dark + read
    seen, weight = (above / energy)[upper], 1 / energy[upper]
    steeper = np.sum(seen * (energy[upper] - floor) * weight) / np.sum(seen**2)
    off = (floor + steeper * above) / energy
    if (np.abs(np.log(off[1:])) > _OFF).any():  # the lowest ones lie at edges
        return None
    return float(steeper), float(floor - steeper * dark)


def photon_counts(blocks: Blocks, pixels: np.ndarray, overlap: float) -> float | None:
    """What one photon counts, in pictures of nothing but counted photons.

    Where hardly any come, most blocks are empty or hold edges, and no line can be drawn through
    flat ones; but counts have values of whole photons, and their variance is their mean.

    Args:
        blocks, pixels, overlap: as for `white_line`.

    Returns:
        the smallest step between values, if at all levels the noise is that of photons which count
        as much each, and the lowest value is none; else None.
    """
    values = np.unique(pixels)
    if len(values) < _FEWEST or _few(len(blocks.level), overlap):
        return None
    photon = float(np.diff(values).min())
    if values[0] != 0 or (values % photon).any():
        return None
    level, energy, last = _by_level(blocks, pixels, np.arange(len(blocks.level)))
    least, most = _COUNTED
    counted = (energy > least * photon * level) & (energy < most * photon * level)
    upper = slice(_RANGES // 2, None)  # below, a block's only photons may lie at its border
    white = np.mean((last / energy)[upper]) > _WHITE
    return photon if counted[upper].all() and white and level[-1] > 2 * level[0] else None


def _few(blocks, overlap):
    return blocks * _FLATTER < _LEAST * overlap * _RANGES


def _of_one_pixel(pixels):
    """Blocks in which a pixel stands out, as hot ones do: these are white, but no noise."""
    energy = np.square(pixels - pixels.mean(1, keepdims=True, dtype=np.float64))
    return energy.max(1) > _ONE_PIXEL * energy.sum(1)


def _by_level(blocks, pixels, chosen, own=None):
    """Of ranges of level: their means, and energies at the highest frequencies and the last.

    With `own` also those at the high frequencies that it has.
    """
    found = []
    for part in np.array_split(chosen[np.argsort(blocks.level[chosen], kind="stable")], _RANGES):
        order = np.argsort(blocks.low[part], kind="stable")
        flat = part[order[: int(_FLATTER * len(part))]]
        of_own = () if own is None else (own.high[flat].mean(),)
        found.append((blocks.level[flat].mean(), *_corner_energies(blocks, pixels, flat), *of_own))
    return map(np.array, zip(*found, strict=True))


def _corner_energies(blocks, pixels, chosen):
    """Mean energies of some blocks at the highest frequencies, and at the last of these."""
    centred = pixels[chosen] - blocks.level[chosen, None]
    return [float(np.square(centred @ basis).mean()) for basis in _corners()]


@functools.cache
def _corners():
    """The DCT of a block for the highest frequencies, and for the last: [64, coefficients]."""
    order = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel()
    return [blocks_dct()[:, order >= first] for first in _CORNER]
