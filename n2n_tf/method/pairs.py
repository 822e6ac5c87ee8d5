"""Training from pairs (input, target), whatever a method makes them of."""

import keras
import tensorflow as tf

from n2n_tf.method.losses import balancing_weights
from n2n_tf.method.trainer import Neighbor2Neighbor


class PairTraining(Neighbor2Neighbor):
    """Learns f(input) = target in the mean square, at full size.

    All that Neighbor2Neighbor's trainer has, checkpoints, replicas, validation, with another step.
    A subclass says what its batches hold (`batch_parts`) and makes the pair of that.

    With `balance`, each image's loss is divided by the standard deviation of its noise: the errors
    of a denoiser grow about so, and then all levels count alike.
    """

    batch_parts: str  # what `pipelines.batches.training_batches` gives, see there

    def train_step(self, data):
        """One step on a batch of (noisy, its companion)."""
        noisy, companion, _ = keras.utils.unpack_x_y_sample_weight(data)
        replica = tf.distribute.get_replica_context()
        source, target = self.pair(noisy, companion, replica)
        weights = tf.ones(())
        if self.balance:
            weights = tf.sqrt(balancing_weights(source, target))[:, None, None, None]
        with tf.GradientTape() as tape:
            difference = tf.cast(self(source, training=True), tf.float32) - target
            loss = tf.reduce_mean(weights * tf.square(difference))
            scaled = self.optimizer.scale_loss(loss / replica.num_replicas_in_sync)
        self.descend(tape, scaled, replica)
        self._update(1, loss=loss, reconstruction=loss, regularisation=tf.zeros(()))
        return self._results("loss", "reconstruction", "regularisation", gamma=self.gamma)

    def pair(self, noisy, companion, replica):
        """The network's input and its target, float32 [batch, height, width, channels]."""
        raise NotImplementedError
