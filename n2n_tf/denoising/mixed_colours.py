"""Noise that red, green and blue share in part, as after a conversion of colours by a matrix.

In a wide-gamut profile, or after a change of saturation, every channel holds some of the others'
noise. A network for independent noise takes what they share for detail. The covariance of the
noise tells a matrix after which it is independent again: the inverse of its square root.
"""

import numpy as np

from n2n_tf.denoising.flat_blocks import FLATTEST, TEXTURE_FALL, Cut, dct_bands

CHANNELS = 3
_SHARED = 0.35  # correlation of two channels, from which on they are taken apart
_OWN = 0.12  # the least eigenvalue of the correlations: channels have some noise of their own
_SLOW_FALL = 0.85  # the highest high / middle energy that texture is taken to have
_WHITE = 0.85  # high / middle energy from which on what is seen is noise, and not texture


def unmixing(cut: Cut, low: np.ndarray) -> np.ndarray | None:
    """The matrix that takes the noise of three channels apart.

    Args:
        cut: `Cut` of an image of three channels.
        low: [3, blocks], the energies of its blocks' low frequencies.

    Returns:
        float64 [3, 3]: `image @ matrix.T` has noise that is independent in its channels, of about
        the deviation that it had. None for noise that is so already, nearly all of which is one
        in all channels, or that cannot be told from detail.

    Example:
        >>> white = np.random.default_rng(0).normal(100, 5, (256, 256, 3))
        >>> mixed = white @ [[0.7, 0.1, 0.1], [0.3, 0.8, 0.1], [0, 0.1, 0.8]]
        >>> cut = Cut(mixed)
        >>> matrix = unmixing(cut, np.ones(cut.varied.shape))
        >>> apart = np.corrcoef((mixed @ matrix.T).reshape(-1, 3).T)
        >>> bool(np.abs(apart - np.eye(3)).max() < 0.05)
        True
    """
    usable = _unclipped(cut)
    if len(usable) < FLATTEST[0]:
        return None
    energy = low[:, usable]
    energy = (energy / np.maximum(energy.mean(1, keepdims=True), 1e-300)).sum(0)
    least, share = FLATTEST
    flat = np.argsort(energy, kind="stable")[: max(least, int(share * len(energy)))]
    middle, high = _covariances(cut.pixels[:, usable[flat]])
    if (np.diag(high) < _WHITE * np.diag(middle)).any():
        return None
    for fall in _SLOW_FALL, TEXTURE_FALL:  # texture is shared too, and may look like noise
        noise = (high - fall * middle) / (1 - fall)
        if np.diag(noise).min() <= 0:
            return None
        deviation = np.sqrt(np.diag(noise))
        correlations = noise / np.outer(deviation, deviation)
        if np.abs(correlations - np.eye(CHANNELS)).max() < _SHARED:
            return None
    values, vectors = np.linalg.eigh(correlations)
    if values[0] < _OWN:
        return None
    apart = vectors / np.sqrt(values) @ vectors.T
    return deviation[:, None] * apart / deviation


def _unclipped(cut):
    """Indices of blocks that are finite and, as that changes what channels share, not clipped."""
    usable = cut.finite.all(0)
    if usable.any():
        least, most = cut.least[:, usable], cut.most[:, usable]
        inside = (least > least.min(1, keepdims=True)) & (most < most.max(1, keepdims=True))
        usable[usable] = inside.all(0)
    return np.flatnonzero(usable)


def _covariances(pixels):
    """Of blocks [3, blocks, 64]: those of middle and of high frequencies, [3, 3]."""
    pixels = np.float64(pixels)
    pixels -= pixels.mean(2, keepdims=True)
    return [
        np.einsum("ank,bnk->ab", band, band) / band.shape[1] / band.shape[2]
        for band in dct_bands(pixels)[1:]
    ]
