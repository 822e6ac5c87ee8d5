"""Numbers that are none, and a network that has diverged, end a training run before it is saved."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from n2n_tf.pipelines.training.batches import epoch_order
from n2n_tf.training.checkpoints import Checkpoint
from n2n_tf.training.errors import BadStep
from n2n_tf.training.recipes import Recipe

LOOK_EVERY = 20  # steps; those after a bad one are taken in vain
DIVERGED = 10  # mean loss of an epoch, beside the lowest one, from which on a run has diverged


class FiniteGuard(keras.callbacks.Callback):
    """Raises `BadStep` soon after the first bad step, and before anything of it is saved.

    A step notes by itself how it went (`n2n_tf.method.step_record`), so that the loop need not wait
    for it. That is read every `LOOK_EVERY` steps, at the end of an epoch, and whenever `checkpoint`
    saves; all workers read it after the same steps. Goes before the callbacks that save.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        names: names of the training images.
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`, which counts the steps.
    """

    def __init__(self, recipe: Recipe, names: Sequence[str], checkpoint: Checkpoint) -> None:
        super().__init__()
        self.recipe, self.names, self.checkpoint = recipe, names, checkpoint
        self._first = 0  # the step, counted from 0, that the record counts as its first
        checkpoint.before_saving = self.look

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Prepares the look at all of the state."""
        variables = [*self.model.network.variables, *self.model.optimizer.variables]
        floats = [variable.value for variable in variables if "float" in variable.dtype]
        self._state_is_finite = tf.function(lambda: _all_finite(floats))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the number of the first step."""
        self.model.record.clear()
        self._first = self.checkpoint.step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks, if it is time."""
        step = self.checkpoint.step + 1
        if step % LOOK_EVERY == 0 or step % self.checkpoint.per_epoch == 0:
            self.look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares the epoch with those before: a network that diverged may never recover.

        Raises:
            BadStep: if its loss is far above that of the best epoch, and above that of the first.
        """
        loss = (logs or {}).get("reconstruction", 0.0)
        losses = [row.get("reconstruction", 0.0) for row in self.checkpoint.history]
        if not losses or min(losses) <= 0 or loss <= max(losses[0], DIVERGED * min(losses)):
            return
        step = self.checkpoint.step - 1
        times = f"{loss / min(losses):.0f} times that of an earlier one"
        raise BadStep(
            self._say(step, f"this epoch's loss is {loss:.3g}, {times}: it has diverged"), step
        )

    def look(self) -> None:
        """Reads what the steps noted, and all of the state.

        Raises:
            BadStep: if one went bad.
        """
        noted = self.model.record.read()
        step = self._first + noted.bad_step - 1
        if noted.bad_step and not math.isfinite(noted.loss):
            raise BadStep(self._say(step, f"the loss is {noted.loss}"), step)
        what = "weights or optimizer state are NaN or infinite"
        if noted.bad_step:
            raise BadStep(self._say(step, what), step)
        if not self._state_is_finite():
            step = self._first + noted.steps - 1
            raise BadStep(self._say(step, f"{what}, since this step or one shortly before"), step)

    def _say(self, step, what):
        epoch, batch = divmod(step, self.checkpoint.per_epoch)
        names = images_of_step(self.names, self.recipe, self.checkpoint.per_epoch, step)
        return (
            f"step {step + 1} (epoch {epoch + 1}, batch {batch + 1}): {what}. "
            f"Images in this batch: {', '.join(names)}."
        )


def _all_finite(tensors):
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors])


def images_of_step(names: Sequence[str], recipe: Recipe, per_epoch: int, step: int) -> list[str]:
    """Names of the images in the batch of a step, counted from 0, without doubles."""
    epoch, batch = divmod(step, per_epoch)
    samples = per_epoch * recipe.batch_size
    order = epoch_order(tf.constant(epoch, tf.int64), len(names), samples, recipe.seed)
    indices = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
    return list(dict.fromkeys(names[int(i)] for i in indices))
