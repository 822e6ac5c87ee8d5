"""Noise that was cut off where a picture's levels end: what it may have been beyond.

In black of an 8-bit picture half of the noise is missing. Networks that learnt normal noise take
what is left for texture, and draw some around it.
"""

from typing import NamedTuple

import cv2
import numpy as np

from n2n_tf.denoising.noise_level import NoiseEstimate

_SHARE = 0.002  # of the pixels, at least, lie at a level at which noise was cut off,
_NEAR = 0.05, 0.995  # and of those near one; where all do, there is nothing to see of noise
_WINDOW = 2.0  # pixels, of the area that is near
_RAW = 4  # channels of a camera raw, whose black is no end


class Ends(NamedTuple):
    """The least and the greatest level, float32 [channels]; infinite where nothing was cut off."""

    least: np.ndarray
    greatest: np.ndarray


def ends_of(image: np.ndarray, law: NoiseEstimate) -> Ends | None:
    """At which levels the noise of an image [H, W, channels] was cut off; None if at none.

    Photon noise ends at black by itself.
    """
    channels = image.shape[2]
    if channels == _RAW:
        return None
    least, greatest = (np.full(channels, end, np.float32) for end in (-np.inf, np.inf))
    for channel in range(channels):
        plane = image[..., channel]
        plane = plane[np.isfinite(plane)]
        for end, level in (least, plane.min()), (greatest, plane.max()):
            photons = end is least and law.gain[channel % len(law.gain)] > 0
            if not photons and np.mean(plane == level) >= _SHARE and np.ptp(plane) > 0:
                end[channel] = level
    return Ends(least, greatest) if np.isfinite([least, greatest]).any() else None


def beyond(image: np.ndarray, ends: Ends, evenly: np.ndarray) -> np.ndarray:
    """How far beyond the ends the pixels that lie there would be without them.

    How many of the pixels near one lie at the end tells how far the mean is from it: if their share
    is p, by as much as the standard normal distribution function's inverse of p. What lies beyond
    is drawn from the tail of that distribution.

    Args:
        image: float32 [H, W, channels].
        ends: `Ends` of the whole picture.
        evenly: float32 of the same shape, numbers evenly distributed over 0..1.

    Returns:
        float32 of the same shape, in standard deviations of the noise.

    Example:
        >>> ends = Ends(np.float32([0]), np.float32([np.inf]))
        >>> image = np.float32([[[0], [2]]] * 9).repeat(9, 1)
        >>> (beyond(image, ends, np.full_like(image, 0.5)) < 0).sum() > 0
        np.True_
    """
    found = np.zeros(image.shape, np.float32)
    for sign, end in (-1, ends.least), (1, ends.greatest):
        there = image == end
        if not there.any():
            continue
        share = cv2.GaussianBlur(np.float32(there), (0, 0), _WINDOW).reshape(image.shape)
        there &= (share > _NEAR[0]) & (share < _NEAR[1])
        share, even = share[there], np.maximum(evenly[there], 1e-4)
        found[there] += sign * (_quantile(share) - _quantile(share * even))
    return found


def _quantile(share):
    """The standard normal distribution's, to 4.5e-4, of shares in 0..1.

    Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.2.23.
    """
    tail = np.minimum(share, 1 - share)
    t = np.sqrt(-2 * np.log(np.maximum(tail, 1e-9)))
    over = 2.515517 + t * (0.802853 + t * 0.010328)
    under = 1 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    return np.copysign(t - over / under, share - 0.5).astype(np.float32)
