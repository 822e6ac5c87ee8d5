"""All of a training run's state in files that are either whole and checked, or ignored."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.pipelines.files.atomic_files import atomic_file, remove_leftovers, write_json
from n2n_tf.training.errors import BadStep, TrainingError

# h5py raises RuntimeError for some of what goes wrong on a disk.
WRITE_ERRORS = (OSError, RuntimeError, tf.errors.OpError)


def parse_interval(text: str) -> tuple[float, None] | tuple[None, int]:
    """Reads how often a checkpoint is written within an epoch.

    Args:
        text: "5m" or "0.5m", minutes, or "200", steps.

    Returns:
        `seconds, steps`: float and None, or None and int.

    Raises:
        ValueError: if it is neither, or 0.
    """
    if re.fullmatch(r"[0-9]{1,9}", text) and int(text):
        return None, int(text)
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?m", text) and float(text[:-1]):
        return 60 * float(text[:-1]), None
    raise ValueError(
        f"--checkpoint_every={text}: must be minutes, like 5m, or a number of steps, like 200."
    )


class Checkpoint(keras.callbacks.Callback):
    """Saves all of a training run's state: weights, optimizer, step, running means, history.

    Two files per checkpoint, written whole or not at all: the state, then a JSON file that names
    its step and the checksum of both, and so makes it valid. The newest two are kept. One is
    written after each epoch.

    Args:
        folder: where the files lie.
        per_epoch: steps in an epoch.
        every: how often one is written within an epoch, as `parse_interval` reads it.
        writes: False for a worker beside the one that writes: it only restores.

    Attributes:
        step: int, steps done.
        history: list of one dict for each whole epoch.
        rollbacks: int, how often the training went back after a bad step.
        seconds: float, time spent in steps, validation and saving, before this process and in it.
        before_saving: callable, raises `BadStep` if the state must not be saved.
    """

    def __init__(
        self, folder: str | os.PathLike, per_epoch: int, every: str, writes: bool = True
    ) -> None:
        super().__init__()
        self.folder, self.per_epoch, self.writes = pathlib.Path(folder), per_epoch, writes
        self._seconds, self._steps = parse_interval(every)
        if writes:
            self.folder.mkdir(exist_ok=True)
        self.step, self.history, self.rollbacks, self._means = 0, [], 0, {}
        self._saved_at, self.saved_step = time.monotonic(), None
        self._seconds_before, self._began = 0.0, None
        self.before_saving = lambda: None

    @property
    def seconds(self) -> float:
        """See the class."""
        return self._seconds_before + (time.monotonic() - self._began if self._began else 0.0)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._began = self._began or time.monotonic()

    def clean(self) -> None:
        """Removes what a process that was killed in the midst of writing left behind."""
        remove_leftovers(self.folder)
        for state in self._files(".weights.h5"):
            if not _json_of(state).exists():
                state.unlink()

    def _files(self, suffix):
        """Those of checkpoints, the oldest first; others' files are not looked at, nor removed."""
        if not self.folder.is_dir():  # of a worker that does not write, in a folder of its own
            return []
        ours = re.compile(r"[0-9]{9,}" + re.escape(suffix))
        return sorted(path for path in self.folder.iterdir() if ours.fullmatch(path.name))

    def restore(self, model: Neighbor2Neighbor, report: Callable[[str], None]) -> bool:
        """Restores the newest undamaged checkpoint.

        Returns:
            bool, whether there is any.

        Raises:
            TrainingError: if all are damaged, or one is of another network.
        """
        files = self._files(".json")[::-1]
        for file in files:
            try:
                progress = json.loads(file.read_text())
                if _checksum(_state_of(file), progress) != progress["sha256"]:
                    raise ValueError("its checksum is wrong")
            except (OSError, ValueError, KeyError, TypeError) as error:
                report(f"Checkpoint {file} is damaged ({error}); trying the one before it.")
                continue
            self._load(model, _state_of(file))
            self.step = progress["step"]
            # All of it, unless the number of steps in an epoch was changed.
            whole = self.step // self.per_epoch
            self.history = [row for row in progress["history"] if row["epoch"] <= whole]
            self.rollbacks, self._means = progress["rollbacks"], progress["means"]
            if self._began is None:
                self._seconds_before = progress.get("seconds", 0.0)
            self.saved_step = self.step
            return True
        if files:
            raise TrainingError(
                f"{self.folder}: all {len(files)} checkpoints are damaged. Nothing was changed: "
                "restore one from a backup, or start over in another model_dir."
            )
        return False

    def _load(self, model, state):
        try:
            with warnings.catch_warnings():
                # Keras leaves an optimizer of another kind as it is, and only warns.
                warnings.filterwarnings("error", message="Skipping variable loading")
                model.load_weights(state)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except OSError as error:
            raise TrainingError(
                f"{state}: cannot be read ({reason_of(error)}). Nothing was changed: repair the "
                "disk and run the same command again."
            ) from error
        except Exception as error:  # Keras and h5py raise many types
            raise TrainingError(
                f"{state}: is whole, but does not fit the network and optimizer that the flags "
                f"ask for ({reason_of(error)})."
            ) from error

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Gives an interrupted epoch its running means back, after Keras has reset them."""
        assign_means(self.model, self._means)
        self._means = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step and saves if it is time."""
        self.step += 1
        if self.step % self.per_epoch == 0:
            return  # on_epoch_end saves it, with its history
        late = self._seconds and time.monotonic() - self._saved_at > self._seconds
        if late or (self._steps and self.step % self._steps == 0):
            # What is amiss ends the steps where all workers look, which may save at other times.
            with contextlib.suppress(BadStep):
                self.save_within_epoch()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves, with the epoch's figures added to the history."""
        self.history.append({"epoch": epoch + 1} | {k: float(v) for k, v in logs.items()})
        self.save()

    def save_within_epoch(self) -> None:
        """Saves after a step that is not the last of its epoch; of a step saved, does nothing.

        Raises:
            BadStep: if the state must not be saved.
            TrainingError: as `save`.
        """
        if self.step != self.saved_step:
            self.save(means_of(self.model))

    def save(self, means: dict[str, list[float]] | None = None) -> None:
        """Saves the state as it is now.

        Raises:
            BadStep: if it must not be saved.
            TrainingError: if that fails; the checkpoints before are as they were.
        """
        if not self.writes:
            return
        self.before_saving()
        state = self.folder / f"{self.step:09d}.weights.h5"
        try:
            with atomic_file(state, overwrite=True) as temporary:
                self.model.save_weights(temporary, overwrite=True)
            self._write_json(state, means or {})
            for old in self._files(".json")[:-2]:
                old.unlink()
                _state_of(old).unlink(missing_ok=True)
        except WRITE_ERRORS as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint of step {self.step} cannot be written "
                f"({reason_of(error)}). {self._last_saved()} Make room or repair the disk, "
                "then run the same command again."
            ) from error
        self._saved_at, self.saved_step = time.monotonic(), self.step

    def roll_back(self, model: Neighbor2Neighbor, report: Callable[[str], None]) -> None:
        """Restores the newest checkpoint and counts that in it, so that a resume knows of it."""
        count = self.rollbacks + 1
        self.restore(model, report)
        self.rollbacks = count
        if self.writes:
            self._write_json(self.folder / f"{self.step:09d}.weights.h5", self._means)

    def _write_json(self, state, means):
        progress = {
            "step": self.step,
            "means": means,
            "rollbacks": self.rollbacks,
            "history": self.history,
            "seconds": self.seconds,
        }
        write_json(_json_of(state), progress | {"sha256": _checksum(state, progress)})

    def _last_saved(self):
        if self.saved_step is None:
            return "There is none before it."
        return f"The one of step {self.saved_step} is untouched."


def reason_of(error: BaseException) -> str:
    """What went wrong in writing, in one line: the system's words if there are any."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).partition("\n")[0]


def means_of(model: Neighbor2Neighbor) -> dict[str, list[float]]:
    """The state of a model's running means, for JSON."""
    return {
        name: [float(variable.numpy()) for variable in mean.variables]
        for name, mean in model.means.items()
    }


def assign_means(model: Neighbor2Neighbor, means: dict[str, list[float]]) -> None:
    """Assigns what `means_of` gave."""
    for name, values in means.items():
        for variable, value in zip(model.means[name].variables, values, strict=True):
            variable.assign(value)


def _json_of(state):
    return state.with_name(state.name.removesuffix(".weights.h5") + ".json")


def _state_of(file):
    return file.with_suffix(".weights.h5")


def _checksum(state, progress):
    """Digest of a checkpoint's state file and of all else that its JSON file says."""
    signed = {key: progress[key] for key in sorted(progress) if key != "sha256"}
    digest = hashlib.sha256(json.dumps(signed).encode())
    with open(state, "rb") as file:
        digest.update(file.read())
    return digest.hexdigest()
