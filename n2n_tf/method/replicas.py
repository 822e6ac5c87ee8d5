"""What a step needs when several replicas share its batch."""

from typing import Any

import keras
import tensorflow as tf


def several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes take part."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(strategy.extended.worker_devices) < strategy.num_replicas_in_sync
    )


class ReplicatedMean(keras.metrics.Mean):
    """Running mean of values that are the same on all replicas, so that each holds it whole.

    Keras's own is a sum over the replicas of all workers: a worker that reads it, for a checkpoint,
    would wait for the others to read it too.
    """

    def add_variable(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """The variable as `keras.metrics.Mean` makes it, but not summed when it is read."""
        return super().add_variable(*args, **kwargs, aggregation="only_first_replica")


def overflow_everywhere(
    gradients: list[tf.Tensor], replica: tf.distribute.ReplicaContext
) -> list[tf.Tensor]:
    """The gradients, all NaN if one is infinite or NaN on any replica.

    Loss scaling skips a step by what the first replica of each worker has, which would apply the
    infinite gradients of another replica, and leave the workers apart.
    """
    finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
    overflow = tf.cast(~tf.reduce_all(tf.stack(finite)), tf.float32)
    somewhere = replica.all_reduce("SUM", overflow) > 0
    return [tf.where(somewhere, float("nan"), gradient) for gradient in gradients]
