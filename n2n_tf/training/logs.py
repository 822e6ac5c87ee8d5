"""What a training run reports: TensorBoard, and a progress bar in the terminal."""

import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from n2n_tf.pipelines.files.atomic_files import atomic_file, remove_leftovers
from n2n_tf.training.checkpoints import WRITE_ERRORS, Checkpoint, reason_of
from n2n_tf.training.epoch_figures import Figures
from n2n_tf.training.recipes import Recipe


class TensorBoardLog(keras.callbacks.Callback):
    """Scalars and pictures of every epoch for TensorBoard; steps are epochs from 1.

    Each epoch is an event file of its own, which appears whole or not at all. So an epoch that is
    trained again replaces what it wrote, and one whose file is missing, after a kill or with the
    folder, gets its scalars from the history, and its pictures if it was the last: nothing is
    logged twice or left out.

    Args:
        folder: where the logs go.
        checkpoint: `n2n_tf.training.checkpoints.Checkpoint`, which has the history.
        figures: `n2n_tf.training.epoch_figures.Figures`.
        report: callable for lines of text; a log that cannot be written does not end the training.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        checkpoint: Checkpoint,
        figures: Figures,
        report: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.folder, self.checkpoint = pathlib.Path(folder), checkpoint
        self.figures, self.report = figures, report

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the files say what the history says."""
        epoch, done = divmod(self.checkpoint.step, self.checkpoint.per_epoch)
        if not epoch or done or self._file_of(epoch).exists():
            self._write_missing()
            return
        self.figures.look()  # the weights are still those at the end of that epoch
        self._write_missing(self.figures.pictures, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's file, anew if there is one."""
        self._write_missing(self.figures.pictures, epoch + 1)

    def _file_of(self, epoch):
        return self.folder / f"events.out.tfevents.{epoch:06d}"

    def _write_missing(self, pictures=None, anew=None):
        try:
            self.folder.mkdir(exist_ok=True)
            remove_leftovers(self.folder)
            files = {self._file_of(row["epoch"]): row for row in self.checkpoint.history}
            ours = set(self.folder.glob("events.out.tfevents." + "[0-9]" * 6))
            for file in ours - set(files):
                file.unlink()
            for file, row in files.items():
                if row["epoch"] == anew:
                    _write_events(file, row, pictures)
                elif not file.exists():
                    _write_events(file, row, {})
        except WRITE_ERRORS as error:
            self.report(f"{self.folder}: cannot be written ({reason_of(error)}); the run goes on.")


def _write_events(path, row, pictures):
    """Writes one epoch: a row of the history, and pictures."""
    summary = tf.compat.v1.Summary()
    for name, value in row.items():
        if name != "epoch":
            summary.value.add(tag=name, simple_value=value)
    for name, picture in pictures.items():
        pixels = tf.image.convert_image_dtype(picture, tf.uint8, saturate=True)
        height, width, channels = np.shape(picture)
        image = summary.value.add(tag=name).image
        image.height, image.width, image.colorspace = height, width, channels
        image.encoded_image_string = tf.io.encode_png(pixels).numpy()
    event = tf.compat.v1.Event(step=row["epoch"], wall_time=time.time(), summary=summary)
    version = tf.compat.v1.Event(wall_time=event.wall_time, file_version="brain.Event:2")
    with (
        atomic_file(path, overwrite=True) as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
        writer.write(version.SerializeToString())
        writer.write(event.SerializeToString())


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole training, with images/s and the time left; a line for each epoch."""

    def __init__(self, recipe: Recipe, total_steps: int, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.recipe, self.checkpoint = recipe, checkpoint
        self._shown = time.monotonic()
        self.bar = tqdm.tqdm(
            total=total_steps * recipe.batch_size,
            initial=checkpoint.step * recipe.batch_size,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar, and reads the loss no more often than it is shown."""
        if time.monotonic() - self._shown >= self.bar.mininterval:
            self._shown = time.monotonic()
            self.bar.set_postfix(loss=f"{float(logs['loss']):.4g}", refresh=False)
        self.bar.update(self.recipe.batch_size)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar to the number of steps done, back if some are done again."""
        self.bar.n = self.checkpoint.step * self.recipe.batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Prints the epoch's figures above the bar."""
        figures = "  ".join(f"{name} {float(value):.5g}" for name, value in logs.items())
        self.bar.write(f"epoch {epoch + 1}/{self.recipe.epochs}  {figures}")

    def close(self) -> None:
        """Leaves the bar as it is."""
        self.bar.close()
