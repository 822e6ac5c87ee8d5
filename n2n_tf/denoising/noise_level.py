"""The noise of a picture, from the picture alone."""

import dataclasses
import functools

import numpy as np

from n2n_tf.denoising.flat_blocks import (
    Blocks,
    Cut,
    measure,
    noise_alone,
)
from n2n_tf.denoising.mixed_colours import CHANNELS, unmixing
from n2n_tf.denoising.noise_line import (
    LEAST_BLOCKS,
    SPARSE,
    SPIKE,
    best_line,
    floor_line,
    photon_line,
)
from n2n_tf.denoising.white_noise import (
    line_for_bright,
    photon_counts,
    white_line,
    white_variance,
)

ROUNDING = 0.45  # deviation in steps of an integer type that rounding alone explains
TOGETHER = 4  # at most so many channels are taken to show one scene
NOTHING = 1e-6  # deviation as a share of the picture's range that counts as none
_ALIKE = 1.5  # by how much deviations of channels differ at most that have one noise
# A quantile of blocks' energies, what it is in noise of variance 1, and the least that it is there.
_SMOOTHEST = 0.003, 0.356, 0.8
_FEW_PHOTONS = 200  # at a middling level
_TOO_LITTLE = 1.6  # times a variance in the smoothest blocks: it is not that of the noise
_BLOCKS_TO_HOLD = 3000  # for this quantile
_WHITE = 0.7  # share of the noise, at least, that is white if all of it may be
_DARKEST = 0.001  # share of the pixels; of all, as few blocks lie at the border, which may be black
_MANY_PHOTONS = 20  # from which on noise is close to normal
# What is called flat, and how much the line is then trusted; the last ones where detail that other
# channels have too has been taken off.
FLATNESS = (1.0, 1.0), (2.0, 0.5), (4.0, 0.5), (8.0, 0.5), (16.0, 0.5)


@dataclasses.dataclass(frozen=True)
class NoiseEstimate:
    """The noise of a picture in its own units: variance = gain * level + read.

    Attributes:
        gain, read: of each channel. Gain 0 is noise alike at all levels. A read variance below 0
            belongs to levels that do not begin at 0: where the line is below 0 there is no noise.
        correlation: between neighbouring pixels, the highest of the channels'; 0 for independent
            noise.
        confidence: 0 (assumed) to 1 (measured in many places), the lowest of the channels'.
        assumed: what was assumed and why, in words; empty if the noise was measured.
        shared: whether all channels have one noise: that of their luminance.
        apart: None, or of three channels that share a part of their noise the matrix [3][3] after
            which they do not, and the noise then.
    """

    gain: tuple[float, ...]
    read: tuple[float, ...]
    correlation: float = 0.0
    confidence: float = 1.0
    assumed: tuple[str, ...] = ()
    shared: bool = False
    apart: "tuple[tuple[tuple[float, ...], ...], NoiseEstimate] | None" = None

    @property
    def nothing(self) -> bool:
        """Whether there is no noise at any level of any channel."""
        return not any(self.gain) and max(self.read) <= 0

    def deviation(self, level: float | np.ndarray) -> np.ndarray:
        """Standard deviation at levels [..., channels] or one for all -> float64, at least 0."""
        return np.sqrt(np.maximum(np.multiply(level, self.gain) + self.read, 0.0))

    def of_channels(self, *channels: int) -> "NoiseEstimate":
        """That of some of the channels; what is said of one channel holds for all."""
        gain, read = (
            tuple(values[channel if len(values) > 1 else 0] for channel in channels)
            for values in (self.gain, self.read)
        )
        apart = self.apart if channels == tuple(range(CHANNELS)) else None
        return dataclasses.replace(self, gain=gain, read=read, apart=apart)

    def scaled(self, strength: float) -> "NoiseEstimate":
        """The same noise with its deviation times `strength`."""
        gain, read = (tuple(strength**2 * x for x in values) for values in (self.gain, self.read))
        apart = self.apart and (self.apart[0], self.apart[1].scaled(strength))
        return dataclasses.replace(self, gain=gain, read=read, apart=apart)


