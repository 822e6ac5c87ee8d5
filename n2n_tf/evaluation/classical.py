"""Denoisers that learn nothing, for comparison: BM3D, non-local means, wavelets, total variation.

Each takes a float image and estimates its noise from it, as the paper's rows do; none of the
libraries is needed to use the package. BM3D is its authors' package, free for non-commercial use
alone, so it is installed only by whoever asks for it: `pip install n2n_tf[benchmarks]`.

Source: paper, section 5.2 ("CBM3D with the parameter sigma estimated by the method in [6]",
"Anscombe transform [19] to denoise Poisson noise") and section 5.2 for raw ("we split a noisy image
into four sub-images according to the Bayer pattern").
"""

import importlib

import numpy as np

from n2n_tf.pipelines.files.image_files import to_integer
from n2n_tf.pipelines.noise.anscombe import ROOT, missing_photons

PATCHES = ((8, 3), (5, 3), (3, 1))  # of the noise estimate: side and stride in pixels
PATCHES_PER_NUMBER = 4  # and how many of them at least, for each number that a patch holds
FINEST_STEP = 1e-3  # between two counts; images of more than 1,000 photons at white are Gaussian


def pca_sigma(image: np.ndarray) -> float:
    """Standard deviation of white noise in an image.

    The covariance of 8 x 8 patches, smaller ones in small images, has eigenvalues of detail, large,
    and of noise alone, all about the variance: the smallest ones whose mean is their median are the
    noise's.

    Args:
        image: float [height, width, channels], sides of at least 16 pixels.

    Returns:
        float, in units of the image.

    Source: Chen, Zhu and Heng, "An Efficient Statistical Method for Image Noise Level Estimation",
    ICCV 2015.

    Example:
        >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (128, 128, 3))
        >>> round(pca_sigma(noise), 1)
        0.1
    """
    least = 2 * PATCHES[0][0]
    if min(image.shape[:2]) < least:
        raise ValueError(
            f"The noise of an image is estimated from {least} x {least} pixels or more. Received: "
            f"{image.shape[1]} x {image.shape[0]}."
        )
    for side, stride in PATCHES:
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
        patches = windows[::stride, ::stride].reshape(-1, side * side * image.shape[2])
        if len(patches) >= PATCHES_PER_NUMBER * patches.shape[1]:
            break
    values = np.linalg.eigvalsh(np.cov(patches.astype(np.float64), rowvar=False))  # ascending
    for count in range(len(values), 0, -1):
        mean = values[:count].mean()
        if np.sum(values[:count] > mean) >= np.sum(values[:count] < mean):
            break
    return float(np.sqrt(max(mean, 0.0)))


def bm3d(image: np.ndarray) -> np.ndarray:
    """BM3D of a gray image, CBM3D of an RGB one, with the sigma that `pca_sigma` finds.

    Args:
        image: float [height, width, 1 or 3] in nominal range [0, 1].

    Returns:
        float32, the same shape.

    Raises:
        ValueError: if the package bm3d is not installed.
    """
    return _bm3d(image, pca_sigma(image))


def anscombe_bm3d(image: np.ndarray) -> np.ndarray:
    """The same for Poisson noise: Anscombe's transform, BM3D at sigma 1, the unbiased inverse.

    The photons at white are read off the image, whose pixels are counts divided by their number.
    Arguments, results and errors are those of `bm3d`; ValueError also if the pixels are no counts.
    """
    photons = photons_at_white(image)
    counts = np.asarray(image, np.float64) * photons
    stable = 2.0 * np.sqrt(np.maximum(counts, 0.0) + 0.375)
    lowest, width = stable.min(), max(np.ptp(stable), 1.0)  # BM3D is made for [0, 1]
    denoised = _bm3d((stable - lowest) / width, 1.0 / width).astype(np.float64) * width + lowest
    return np.float32(unbiased_inverse(denoised) / photons)


def photons_at_white(image: np.ndarray) -> float:
    """How many photons intensity 1 stands for, from the steps between the values of an image.

    Args:
        image: float array of any shape: counts divided by the number wanted.

    Raises:
        ValueError: if the values do not lie on such a grid.

    Example:
        >>> counts = np.random.default_rng(0).poisson(12.0, (32, 32))
        >>> round(photons_at_white(counts / 30.0), 6)
        30.0
    """
    steps = np.diff(np.unique(np.asarray(image, np.float64)))
    steps = steps[steps > FINEST_STEP]
    step = steps.min() if len(steps) else np.nan
    # The mean of those that are one step: a float32 pixel is not exact.
    step = np.mean(steps[steps < 1.5 * step]) if len(steps) else np.nan
    counts = np.asarray(image, np.float64) / step
    if not np.abs(counts - np.rint(counts)).max() < 0.05:
        raise ValueError(
            "The pixels are not photon counts divided by one number, so it cannot be found; "
            "Anscombe's transform is for Poisson noise."
        )
    return float(1.0 / step)


