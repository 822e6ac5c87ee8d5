"""Noise2Void: a pixel is learned from its surroundings, since it is hidden from the network."""

import keras
import tensorflow as tf

from n2n_tf.method.one_loss import OneLoss

CELL = 8  # pixels: one of 8 x 8 is hidden, the paper's 64 of a patch of 64 x 64
RADIUS = 2  # pixels: another of the 5 x 5 around takes its place


@keras.saving.register_keras_serializable("n2n_tf")
class Noise2Void(OneLoss):
    """Blind spots made by masking: loss = mean over hidden pixels of (f(y with them hidden) - y)^2.

    Noise that is independent from pixel to pixel cannot be found from the surroundings, so what is
    learned is the mean of the signal given them; the pixel itself is never used, not at the end
    either, which costs decibels.

    Source: Krull et al., "Noise2Void - Learning Denoising from Single Noisy Images", CVPR 2019:
    stratified positions, and "uniform pixel selection" for what hides them.
    """

    batch_parts = "noisy"

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """See the class."""
        shape = tf.concat([tf.shape(noisy)[:3], [2]], 0)
        numbers = self.drawn(uniform, shape, replica)
        hidden = hidden_pixels(numbers[..., 0])
        given = tf.where(hidden, neighbours(noisy, numbers[..., 1]), noisy)
        error = tf.square(tf.cast(self(given, training=True), tf.float32) - noisy)
        weight = tf.cast(hidden, tf.float32)
        channels = tf.cast(tf.shape(noisy)[3], tf.float32)
        return tf.reduce_sum(weight * error) / (tf.reduce_sum(weight) * channels)


def uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Uniform numbers in [0, 1)."""
    return tf.random.stateless_uniform(shape, seed, alg="philox")


def hidden_pixels(numbers: tf.Tensor, cell: int = CELL) -> tf.Tensor:
    """Which pixels are hidden: of every cell the one whose number is the largest.

    Args:
        numbers: float [batch, height, width], different within a cell.
        cell: side in pixels; rows and columns beyond the last whole cell have none hidden.

    Returns:
        bool [batch, height, width, 1], one in every cell.
    """
    shape = tf.shape(numbers)
    rows, columns = shape[1] // cell * cell, shape[2] // cell * cell
    inside = numbers[:, :rows, :columns, None]
    largest = tf.nn.max_pool2d(inside, cell, cell, "VALID")
    largest = tf.repeat(tf.repeat(largest, cell, axis=1), cell, axis=2)
    hidden = tf.cast(inside >= largest, tf.int32)
    rest = [[0, 0], [0, shape[1] - rows], [0, shape[2] - columns], [0, 0]]
    return tf.pad(hidden, rest) > 0


def neighbours(images: tf.Tensor, numbers: tf.Tensor, radius: int = RADIUS) -> tf.Tensor:
    """For every pixel another one of those around it, never itself.

    Args:
        images: [batch, height, width, channels], sides above `2 * radius`.
        numbers: uniform in [0, 1), [batch, height, width]: they choose it.
        radius: int, in pixels.

    Returns:
        The shape of `images`.
    """
    shape = tf.shape(images)
    side = 2 * radius + 1
    # One of side^2 - 1 places, the middle left out.
    place = tf.cast(numbers * float(side * side - 1), tf.int32)
    place += tf.cast(place >= side * side // 2, tf.int32)
    away = (place // side - radius, place % side - radius)
    moved = []
    for axis, step in zip((1, 2), away, strict=True):
        own = tf.range(shape[axis])
        own = own[:, None] if axis == 1 else own[None, :]
        target = own + step
        outside = (target < 0) | (target >= shape[axis])
        moved.append(tf.where(outside, own - step, target))  # the same distance, inwards
    return tf.gather_nd(images, tf.stack(moved, axis=-1), batch_dims=1)