def estimate_noise(image: np.ndarray) -> NoiseEstimate:
    """Estimates the noise of a picture: variance by level, channel by channel.

    For Gaussian noise the gain is exactly 0; for photon noise it is what one photon counts. Film
    grain and the noise of rounding are noise too. NaN and infinite pixels, areas of one value and
    saturated ones play no part. Units and scale do not matter: the estimate of a * y + b is that of
    y in the new units.

    Args:
        image: array [height, width] or [height, width, channels], any numeric dtype. For the planes
            of a camera raw, `raw_noise.estimate_raw_noise` is surer.

    Returns:
        `NoiseEstimate`, in the units of the picture. Deviation 0 for pictures without noise: of few
        values, or of integers with no more than rounding explains.

    Raises:
        ValueError: for an array of another shape.

    Example:
        >>> y = np.random.default_rng(0).normal(100, 5, (256, 256))
        >>> estimate = estimate_noise(y)
        >>> estimate.gain, abs(estimate.read[0] ** 0.5 - 5) < 0.1
        ((0.0,), True)
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            "An image is an array [height, width] or [height, width, channels] with at least one "
            f"pixel. Received: shape={image.shape}."
        )
    planes = image[..., None] if image.ndim == 2 else image
    measured = None
    if planes.shape[-1] == CHANNELS and not _gray(planes):
        cut, split, _ = measured = _measured(planes)
        matrix = unmixing(cut, np.stack([blocks.low for blocks, _ in split]))
        if matrix is not None:
            with np.errstate(invalid="ignore"):  # infinite pixels
                mixed = _unclipped(planes) @ np.float32(matrix).T
            apart = _of_image(mixed)
            if not (apart.nothing or apart.correlation or apart.shared):
                return _mixed(matrix, apart)
    return _of_image(planes, measured)


def _measured(planes):
    """`Cut` of some channels, and what `measure` finds in it."""
    cut = Cut(planes)
    return cut, *measure(cut)


def _gray(planes):
    """Whether all channels are one, whatever they are called."""
    strips = (planes[top : top + 64] for top in range(0, len(planes), 64))
    return all((strip == strip[..., :1]).all() for strip in strips)


def _unclipped(planes):
    """Pixels [H, W, channels] as float32; where a channel was clipped, all are NaN."""
    values = planes.astype(np.float32)  # a copy
    for channel in range(planes.shape[2]):
        plane = planes[..., channel]
        for end in np.nanmin(plane), np.nanmax(plane):
            if (at_end := plane == end).mean() > SPIKE:
                values[at_end] = np.nan
    return values


def _mixed(matrix, apart):
    """The estimate of channels whose noise is `apart` after a matrix; gains hold for gray."""
    back = np.linalg.inv(matrix) ** 2
    gain = back @ (matrix.sum(1) * apart.gain)
    gain, read = (tuple(map(float, each)) for each in (np.maximum(gain, 0), back @ apart.read))
    return dataclasses.replace(
        apart, gain=gain, read=read, apart=(tuple(map(tuple, matrix.tolist())), apart)
    )


def _of_image(planes, measured=None):
    """The estimate of [height, width, channels], each channel's noise taken for its own."""
    channels = planes.shape[-1]
    if measured is None and _gray(planes):
        found = _of_planes(planes[..., :1]) * channels
        found = [dataclasses.replace(one, shared=not one.nothing) for one in found]
    else:
        group = channels if channels <= TOGETHER else 1
        parts = (planes[..., first : first + group] for first in range(0, channels, group))
        found = [one for part in parts for one in _of_planes(part, measured)]
    return NoiseEstimate(
        tuple(float(one.gain[0]) for one in found),
        tuple(float(one.read[0]) for one in found),
        max(one.correlation for one in found),
        float(min(one.confidence for one in found)),
        tuple(dict.fromkeys(reason for one in found for reason in one.assumed)),
        channels > 1 and all(one.shared for one in found) and bool(_alike(found, planes)),
    )


def _alike(found, planes):
    """Whether the noise of some channels is about as strong in all of them."""
    levels = np.nanmedian(planes[::SPARSE, ::SPARSE], axis=(0, 1))
    deviations = [one.deviation(level)[0] for one, level in zip(found, levels, strict=True)]
    return max(deviations) <= _ALIKE * min(deviations)


def _of_planes(planes, measured=None):
    """The estimate of each of some channels that may show one scene."""
    cut, split, shared = measured or _measured(planes)
    pixels, finite, varied = cut.pixels, cut.finite, cut.varied
    found, again = [], []
    darkest = _darkest(planes)
    for c, both in enumerate(split):
        blocks, own = (each.only(varied[c]) for each in both)
        alone = bool(shared[c]) or len(pixels) == 1  # what others show tells nothing of its noise
        kept = pixels[c][finite[c]], varied[c][finite[c]], cut.overlap, alone
        estimate = functools.partial(_of_plane, planes[..., c], *kept, blocks, own)
        found.append(estimate(darkest, False))
        again.append(estimate)
    of_own = [(c, one) for c, one in enumerate(found) if not shared[c]]  # noise of their own
    dark = [-one.read[0] / one.gain[0] for _, one in of_own if one.gain[0] > 0]
    for c, one in of_own:  # if one counts photons, so do those that may as well
        if dark and not (one.gain[0] or one.nothing):
            found[c] = again[c](np.median(dark), True)
    return [
        dataclasses.replace(one, shared=bool(of_others) and not one.nothing)
        for one, of_others in zip(found, shared, strict=True)
    ]


