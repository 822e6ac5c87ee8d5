"""Is the noise independent from pixel to pixel, as the method needs it? Noisy images alone tell.

Demosaicing, JPEG, resizing and blurring spread noise over neighbouring pixels. It then differs less
between neighbours than between pixels two apart; independent noise differs alike.
"""

from typing import Any

import cv2
import numpy as np

BLOCK = 8  # side in pixels of the blocks that are looked at
# Share of the blocks that is used: elsewhere the picture is stronger than its noise.
FLATTEST = 0.05
LEAST = 4  # blocks
# benchmarks/noise_check.py prints how often this is right: of 102 photographs with independent
# noise 3 were below the limit (gravel and grass with little of it), and all demosaiced, blurred and
# doubled ones. JPEG: 207 of 216 in colour; in gray, where strong noise stays white, 31 of 192.
QUANTILE, LIMIT = 0.8, 0.75
IMAGES, SIDE = 12, 512  # at most so many images, of each at most so many pixels a side


def correlation_warning(images: Any) -> str | None:
    """Looks at some of the training images.

    Args:
        images: `ImageFolder` or anything else with its `names`, `sizes` and `crop`.

    Returns:
        str, a warning, or None if the noise seems independent or there is none to be seen.
    """
    ratios = []
    for index in np.unique(np.linspace(0, len(images) - 1, IMAGES).round().astype(int)):
        height, width = images.sizes[index]
        rows, columns = min(height, SIDE), min(width, SIDE)
        corner = (height - rows) // 2, (width - columns) // 2
        ratios.append(neighbour_ratio(images.crop(index, *corner, rows, columns)))
    ratio = np.nanmedian(ratios) if np.isfinite(ratios).any() else np.nan
    jpegs = sum(name.lower().endswith((".jpg", ".jpeg")) for name in images.names)
    if ratio < LIMIT:
        seen = f"neighbours differ too little (index {ratio:.2f}; independent noise has 1.2)"
    elif 2 * jpegs > len(images):
        seen = f"{jpegs} of {len(images)} are JPEG files"
    else:
        return None
    return (
        f"the noise of these images is not independent from pixel to pixel: {seen}. So look images "
        "that were demosaiced, JPEG-compressed, resized or blurred, and images almost without "
        "noise. The method cannot remove such noise: use raws (--channels 4), or images as they "
        "came from the sensor."
    )


def neighbour_ratio(image: np.ndarray) -> float:
    """How much the noise differs between neighbours, compared with pixels two apart.

    The ratio of two second differences' energies, with neighbours and with pixels two apart, in the
    blocks that are flattest where the noise is averaged out: of their ratios the 80 % quantile,
    since texture lowers it and nothing raises it. Of rows and columns, and of an RGB image's
    channels and colour differences (whose noise JPEG spreads most), the lowest counts.

    Args:
        image: float [height, width, channels]; of packed raw each plane by itself.

    Returns:
        float; NaN if there are too few blocks with any noise.
    """
    planes = list(np.moveaxis(np.asarray(image, np.float64), -1, 0))
    if len(planes) == 3:
        planes += [planes[0] - planes[1], planes[2] - planes[1]]
    ratios = [_ratio(turned) for plane in planes for turned in (plane, plane.T)]
    return float(np.nanmin(ratios)) if np.isfinite(ratios).any() else np.nan


def _ratio(plane):
    """Along the columns of a plane."""
    if min(plane.shape) < 4 * BLOCK:
        return np.nan
    near = plane[1:-3] - 2 * plane[2:-2] + plane[3:-1]
    far = plane[:-4] - 2 * plane[2:-2] + plane[4:]
    near, far = near[:, 2:-2], far[:, 2:-2]
    inner = plane[2:-2, 2:-2]
    clipped = _block_means((inner <= plane.min()) | (inner >= plane.max()))
    slopes = np.gradient(cv2.GaussianBlur(plane, (0, 0), 2.0))
    slope = _block_means((slopes[0] ** 2 + slopes[1] ** 2)[2:-2, 2:-2])
    near, far = _block_means(near**2), _block_means(far**2)
    usable = np.flatnonzero((clipped < 0.5) & (far > 1e-12))
    flattest = usable[np.argsort(slope[usable])][: max(LEAST, int(FLATTEST * len(usable)))]
    if len(flattest) < LEAST:
        return np.nan
    return np.quantile(near[flattest] / far[flattest], QUANTILE)


def _block_means(values):
    rows, columns = (side // BLOCK for side in values.shape)
    blocks = values[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.mean((1, 3)).ravel()
