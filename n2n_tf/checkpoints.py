"""All of a training's state in files that are either whole and checked, or ignored."""

import hashlib
import json
import pathlib
import time

import keras

from pipelines.atomic_files import atomic_file, write_json


class Checkpoint(keras.callbacks.Callback):
    """Saves all of a training's state: weights, optimizer, step, running means, history.

    Two files per checkpoint, written whole or not at all: the state, then a JSON file that names
    its step and checksum and so makes it valid. The newest two are kept.

    Args:
        folder: where the files lie.
        per_epoch: int, steps in an epoch.
        minutes: float, time between checkpoints within an epoch; one is written after each epoch.
    """

    def __init__(self, folder, per_epoch, minutes):
        super().__init__()
        self.folder, self.per_epoch, self.seconds = pathlib.Path(folder), per_epoch, 60 * minutes
        self.folder.mkdir(exist_ok=True)
        self.step, self.history, self._means = 0, [], {}
        self._saved_at = time.monotonic()

    def restore(self, model, say):
        """Restores the newest undamaged checkpoint; returns the number of steps done."""
        for file in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                progress = json.loads(file.read_text())
                state = file.with_suffix(".weights.h5")
                if _checksum(state) != progress["sha256"]:
                    raise ValueError("its checksum is wrong")
                model.load_weights(state)
            except (OSError, ValueError, KeyError) as error:
                say(f"Checkpoint {file} is damaged ({error}); trying the one before it.")
                continue
            self.step, self.history = progress["step"], progress["history"]
            self._means = progress["means"]
            return self.step
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        """Gives an interrupted epoch its running means back, after Keras has reset them."""
        for name, values in self._means.items():
            for variable, value in zip(self.model.means[name].variables, values, strict=True):
                variable.assign(value)
        self._means = {}

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step and saves if it is time."""
        self.step += 1
        last = self.step % self.per_epoch == 0  # on_epoch_end saves it, with its history
        if not last and time.monotonic() - self._saved_at > self.seconds:
            means = {
                name: [float(variable.numpy()) for variable in mean.variables]
                for name, mean in self.model.means.items()
            }
            self._save(means)

    def on_epoch_end(self, epoch, logs=None):
        """Saves, with the epoch's figures added to the history."""
        self.history.append({"epoch": epoch + 1} | {k: float(v) for k, v in logs.items()})
        self._save({})

    def _save(self, means):
        state = self.folder / f"{self.step:09d}.weights.h5"
        with atomic_file(state, overwrite=True) as temporary:
            self.model.save_weights(temporary, overwrite=True)
        progress = {
            "step": self.step,
            "sha256": _checksum(state),
            "means": means,
            "history": self.history,
        }
        write_json(self.folder / f"{self.step:09d}.json", progress)
        for old in sorted(self.folder.glob("*.json"))[:-2]:
            old.unlink()
            old.with_suffix(".weights.h5").unlink(missing_ok=True)
        self._saved_at = time.monotonic()


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
