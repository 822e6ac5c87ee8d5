"""Synthetic noise by name: one grammar, one law for training (TensorFlow) and test (NumPy).

    gauss25        Gaussian, standard deviation 25 on the 0..255 scale
    gauss5_50      the same, one level per image, uniform in 5..50
    poisson30      Poisson, 30 photons at intensity 1.0
    poisson5_50    the same, one level per image
    none           the images are noisy already

Source: paper, section 5.1.
"""

import dataclasses
import re

import numpy as np

GRAMMAR = "gaussS, gaussLOW_HIGH (sigma in 0..255), poissonL, poissonLOW_HIGH, or none"


@dataclasses.dataclass(frozen=True)
class Noise:
    """A noise model.

    Attributes:
        kind: "gauss", "poisson" or "none".
        low, high: range of the level, equal for a fixed one. gauss: standard deviation in units
            of the full range (25/255 for gauss25). poisson: expected count at intensity 1.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0


def parse_noise(text):
    """Reads a noise name.

    Raises:
        ValueError: if the text does not follow the grammar or a level is not positive.

    Example:
        >>> parse_noise("poisson5_50")
        Noise(kind='poisson', low=5.0, high=50.0)
    """
    if text == "none":
        return Noise("none")
    number = r"(\d{1,6}(?:\.\d{1,6})?)"
    match = re.fullmatch(rf"(gauss|poisson){number}(?:_{number})?", text, re.ASCII)
    if not match:
        raise ValueError(f"Unknown noise {text!r}: it must be {GRAMMAR}, like gauss25.")
    low, high = float(match[2]), float(match[3] or match[2])
    if not 0 < low <= high:
        raise ValueError(f"Noise {text!r}: levels must be above 0 and LOW at most HIGH.")
    scale = 255.0 if match[1] == "gauss" else 1.0
    return Noise(match[1], low / scale, high / scale)


def add_noise(clean, noise, seed):
    """Adds noise to one image, in TensorFlow; stateless, so equal seeds give equal noise.

    Args:
        clean: float32 tensor [height, width, channels] in [0, 1].
        noise: `Noise`.
        seed: int tensor [2].

    Returns:
        float32 tensor of the same shape, not clipped.
    """
    import tensorflow as tf

    if noise.kind == "none":
        return clean
    level_seed, field_seed = tf.unstack(tf.random.split(seed, 2))
    level = tf.random.stateless_uniform((), level_seed, alg="philox")
    level = noise.low + level * (noise.high - noise.low)
    if noise.kind == "gauss":
        return clean + level * tf.random.stateless_normal(tf.shape(clean), field_seed, alg="philox")
    # A negative mean would silently give 0 counts; make it the 0 that is meant.
    rate = tf.maximum(clean, 0.0) * level
    return tf.random.stateless_poisson(tf.shape(clean), field_seed, rate, tf.float32) / level


def add_noise_numpy(clean, noise, generator):
    """Adds noise to one image from a NumPy generator, drawing as the official evaluation does.

    Args:
        clean: float32 array [height, width, channels] in [0, 1].
        noise: `Noise`.
        generator: `numpy.random.RandomState` (official protocol) or `numpy.random.Generator`. A
            level in a range is drawn before the field.

    Returns:
        float32 array of the same shape, not clipped.

    Source: `AugmentNoise.add_valid_noise` of the official train.py.
    """
    if noise.kind == "none":
        return clean
    level = noise.low
    if noise.high > noise.low:
        level = generator.uniform(noise.low, noise.high, size=(1, 1, 1))
    if noise.kind == "gauss":
        return np.array(clean + generator.normal(size=clean.shape) * level, np.float32)
    return np.array(generator.poisson(level * np.maximum(clean, 0)) / level, np.float32)
