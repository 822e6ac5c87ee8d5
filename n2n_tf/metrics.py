"""PSNR and SSIM as the paper's evaluation computes them, in float64 NumPy.

The same two for tensors are `tf.image.psnr` and `tf.image.ssim`, whose defaults (11 x 11 Gaussian
window of sigma 1.5, 'valid' region, mean over channels) are the same definition in float32.
"""

import numpy as np


def psnr(reference, image, data_range):
    """Peak signal-to-noise ratio over all pixels and channels.

    Args:
        reference, image: arrays of one shape, any numeric dtype.
        data_range: float, the peak: 255 for 8-bit images, 1 for floats in [0, 1].

    Returns:
        float, decibels; infinity for equal images.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> round(psnr(np.zeros((8, 8)), np.full((8, 8), 25.5), data_range=255), 6)
        20.0
    """
    _check_shapes(reference, image)
    difference = np.asarray(reference, np.float64) - np.asarray(image, np.float64)
    error = np.mean(np.square(difference))
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim(reference, image, data_range):
    """Structural similarity: 11 x 11 Gaussian window of sigma 1.5, borders of 5 pixels left out.

    Args:
        reference, image: arrays [height, width, channels] or [height, width], both sides at least
            11 pixels.
        data_range: float, as in `psnr`; the constants are (0.01 R)^2 and (0.03 R)^2.

    Returns:
        float, the mean over pixels and channels; 1 for equal images.

    Raises:
        ValueError: if the shapes differ or a side is below 11 pixels.

    Source: the official train.py; Wang et al., IEEE TIP 13(4), 2004.
    """
    from skimage.metrics import structural_similarity

    _check_shapes(reference, image)
    if min(reference.shape[:2]) < 11:
        raise ValueError(
            f"SSIM's window is 11 pixels wide: sides must be at least 11. Received: "
            f"shape={reference.shape}."
        )
    similarity = structural_similarity(
        np.asarray(reference, np.float64),
        np.asarray(image, np.float64),
        data_range=data_range,
        channel_axis=-1 if reference.ndim == 3 else None,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def _check_shapes(reference, image):
    if np.shape(reference) != np.shape(image):
        raise ValueError(
            f"Images must have one shape. Received: {np.shape(reference)} and {np.shape(image)}."
        )
