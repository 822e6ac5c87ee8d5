"""Detail that a network took away with weak noise, told apart from the noise and put back."""

import numpy as np

SIGMA = 4.0  # pixels, of the area over which energy is averaged
ENERGY_OF_NOISE = 1.2  # in units of its variance; what averages of pure noise rarely exceed
_BLOCK = 8  # side in pixels of the blocks that noise is estimated from
_FLAT = 0.15  # the share of blocks that is taken for free of detail
_QUIET = 0.1, 0.781  # a quantile of the energies of those, and its value for variance 1
_LEVELS = 0.002, 0.998  # blocks outside hold clipped noise
_ROWS = 64 * _BLOCK  # worked on at once, so that a large picture needs little more memory


def with_detail_kept(noisy, denoised, noise=None):
    """Gives back what a network took away beyond noise: nearly everything, if there is hardly any.

    Networks blur finest detail a little, which under weak noise is the larger evil. What was taken
    away, r, is noise of variance n^2 and lost detail. Where the local energy of r exceeds n^2, the
    share 1 - n^2 / r^2 of it is put back: the best mix of two images whose errors, n and the
    detail, are independent. Unless n^2 is known, it is estimated from r by `removed_noise`; a
    place with more noise than others of its level, as the corners of a picture whose vignetting
    was corrected, gets some back.

    Args:
        noisy, denoised: float32 [h, w, channels] in nominal range [0, 1].
        noise: the variance n^2 by level, if it is known: `levels, variances` for `numpy.interp`.

    Returns:
        float32 [h, w, channels], between the two everywhere; `denoised` itself if there is too
        little to estimate noise from.
    """
    import cv2

    noise = noise or removed_noise(noisy, denoised)
    if noise is None:
        return denoised
    ratio = np.empty(noisy.shape[:2], np.float32)
    for rows in _bands(len(noisy)):
        removed = np.square(noisy[rows] - denoised[rows])
        ratio[rows] = np.mean(removed / np.interp(denoised[rows], *noise), axis=-1)
    ratio = cv2.GaussianBlur(ratio, (0, 0), SIGMA, borderType=cv2.BORDER_REFLECT)
    share = np.clip(1 - ENERGY_OF_NOISE / np.maximum(ratio, ENERGY_OF_NOISE), 0, 1)[..., None]
    kept = np.empty(denoised.shape, np.float32)
    for rows in _bands(len(noisy)):
        kept[rows] = denoised[rows] + share[rows] * (noisy[rows] - denoised[rows])
    return kept


def removed_noise(noisy, denoised):
    """Variance of the noise by level, from what a network took away in the quietest flat places.

    Blocks of 8 x 8 pixels of one channel are sorted into at most 16 classes of level. Of each class
    the blocks count in whose denoised pixels the channels vary least, and of the energies of what
    was taken away there a low quantile, as lost detail can only add to it.

    Args:
        noisy, denoised: float32 [h, w, channels].

    Returns:
        `levels, variances`, float64 arrays for `numpy.interp`; None if there are too few blocks
        between black and white.
    """
    bands = [_block_statistics(noisy[rows], denoised[rows]) for rows in _bands(len(noisy))]
    energies, levels, spreads = np.concatenate(bands, axis=1)
    usable = (levels > _LEVELS[0]) & (levels < _LEVELS[1]) & (energies > 0)
    if usable.sum() < 64:
        return None
    energies, levels, spreads = energies[usable], levels[usable], spreads[usable]
    order = np.argsort(levels, kind="stable")
    quantile, value = _QUIET
    at, variances = [], []
    for blocks in np.array_split(order, min(16, len(order) // 64)):
        flat = blocks[np.argsort(spreads[blocks], kind="stable")]
        flat = flat[: max(8, int(_FLAT * len(flat)))]
        at.append(levels[flat].mean())
        variances.append(np.quantile(energies[flat], quantile) / value)
    padded = np.pad(variances, 1, mode="edge")
    smooth = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    return np.array(at), smooth


def _bands(height):
    """Slices of rows of whole blocks, the last one with what is left."""
    return [slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS)]


def _block_statistics(noisy, denoised):
    """Energy taken away, level and spread of the whole blocks of each channel -> [3, blocks]."""
    height, width = (side // _BLOCK * _BLOCK for side in noisy.shape[:2])

    def blocks(image):
        across = width // _BLOCK, _BLOCK, image.shape[2]
        return image[:height, :width].reshape(height // _BLOCK, _BLOCK, *across)

    energies = blocks(np.square(noisy - denoised)).mean((1, 3), dtype=np.float64)
    levels = blocks(denoised).mean((1, 3), dtype=np.float64)
    spreads = blocks(denoised).std((1, 3), dtype=np.float64).mean(-1, keepdims=True)
    return np.stack([energies, levels, np.broadcast_to(spreads, levels.shape)]).reshape(3, -1)