def unbiased_inverse(stable: np.ndarray) -> np.ndarray:
    """The count whose Anscombe transform 2 sqrt(count + 3/8) has this mean.

    Source: Mäkitalo and Foi, "A closed-form approximation of the exact unbiased inverse of the
    Anscombe variance-stabilizing transformation", IEEE TIP 2011.

    Example:
        >>> counts = np.random.default_rng(0).poisson(5.0, 200000)
        >>> round(float(unbiased_inverse(np.mean(2 * np.sqrt(counts + 0.375)))), 1)
        5.0
    """
    mean = np.maximum(stable, ROOT)
    return np.maximum(mean**2 / 4 - 0.375 + missing_photons(mean), 0.0)


def bm3d_raw(planes: np.ndarray) -> np.ndarray:
    """BM3D of camera raw: each of the four Bayer sub-images is denoised by itself.

    Args:
        planes: float [height, width, 4], packed raw.

    Returns:
        float32, the same shape.
    """
    parts = [bm3d(planes[..., [plane]]) for plane in range(planes.shape[2])]
    return np.concatenate(parts, axis=2)


def non_local_means(image: np.ndarray) -> np.ndarray:
    """OpenCV's non-local means, which works on 8 bits; up to four channels are compared together.

    Its variant for colour, in CIELAB, is decibels worse: noise that is white in RGB is neither
    white nor of this strength there.
    """
    import cv2

    pixels = to_integer(np.asarray(image, np.float32), np.dtype(np.uint8))
    result = cv2.fastNlMeansDenoising(pixels, None, float(255.0 * pca_sigma(image)))
    return np.float32(result).reshape(image.shape) / 255


def wavelets(image: np.ndarray) -> np.ndarray:
    """scikit-image's BayesShrink of wavelet coefficients, of YCbCr for colour."""
    _optional("pywt", "PyWavelets")
    from skimage.restoration import denoise_wavelet

    colour = image.shape[2] == 3
    result = denoise_wavelet(
        image,
        sigma=pca_sigma(image) if not colour else [pca_sigma(image)] * 3,
        convert2ycbcr=colour,
        method="BayesShrink",
        rescale_sigma=True,
        channel_axis=-1,
    )
    return np.float32(result)


def total_variation(image: np.ndarray) -> np.ndarray:
    """scikit-image's total variation after Chambolle; its weight is the standard deviation."""
    from skimage.restoration import denoise_tv_chambolle

    weight = max(pca_sigma(image), 1e-6)  # 0 is no weight
    return np.float32(denoise_tv_chambolle(image, weight=weight, channel_axis=-1))


CLASSICAL = {
    "bm3d": bm3d,
    "anscombe_bm3d": anscombe_bm3d,
    "bm3d_raw": bm3d_raw,
    "nlm": non_local_means,
    "wavelets": wavelets,
    "tv": total_variation,
}
NEEDS = {
    "bm3d": ("bm3d", "bm3d"),
    "anscombe_bm3d": ("bm3d", "bm3d"),
    "bm3d_raw": ("bm3d", "bm3d"),
    "wavelets": ("pywt", "PyWavelets"),
}


def check_installed(name: str) -> None:
    """Raises the ValueError that the denoiser of this name would raise for want of a package."""
    if name in NEEDS:
        _optional(*NEEDS[name])


def _bm3d(image, sigma):
    package = _optional("bm3d", "bm3d")
    image = np.asarray(image, np.float64)
    if image.shape[2] == 3:
        return np.float32(package.bm3d_rgb(image, sigma))
    parts = [
        np.reshape(package.bm3d(plane, sigma), plane.shape) for plane in np.moveaxis(image, 2, 0)
    ]
    return np.float32(np.stack(parts, axis=-1))


def _optional(module, package):
    """An optional library.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        licence = " (free for non-commercial use only)" if package == "bm3d" else ""
        raise ValueError(
            f"The package {package}{licence} is not installed: pip install {package}, or leave out "
            "the rows that need it."
        ) from error
