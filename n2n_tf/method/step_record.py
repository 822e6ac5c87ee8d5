"""What steps note about themselves, so that the loop around them has nothing to read."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Noted:
    """What `StepRecord` holds.

    Attributes:
        steps: int, steps since it was cleared.
        bad_step: int, the first of them that went bad, counted from 1; 0 if none did.
        loss: float, that step's loss. If it is finite, a weight of the network was not.
        skipped: int, how many of the last steps loss scaling skipped for a loss that was none.
    """

    steps: int
    bad_step: int
    loss: float
    skipped: int


class StepRecord:
    """Counts steps, and keeps which of them was the first to go bad.

    A step goes bad if its loss is NaN or infinite, unless loss scaling skipped it, or if a weight
    is NaN or infinite after it. It is one variable, written within the step on the device that
    takes it, and the same on all replicas.

    Args:
        patience: int, steps in a row that loss scaling may skip for such a loss.
    """

    def __init__(self, patience: int = 30) -> None:
        self.patience = patience  # the loss scale is halved at each: 2**15 has become 2**-15
        self._numbers = tf.Variable(
            tf.zeros(4, tf.float64),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="step_record",
        )

    def note(self, loss: tf.Tensor, taken: tf.Tensor, weights: list[tf.Tensor]) -> None:
        """Adds a step; to be called in its graph, after the optimizer.

        Args:
            loss: scalar, the same on all replicas.
            taken: bool scalar, False if loss scaling skipped the step.
            weights: the network's, as they are after the step.
        """
        steps, bad_step, bad_loss, skipped = tf.unstack(self._numbers)
        finite = tf.math.is_finite(loss)
        skipped = tf.where(finite | taken, tf.zeros_like(skipped), skipped + 1)
        # A sum is finite if all its terms are: of those that are not, none makes the others good.
        sums = tf.add_n([tf.reduce_sum(tf.cast(weight, tf.float32)) for weight in weights])
        may_go_on = finite | (skipped > 0) & (skipped < self.patience)
        good = may_go_on & tf.math.is_finite(sums) | (bad_step > 0)
        steps += 1
        bad_step = tf.where(good, bad_step, steps)
        bad_loss = tf.where(good, bad_loss, tf.cast(loss, tf.float64))
        self._numbers.assign(tf.stack([steps, bad_step, bad_loss, skipped]))

    def read(self) -> Noted:
        """What was noted since it was cleared; waits for the device."""
        steps, bad_step, loss, skipped = self._numbers.numpy().tolist()
        return Noted(int(steps), int(bad_step), loss, int(skipped))

    def clear(self) -> None:
        """Forgets all steps."""
        self._numbers.assign(tf.zeros(4, tf.float64))
