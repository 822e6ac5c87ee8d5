"""What is given back of what a network took away: all that is more than noise explains."""

from collections.abc import Callable

import cv2
import numpy as np

from n2n_tf.denoising.flat_blocks import filter_of
from n2n_tf.denoising.local_means import doubled, local_mean
from n2n_tf.denoising.stabilise import SIGMA, channel_mean, half_energy

ENERGY_OF_NOISE = 1.2  # in units of its variance; what local means of pure noise rarely exceed
MOST = 1.5  # standard deviations of the noise: more is taken from no channel, root mean square
CONSTANT = 7  # side in pixels of the smallest area of one value that is known to hold no noise
_SPREADS = 2.0  # by how many spreads of its neighbours a hot pixel is off them,
_DEVIATIONS = 6.0  # and by how many standard deviations more
_ENOUGH = 1 << 16  # values, to know what a channel is like where nothing near is known
NUDGE = 0.3  # standard deviations of the noise, by which a picture is changed to see what follows


def share_given_back(
    noisy: np.ndarray,
    denoised: np.ndarray,
    level: float,
    noise_taken: np.ndarray | float = ENERGY_OF_NOISE,
) -> np.ndarray:
    """Which share of what was taken away is given back, from place to place.

    Networks blur finest detail, which under weak noise is the larger evil, and may ruin pictures
    unlike those of their training. What was taken away is noise of a known variance n^2 and lost
    detail; where its local energy r^2 exceeds n^2, the share 1 - n^2 / r^2 is given back: the best
    mix of two images whose errors, n and the detail, are independent. Hence nowhere does a result
    differ from its source by much more than the noise does. If only part of n^2 was taken away,
    that part stands for n^2 in the formula.

    Args:
        noisy, denoised: float32 [H, W, channels], noise of one standard deviation everywhere.
        level: that deviation.
        noise_taken: energy of the noise that was taken away, in units of its variance, one number
            or float32 [H, W, 1].

    Returns:
        float32 [H, W, channels] in [0, 1].
    """
    energy = np.maximum(half_energy(noisy - denoised, level), 1e-6)
    if np.ndim(noise_taken):
        noise_taken = noise_taken[::2, ::2]
    of_noise = np.minimum(noise_taken, ENERGY_OF_NOISE) / channel_mean(energy)
    kept = np.minimum(np.minimum(of_noise, MOST / np.sqrt(energy)), 1)
    return doubled(1 - kept, noisy.shape)


def noise_taken(
    network: Callable[[np.ndarray], np.ndarray],
    noisy: np.ndarray,
    denoised: np.ndarray,
    level: float,
    correlation: float = 0.0,
) -> np.ndarray:
    """How much of the noise a network takes away, from place to place, found by asking it again.

    The picture is given a little more noise; what comes out of that tells how much of any noise
    does. The share that is given back is then the one of least squared error by Stein's unbiased
    estimate, whatever the network, if the noise is as strong as is thought.

    Source: S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE", IEEE TIP 17(9), 2008.

    Args:
        network: callable, float32 [H, W, channels] -> the same shape.
        noisy, denoised: what it was given and what it made of it.
        level: standard deviation of the noise.
        correlation: of neighbouring pixels' noise.

    Returns:
        float32 [H, W, 1], in units of the noise's variance, at least 0.
    """
    more = nudges(noisy.shape, level, correlation)
    return taken_of(more, denoised, network(noisy + more))


def nudges(shape: tuple[int, int, int], level: float, correlation: float = 0.0) -> np.ndarray:
    """By how much the pixels of a picture are changed for that: float32 of its shape."""
    more = np.random.default_rng(0).choice(np.float32([-1, 1]), shape)
    if correlation:
        kernel = filter_of(correlation)
        more = cv2.sepFilter2D(more, -1, kernel, kernel).reshape(shape)
    return more * np.float32(NUDGE * level)


def taken_of(more: np.ndarray, denoised: np.ndarray, nudged: np.ndarray) -> np.ndarray:
    """`noise_taken` from `nudges` and from what the network made without and with them."""
    energy = np.vdot(more, more) / more.size
    taken = more - (nudged - denoised)
    taken *= more
    return np.maximum(local_mean(channel_mean(taken) / energy, SIGMA), 0)


def hot_pixels(scaled: np.ndarray, level: float) -> np.ndarray:
    """Single pixels far above or below all their neighbours, as no optics makes them.

    Args:
        scaled: float32 [H, W, channels], noise of one standard deviation everywhere.
        level: that deviation.

    Returns:
        bool of the same shape.
    """
    around = np.ones((3, 3), np.uint8)
    around[1, 1] = 0
    most, least = _extremes(scaled, around)
    margin = most - least
    margin *= _SPREADS
    margin += _DEVIATIONS * level
    most += margin
    least -= margin
    return (scaled > most) | (scaled < least)


def _extremes(image, around):
    """The greatest and the least value around every pixel of an image [H, W, channels]."""
    pixels = np.ascontiguousarray(image)
    return (find(pixels, around).reshape(image.shape) for find in (cv2.dilate, cv2.erode))


def constant_areas(image: np.ndarray) -> np.ndarray:
    """Pixels of areas of one value, such as saturated or masked ones: bool [H, W, channels]."""
    square = np.ones((CONSTANT, CONSTANT), np.uint8)
    inside = np.equal(*_extremes(image, square))
    if not inside.any():
        return inside
    return cv2.dilate(inside.view(np.uint8), square).reshape(image.shape).view(bool)


def filled_in(image: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Puts the mean of what lies around it in the place of every hidden pixel.

    Args:
        image: float [H, W, channels]; hidden pixels may be NaN.
        hidden: bool of the same shape.

    Returns:
        A copy without NaN; `image` itself if nothing is hidden. Channels of which all is hidden
        become 0.
    """
    if not hidden.any():
        return image
    filled = image.copy()
    for channel in range(image.shape[2]):
        gaps = hidden[..., channel]
        if gaps.any():
            known = image[..., channel][~gaps]
            middle = np.median(known[:: max(1, known.size // _ENOUGH)]) if known.size else 0.0
            part = *(_around(gaps.any(axis)) for axis in (1, 0)), channel
            filled[part] = _gaps_filled_in(image[part], gaps[part[:2]], middle)
    return filled


_GAP_SIGMAS = 1, 4, 16  # pixels, of the areas whose mean is taken, until one holds enough


def _around(there):
    """From where to where a gap's neighbours reach, along an axis: flags -> a slice."""
    reach, at = 4 * max(_GAP_SIGMAS), np.flatnonzero(there)
    return slice(max(0, at[0] - reach), at[-1] + 1 + reach)


def _gaps_filled_in(plane, gaps, middle):
    """A plane [H, W] with means in its gaps; `middle` where nothing near is known."""
    filled, open_, gaps = plane.copy(), ~gaps, gaps.copy()
    values = np.where(open_, plane - middle, 0).astype(np.float32)
    for sigma in _GAP_SIGMAS:
        if not gaps.any():
            break
        weight = cv2.GaussianBlur(open_.astype(np.float32), (0, 0), sigma)
        near = gaps & (weight > 0.01)
        filled[near] = cv2.GaussianBlur(values, (0, 0), sigma)[near] / weight[near] + middle
        gaps &= ~near
    filled[gaps] = middle
    return filled
