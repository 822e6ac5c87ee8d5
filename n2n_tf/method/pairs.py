"""Training from pairs (input, target), whatever a method makes them of."""

import tensorflow as tf

from n2n_tf.method.losses import balancing_weights
from n2n_tf.method.one_loss import OneLoss


class PairTraining(OneLoss):
    """Learns f(input) = target in the mean square, at full size.

    A subclass says what its batches hold (`batch_parts`) and makes the pair of that.

    With `balance`, each image's loss is divided by the standard deviation of its noise: the errors
    of a denoiser grow about so, and then all levels count alike.
    """

    batch_parts: str  # what `pipelines.batches.training_batches` gives, see there

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """The mean squared error of f(input) against the target."""
        source, target = self.pair(noisy, companion, replica)
        weights = tf.ones(())
        if self.balance:
            weights = tf.sqrt(balancing_weights(source, target))[:, None, None, None]
        difference = tf.cast(self(source, training=True), tf.float32) - target
        return tf.reduce_mean(weights * tf.square(difference))

    def pair(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The network's input and its target, float32 [batch, height, width, channels]."""
        raise NotImplementedError
