"""The line of noise variance against level through the flat blocks of a channel.

Blocks are chosen by a line and the line is fitted to the chosen ones, in turn, until nothing
changes (X. Liu et al., IEEE TIP 22(12), 2013, do so for one variance). The simplest line that
explains the blocks is taken, and clipped noise is recognised by counts that cannot be below zero
(clipping as in A. Foi et al., IEEE TIP 17(10), 2008).
"""

import dataclasses

import numpy as np

from n2n_tf.denoising.flat_blocks import HIGH, Blocks, before_clipping

SPARSE = 7  # for quantiles of pixels every seventh block is enough
LEAST_BLOCKS = 40  # flat ones, for a line through them
SPIKE = (
    0.002  # share of pixels at the lowest or highest level from which on noise was clipped there
)
_LEAST_FOR_GAIN = 5  # flat blocks that do not overlap, for noise that differs by level
_TURNS = 12
_RANGES = 12  # of level, over which the misfit of a line is averaged
_SMALL_MISFIT = 0.03  # of noise that is alike at all levels
# By how much the log-likelihood of the blocks must be higher
_FOR_PHOTONS = 4.0  # with photon noise than with noise that is alike at all levels
_FOR_BOTH = 12.0  # with both than with noise that is alike at all levels
_FOR_OFFSET = 6.0  # with both than with photon noise
_FOR_CLIPPED = 1.5  # with noise that was clipped at black than with any that was not


@dataclasses.dataclass(frozen=True)
class Line:
    """variance = gain * level + read, and the number of blocks it was fitted to."""

    gain: float
    read: float
    blocks: int

    def trust(self, overlap: float) -> float:
        """How far it is to be trusted, 0..1, for its blocks, so many of which count as one."""
        seen = self.blocks / max(1.0, overlap)
        return seen / (seen + 10)


def best_line(
    blocks: Blocks,
    pixels: np.ndarray,
    flatness: float,
    base: float,
    overlap: float = 1.0,
    photons: bool = False,
) -> Line | None:
    """Fits a line to the flat blocks of a channel.

    Args:
        blocks: `Blocks`.
        pixels: [blocks, 64], of constant blocks too.
        flatness: energy of a flat block's low frequencies at most, in variances.
        base: level at which there is no noise if all of it is that of photons.
        overlap: in how many blocks a pixel is; so many count as one.
        photons: whether the noise is that of photons unless these blocks speak against it.

    Returns:
        `Line`, or None if too few blocks are flat.
    """
    # Tables are looked up several times as fast for rising levels.
    blocks = blocks.only(np.argsort(blocks.level, kind="stable"))
    ends = pixels.min(), pixels.max()
    spikes = [np.mean(pixels == end) > SPIKE for end in ends]
    high_end = ends[1] if spikes[1] else None
    start = floor_line(blocks)
    line = _line(blocks, start, (None, high_end), flatness, base, overlap, photons)
    if spikes[0]:  # noise that was clipped there, or photons of which often none came?
        clipped = _line(blocks, start, (ends[0], high_end), flatness, base, overlap, photons)
        if clipped and clipped.gain == 0:
            laws = [(None, high_end), line], [(ends[0], high_end), clipped]
            if line is None or _surer_by(blocks, laws, flatness, overlap) > _FOR_CLIPPED:
                return clipped
    return line


def photon_line(blocks: Blocks, flatness: float, base: float) -> Line | None:
    """Fits the line of photon noise without any of reading, which is 0 at the level `base`.

    It begins at what the flattest of the bright blocks have, where `best_line` begins at the
    flattest of all: without a photon these have the noise of reading alone.

    Args:
        blocks, flatness, base: as for `best_line`.

    Returns:
        `Line` with a gain above 0, or None if too few blocks are flat.
    """
    bright = blocks.only(blocks.level > max(np.median(blocks.level), base))
    if len(bright.level) < LEAST_BLOCKS:
        return None
    flattest = np.argsort(bright.low / (bright.level - base), kind="stable")[:LEAST_BLOCKS]
    gain = bright.high[flattest].sum() / (bright.level[flattest] - base).sum()
    line, used = _fit(bright, (gain, -gain * base), (None, None), flatness, zero_at=base)
    return None if line is None else Line(*line, len(used))


