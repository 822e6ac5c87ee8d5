"""Recorrupted-to-Recorrupted (Pang et al., CVPR 2021): a pair made of one noisy image."""

import math
from typing import Any

import keras
import tensorflow as tf

from n2n_tf.method.one_loss import noise_like, normal
from n2n_tf.method.pairs import PairTraining


@keras.saving.register_keras_serializable("n2n_tf")
class Recorrupted(PairTraining):
    """Two noisy images made of a single one, y, whose noise is known: Recorrupted-to-Recorrupted.

        input = y + tau * z      target = y - z / tau      z like the noise of y, drawn anew

    For Gaussian noise the two are independent given the clean image, so f(input) learns the mean of
    the clean image, and no clean image is used. The input is noisier than y, (1 + tau^2) times in
    variance, and the target less and less with a larger tau. For the noise of camera raw, whose
    variance shot * x + read is known only up to the noise in x, they are uncorrelated.

    Source: Pang et al., "Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image
    Denoising", CVPR 2021.
    """

    batch_parts = "noisy_law"

    def __init__(self, network: keras.Model, *args: Any, tau: float = 1.0, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        self.tau = tau

    def pair(
        self, noisy: tf.Tensor, companion: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`companion`: float32 [batch, 2], shot and read variance of each image."""
        z = noise_like(noisy, companion, self.drawn(normal, tf.shape(noisy), replica))
        return noisy + self.tau * z, noisy - z / self.tau

    def get_config(self) -> dict[str, Any]:
        """As Neighbor2Neighbor's, and tau."""
        return super().get_config() | {"tau": self.tau}


def recorruption_factor(tau: float) -> float:
    """What the variance of the noise of y is, in that of the recorrupted input.

    Example:
        >>> recorruption_factor(1.0)
        0.5
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ValueError(f"`tau` must be above 0. Received: {tau}.")
    return 1.0 / (1.0 + tau**2)
