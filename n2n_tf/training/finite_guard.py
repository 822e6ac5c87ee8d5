"""Numbers that are none end a training run before they are saved."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from n2n_tf.pipelines.training.batches import epoch_order
from n2n_tf.training.checkpoints import Checkpoint, assign_means, means_of
from n2n_tf.training.errors import BadStep
from n2n_tf.training.recipes import Recipe

SKIPPED_IN_A_ROW = 30  # loss scaling halves its factor at each: 2**15 has become 2**-15


class FiniteGuard(keras.callbacks.Callback):
    """Raises `BadStep` after the first bad step. Goes before the callback that saves.

    A step that loss scaling (mixed_float16) skipped is none: it changed nothing, and its loss is
    taken out of the running means.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        names: names of the training images.
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`, which counts the steps.
    """

    def __init__(self, recipe: Recipe, names: Sequence[str], checkpoint: Checkpoint) -> None:
        super().__init__()
        self.recipe, self.names, self.checkpoint = recipe, names, checkpoint

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the state that the first step begins with."""
        self._skipped = 0
        self._remember()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss, the weights and the optimizer's state."""
        loss = float(logs["loss"])
        if not math.isfinite(loss) and self._was_skipped():
            self._skipped += 1
            assign_means(self.model, self._means)
            if self._skipped < SKIPPED_IN_A_ROW:
                return
        if not math.isfinite(loss):
            raise BadStep(self._say(f"the loss is {loss}"))
        if not _all_finite([v.value for v in self._state()]):
            raise BadStep(self._say("weights or optimizer state are NaN or infinite"))
        self._skipped = 0
        self._remember()

    def _state(self):
        variables = [*self.model.network.variables, *self.model.optimizer.variables]
        return [v for v in variables if "float" in v.dtype]

    def _remember(self):
        self._scaled = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._iterations = int(self.model.optimizer.iterations.numpy())
        self._means = means_of(self.model)

    def _was_skipped(self):
        return self._scaled and int(self.model.optimizer.iterations.numpy()) == self._iterations

    def undo_unmade_step(self) -> None:
        """Sets the state back after a step that failed for want of its batch.

        All that a step changes waits for the batch, but for what only counts steps.
        """
        self.model.optimizer.iterations.assign(self._iterations)
        assign_means(self.model, self._means)

    def _say(self, what):
        step = self.checkpoint.step  # counted from 0, of the step just taken
        epoch, batch = divmod(step, self.checkpoint.per_epoch)
        names = images_of_step(self.names, self.recipe, self.checkpoint.per_epoch, step)
        return (
            f"step {step + 1} (epoch {epoch + 1}, batch {batch + 1}): {what}. "
            f"Images in this batch: {', '.join(names)}."
        )


@tf.function(reduce_retracing=True)
def _all_finite(tensors):
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])


def images_of_step(names: Sequence[str], recipe: Recipe, per_epoch: int, step: int) -> list[str]:
    """Names of the images in the batch of a step, counted from 0, without doubles."""
    epoch, batch = divmod(step, per_epoch)
    samples = per_epoch * recipe.batch_size
    order = epoch_order(tf.constant(epoch, tf.int64), len(names), samples, recipe.seed)
    indices = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
    return list(dict.fromkeys(names[int(i)] for i in indices))
