"""sRGB photographs turned into synthetic camera raw: training a raw model without any raw.

From the picture to the sensor and back, each step above its mirror:

    unprocess   inverse_smoothstep  gamma_expansion    apply_matrix(rgb2cam)  invert_gains
    process     smoothstep          gamma_compression  apply_matrix(cam2rgb)  apply_gains

`mosaic` then keeps one colour per pixel, `raw_planes_of_photo` chains all into clean packed raw,
and two noise models make noisy raw of it. All functions run eagerly and in tf.data maps with
unknown height and width, and draw only from stateless seeds.

Source: Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019
(arXiv 1811.11127): the steps, the four cameras (`cameras`) and every constant below.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.cameras import (
    BLUE_GAIN,
    DIMMING_MEAN,
    DIMMING_STDDEV,
    GAMMA,
    INFLECTION,
    RED_GAIN,
    RGB_TO_XYZ,
    XYZ_TO_CAMERAS,
)

LOW_SHOT, HIGH_SHOT = 1e-4, 0.012  # shot noise, log-uniform
READ_SLOPE, READ_INTERCEPT, READ_SCATTER = 2.18, 1.20, 0.26  # log read noise over log shot noise


class Camera(NamedTuple):
    """What one synthetic camera does to colour.

    Attributes:
        rgb2cam: float32 [3, 3], linear sRGB -> camera RGB; rows sum to 1, so grey stays grey.
        cam2rgb: float32 [3, 3], its inverse.
        gains: float32 [3], factors for red, green and blue, white balance and exposure together,
            multiplied on the way to sRGB; about (2.7, 1.25, 2.1).
    """

    rgb2cam: tf.Tensor
    cam2rgb: tf.Tensor
    gains: tf.Tensor


def draw_camera(seed: Any) -> Camera:
    """Draws a random camera from a stateless seed, int [2].

    >>> draw_camera([1, 2]).rgb2cam.shape
    TensorShape([3, 3])
    """
    mixture_seed, dimming_seed, red_seed, blue_seed = _split(seed, 4)
    weights = _uniform(mixture_seed, 1e-8, 1.0, [len(XYZ_TO_CAMERAS)])
    weights /= tf.reduce_sum(weights)
    xyz2cam = tf.reduce_sum(weights[:, None, None] * tf.constant(XYZ_TO_CAMERAS), axis=0)
    rgb2cam = apply_matrix(xyz2cam, tf.transpose(tf.constant(RGB_TO_XYZ)))  # xyz2cam @ rgb2xyz
    rgb2cam /= tf.reduce_sum(rgb2cam, axis=-1, keepdims=True)
    dimming = DIMMING_MEAN + DIMMING_STDDEV * _normal(dimming_seed, [])
    white_balance = tf.stack([_uniform(red_seed, *RED_GAIN), 1.0, _uniform(blue_seed, *BLUE_GAIN)])
    return Camera(rgb2cam, tf.linalg.inv(rgb2cam), white_balance / dimming)


def unprocess(rgb: Any, camera: Camera) -> tf.Tensor:
    """Turns a photograph into the linear colours the camera's sensor saw.

    Args:
        rgb: float [..., 3], gamma-compressed sRGB in [0, 1].
        camera: a `Camera`.

    Returns:
        float32 [..., 3], linear camera RGB in [0, 1], not white-balanced: grey looks green.

    Raises:
        ValueError: `rgb` is not floating point or its last axis is not 3.

    >>> unprocess(tf.fill([4, 6, 3], 0.5), draw_camera([1, 2])).shape
    TensorShape([4, 6, 3])
    """
    x = inverse_smoothstep(_float_rgb(rgb))
    x = gamma_expansion(x)
    x = apply_matrix(x, camera.rgb2cam)
    x = invert_gains(x, camera.gains)
    return tf.clip_by_value(x, 0.0, 1.0)


def process(linear: Any, camera: Camera) -> tf.Tensor:
    """Develops linear camera RGB into a picture: the mirror of `unprocess`.

    `process(unprocess(x, c), c)` equals x within 1e-5 wherever `unprocess` lost nothing: camera
    colours inside [0, 1] before and after the gains, and grey level at most 0.9. Above 0.9 the
    inverse gains were weakened on purpose: greys come back brighter, white as white. Colours
    that were clipped stay clipped.

    Args:
        linear: float [..., 3], linear camera RGB, nominal range [0, 1]; noise may leave it.
        camera: the `Camera` that made it.

    Returns:
        float32 [..., 3], gamma-compressed sRGB in [0, 1]. Errors as `unprocess`.
    """
    x = apply_gains(_float_rgb(linear), camera.gains)
    x = apply_matrix(tf.clip_by_value(x, 0.0, 1.0), camera.cam2rgb)  # unclipped white turns violet
    x = gamma_compression(tf.clip_by_value(x, 0.0, 1.0))
    return smoothstep(x)


def inverse_smoothstep(y: tf.Tensor) -> tf.Tensor:
    """Undoes the tone curve: the x in [0, 1] with 3x^2 - 2x^3 = y, y clipped to [0, 1]."""
    return 0.5 - tf.sin(tf.asin(1.0 - 2.0 * tf.clip_by_value(y, 0.0, 1.0)) / 3.0)


def smoothstep(x: tf.Tensor) -> tf.Tensor:
    """Applies the tone curve, a mild S: 3x^2 - 2x^3 for x in [0, 1]."""
    return x * x * (3.0 - 2.0 * x)


def gamma_expansion(x: tf.Tensor) -> tf.Tensor:
    """Display values -> linear light: x^2.2, with x at least 1e-8."""
    return tf.maximum(x, 1e-8) ** GAMMA


def gamma_compression(x: tf.Tensor) -> tf.Tensor:
    """Linear light -> display values: x^(1/2.2), with x at least 1e-8."""
    return tf.maximum(x, 1e-8) ** (1.0 / GAMMA)


def apply_matrix(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Multiplies every colour [..., 3] by a matrix [3, 3]; no matmul, which a GPU may round."""
    return tf.reduce_sum(x[..., None, :] * matrix, axis=-1)


