"""Noise2Noise (Lehtinen et al., ICML 2018): two noisy images of each scene."""

import keras
import tensorflow as tf

from n2n_tf.method.pairs import PairTraining


@keras.saving.register_keras_serializable("n2n_tf")
class Noise2Noise(PairTraining):
    """Two noisy images of the same scene.

    Source: Lehtinen et al., "Noise2Noise: Learning Image Restoration without Clean Data", ICML
    2018.
    """

    batch_parts = "noisy_noisy"

    def pair(
        self, noisy: tf.Tensor, companion: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Both noisy images as they come."""
        return noisy, companion
