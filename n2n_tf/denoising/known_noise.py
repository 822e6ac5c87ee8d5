"""Denoises a picture whose noise is known: scaled to the network, and never changed by more."""

from collections.abc import Callable

import numpy as np

from n2n_tf.denoising.given_back import (
    ENERGY_OF_NOISE,
    constant_areas,
    filled_in,
    hot_pixels,
    noise_taken,
    share_given_back,
)
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.stabilise import stabilise

ANY_LEVEL = 1e-6, 1.0
WEAK = 0.03  # noise as a share of the range, below which the network is asked twice


def denoise_known(
    network: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    estimate: NoiseEstimate,
    levels: tuple[float, float] | None,
) -> tuple[np.ndarray, float]:
    """Denoises one image.

    What is more than noise explains is given back. Left as they are: channels without noise, areas
    of one value (saturated, masked), pixels that are NaN or infinite, and hot ones; the network
    sees the mean of their neighbours in place of the last three, so they do not spread.

    Args:
        network: callable, float32 [H, W, channels] -> the same shape, for images with Gaussian
            noise in nominal range [0, 1]; without `levels`, for images in the units of `image`. If
            the noise is weak it is called twice (see `noise_taken`).
        image: array [H, W, channels] in any units.
        estimate: its noise.
        levels: standard deviations of the weakest and the strongest noise that the network knows;
            None if it is one for such images as they are.

    Returns:
        float32 [H, W, channels] in the units of `image`, and the mean share of what the network
        took away that was given back.
    """
    unusable = ~np.isfinite(image)
    if estimate.nothing or unusable.all():
        return image.astype(np.float32), 0.0
    usable = filled_in(image, unusable)
    scaled, scale = stabilise(usable, estimate, levels or ANY_LEVEL)
    hidden = unusable | hot_pixels(scaled, scale.level)
    usable, scaled = filled_in(usable, hidden), filled_in(scaled, hidden)

    def run(values: np.ndarray) -> np.ndarray:
        return network(values) if levels else scale.apply(network(scale.undo(values)))

    denoised, taken = run(scaled), ENERGY_OF_NOISE
    if scale.share < WEAK:  # where a network's errors are the larger evil
        taken = noise_taken(run, scaled, denoised, scale.level, estimate.correlation)
    share = share_given_back(scaled, denoised, scale.level, taken)
    kept = denoised + share * (scaled - denoised)
    result = scale.undo(kept, scaled if levels else None)
    silent = np.array([not g and r <= 0 for g, r in zip(estimate.gain, estimate.read, strict=True)])
    same = hidden | silent | constant_areas(usable) | (kept == scaled)
    return np.where(same, image, result).astype(np.float32), float(share.mean())
