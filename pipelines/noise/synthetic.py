"""Synthetic noise by name: one grammar, one law for training (TensorFlow) and test (NumPy).

    gauss25        Gaussian, standard deviation 25 on the 0..255 scale
    gauss5_50      the same, one level per image, uniform in 5..50
    poisson30      Poisson, 30 photons at intensity 1.0
    poisson5_50    the same, one level per image
    none           the images are noisy already

and on packed camera raw, whose noise variance is shot * x + read:

    raw                          one exposure per image, drawn after Brooks et al. 2019
    raw:0.004,0.0001             that shot and read variance, Gaussian
    poisson_gaussian:0.004,1e-4  the same variance, true photon counts plus Gaussian read noise
    profile                      the same law with each DNG's own NoiseProfile, plane by plane

Source: paper, section 5.1; `n2n_tf.pipelines.raw.unprocess` for raw.
"""

import dataclasses
import re
from typing import Any

import numpy as np

GRAMMAR = (
    "gaussS, gaussLOW_HIGH (sigma in 0..255), poissonL, poissonLOW_HIGH, none, or for raw images "
    "raw, raw:SHOT,READ, poisson_gaussian:SHOT,READ (variances), profile"
)
RAW_KINDS = ("raw", "poisson_gaussian", "profile")  # for packed raw in linear [0, 1], four channels
BLOCK = 64  # side in pixels of the blocks in which a noise field is drawn
_BLOCKS_PER_ROW = 2**15  # so no image is wider than two million pixels


