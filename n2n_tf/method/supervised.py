"""Clean targets: what no self-supervised method has, to measure them against."""

import keras
import tensorflow as tf

from n2n_tf.method.pairs import PairTraining


@keras.saving.register_keras_serializable("n2n_tf")
class Supervised(PairTraining):
    """Clean targets: not self-supervised, the ceiling that the others are measured against."""

    batch_parts = "noisy_clean"

    def pair(
        self, noisy: tf.Tensor, companion: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Noisy and clean as they come."""
        return noisy, companion
