"""Brings a picture of any units to the noise that a network knows, and back.

Each channel goes through the generalised Anscombe transform, after which its noise is alike at all
levels; if it is so already, the transform is the identity. Then an affine map puts the picture into
[0, 1], or its noise where the network was trained.

Sources: J.-L. Starck, F. Murtagh, A. Bijaoui, "Image Processing and Data Analysis", 1998 (the
transform); M. Mäkitalo, A. Foi, IEEE TIP 20(9), 2011, and 22(1), 2013 (its exact unbiased inverse
and the closed form).
"""

import dataclasses
import functools
import math

import cv2
import numpy as np

from n2n_tf.denoising.local_means import doubled, half_mean
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.strips import by_strips
from n2n_tf.pipelines.noise.anscombe import ROOT, missing_photons

SIGMA = 4.0  # pixels, of the area over which energies are averaged
_AROUND = 2.0  # pixels, of the area whose mean tells how many photons there are
_RANGE = 0.001, 0.999  # quantiles of means over 7 x 7 pixels that are mapped to 0 and 1
_ALIKE = 1.5  # widths of the widest channel, within which the channels have one range
_FEW = 6.0  # photons, up to which the transform's noise is tabled
_MISSING = 0.02  # of a variance of 1, below which it is not worth a word


@dataclasses.dataclass(frozen=True)
class Scale:
    """The way from a picture's units to a network's and back.

    Attributes:
        estimate: `NoiseEstimate` of the picture.
        middles: what becomes 0.5 in each channel, in standard deviations of the noise after
            Anscombe's transform.
        level: standard deviation of the noise in the network's units.
        share: of the noise in the picture's range.
    """

    estimate: NoiseEstimate
    middles: tuple[float, ...]
    level: float
    share: float

    @property
    def directions(self) -> np.ndarray:
        """-1 for channels that `apply` turns upside down, as their noise falls with the level.

        Returns:
            float32 [channels], 1 for the others.
        """
        return np.float32([-1 if gain < 0 else 1 for gain, _ in _laws(self.estimate)])

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Picture [H, W, channels] -> float32 of the same shape in the network's units."""
        return self._by_channel(self._scaled, image)

    def _by_channel(self, function, *images):
        """`function(channel, planes)` of every channel; of all at once if they are scaled alike."""
        if len({*zip(_laws(self.estimate), self.middles, strict=True)}) == 1:
            rows = (image.reshape(-1, math.prod(image.shape[1:])) for image in images)
            return by_strips(functools.partial(function, 0), *rows).reshape(images[0].shape)
        made = np.empty(images[0].shape, np.float32)
        for channel in range(made.shape[2]):
            planes = (image[..., channel] for image in images)
            made[..., channel] = by_strips(functools.partial(function, channel), *planes)
        return made

    def _scaled(self, channel, values):
        counts = _transformed(values, *_laws(self.estimate)[channel])
        counts *= self.level
        counts += 0.5 - self.middles[channel] * self.level
        return counts

    def undo(self, scaled: np.ndarray, removed: np.ndarray | None = None) -> np.ndarray:
        """Back to the picture's units.

        The algebraic inverse of a mean is too low, as the transform is concave, and the exact
        unbiased inverse is right where all noise was removed; but where nothing was, it would add
        what is not missing. The inverse being a square, what is missing is a quarter of the energy
        that was taken away: that is added, and at most what makes the inverse exactly unbiased.

        Args:
            scaled: float32 [H, W, channels].
            removed: `mean_energy` of what was taken away, in units of the noise's variance. None:
                `apply` is inverted.

        Returns:
            float32 of the same shape.
        """
        if removed is None:
            return self._by_channel(self._undone, scaled)
        return self._by_channel(self._undone, scaled, removed)

    def missing(self, scaled: np.ndarray) -> np.ndarray | None:
        """How much weaker than `level` the noise is where there are hardly any photons.

        Counts cannot be below zero, and the transform cannot help it. A network that sees weaker
        noise there takes the noise around for detail.

        Args:
            scaled: float32 [H, W, channels], as `apply` makes it.

        Returns:
            float32 of the same shape, the standard deviation of noise that would have to be added;
            None if it is nothing everywhere.
        """
        means, deviations = _deviation_of_few()
        counting = [gain != 0 for gain, _ in _laws(self.estimate)]
        if not any(counting):
            return None
        most = (means[-1] - self.middles) * self.level + 0.5  # where there are few
        most = np.float32(np.where(counting, most, -np.inf))
        local = cv2.GaussianBlur(scaled, (0, 0), _AROUND).reshape(scaled.shape)
        few = np.flatnonzero(_below(local, most))
        if not few.size:
            return None
        counts = (local.ravel()[few] - 0.5) / self.level
        counts += np.take(self.middles, few % len(most))
        short = np.interp(counts, means, deviations)
        found = np.zeros(scaled.size, np.float32)
        found[few] = self.level * short
        return found.reshape(scaled.shape) if short.any() else None

    def _undone(self, channel, values, energy=None):
        gain, read = _laws(self.estimate)[channel]
        counts = values.astype(np.float64)
        counts *= 1 / self.level
        counts += self.middles[channel] - 0.5 / self.level
        return _restored(counts, gain, read, energy) if gain else counts * np.sqrt(read)


