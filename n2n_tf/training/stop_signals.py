"""Ctrl-C and SIGTERM end a training run after the step, with its state saved."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from n2n_tf.training.checkpoints import Checkpoint
from n2n_tf.training.errors import TrainingStopped


class StopOnSignal(keras.callbacks.Callback):
    """On SIGTERM or Ctrl-C lets the step end, saves it and raises `TrainingStopped`.

    Use as context manager around `fit`, and as its last callback. A second signal ends the process
    at once, as without this. Only the main thread receives signals: in others it does nothing.

    Args:
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`.
        report: callable for lines of text.
    """

    def __init__(self, checkpoint: Checkpoint, report: Callable[[str], None]) -> None:
        super().__init__()
        self.checkpoint, self.report, self._number = checkpoint, report, None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals; gives them back at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

        def take(number, frame):
            self._number = number
            signal.signal(signal.SIGTERM, before[signal.SIGTERM])
            signal.signal(signal.SIGINT, before[signal.SIGINT])
            self.report("Stopping after this step; a second signal stops at once.")

        for number in before:
            signal.signal(number, take)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves and stops, unless the epoch ends now."""
        if self._number and self.checkpoint.step % self.checkpoint.per_epoch:
            self.checkpoint.save_within_epoch()
            self._stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops; the epoch is saved already."""
        if self._number:
            self._stop()

    def _stop(self):
        raise TrainingStopped(self._number, self.checkpoint.step)
