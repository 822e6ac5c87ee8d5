"""Noisier2Noise: noise is added to a noisy image, and the noisy image is learned from that."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.method.one_loss import OneLoss, noise_like, normal


@keras.saving.register_keras_serializable("n2n_tf")
class Noisier2Noise(OneLoss):
    """The noise must be known: loss = mean (f(y + alpha z) - y)^2, z like the noise of y.

    f learns E[y | y + alpha z]. For Gaussian noise that is not yet the mean of the clean image, but
    tells it:

        E[x | y + alpha z] = ((1 + alpha^2) f(y + alpha z) - (y + alpha z)) / alpha^2

    which `corrected` does to a trained network; the network by itself denoises by half.

    Source: Moran et al., "Noisier2Noise: Learning to Denoise from Unpaired Noisy Data", CVPR 2020.
    """

    batch_parts = "noisy_law"
    alpha = 1.0  # the paper's comparison: "we re-implement the authors' design with alpha = 1"

    def loss_of(
        self, noisy: tf.Tensor, companion: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """`companion`: float32 [batch, 2], shot and read variance of each image."""
        standard = self.drawn(normal, tf.shape(noisy), replica)
        noisier = noisy + self.alpha * noise_like(noisy, companion, standard)
        return tf.reduce_mean(tf.square(tf.cast(self(noisier, training=True), tf.float32) - noisy))


def corrected(
    denoise: Callable[[np.ndarray], np.ndarray],
    law: tuple[float, float],
    alpha: float = 1.0,
    seed: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
    """What a network trained so is used as: it is shown the image made noisier, then corrected.

    Args:
        denoise: callable, float32 [height, width, channels] -> the same shape.
        law: shot and read variance of the noise of the images.
        alpha: as in training.
        seed: of the noise that is added, the same for every image.

    Returns:
        A callable like `denoise`.

    Example:
        >>> halfway = corrected(lambda noisier: 0.5 * noisier, law=(0.0, 0.0))
        >>> halfway(np.ones((1, 1, 1), np.float32)).tolist()
        [[[0.0]]]
    """

    def run(noisy: np.ndarray) -> np.ndarray:
        standard = np.random.default_rng(seed).standard_normal(noisy.shape, np.float32)
        shot, read = law
        added = np.sqrt(np.maximum(shot * noisy + read, 0)) * standard
        noisier = np.float32(noisy + alpha * added)
        return np.float32(((1 + alpha**2) * denoise(noisier) - noisier) / alpha**2)

    return run