def sensor_line(
    blocks: Blocks, pixels: np.ndarray, flatness: float, overlap: float = 1.0
) -> Line | None:
    """Fits the line of a camera's sensor, which is black at 0: of photons, and of reading if seen.

    Args:
        blocks, pixels, flatness, overlap: as for `best_line`.

    Returns:
        `Line` with a gain above 0 and a read variance of at least 0, or None if too few blocks are
        flat.
    """
    blocks = blocks.only(np.argsort(blocks.level, kind="stable"))
    white = pixels.max()
    ends = None, white if np.mean(pixels == white) > SPIKE else None
    line, used = _fit(blocks, floor_line(blocks), ends, flatness)
    if line is None:
        return None
    photons, count = _fit(blocks, line, ends, flatness, zero_at=0.0)
    if min(line) > 0:
        variances = [_expected(blocks, law, ends) for law in (photons, line)]
        likely = _likelihoods(blocks, used, variances, overlap)
        if likely[1] > likely[0] + _FOR_OFFSET:
            return Line(*line, len(used))
    return None if photons is None else Line(*photons, len(count))


def floor_line(blocks: Blocks) -> tuple[float, float]:
    """A line below which the flattest blocks of hardly any range of level lie -> (gain, read)."""
    ranges = int(np.clip(len(blocks.level) // 100, 1, 16))
    at, floor = [], []
    for part in np.array_split(np.argsort(blocks.level, kind="stable"), ranges):
        flat = part[np.argsort(blocks.low[part], kind="stable")[: max(8, len(part) // 20)]]
        at.append(blocks.level[flat].mean())
        floor.append(blocks.high[flat].mean())
    at, floor = np.array(at), np.array(floor)
    i, j = np.triu_indices(ranges, 1)
    i, j = i[at[j] > at[i]], j[at[j] > at[i]]
    gain = np.append((floor[j] - floor[i]) / (at[j] - at[i]), np.zeros(ranges))
    read = np.append(floor[i], floor) - gain * np.append(at[i], np.zeros(ranges))
    lines = gain[:, None] * at + read[:, None]
    tiny = 1e-12 * np.abs(floor).max() + 1e-300
    above = np.log(np.maximum(floor, tiny)) - np.log(np.maximum(lines, tiny))
    cost = np.where(above < 0, np.minimum(-2 * above, 4.0), np.minimum(above, 1.0)).sum(1)
    cost[(lines < 0).any(1)] = np.inf
    best = np.argmin(cost)
    return gain[best], read[best]


def _line(blocks, start, ends, flatness, base, overlap, expected):
    """A line, or one of less freedom if it explains the same blocks about as well."""
    line, used = _fit(blocks, start, ends, flatness)
    if line is None:
        return None
    middle = 0.0, _variance(line, np.median(blocks.level[used]))
    flat, count = _fit(blocks, middle, ends, flatness, gain_is_zero=True)
    few = len(used) < _LEAST_FOR_GAIN * overlap
    if few and flat is None:
        return None
    through, through_count = _fit(blocks, line, ends, flatness, zero_at=base)
    variances = [_expected(blocks, law, ends) for law in (flat, through, line)]
    likely = _likelihoods(blocks, used, variances, overlap)
    if flat is not None:
        other, misfit = (_misfit(blocks, used, variances[law]) for law in (0, 2))
        photons = likely[1] > likely[0] + (-_FOR_PHOTONS if expected else _FOR_PHOTONS)
        both = likely[2] > likely[0] + _FOR_BOTH and other > max(2 * misfit, _SMALL_MISFIT)
        if few or not (photons or both):
            return Line(*flat, len(count))
    if through is not None:
        impossible = _variance(line, np.quantile(blocks.level, 0.001)) < 0
        if impossible or likely[1] > likely[2] - _FOR_OFFSET:
            return Line(*through, len(through_count))
    return Line(*line, len(used))


def _variance(line, level):
    gain, read = line
    return gain * level + read


def _fit(blocks, line, ends, flatness, gain_is_zero=False, zero_at=None):
    """Chooses flat blocks by a line, and fits it to them, in turn -> line, blocks used."""
    flat = None
    for _ in range(_TURNS):
        level, factor = before_clipping(blocks, line, ends)
        variance = np.maximum(_variance(line, level), 0)
        flat = np.flatnonzero((variance > 0) & (blocks.low <= flatness * variance * factor))
        if len(flat) < LEAST_BLOCKS:
            return None, None
        energy, weight = blocks.high[flat] / factor[flat], variance[flat] ** -2
        before = line
        if gain_is_zero:
            line = 0.0, energy.mean()
        elif zero_at is not None:
            line = _line_from(level[flat], energy, weight, zero_at, 0.0)
        else:
            mean, value = (np.average(values, weights=weight) for values in (level[flat], energy))
            line = _line_from(level[flat], energy, weight, mean, value)
        if line == before:  # and would stay so
            break
    return line, flat


def _line_from(level, energy, weight, at, value):
    """The line of weighted least squares through a point -> (gain, read)."""
    spread = np.sum(weight * (level - at) ** 2)
    gain = np.sum(weight * (level - at) * (energy - value)) / spread if spread > 0 else 0.0
    return gain, value - gain * at


def _surer_by(blocks, laws, flatness, overlap):
    """By how much the second `Line` is likelier than the first, each with its ends of clipping.

    Compared on all blocks that either takes for flat.
    """
    variances = [_expected(blocks, (line.gain, line.read), ends) for ends, line in laws]
    flat = [(of > 0) & (blocks.low <= flatness * of) for of in variances]
    first, second = _likelihoods(blocks, np.flatnonzero(flat[0] | flat[1]), variances, overlap)
    return second - first


def _expected(blocks, law, ends):
    """The variance that blocks have by a law, after clipping; NaN beyond what it can tell."""
    if law is None:
        return None
    level, factor = before_clipping(blocks, law, ends)
    return np.maximum(_variance(law, level), 0) * factor


def _likelihoods(blocks, used, variances, overlap):
    """Log-likelihoods of the energies of blocks, `HIGH` degrees of freedom each, less a constant.

    Compared on those blocks whose level before clipping every law can tell.

    Args:
        blocks: `Blocks`.
        used: indices of the blocks to compare on.
        variances: `_expected` of each law; a law that is None has -inf.
        overlap: in how many blocks a pixel is.
    """
    seen = np.isfinite([of[used] for of in variances if of is not None]).all(0)
    used = used[seen]
    found = blocks.high[used]
    tiny = 1e-6 * abs(found.mean()) + 1e-300 if len(found) else 1.0

    def likelihood(variance):
        expected = np.maximum(variance[used], tiny)
        return -HIGH / 2 * np.sum(np.log(expected) + found / expected) / overlap

    return [-np.inf if of is None else likelihood(of) for of in variances]


def _misfit(blocks, used, expected):
    """How far these blocks' variances, averaged over ranges of level, are off: mean |log ratio|."""
    used = used[np.isfinite(expected[used])]
    if len(used) == 0:
        return np.inf
    used = used[np.argsort(blocks.level[used], kind="stable")]
    parts = [part for part in np.array_split(used, _RANGES) if len(part)]
    tiny = 1e-6 * abs(blocks.high[used].mean()) + 1e-300
    found = [max(blocks.high[p].mean(), 0.0) for p in parts]
    apart = [(f + tiny) / (expected[p].mean() + tiny) for f, p in zip(found, parts, strict=True)]
    return float(np.mean(np.abs(np.log(apart))))
