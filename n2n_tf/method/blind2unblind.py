"""Blind2Unblind: every pixel is hidden once, in four passes, and a fifth sees all of them."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.method.one_loss import OneLoss

# Weights of the pixels around a hidden one, those at corners half; the pixel itself takes no part.
_AROUND = np.float32([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]]) / 6
LEAST, MOST = 2.0, 20.0  # lambda at the beginning and at the end of a training run


@keras.saving.register_keras_serializable("n2n_tf")
class Blind2Unblind(OneLoss):
    """The re-visible loss; no noise model, about seven times the cost of a supervised step.

        b = the pixels of f(y with them hidden), put together of four passes
        loss = mean (b + lambda f(y) - (lambda + 1) y)^2 + mean (b - y)^2

    with no gradient through f(y). lambda = 2 + 9 gamma, which a gamma that rises to 2 takes from 2
    to 20. `revisible` is what a trained network is used as.

    Source: Wang et al., "Blind2Unblind: Self-Supervised Image Denoising with Visible Blind Spots",
    CVPR 2022, written from the publication.
    """

    batch_parts = "noisy"

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """See the class; `noisy` has even sides."""
        seen = tf.stop_gradient(tf.cast(self(noisy, training=True), tf.float32))
        hidden = tf.concat([with_hidden(noisy, position) for position in range(4)], axis=0)
        given = tf.split(tf.cast(self(hidden, training=True), tf.float32), 4)
        blind = tf.add_n([place(tf.shape(noisy), i) * part for i, part in enumerate(given)])
        weight = LEAST + (MOST - LEAST) / 2.0 * self.gamma
        visible = tf.square(blind + weight * seen - (weight + 1.0) * noisy)
        return tf.reduce_mean(visible) + tf.reduce_mean(tf.square(blind - noisy))


def place(shape: tf.Tensor, position: int) -> tf.Tensor:
    """1 where a pixel has this position in its 2 x 2 cell, else 0: float32 [1, height, width, 1].

    Args:
        shape: int [4], of images [batch, height, width, channels].
        position: 0 to 3, row by row.
    """
    rows = tf.range(shape[1])[:, None] % 2 == position // 2
    columns = tf.range(shape[2])[None, :] % 2 == position % 2
    return tf.cast(rows & columns, tf.float32)[None, :, :, None]


def with_hidden(images: tf.Tensor, position: int) -> tf.Tensor:
    """Images in which all pixels of a position are the weighted mean of those around.

    Args:
        images: float32 [batch, height, width, channels], sides at least 2.
        position: 0 to 3, in the 2 x 2 cell, row by row.
    """
    channels = images.shape[-1]
    kernel = tf.tile(tf.constant(_AROUND)[:, :, None, None], (1, 1, channels, 1))
    around = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    means = tf.nn.depthwise_conv2d(around, kernel, (1, 1, 1, 1), "VALID")
    hidden = place(tf.shape(images), position)
    return images * (1.0 - hidden) + means * hidden


def revisible(
    denoise: Callable[[np.ndarray], np.ndarray], weight: float = MOST
) -> Callable[[np.ndarray], np.ndarray]:
    """What a trained network is used as: (b + lambda f(y)) / (lambda + 1).

    Args:
        denoise: callable, float32 [height, width, channels] -> the same shape.
        weight: lambda.

    Returns:
        A callable like `denoise`, five times as expensive.
    """

    def run(noisy: np.ndarray) -> np.ndarray:
        batch = tf.constant(noisy[None], tf.float32)
        blind = sum(
            place(tf.shape(batch), i).numpy()[0] * denoise(with_hidden(batch, i).numpy()[0])
            for i in range(4)
        )
        return np.float32((blind + weight * denoise(noisy)) / (weight + 1.0))

    return run
