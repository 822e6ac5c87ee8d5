"""Adam as one kernel for each variable, and moving averages in few."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("n2n_tf")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, whose state it shares, with TensorFlow's kernel for the update.

    Keras's own runs about a dozen small operations for each variable, and half as many for its
    moving average. Both take the same step but for rounding.
    """

    def __init__(self, *args: Any, name: str = "adam", **kwargs: Any) -> None:
        super().__init__(*args, name=name, **kwargs)
        if self.amsgrad:
            raise ValueError("`amsgrad` is not known to the kernel.")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        steps = tf.cast(self.iterations + 1, tf.float32)
        powers = tf.pow(self.beta_1, steps), tf.pow(self.beta_2, steps)
        rates = (tf.cast(learning_rate, tf.float32), *powers)  # once, and not for each variable
        super()._backend_update_step(grads, trainable_variables, rates)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tuple[tf.Tensor, ...]
    ) -> None:
        """Updates a variable and its two moments; for Keras to call.

        Args:
            gradient: float32.
            variable: float32, of the same shape.
            learning_rate: of this step, and both decays to the power of the number of steps.
        """
        index = self._get_variable_index(variable)
        rate, beta1_power, beta2_power = learning_rate
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _update_model_variables_moving_average(self, trainable_variables):
        # The first step's weights are the first averages, as with Keras.
        first = tf.equal(tf.convert_to_tensor(self.iterations), 0)
        share = tf.where(first, 1.0, 1.0 - self.ema_momentum)
        pairs = zip(trainable_variables, self._model_variables_moving_average, strict=True)
        for variable, average in pairs:
            average.value.assign_add(share * (variable.value - average.value))