def apply_gains(x: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """White balance and exposure: camera RGB [..., 3] times gains [3]."""
    return x * gains


def invert_gains(x: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """Divides camera RGB [..., 3] by gains [3], but leaves pixels near white bright.

    A divided highlight would lie below saturation, which no sensor gives. So the factors rise
    smoothly where the mean of x exceeds 0.9, to 1 at white.
    """
    return _without_gain(x, tf.reduce_mean(x, axis=-1, keepdims=True), gains)


def _without_gain(x, grey, gain):
    inverse = 1.0 / gain
    mask = (tf.maximum(grey - INFLECTION, 0.0) / (1.0 - INFLECTION)) ** 2
    return x * tf.maximum(mask + (1.0 - mask) * inverse, inverse)


def mosaic(rgb: Any, pattern: str = "RGGB") -> tf.Tensor:
    """Keeps at every pixel the one colour that its filter lets through.

    Args:
        rgb: [..., H, W, 3], any dtype; H and W may be odd or unknown.
        pattern: one of `bayer.PATTERNS`, or a ValueError is raised.

    Returns:
        [..., H, W], same dtype.

    >>> mosaic([[[1.0, 2.0, 3.0]]], "BGGR").numpy().tolist()
    [[3.0]]
    """
    rgb = tf.convert_to_tensor(rgb)
    red, *_, blue = bayer.plane_positions(pattern)
    cell = tf.constant([{red: 0, blue: 2}.get(place, 1) for place in np.ndindex(2, 2)])
    rows, columns = tf.range(tf.shape(rgb)[-3]), tf.range(tf.shape(rgb)[-2])
    colour = tf.gather(cell, 2 * (rows[:, None] % 2) + columns % 2)  # [H, W], 0 1 2 = R G B
    return tf.reduce_sum(rgb * tf.one_hot(colour, 3, dtype=rgb.dtype), axis=-1)


def draw_noise_level(seed: Any, low: float = LOW_SHOT, high: float = HIGH_SHOT) -> tuple:
    """Draws the noise of one exposure: the variance is shot * clean + read.

    Args:
        seed: int [2], stateless.
        low, high: bounds of `shot`, log-uniform between them; 0 < low <= high, or ValueError.

    Returns:
        shot, read: float32 scalars, VARIANCES on the [0, 1] scale, not standard deviations;
        log read = 2.18 log shot + 1.20 + normal(0, 0.26).
    """
    if not 0 < low <= high:
        raise ValueError(f"`low` and `high` must be 0 < low <= high. Received: {low=}, {high=}.")
    shot_seed, read_seed = _split(seed, 2)
    log_shot = _uniform(shot_seed, math.log(low), math.log(high))
    log_read = READ_SLOPE * log_shot + READ_INTERCEPT + READ_SCATTER * _normal(read_seed, [])
    return tf.exp(log_shot), tf.exp(log_read)


def add_shot_read_noise(clean: Any, shot: Any, read: Any, seed: Any) -> tf.Tensor:
    """Adds Gaussian noise of variance shot * max(clean, 0) + read and clips nothing.

    Args:
        clean: float [...], linear raw, nominal range [0, 1].
        shot, read: variances as in `draw_noise_level` or a DNG NoiseProfile: scalars, or arrays
            that broadcast, such as [4] for the planes of packed raw.
        seed: int [2], stateless.

    Returns:
        float32 [...], negatives kept.

    >>> add_shot_read_noise(tf.zeros([2]), shot=0.01, read=0.0, seed=[0, 1]).numpy().tolist()
    [0.0, 0.0]
    """
    clean = tf.cast(clean, tf.float32)
    variance = tf.maximum(clean, 0.0) * shot + read
    return clean + tf.sqrt(variance) * _normal(seed, tf.shape(clean))


def add_poisson_gaussian_noise(clean: Any, shot: Any, read: Any, seed: Any) -> tf.Tensor:
    """Counts photons: shot * Poisson(clean / shot) + normal(0, sqrt(read)); clips nothing.

    Mean and variance are those of `add_shot_read_noise`; the third central moment is
    shot^2 * clean instead of 0, which shows where few photons fall. Poisson sampling does not
    compile under XLA: keep it in tf.data.

    Args:
        clean: float [...], linear raw; a negative value counts as no photon.
        shot, read: as in `add_shot_read_noise`; shot > 0, a smaller Python number is refused.
        seed: int [2], stateless.

    Returns:
        float32 [...], negatives kept.
    """
    if isinstance(shot, int | float) and shot <= 0:
        raise ValueError(f"`shot` must be > 0; for 0 use add_shot_read_noise. Received: {shot=}.")
    clean = tf.cast(clean, tf.float32)
    photon_seed, read_seed = _split(seed, 2)
    expected = tf.maximum(clean, 0.0) / shot
    photons = tf.random.stateless_poisson(tf.shape(clean), photon_seed, expected, tf.float32)
    return shot * photons + tf.sqrt(read) * _normal(read_seed, tf.shape(clean))


def _float_rgb(rgb):
    """Checks that an image is floating point with three channels and returns it as float32."""
    rgb = tf.convert_to_tensor(rgb)
    if not rgb.dtype.is_floating:
        raise ValueError(
            "An image must be floating point in [0, 1]; divide 8-bit values by 255. "
            f"Received: dtype={rgb.dtype.name}."
        )
    if rgb.shape.rank is not None and rgb.shape[-1] not in (3, None):
        raise ValueError(f"An image must have 3 channels, last. Received: shape={rgb.shape}.")
    return tf.cast(rgb, tf.float32)


# Philox is named to be the same on every device; XLA still makes other floats: stay in tf.data.


def _split(seed, count):
    return tf.unstack(tf.random.split(tf.convert_to_tensor(seed), count, alg="philox"))


def _uniform(seed, low, high, shape=()):
    return tf.random.stateless_uniform(shape, seed, low, high, alg="philox")


def _normal(seed, shape):
    return tf.random.stateless_normal(shape, seed, alg="philox")


def raw_planes_of_photo(rgb: Any, seed: Any) -> tf.Tensor:
    """Makes clean packed raw of a photograph, as a random camera would see it.

    Args:
        rgb: float [2h, 2w, 3], sRGB in [0, 1].
        seed: int [2], stateless; it fixes the camera.

    Returns:
        float32 [h, w, 4] in [0, 1], planes R, G1, G2, B of an RGGB mosaic.

    >>> raw_planes_of_photo(tf.fill([6, 8, 3], 0.5), seed=[0, 1]).shape
    TensorShape([3, 4, 4])
    """
    # Another seed than the noise's, which is drawn from the same one by splitting it.
    camera = draw_camera(tf.random.fold_in(seed, 2**30, alg="philox"))
    # pack(mosaic(unprocess(rgb, camera)), "RGGB"), computing only the colours that are kept
    linear, mean = _linear(_float_rgb(rgb)), tf.reduce_mean(camera.rgb2cam, axis=0)
    planes = []
    for (row, column), colour in zip(bayer.plane_positions("RGGB"), (0, 1, 1, 2), strict=True):
        cell = [linear[row::2, column::2, c] for c in range(3)]
        value, grey = (
            sum(x * weights[c] for c, x in enumerate(cell))
            for weights in (camera.rgb2cam[colour], mean)
        )
        planes.append(_without_gain(value, grey, camera.gains[colour]))
    return tf.clip_by_value(tf.stack(planes, axis=-1), 0.0, 1.0)


def rooted_planes_of_photo(rgb: Any, seed: Any) -> tf.Tensor:
    """The square root of `raw_planes_of_photo`, in which photon noise is alike at all levels."""
    return tf.sqrt(raw_planes_of_photo(rgb, seed))


def _linear(rgb):
    """Tone curve and gamma undone; from a table, if the values are 256ths, as of most photos."""
    step = tf.clip_by_value(tf.cast(rgb * 255.0 + 0.5, tf.int32), 0, 255)
    of_table = tf.constant(np.arange(256, dtype=np.float32) / np.float32(255))
    return tf.cond(
        tf.reduce_all(tf.gather(of_table, step) == rgb),
        lambda: tf.gather(gamma_expansion(inverse_smoothstep(of_table)), step),
        lambda: gamma_expansion(inverse_smoothstep(rgb)),
    )


def viewable(planes: np.ndarray) -> np.ndarray:
    """Packed raw for looking at: daylight gains, gamma 1/2.2.

    Args:
        planes: float [h, w, 4], R, G1, G2, B, nominal range [0, 1].

    Returns:
        uint8 RGB [h, w, 3].
    """
    red, green, blue = planes[..., 0] * 2.0, planes[..., 1:3].mean(-1), planes[..., 3] * 1.6
    rgb = np.clip(np.stack([red, green, blue], -1), 0, 1) ** (1 / 2.2)
    return np.uint8(255 * rgb + 0.5)