_NONE = NoiseEstimate((0.0,), (0.0,))


def _darkest(planes):
    """Where channels have no noise if it is that of photons: one level, as for most cameras."""
    dark = []
    for plane in np.moveaxis(planes, 2, 0):
        finite = np.isfinite(plane)
        values = plane.ravel() if finite.all() else plane[finite]
        if len(values):  # partly sorted in their own type, which is several times as fast
            place = _DARKEST * (len(values) - 1)
            around = [int(place), min(int(place) + 1, len(values) - 1)]
            dark.append(np.quantile(np.float64(np.partition(values, around)[around]), place % 1))
    return min(dark, default=0.0)


def _of_plane(plane, pixels, varied, overlap, alone, blocks, own, dark, photons):
    """The estimate of a channel; `dark`, `photons`: as for `best_line`."""
    if len(pixels) == 0:
        return _of_differences(plane)
    found = _of_blocks(pixels, varied, overlap, alone, dark, blocks, own, photons)
    inside = pixels[varied]
    if found.nothing or found.correlation:
        photon = photon_counts(blocks, inside, overlap)
        estimate = found if photon is None else NoiseEstimate((photon,), (0.0,))
    else:
        share = smoothest(found, blocks, inside)
        if share is not None and share >= _TOO_LITTLE:
            found, share = _of_photons(found, share, blocks, inside, dark, overlap)
        elif share is not None and share <= _SMOOTHEST[2]:
            found, share = _of_light(found, share, blocks, inside, overlap)
        estimate = held(found, share)
        if alone:
            estimate = _white(estimate, blocks, inside)
        if estimate is found:
            clipped = np.mean(pixels == pixels.min()) > SPIKE
            estimate = _right_for_bright(found, blocks, own, inside, overlap, clipped)
    levels = np.quantile(pixels[::SPARSE].astype(np.float64), (0.01, 0.99))
    whole = plane.dtype.kind in "ui" or (pixels == np.floor(pixels)).all()
    least = ROUNDING if whole else 0.0
    least = max(least, NOTHING * (float(pixels.max()) - float(pixels.min())))
    return estimate if estimate.deviation(levels).max() > least else _NONE


