"""Learning what a blind-spot network says of each pixel: a mean, a covariance, and the noise."""

from typing import Any

import keras
import tensorflow as tf

from n2n_tf.method.one_loss import OneLoss
from n2n_tf.networks.blind_spot import LEAST

NUDGE = 0.1  # towards more noise and less doubt of the mean, which explain the pixels alike


@keras.saving.register_keras_serializable("n2n_tf")
class BlindSpot(OneLoss):
    """The likelihood of noisy pixels under what is said of them: "laine19" and "dbsn".

        y ~ Normal(mean, C + N)      C = A A^T, N = diag(shot * mean + read)
        loss = mean over pixels of ((y - mean)^T (C + N)^-1 (y - mean) + log det (C + N)) / 2

    mean, A and the law of the noise come from a network of `n2n_tf.networks.blind_spot`, whose
    output is the posterior mean ("-pme"); `mean_network` gives its mean alone ("-mu"). Where the
    law is learned, `NUDGE` of the standard deviation of the noise is taken off the loss; where it
    is known, that term has no gradient.

    Raises:
        ValueError: for a network that has no such parts.

    Source: Laine et al., "High-Quality Self-Supervised Deep Image Denoising", NeurIPS 2019.
    """

    batch_parts = "noisy"

    def __init__(self, network: keras.Model, *args: Any, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        self.parts = parts_of(network)

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor | None, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """See the class."""
        mean, factor, law = self.parts(noisy, training=True)
        noise = law[..., :1] * tf.maximum(mean, 0.0) + law[..., 1:] + LEAST
        likelihood = tf.reduce_mean(negative_log_likelihood(noisy - mean, factor, noise))
        level = law[..., :1] * tf.stop_gradient(tf.maximum(mean, 0.0)) + law[..., 1:] + LEAST
        return likelihood - NUDGE * tf.reduce_mean(tf.sqrt(level))


def parts_of(network: keras.Model) -> keras.Model:
    """A model of the same weights that gives mean, factor and law.

    Raises:
        ValueError: if the network has no such layers.
    """
    names = {layer.name for layer in network.layers}
    if missing := {"mean", "factor", "law"} - names:
        raise ValueError(
            f"Network {network.name!r} is not a blind-spot network: it has no layer "
            f"{', '.join(sorted(missing))}. Take blind_spot_unet or blind_spot_dilated."
        )
    outputs = [network.get_layer(name).output for name in ("mean", "factor", "law")]
    return keras.Model(network.input, outputs)


def mean_network(network: keras.Model) -> keras.Model:
    """What is known from the surroundings alone, without the pixel itself: the paper's "-mu"."""
    return keras.Model(network.input, network.get_layer("mean").output, name=network.name)


def negative_log_likelihood(error: tf.Tensor, factor: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """-log of the density of an error under Normal(0, A A^T + diag(noise)), constant left out.

    Args:
        error: float32 [..., channels].
        factor: float32 [..., channels^2], A row by row.
        noise: float32 [..., channels], above 0.

    Returns:
        float32 [...]: (e^T S^-1 e + log det S) / 2, by a Cholesky decomposition of S written out,
        which is many times faster than that of many small matrices.
    """
    count = error.shape[-1]
    rows = [factor[..., count * i : count * (i + 1)] for i in range(count)]
    lower, solved, halves = {}, [], []
    for i in range(count):
        for j in range(i + 1):
            value = tf.reduce_sum(rows[i] * rows[j], axis=-1)
            value += noise[..., i] if i == j else 0.0
            value -= sum(lower[i, k] * lower[j, k] for k in range(j))
            lower[i, j] = tf.sqrt(tf.maximum(value, LEAST / 2)) if i == j else value / lower[j, j]
        rest = error[..., i] - sum(lower[i, k] * solved[k] for k in range(i))
        solved.append(rest / lower[i, i])
        halves.append(0.5 * tf.square(solved[i]) + tf.math.log(lower[i, i]))
    return tf.add_n(halves)
