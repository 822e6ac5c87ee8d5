"""Means over what is around pixels, most of it computed for every second pixel, or every fourth.

Between two steps of a pyramid a wide Gaussian is a narrow one, of a quarter of the pixels. But at
borders, where it is mirrored in another way, the mean is the Gaussian's to a few thousandths.
Source: P. J. Burt, E. H. Adelson, IEEE Transactions on Communications 31(4), 1983.
"""

import math

import cv2
import numpy as np

_NARROW = 3.0  # pixels, from which on halving costs less than it errs
_STEPS = 2.0  # variance in pixels that going down and up one step adds


def local_mean(values: np.ndarray, sigma: float) -> np.ndarray:
    """Local mean with the weights of a Gaussian.

    No pixel depends on others farther than 4.5 `sigma`. The mean of a part of an image is that of
    the whole, away from its borders, if it begins at multiples of 4 pixels; for `sigma` below 6.3,
    of 2.

    Args:
        values: float32 [H, W, channels].
        sigma: of the Gaussian, in pixels, 1 to 12.

    Returns:
        float32 of the same shape.

    Example:
        >>> dot = np.zeros((65, 65, 1), np.float32)
        >>> dot[32, 32] = 1
        >>> mean = local_mean(dot, 4)
        >>> round(float(mean.sum()), 3), round(float(mean[32, 36, 0] / mean[32, 32, 0]), 2)
        (1.0, 0.61)
    """
    if sigma >= _NARROW:
        return doubled(half_mean(values, sigma), values.shape)
    size = 2 * math.ceil(3 * sigma) + 1
    mean = cv2.GaussianBlur(values, (size, size), sigma, borderType=cv2.BORDER_REFLECT)
    return mean.reshape(values.shape)


def half_mean(values: np.ndarray, sigma: float) -> np.ndarray:
    """The same for every second pixel, of which `doubled` makes it for all.

    Args:
        values: as for `local_mean`.
        sigma: likewise, from 3 pixels on.

    Returns:
        float32 [ceil(H / 2), ceil(W / 2), channels].
    """
    half = cv2.pyrDown(values, borderType=cv2.BORDER_REFLECT)
    half = half.reshape(*half.shape[:2], values.shape[2])
    return local_mean(half, math.sqrt(sigma**2 - _STEPS) / 2)


def doubled(half: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth values of every second pixel for all: float32 of the shape [H, W, channels]."""
    return cv2.pyrUp(half, dstsize=shape[1::-1]).reshape(shape)
