"""A step that descends one loss: what every method but Neighbor2Neighbor itself has in common."""

from collections.abc import Callable

import keras
import tensorflow as tf

from n2n_tf.method.trainer import Neighbor2Neighbor


class OneLoss(Neighbor2Neighbor):
    """Neighbor2Neighbor's trainer, checkpoints, replicas and validation, with another loss.

    A subclass says what its batches hold (`batch_parts`) and what its loss is (`loss_of`).
    """

    def train_step(self, data: tf.Tensor | tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """One step on a batch of noisy images, or of (noisy, their companion)."""
        noisy, companion, _ = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            loss = self.with_own_losses(self.loss_of(noisy, companion, replica))
            scaled = self.optimizer.scale_loss(loss / replica.num_replicas_in_sync)
        taken = self.descend(tape, scaled, replica)
        self.note_step(taken, loss=loss, reconstruction=loss, regularisation=tf.zeros(()))
        return self._results("loss", "reconstruction", "regularisation", gamma=self.gamma)

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """The loss of a batch, float32 scalar: a mean over the images of this replica."""
        raise NotImplementedError

    def drawn(
        self, draw: Callable, shape: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """This replica's part of what a step draws for the whole batch.

        Args:
            draw: callable(shape, seed) -> tensor of that shape.
            shape: of this replica's part, the batch first.
            replica: its context.
        """
        batch = shape[0]
        everyone = tf.concat([[batch * replica.num_replicas_in_sync], shape[1:]], 0)
        step = tf.cast(self.optimizer.iterations, tf.int64)
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        start = batch * replica.replica_id_in_sync_group
        return draw(everyone, seed)[start : start + batch]


def normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers, the same on every machine."""
    return tf.random.stateless_normal(shape, seed, alg="philox")


def noise_like(noisy: tf.Tensor, law: tf.Tensor, standard: tf.Tensor) -> tf.Tensor:
    """Noise of the law of each image, as far as its noisy pixels tell the signal.

    Args:
        noisy: float32 [batch, height, width, channels].
        law: float32 [batch, 2], shot and read: the variance is shot * signal + read.
        standard: standard normal numbers of the shape of `noisy`.
    """
    return tf.sqrt(variance_of(noisy, law)) * standard


def variance_of(image: tf.Tensor, law: tf.Tensor) -> tf.Tensor:
    """The variance shot * image + read, not below 0; arguments as in `noise_like`."""
    shot, read = law[:, None, None, None, 0], law[:, None, None, None, 1]
    return tf.maximum(shot * image + read, 0.0)
