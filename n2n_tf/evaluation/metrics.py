"""PSNR and SSIM as the paper's evaluation computes them, in float64 NumPy.

The same two for tensors are `tf.image.psnr` and `tf.image.ssim`, whose defaults (11 x 11 Gaussian
window of sigma 1.5, 'valid' region, mean over channels) are the same definition in float32.
"""

import numpy as np

SSIM_WINDOW = 11  # side in pixels


def psnr(reference: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio over all pixels and channels.

    Args:
        reference: of any shape and numeric dtype.
        image: of the same shape.
        data_range: the peak: 255 for 8-bit images, 1 for floats in [0, 1].

    Returns:
        float, decibels; infinity for equal images, NaN if a pixel is NaN.

    Raises:
        ValueError: if the shapes differ, the images are empty or `data_range` is not positive.

    Example:
        >>> round(psnr(np.zeros((8, 8)), np.full((8, 8), 25.5), data_range=255), 6)
        20.0
    """
    _check(reference, image, data_range)
    difference = np.asarray(reference, np.float64) - np.asarray(image, np.float64)
    error = np.mean(np.square(difference))
    if error == 0:
        return float("inf")
    return float(10 * np.log10(float(data_range) ** 2 / error))


def ssim(reference: np.ndarray, image: np.ndarray, data_range: float) -> float:
    """Structural similarity: 11 x 11 Gaussian window of sigma 1.5, borders of 5 pixels left out.

    Args:
        reference: [height, width, channels] or [height, width], both sides at least 11 pixels.
        image: of the same shape.
        data_range: as in `psnr`; the constants are (0.01 R)^2 and (0.03 R)^2.

    Returns:
        float, the mean over pixels and channels; 1 for equal images.

    Raises:
        ValueError: if the shapes differ, are no image's, a side is below 11 pixels or `data_range`
            is not positive.

    Example:
        >>> gray = np.random.default_rng(0).random((16, 16))
        >>> ssim(gray, gray, data_range=1.0)
        1.0

    Source: the official train.py; Wang et al., IEEE TIP 13(4), 2004.
    """
    from skimage.metrics import structural_similarity

    reference, image = np.asarray(reference, np.float64), np.asarray(image, np.float64)
    _check(reference, image, data_range)
    if reference.ndim not in (2, 3) or min(reference.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM's window is {SSIM_WINDOW} pixels wide: an image is [height, width] or [height, "
            f"width, channels] with sides of at least that. Received: shape={reference.shape}."
        )
    similarity = structural_similarity(
        reference,
        image,
        data_range=float(data_range),
        channel_axis=-1 if reference.ndim == 3 else None,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def _check(reference, image, data_range):
    if np.shape(reference) != np.shape(image) or np.size(image) == 0:
        raise ValueError(
            "Images must have one shape, with at least one pixel. Received: "
            f"{np.shape(reference)} and {np.shape(image)}."
        )
    if not data_range > 0:
        raise ValueError(f"`data_range` must be positive. Received: {data_range}.")