def stabilise(
    image: np.ndarray, estimate: NoiseEstimate, levels: tuple[float, float]
) -> tuple[np.ndarray, Scale]:
    """Brings a picture to the noise that a network knows.

    Args:
        image: array [H, W, channels] of finite numbers in any units.
        estimate: its noise, above 0 in at least one channel.
        levels: the weakest and the strongest noise that the network knows, standard deviations. The
            picture fills [0, 1] unless its noise is then outside.

    Returns:
        float32 [H, W, channels], and the `Scale` that undoes it.

    Raises:
        ValueError: if there is no noise.

    Example:
        >>> noisy = np.random.default_rng(0).normal(7000, 8, (64, 64, 1))
        >>> estimate = NoiseEstimate((0.0,), (64.0,))
        >>> scaled, scale = stabilise(noisy, estimate, (0.02, 0.2))
        >>> round(float(scaled.std()), 2), np.allclose(scale.undo(scaled), noisy, rtol=1e-6)
        (0.2, True)
    """
    if estimate.nothing:
        raise ValueError("A picture without noise has no noise to scale.")
    ends = []
    for channel, law in enumerate(_laws(estimate)):
        transform = functools.partial(_transformed, gain=law[0], read=law[1])
        counts = by_strips(transform, image[..., channel], dtype=np.float64)
        means = cv2.blur(counts, (7, 7))
        ends.append(np.quantile(means[::2, ::2], _RANGE))
    ends = np.array(ends)
    together, widest = np.ptp(ends), np.ptp(ends, axis=1).max()
    if together <= _ALIKE * widest:  # colours of one picture: their balance is kept
        ends, widest = np.full_like(ends, (ends.min(), ends.max())), together
    share = float(1 / max(widest, 1e-9))
    scale = Scale(estimate, tuple(ends.mean(1).tolist()), float(np.clip(share, *levels)), share)
    return scale.apply(image), scale


def mean_energy(removed: np.ndarray, level: float = 1.0) -> np.ndarray:
    """Local mean of squares of an array [H, W, channels], in squares of a level: float32."""
    return doubled(half_energy(removed, level), removed.shape)


def half_energy(removed: np.ndarray, level: float = 1.0) -> np.ndarray:
    """The same for every second pixel, of which `doubled` makes it for all."""
    energy = half_mean(np.square(removed, dtype=np.float32), SIGMA)
    energy /= np.float32(level**2)
    return energy


def channel_mean(values: np.ndarray) -> np.ndarray:
    """The mean over channels of float32 [H, W, channels] -> [H, W, 1], faster than NumPy's."""
    total = values[..., :1].copy()
    for channel in range(1, values.shape[2]):
        total += values[..., channel : channel + 1]
    total /= values.shape[2]
    return total


def _below(values, limits):
    """Where values [H, W, channels] are below their channel's: of rows, faster than of pixels."""
    rows = values.reshape(len(values), -1)
    return (rows < np.tile(limits, values.shape[1])).reshape(values.shape)


def _laws(estimate):
    """(gain, read) of each channel; one without noise is scaled as the noisiest of the others."""
    laws = list(zip(estimate.gain, estimate.read, strict=True))
    noisy = [law for law in laws if law[0] or law[1] > 0]
    most = max(noisy, key=lambda law: law[1])
    return [law if law in noisy else most for law in laws]


def _transformed(values, gain, read):
    """Anscombe's transform: noise of variance gain * value + read becomes of variance 1.

    Below no photon, where the square root would end, it goes on along its tangent.
    """
    photons = np.array(values, np.float64)  # a copy, like all that is computed in place
    if gain == 0:
        return np.divide(photons, np.sqrt(read), out=photons)
    photons /= gain
    photons += read / gain**2
    root = np.maximum(photons, 0)
    root += 0.375
    np.sqrt(root, out=root)
    root *= 2
    if photons.min(initial=0) < 0:
        np.copyto(root, ROOT + 2 / ROOT * photons, where=photons < 0)
    return root


@functools.cache
def _deviation_of_few():
    """Of Poisson counts of small means after the transform: means, rising, and what is missing.

    Returns:
        float64 [n] twice: mean of the transformed counts, and the square root of what their
        variance is short of 1; the last one is 0.
    """
    photons, counts = np.linspace(0, _FEW, 200), np.arange(60)
    factorials = np.array([math.lgamma(count + 1) for count in counts])
    logs = np.log(np.maximum(photons, 1e-300))[:, None] * counts - photons[:, None] - factorials
    shares, roots = np.exp(logs), 2 * np.sqrt(counts + 0.375)
    means = shares @ roots
    short = 1 - (shares @ roots**2 - means**2)
    return means, np.sqrt(np.where(short > _MISSING, short, 0))


def _restored(counts, gain, read, removed=None):
    """The inverse, for counts from which noise of the energy `removed` was taken away."""
    above = np.maximum(counts, ROOT)
    photons = above * above
    photons *= 0.25
    photons -= 0.375
    if counts.min(initial=ROOT) < ROOT:
        np.copyto(photons, (counts - ROOT) * ROOT / 2, where=counts < ROOT)
    if removed is not None:
        all_missing = np.maximum(missing_photons(np.float32(above)), 0)  # at most a quarter
        photons += np.minimum(removed * 0.25, all_missing, out=all_missing)
    photons *= gain
    photons -= read / gain
    return photons
