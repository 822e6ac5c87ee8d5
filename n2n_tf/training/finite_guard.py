"""What ends a training early without harm: numbers that are none, and a signal to stop."""

import contextlib
import math
import signal
import threading

import keras
import tensorflow as tf

from n2n_tf.pipelines.training.batches import epoch_order
from n2n_tf.training.checkpoints import assign_means, means_of

SKIPPED_IN_A_ROW = 30  # loss scaling halves its factor at each: 2**15 has become 2**-15


class BadStep(ArithmeticError):
    """A step after which the loss or the state is NaN or infinite; nothing of it was saved."""


class FiniteGuard(keras.callbacks.Callback):
    """Raises `BadStep` after the first bad step. Goes before the callback that saves.

    A step that loss scaling (mixed_float16) skipped is none: it changed nothing, and its loss is
    taken out of the running means.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        names: names of the training images.
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`, which counts the steps.
    """

    def __init__(self, recipe, names, checkpoint):
        super().__init__()
        self.recipe, self.names, self.checkpoint = recipe, names, checkpoint

    def on_epoch_begin(self, epoch, logs=None):
        """Takes the state that the first step begins with."""
        self._skipped = 0
        self._remember()

    def on_train_batch_end(self, batch, logs=None):
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

    def undo_unmade_step(self):
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


def images_of_step(names, recipe, per_epoch, step):
    """Names of the images in the batch of a step, counted from 0, without doubles."""
    epoch, batch = divmod(step, per_epoch)
    samples = per_epoch * recipe.batch_size
    order = epoch_order(tf.constant(epoch, tf.int64), len(names), samples, recipe.seed)
    indices = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
    return list(dict.fromkeys(names[int(i)] for i in indices))


class TrainingStopped(Exception):
    """A training that a signal ended after a step, and that was saved.

    Attributes:
        status: int, the exit status for it, 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number, step):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}, which is saved. "
            "The same command again continues."
        )
        self.status = 128 + number


class StopOnSignal(keras.callbacks.Callback):
    """On SIGTERM or Ctrl-C lets the step end, saves it and raises `TrainingStopped`.

    Use as context manager around `fit`, and as its last callback. A second signal ends the process
    at once, as without this. Only the main thread receives signals: in others it does nothing.

    Args:
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`.
        say: callable for lines of text.
    """

    def __init__(self, checkpoint, say):
        super().__init__()
        self.checkpoint, self.say, self._number = checkpoint, say, None

    @contextlib.contextmanager
    def listening(self):
        """Takes the signals; gives them back at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

        def take(number, frame):
            self._number = number
            signal.signal(signal.SIGTERM, before[signal.SIGTERM])
            signal.signal(signal.SIGINT, before[signal.SIGINT])
            self.say("Stopping after this step; a second signal stops at once.")

        for number in before:
            signal.signal(number, take)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        """Saves and stops, unless the epoch ends now."""
        if self._number and self.checkpoint.step % self.checkpoint.per_epoch:
            self.checkpoint.save_within_epoch()
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Stops; the epoch is saved already."""
        if self._number:
            self._stop()

    def _stop(self):
        raise TrainingStopped(self._number, self.checkpoint.step)