@dataclasses.dataclass(frozen=True)
class Noise:
    """A noise model.

    Attributes:
        kind: "gauss", "poisson", "raw", "poisson_gaussian", "profile" or "none".
        low, high: range of the level, equal for a fixed one. gauss: standard deviation in units
            of the full range (25/255 for gauss25). poisson: expected count at intensity 1.
        shot, read: for the raw kinds, variance = shot * x + read, one for all planes or one for
            each; None: drawn for each image.
        log_levels: whether `add_noise` draws levels log-uniformly in low .. high, not uniformly.
        variance_factor: factor on the variance of the noise that `add_noise` adds.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    shot: float | None = None
    read: float | None = None
    log_levels: bool = False
    variance_factor: float = 1.0


def parse_noise(text: str) -> Noise:
    """Reads a noise name.

    Raises:
        ValueError: if the text does not follow the grammar or a level is not positive.

    Example:
        >>> noise = parse_noise("poisson5_50")
        >>> noise.kind, noise.low, noise.high
        ('poisson', 5.0, 50.0)
    """
    if text in ("none", "raw", "profile"):
        return Noise(text)
    if text.startswith(tuple(f"{kind}:" for kind in RAW_KINDS)):
        return _parse_raw_noise(text)
    number = r"(\d{1,6}(?:\.\d{1,6})?)"
    match = re.fullmatch(rf"(gauss|poisson){number}(?:_{number})?", text, re.ASCII)
    if not match:
        raise ValueError(f"Unknown noise {text!r}: it must be {GRAMMAR}, like gauss25.")
    low, high = float(match[2]), float(match[3] or match[2])
    if not 0 < low <= high:
        raise ValueError(f"Noise {text!r}: levels must be above 0 and LOW at most HIGH.")
    scale = 255.0 if match[1] == "gauss" else 1.0
    return Noise(match[1], low / scale, high / scale)


def _parse_raw_noise(text):
    kind, _, levels = text.partition(":")
    number = r"(\d{1,3}(?:\.\d{1,12})?(?:e-?\d{1,2})?)"
    match = re.fullmatch(rf"{number},{number}", levels, re.ASCII)
    if not match:
        raise ValueError(f"Unknown noise {text!r}: it must be {GRAMMAR}, like raw:0.004,0.0001.")
    shot, read = float(match[1]), float(match[2])
    if not (0 <= shot <= 1 and 0 <= read <= 1 and shot + read > 0):
        raise ValueError(f"Noise {text!r}: variances must lie in 0..1 and not both be 0.")
    if kind == "poisson_gaussian" and shot == 0:
        raise ValueError(f"Noise {text!r}: SHOT must be above 0; for 0 use raw:0,{match[2]}.")
    return Noise(kind, shot=shot, read=read)


def add_noise(clean: Any, noise: Noise, seed: Any, top: Any = 0, left: Any = 0) -> Any:
    """Adds noise to an image, or to a crop of one, in TensorFlow.

    Stateless: the seed fixes one noise field over the whole plane, and `top, left` say where in it
    the pixels lie. So a crop has the noise that the whole image has there, at the cost of the crop
    alone: the field is drawn in blocks of 64 x 64 pixels, each from a seed of its own.

    Equal to the bit eagerly, in graphs and in tf.data. Under XLA the law is the same and the field
    another (TensorFlow turns random bits into floats differently there), and Poisson does not
    compile.

    Args:
        clean: float32 tensor [height, width, channels] in nominal range [0, 1].
        noise: `Noise`.
        seed: int tensor [2].
        top, left: int or scalar int tensors, at least 0, place of `clean` in the whole image.

    Returns:
        float32 tensor of the same shape, not clipped.
    """
    import tensorflow as tf

    if noise.kind == "none":
        return clean
    seed = tf.cast(seed, tf.int64)  # fold_in answers differently for int32 in and out of graphs
    level_seed, field_seed = tf.unstack(tf.random.split(seed, 2, alg="philox"))
    noisy_block = _NOISY[noise.kind](noise, level_seed)
    height, width, channels = tf.unstack(tf.shape(clean))
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    first_row, first_column = top // BLOCK, left // BLOCK
    rows = (top + height - 1) // BLOCK - first_row + 1
    columns = (left + width - 1) // BLOCK - first_column + 1
    above, before = top - first_row * BLOCK, left - first_column * BLOCK
    padded = tf.pad(
        clean,
        [
            [above, rows * BLOCK - above - height],
            [before, columns * BLOCK - before - width],
            [0, 0],
        ],
    )
    blocks = tf.reshape(padded, (rows, BLOCK, columns, BLOCK, channels))
    blocks = tf.reshape(
        tf.transpose(blocks, (0, 2, 1, 3, 4)), (rows * columns, BLOCK, BLOCK, channels)
    )

    def draw(numbered):
        number, block = numbered
        place = (first_row + number // columns) * _BLOCKS_PER_ROW + first_column + number % columns
        place = tf.cast(place, tf.int64)  # of an int32, fold_in keeps only 32 bits of the seed
        return noisy_block(block, tf.random.fold_in(field_seed, place, alg="philox"))

    noisy = tf.map_fn(draw, (tf.range(rows * columns), blocks), fn_output_signature=tf.float32)
    noisy = tf.reshape(noisy, (rows, columns, BLOCK, BLOCK, channels))
    noisy = tf.reshape(tf.transpose(noisy, (0, 2, 1, 3, 4)), tf.shape(padded))
    noisy = noisy[above : above + height, before : before + width]
    return tf.ensure_shape(noisy, clean.shape)


def _level(noise, seed):
    import tensorflow as tf

    share = tf.random.stateless_uniform((), seed, alg="philox")
    if noise.log_levels:
        return noise.low * (noise.high / noise.low) ** share
    return noise.low + share * (noise.high - noise.low)


def _gauss(noise, level_seed):
    import tensorflow as tf

    level = _level(noise, level_seed) * noise.variance_factor**0.5
    return lambda block, seed: (
        block + level * tf.random.stateless_normal(tf.shape(block), seed, alg="philox")
    )


def _poisson(noise, level_seed):
    import tensorflow as tf

    level = _level(noise, level_seed) / noise.variance_factor

    def noisy(block, seed):
        # A negative mean would silently give 0 counts; make it the 0 that is meant.
        rate = tf.maximum(block, 0.0) * level
        return tf.random.stateless_poisson(tf.shape(block), seed, rate, tf.float32) / level

    return noisy


def _shot_and_read(noise, level_seed):
    from n2n_tf.pipelines.raw.unprocess import draw_noise_level

    shot, read = draw_noise_level(level_seed) if noise.shot is None else (noise.shot, noise.read)
    return shot * noise.variance_factor, read * noise.variance_factor


def _raw(noise, level_seed):
    from n2n_tf.pipelines.raw.unprocess import add_shot_read_noise

    shot, read = _shot_and_read(noise, level_seed)
    return lambda block, seed: add_shot_read_noise(block, shot, read, seed)


def _poisson_gaussian(noise, level_seed):
    from n2n_tf.pipelines.raw.unprocess import add_poisson_gaussian_noise

    shot, read = _shot_and_read(noise, level_seed)
    return lambda block, seed: add_poisson_gaussian_noise(block, shot, read, seed)


# kind -> function(noise, seed of the level) -> function(block, seed of the block) -> noisy block
_NOISY = {
    "gauss": _gauss,
    "poisson": _poisson,
    "raw": _raw,
    "poisson_gaussian": _poisson_gaussian,
}


def noise_law(noise: Noise, seed: Any) -> Any:
    """How the variance of the noise that `add_noise` draws depends on the clean signal.

    Args:
        noise: `Noise` of any kind but "none" and "profile".
        seed: int tensor [2], the one given to `add_noise`.

    Returns:
        float32 tensor [2], shot and read: the variance is shot * clean + read.
    """
    import tensorflow as tf

    level_seed, _ = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2, alg="philox"))
    if noise.kind == "gauss":
        law = 0.0, _level(noise, level_seed) ** 2 * noise.variance_factor
    elif noise.kind == "poisson":
        law = noise.variance_factor / _level(noise, level_seed), 0.0
    else:
        law = _shot_and_read(noise, level_seed)
    return tf.stack([tf.cast(variance, tf.float32) for variance in law])


def add_noise_numpy(clean: np.ndarray, noise: Noise, generator: Any) -> np.ndarray:
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
    if noise.kind in RAW_KINDS:
        raise ValueError("Noise of camera raw is drawn by `add_noise`; the paper's loop has none.")
    level = noise.low
    if noise.high > noise.low:
        level = generator.uniform(noise.low, noise.high, size=(1, 1, 1))
    if noise.kind == "gauss":
        return np.array(clean + generator.normal(size=clean.shape) * level, np.float32)
    return np.array(generator.poisson(level * np.maximum(clean, 0)) / level, np.float32)
