"""Stein's unbiased risk estimate: the error against the clean image, without the clean image."""

import keras
import tensorflow as tf

from n2n_tf.method.one_loss import OneLoss, normal, variance_of

EPSILON = 1e-2  # of the difference quotient, images in [0, 1]; below it float32 rounding shows


@keras.saving.register_keras_serializable("n2n_tf")
class Sure(OneLoss):
    """The noise must be known: an unbiased estimate of mean (f(y) - x)^2 is descended.

        loss = mean (f(y) - y)^2 - mean v + 2 mean (v b (f(y + e b) - f(y)) / e)

    with v the variance of the noise at each pixel, b standard normal: the last term is 2/n of the
    divergence of f weighed by v, by Monte Carlo. For Gaussian noise it is exact in the mean; for
    noise whose variance depends on the signal v is taken from the noisy pixels, which is close.

    Source: Soltanayev and Chun, "Training Deep Learning Based Denoisers without Ground Truth Data",
    NeurIPS 2018; Ramani, Blu and Unser, "Monte-Carlo SURE", IEEE TIP 2008.
    """

    batch_parts = "noisy_law"

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """`companion`: float32 [batch, 2], shot and read variance of each image."""
        direction = self.drawn(normal, tf.shape(noisy), replica)
        both = tf.concat([noisy, noisy + EPSILON * direction], axis=0)
        denoised, moved = tf.split(tf.cast(self(both, training=True), tf.float32), 2)
        variance = variance_of(noisy, companion)
        quotient = direction * (moved - denoised) / EPSILON
        error = tf.reduce_mean(tf.square(denoised - noisy) - variance)
        return error + 2.0 * tf.reduce_mean(variance * quotient)