def _of_blocks(pixels, varied, overlap, alone, dark, blocks, own, photons):
    """The estimate from `pixels`, the energies of whose `varied` blocks are given."""
    constant = pixels[~varied, 0]
    if len(own.level) < LEAST_BLOCKS:
        if len(constant):
            return _NONE
        read = floor_line(blocks)[1]
        return NoiseEstimate((0.0,), (read,), 0.0, 0.1, ("the picture is very small",))
    as_they_are = blocks
    correlation, blocks = noise_alone(blocks, own, alone)
    for flatness, trust in FLATNESS[:2] if alone else FLATNESS:
        line = best_line(blocks, pixels, flatness, dark, overlap, photons)
        enough = LEAST_BLOCKS if alone else LEAST_BLOCKS * overlap
        if line is not None and line.blocks >= enough:
            if of_few_values(pixels, constant, line.blocks):
                return _NONE
            trust *= line.trust(overlap)
            return NoiseEstimate((line.gain,), (line.read,), correlation, trust)
    if of_few_values(pixels, constant, 0):
        return _NONE
    line = None if correlation else white_line(as_they_are, pixels[varied], overlap)
    if line is not None:
        return NoiseEstimate(line[:1], line[1:], 0.0, 0.5)
    read = max(blocks.high[blocks.flattest(max(200, len(pixels) // 20))].mean(), 0.0)
    if not alone:
        return NoiseEstimate((0.0,), (read,), correlation, 0.3)
    reason = "no place is flat enough to tell noise from detail, so there may be less noise"
    return NoiseEstimate((0.0,), (read,), correlation, 0.15, (reason,))


def _of_photons(estimate, share, blocks, pixels, dark, overlap):
    """The estimate of photons alone, if right for the smoothest blocks, and `smoothest` of it.

    For estimates of which these hold far more. Where a photon counts for many times the noise of
    reading, dark places without any are the only ones that look flat for the line of least noise;
    `photon_line` does not begin there.
    """
    line = photon_line(blocks, FLATNESS[0][0], dark)
    if line is None or line.gain <= 0 or line.blocks < LEAST_BLOCKS * overlap:
        return estimate, share
    if np.median(blocks.level) - dark > _FEW_PHOTONS * line.gain:
        return estimate, share  # dark places would have photons too; film's grain is like so many
    other = NoiseEstimate((line.gain,), (line.read,), 0.0, line.trust(overlap))
    return _if_right(other, blocks, pixels) or (estimate, share)


def _of_light(estimate, share, blocks, pixels, overlap):
    """The estimate that grows with the level, if right for the smoothest blocks; and their share.

    For estimates of which these hold less. Where only light places are flat, as around what absorbs
    light, their noise would be taken for that of the dark ones too.
    """
    line = white_line(blocks, pixels, overlap)
    if line is None or line[0] <= 0:
        return estimate, share
    other = dataclasses.replace(estimate, gain=line[:1], read=line[1:])
    return _if_right(other, blocks, pixels) or (estimate, share)


def _if_right(estimate, blocks, pixels):
    """An estimate and what the smoothest blocks hold of it, if as much as of white noise."""
    share = smoothest(estimate, blocks, pixels)
    right = share is not None and _SMOOTHEST[2] < share < _TOO_LITTLE
    return (estimate, share) if right else None


def _right_for_bright(estimate, *of_blocks):
    """An estimate, or the one that is right for bright levels too."""
    line = line_for_bright((estimate.gain[0], estimate.read[0]), *of_blocks)
    if line is None:
        return estimate
    return dataclasses.replace(estimate, gain=line[:1], read=line[1:])


def smoothest(estimate: NoiseEstimate, blocks: Blocks, pixels: np.ndarray) -> float | None:
    """How much of a variance the smoothest blocks of a channel hold.

    Args:
        estimate: of one channel.
        blocks: as they are, with their detail.
        pixels: [blocks, 64], their pixels.

    Returns:
        the share: 1 for white noise of this variance, less if some places have less noise; None if
        there are too few blocks.
    """
    variance, usable = _usable(estimate, blocks, pixels)
    if usable.sum() < _BLOCKS_TO_HOLD:
        return None
    quantile, white, _ = _SMOOTHEST
    return float(np.quantile(blocks.high[usable] / variance[usable], quantile)) / white


def held(estimate: NoiseEstimate, share: float | None) -> NoiseEstimate:
    """An estimate, or as much of it as the smoothest blocks hold: texture adds to noise everywhere.

    Of white noise the few blocks with the least energy still have a known share of its variance.

    Args:
        estimate: of one channel.
        share: what `smoothest` says of it; None leaves it as it is.
    """
    if share is None or share > _SMOOTHEST[2]:
        return estimate
    return estimate.scaled(share**0.5)


def _white(estimate, blocks, pixels):
    """An estimate, or as much of it as is white: texture without flat places is not.

    Where channels cannot be compared, nothing else tells it from noise.
    """
    variance, usable = _usable(estimate, blocks, pixels)
    if usable.sum() < _BLOCKS_TO_HOLD:
        return estimate
    chosen, white = white_variance(blocks.only(usable), pixels[usable])
    share = white / variance[usable][chosen].mean()
    return estimate if share > _WHITE else estimate.scaled(share**0.5)


def _usable(estimate, blocks, pixels):
    """The variance expected in blocks, and which ones hold noise close to normal, not clipped."""
    (gain,), (read,) = estimate.gain, estimate.read
    variance = gain * blocks.level + read
    usable = (variance > 0) & (variance > _MANY_PHOTONS * gain**2)
    for end in (pixels.min(), pixels.max()):
        at_end = pixels == end
        if at_end.mean() > SPIKE:
            usable &= ~at_end.any(1)
    return variance, usable


def of_few_values(pixels: np.ndarray, constant: np.ndarray, flat: int) -> bool:
    """Whether a picture is drawn, or a screen's: areas without any noise, of two values or more.

    One value alone may be what surrounds a noisy picture, unless that has few values itself; the
    edges between areas look like noise in some blocks, but in few.

    Args:
        pixels: [blocks, 64] of a channel.
        constant: the values of those blocks that have one.
        flat: how many blocks a line of the noise was fitted to.
    """
    if len(constant) < max(0.01 * len(pixels), 3 * flat):
        return False
    _, counts = np.unique(constant, return_counts=True)
    areas = np.sum(counts > 0.01 * len(constant))
    return areas > 1 or len(np.unique(pixels)) <= 16


def _of_differences(plane):
    """For pictures of less than a block: from second differences, as if all of it were flat."""
    plane = np.where(np.isfinite(plane), plane, np.nan).astype(np.float64)
    second = np.concatenate([np.diff(plane, 2, axis=axis).ravel() for axis in (0, 1)])
    second = second[np.isfinite(second)]
    read = (np.median(np.abs(second)) / 0.6745) ** 2 / 6 if len(second) else 0.0
    reason = "the picture is too small to tell noise from detail"
    return NoiseEstimate((0.0,), (read,), 0.0, 0.0, (reason,))
