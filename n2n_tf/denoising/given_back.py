"""What is given back of what a network took away: all that is more than noise explains."""

import cv2
import numpy as np

from n2n_tf.denoising.stabilise import mean_energy

ENERGY_OF_NOISE = 1.2  # in units of its variance; what local means of pure noise rarely exceed
MOST = 1.5  # standard deviations of the noise: more is taken from no channel, root mean square
CONSTANT = 7  # side in pixels of the smallest area of one value that is known to hold no noise
_SPREADS = 2.0  # by how many spreads of its neighbours a hot pixel is off them,
_DEVIATIONS = 6.0  # and by how many standard deviations more


def share_given_back(noisy: np.ndarray, denoised: np.ndarray, level: float) -> np.ndarray:
    """Which share of what was taken away is given back, from place to place.

    Networks blur finest detail, which under weak noise is the larger evil, and may ruin pictures
    unlike those of their training. What was taken away is noise of a known variance n^2 and lost
    detail; where its local energy r^2 exceeds n^2, the share 1 - n^2 / r^2 is given back: the best
    mix of two images whose errors, n and the detail, are independent. Hence nowhere does a result
    differ from its source by much more than the noise does.

    Args:
        noisy, denoised: float32 [H, W, channels], noise of one standard deviation everywhere.
        level: that deviation.

    Returns:
        float32 [H, W, channels] in [0, 1].
    """
    energy = np.maximum(mean_energy((noisy - denoised) / np.float32(level)), 1e-6)
    of_noise = ENERGY_OF_NOISE / energy.mean(-1, keepdims=True)
    return 1 - np.minimum(np.minimum(of_noise, MOST / np.sqrt(energy)), 1)


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
    hot = np.zeros(scaled.shape, bool)
    for channel in range(scaled.shape[2]):
        plane = np.ascontiguousarray(scaled[..., channel])
        most, least = cv2.dilate(plane, around), cv2.erode(plane, around)
        margin = _SPREADS * (most - least) + _DEVIATIONS * level
        hot[..., channel] = (plane > most + margin) | (plane < least - margin)
    return hot


def constant_areas(image: np.ndarray) -> np.ndarray:
    """Pixels of areas of one value, such as saturated or masked ones: bool [H, W, channels]."""
    square = np.ones((CONSTANT, CONSTANT), np.uint8)
    constant = np.zeros(image.shape, bool)
    for channel in range(image.shape[2]):
        plane = image[..., channel].astype(np.float64)
        inside = cv2.dilate(plane, square) == cv2.erode(plane, square)
        if inside.any():
            constant[..., channel] = cv2.dilate(inside.view(np.uint8), square) > 0
    return constant


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
        open_, gaps = ~hidden[..., channel], hidden[..., channel].copy()
        known = image[..., channel][open_]
        middle = np.median(known) if known.size else 0.0
        values = np.where(open_, image[..., channel] - middle, 0).astype(np.float32)
        for sigma in (1, 4, 16):
            weight = cv2.GaussianBlur(open_.astype(np.float32), (0, 0), sigma)
            near = gaps & (weight > 0.01)
            mean = cv2.GaussianBlur(values, (0, 0), sigma)[near] / weight[near]
            filled[..., channel][near] = mean + middle
            gaps &= ~near
        filled[..., channel][gaps] = middle
    return filled
