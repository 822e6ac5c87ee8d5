"""The noise of a camera raw, from the raw alone.

One amplifier reads all photosites, whatever filter lies before them, so red, green and blue have
one law: variance = gain * level + read, with black at 0 (A. Foi et al., IEEE TIP 17(10), 2008,
section II). What flat places of all four planes show together is far surer than what each shows.
"""

import dataclasses

import numpy as np

from n2n_tf.denoising.flat_blocks import Blocks, Cut, measure, noise_alone
from n2n_tf.denoising.noise_level import (
    FLATNESS,
    NoiseEstimate,
    estimate_noise,
    held,
    of_few_values,
    smoothest,
)
from n2n_tf.denoising.noise_line import LEAST_BLOCKS, sensor_line

_ALIKE = 2.2  # ratio of planes' variances, in their smoothest places, up to which they have one law


def estimate_raw_noise(planes: np.ndarray) -> NoiseEstimate:
    """Estimates the noise of a camera raw: one law for its four planes, if they have one.

    Raws that were developed, blurred or stretched in the camera have none. They are looked at plane
    by plane, as `estimate_noise` does.

    Args:
        planes: float [height, width, 4] in R, G, G, B order; black is 0.

    Returns:
        `NoiseEstimate` of four channels, in the units of the planes.

    Raises:
        ValueError: for an array of another shape.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> level = np.linspace(0, 1, 128)[:, None, None]
        >>> planes = level + rng.normal(size=(128, 128, 4)) * (0.01 * level + 1e-4) ** 0.5
        >>> np.round(estimate_raw_noise(planes).gain, 3).tolist()
        [0.01, 0.01, 0.01, 0.01]
    """
    planes = np.asarray(planes)
    if planes.ndim != 3 or planes.shape[2] != 4 or planes.size == 0:
        raise ValueError(
            "The planes of a raw are an array [height, width, 4] with at least one pixel. "
            f"Received: shape={planes.shape}."
        )
    return _one_law(planes) or estimate_noise(planes)


def _one_law(planes):
    """The law of all planes, or None."""
    cut = Cut(planes)
    pixels, finite, varied = cut.pixels, cut.finite, cut.varied
    if varied.sum(1).min() < LEAST_BLOCKS:
        return None
    split, shared = measure(cut)
    found, noise = [], []
    for c, both in enumerate(split):
        blocks, own = (each.only(varied[c]) for each in both)
        correlation, alone = noise_alone(blocks, own, alone=False)
        if shared[c] or correlation:
            return None
        found.append(blocks)
        noise.append(alone)
    kept = [pixels[c][varied[c]] for c in range(len(pixels))]
    line, law = _of_sensor(_joined(noise), np.concatenate(kept), cut.overlap)
    if line is None or any(
        of_few_values(pixels[c][finite[c]], pixels[c][finite[c] & ~varied[c], 0], line.blocks)
        for c in range(len(pixels))
    ):
        return None
    smooth = [smoothest(law, *each) for each in zip(found, kept, strict=True)]
    if None not in smooth and max(smooth) > _ALIKE * min(smooth):
        return None
    law = held(law, smoothest(law, _joined(found), np.concatenate(kept)))
    return dataclasses.replace(law, gain=law.gain * 4, read=law.read * 4)


def _of_sensor(blocks, pixels, overlap):
    """The line through the flattest places of all planes, and the estimate it gives."""
    for flatness, trust in FLATNESS:
        line = sensor_line(blocks, pixels, flatness, overlap)
        if line is not None and line.blocks >= LEAST_BLOCKS * overlap:
            trust = float(trust * line.trust(overlap))
            return line, NoiseEstimate((float(line.gain),), (float(line.read),), 0.0, trust)
    return None, None


def _joined(blocks):
    """Blocks of several planes as those of one."""
    names = [field.name for field in dataclasses.fields(Blocks)]
    return Blocks(*(np.concatenate([getattr(each, name) for each in blocks]) for name in names))
