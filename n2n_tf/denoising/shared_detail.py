"""What the channels of a picture share is its detail; their noise is independent.

With one underlying scene s, channel c is g_c * s + its own noise, so the product of two channels
holds g_c * g_o * s^2 and no noise on average, and from three channels the factors g follow.
"""

import itertools

import numpy as np

_SIMILAR = 0.02  # correlation of two channels from which on they share something
_MOST = 2.0  # by how much a ratio of factors g may differ from that of all energy
_HARDLY_ANY = 0.02, 0.5  # own share of the high energy, and own high / middle energy: noise is
# shared if this holds in all channels, or if a channel's own share is
_LITTLE = 0.1  # at most and
_WHITE = 0.85  # the high / middle energy is that of white noise, or
_FALL = 0.25  # the own high / middle energy is lower, as colours of half the resolution have it.
_SHARED_WHITE = 0.92  # It is shared, too, where this is the high / middle energy of what is shared.
_ONE_NOISE = 0.5  # own share of the energy, below which channels have one noise


def own_energies(
    bands: list[np.ndarray], energies: list[np.ndarray], usable: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Energies of blocks without the detail that a channel shares with its neighbours in order.

    Args:
        bands: of each band, low to high, coefficients float64 [channels, blocks, frequencies].
        energies: mean squares of these, [channels, blocks].
        usable: bool [blocks], those that all channels have.

    Returns:
        like `energies`; a block's may be below 0. They are as they were in channels that share
        noise, as those of a gray picture in false colours or of most JPEG files do.
        And bool [channels], which of them have hardly any noise of their own.
    """
    if not usable.any():
        return energies, np.zeros(len(energies[0]), bool)
    total = sum((low / max(low.mean(), 1e-300) for low in energies[0]), np.zeros(len(usable)))
    flat = np.flatnonzero(usable)
    flat = flat[np.argsort(total[flat], kind="stable")[: max(200, len(flat) // 20)]]
    own = [_own(*band, flat) for band in zip(bands, energies, strict=True)]
    middle, high = (energy[:, flat].mean(1) for energy in energies[1:])
    own_middle, own_high = (energy[:, flat].mean(1) for energy in own[1:])
    shared = (high > _WHITE * middle) | (own_high < _FALL * own_middle)
    shared &= own_high < _LITTLE * high
    share, fall = _HARDLY_ANY
    shared |= np.all((own_high < share * high) & (own_high < fall * own_middle))
    shared |= high - own_high > _SHARED_WHITE * (middle - own_middle)
    own = [np.where(shared[:, None], *pair) for pair in zip(energies, own, strict=True)]
    return own, shared & (own_high < _ONE_NOISE * high)


def _own(coefficients, energy, flat):
    """The same for one band."""
    channels = len(energy)
    products, pooled = {}, {}
    for pair in itertools.combinations(range(channels), 2):
        product = np.einsum("nk,nk->n", *coefficients[list(pair)]) / coefficients.shape[2]
        for key in (pair, pair[::-1]):
            products[key], pooled[key] = product, product[flat].mean()
    deviation = np.sqrt(energy[:, flat].mean(1))
    own = energy.copy()
    for channel in range(channels):
        partners = {(channel - 1) % channels, (channel + 1) % channels} - {channel}
        shared = []
        for other in partners:
            if pooled[channel, other] > _SIMILAR * deviation[channel] * deviation[other]:
                ratio = deviation[channel] / deviation[other]
                for third in partners - {other}:
                    if min(pooled[channel, third], pooled[other, third]) > 0:
                        found = pooled[channel, third] / pooled[other, third]
                        ratio = np.clip(found, ratio / _MOST, ratio * _MOST)
                shared.append(ratio * products[channel, other])
        if shared:
            own[channel] -= np.mean(shared, axis=0)
    return own
