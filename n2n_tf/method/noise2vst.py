"""Noise2VST: one curve is learned on each image, so that a Gaussian denoiser fits its noise."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

KNOTS = 128
LEAST_STEP = 1e-6  # from one knot's value to the next: the curve always rises
STRIDE = 4  # pixels: one of 4 x 4 is hidden, in one channel
RATE = 1e-2  # Adam's, a tenth of it after each third of the steps
_AROUND = np.float32([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4


class Curve(keras.layers.Layer):
    """A rising, piecewise linear function s on [0, 1] and its inverse: 128 knots.

    Beyond its ends the outermost pieces go on. A little line, a x + b, is added to the inverse,
    since the inverse of a mean is not the mean of the inverse.
    """

    def __init__(self) -> None:
        super().__init__(name="curve", dtype="float32")
        step = np.log(1 / (KNOTS - 1) - LEAST_STEP)
        self.first = self.add_weight(shape=(1,), initializer="zeros", name="first")
        self.steps = self.add_weight(
            shape=(KNOTS - 1,), initializer=keras.initializers.Constant(step), name="steps"
        )
        self.line = self.add_weight(shape=(2,), initializer="zeros", name="line")
        self.built = True

    def knots(self) -> tf.Tensor:
        """Its values at 0, 1/127, ..., 1: float32 [128], each above the one before."""
        steps = tf.exp(self.steps) + LEAST_STEP
        return tf.cumsum(tf.concat([self.first, steps], 0))

    def call(self, z: tf.Tensor) -> tf.Tensor:
        """s(z), of any shape."""
        knots, place = self.knots(), z * (KNOTS - 1)
        left = tf.cast(tf.clip_by_value(tf.floor(place), 0, KNOTS - 2), tf.int32)
        low, high = tf.gather(knots, left), tf.gather(knots, left + 1)
        return low + (place - tf.cast(left, tf.float32)) * (high - low)

    def inverse(self, x: tf.Tensor) -> tf.Tensor:
        """s^-1(x) + a x + b, of any shape."""
        knots, flat = self.knots(), tf.reshape(x, [-1])
        left = tf.clip_by_value(tf.searchsorted(knots, flat) - 1, 0, KNOTS - 2)
        low, high = tf.gather(knots, left), tf.gather(knots, left + 1)
        place = tf.cast(left, tf.float32) + (flat - low) / (high - low)
        result = place / (KNOTS - 1) + self.line[0] * flat + self.line[1]
        return tf.reshape(result, tf.shape(x))


def noise2vst(
    network: keras.Model,
    noisy: np.ndarray,
    steps: int = 2000,
    denoise: Callable[[np.ndarray], np.ndarray] | None = None,
    patch_size: int = 64,
    batch_size: int = 4,
    seed: int = 0,
) -> np.ndarray:
    """Denoises an image whose noise depends on its brightness in a way that nobody knows.

        denoised = s^-1(f(s(y)))      y scaled to [0, 1], f a Gaussian denoiser, frozen

    s, the variance-stabilising transform, is all that is learned, on y alone and blindly:

        loss = mean over hidden pixels of (s^-1(f(s(y) with them hidden)) - y)^2

    where the mean of the four pixels beside it stands for a hidden one.

    Args:
        network: f, for Gaussian noise: float32 [batch, height, width, channels] in nominal range
            [0, 1] -> the same shape. Its weights stay as they are.
        noisy: float32 [height, width, channels], sides of at least `patch_size`.
        steps: of Adam; the publication takes 2,000.
        denoise: float32 [height, width, channels] -> the same shape, of any size: f for the whole
            image at the end. Default: the network, for sides that it takes.
        patch_size: side in pixels of what a step sees; a multiple of what the network needs.
        batch_size: how many of those a step sees.
        seed: of places, turns and hidden pixels.

    Returns:
        float32, the shape of `noisy`.

    Raises:
        ValueError: if the image is smaller than a patch.

    Source: Herbreteau and Unser, "Self-Calibrated Variance-Stabilizing Transformations for
    Real-World Image Denoising", ICCV 2025.
    """
    curve, low, width = Curve(), noisy.min(), np.ptp(noisy) or 1
    scaled = np.float32((noisy - low) / width)
    if min(scaled.shape[:2]) < patch_size:
        raise ValueError(
            f"Noise2VST learns on windows of {patch_size} x {patch_size} pixels. Received: an "
            f"image of {scaled.shape[1]} x {scaled.shape[0]}."
        )
    _learn(curve, network, scaled, steps, (patch_size, batch_size), seed)
    denoise = denoise or (lambda image: np.asarray(network(image[None]))[0])
    result = curve.inverse(tf.constant(denoise(np.asarray(curve(scaled))), tf.float32))
    return np.float32(result) * np.float32(width) + np.float32(low)


def _learn(curve, network, scaled, steps, sizes, seed):
    """Descends the loss on windows of the image [height, width, channels]."""
    rng, channels = np.random.default_rng(seed), scaled.shape[2]
    thirds = [max(1, steps * number // 3) for number in (1, 2)]
    rates = keras.optimizers.schedules.PiecewiseConstantDecay(thirds, [RATE, RATE / 10, RATE / 100])
    optimizer = keras.optimizers.Adam(rates)

    @tf.function
    def step(batch: tf.Tensor, place: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = blind_loss(curve, network, batch, place)
        gradients = tape.gradient(loss, curve.trainable_variables)
        optimizer.apply(gradients, curve.trainable_variables)

    for _ in range(steps):
        batch = np.stack([_window(scaled, sizes[0], rng) for _ in range(sizes[1])])
        place = rng.integers(0, (STRIDE, STRIDE, channels))
        step(tf.constant(batch), tf.constant(place, tf.int32))


def blind_loss(
    curve: Curve, network: Callable[[tf.Tensor], tf.Tensor], batch: tf.Tensor, place: tf.Tensor
) -> tf.Tensor:
    """The loss of one step; see `noise2vst`.

    Args:
        curve: s.
        network: f.
        batch: float32 [batch, height, width, channels] in [0, 1].
        place: int32 [3]: the first row, the first column and the channel that are hidden.

    Returns:
        float32 scalar.
    """
    bent = curve(batch)
    kernel = tf.tile(tf.constant(_AROUND)[:, :, None, None], (1, 1, batch.shape[-1], 1))
    around = tf.pad(bent, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    means = tf.nn.depthwise_conv2d(around, kernel, (1, 1, 1, 1), "VALID")
    rows, columns, channels = (tf.range(side) for side in tf.unstack(tf.shape(batch)[1:]))
    rows, columns = rows % STRIDE == place[0], columns % STRIDE == place[1]
    hidden = rows[:, None, None] & columns[:, None] & (channels == place[2])
    hidden = tf.cast(hidden, tf.float32)[None]
    denoised = curve.inverse(tf.cast(network(hidden * means + (1 - hidden) * bent), tf.float32))
    count = tf.reduce_sum(hidden) * tf.cast(tf.shape(batch)[0], tf.float32)
    return tf.reduce_sum(hidden * tf.square(denoised - batch)) / count


def _window(image, side, rng):
    """A random window of the image, turned and mirrored at random."""
    top, left = (rng.integers(0, length - side + 1) for length in image.shape[:2])
    window = np.rot90(image[top : top + side, left : left + side], rng.integers(4))
    return window[:, ::-1] if rng.integers(2) else window
