"""run.json: what a training run is, so that it resumes as that, or is refused."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterator

import filelock
import keras
import numpy as np
import tensorflow as tf

import n2n_tf
from n2n_tf.model_files.run_story import RUN_FILE
from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.training.data import Images
from n2n_tf.training.errors import TrainingError
from n2n_tf.training.recipes import Recipe

# What decides the weights' shapes and their number; a checkpoint fits no other.
_DEFAULTS = dataclasses.asdict(Recipe("none"))
FIXED = ("network", "channels", "features")


@contextlib.contextmanager
def only_process(model_dir: pathlib.Path) -> Iterator[None]:
    """Holds the folder's lock.

    Raises:
        TrainingError: if another process holds it.
    """
    lock = filelock.FileLock(model_dir / ".lock", blocking=False)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise TrainingError(f"{model_dir}: another process is training here.") from error


class RunRecord:
    """The record of a training run in its folder, compared with what is asked for now.

    Args:
        model_dir: `pathlib.Path`, folder of the training.
        recipe: `n2n_tf.training.recipes.Recipe` asked for.
        images: all images of the data folder, before any are held out.
        allow_changed: whether another recipe or other data may continue the training.

    Attributes:
        held_out: names of the images held out, of the training that is in the folder; None if
            there is none.
        ancestors: what the run starts from, the oldest first: dicts "name", "weights_sha256",
            "command", "steps", "hours", as far as known. To be set before `write`.

    Raises:
        TrainingError: if the record cannot be read, or differs and must not.
    """

    def __init__(
        self, model_dir: pathlib.Path, recipe: Recipe, images: Images, allow_changed: bool = False
    ) -> None:
        self.path, self.held_out = model_dir / RUN_FILE, None
        self._asked = {"recipe": dataclasses.asdict(recipe), "data": _describe(images)}
        self._skipped = {
            skipped.path.relative_to(images.root).as_posix(): skipped.reason
            for skipped in images.skipped
        }
        self._before, self._changed, self.ancestors = None, [], []
        if self.path.exists():
            self._before = self._read()
            self._changed = self._differences()
            self._check(allow_changed)
            same_data = self._before["data"]["fingerprint"] == images.fingerprint
            if same_data and self._before["recipe"].get("holdout") == recipe.holdout:
                self.held_out = self._before["data"].get("held_out", [])
        elif any((model_dir / "checkpoints").glob("*.json")):
            raise TrainingError(
                f"{self.path}: is missing, and without it the checkpoints beside it cannot be "
                "used. Restore it, or use another model_dir."
            )

    def write(self, held_out: list[str], step: int) -> None:
        """Writes a new record, or adds the changes made to the old one at this step."""
        self._asked["data"]["held_out"] = held_out
        if self._before is None:
            lineage = {"ancestors": self.ancestors} if self.ancestors else {}
            write_json(self.path, self._asked | self._circumstances() | lineage)
        elif self._changed:
            change = {"step": step, "changed": self._changed} | self._circumstances()
            changes = [*self._before.get("changes", []), change]
            write_json(self.path, self._before | self._asked | {"changes": changes})

    def _circumstances(self):
        versions = {m.__name__: m.__version__ for m in (n2n_tf, keras, tf, np)}
        return {
            "versions": versions | {"python": platform.python_version()},
            "commit": _commit(),
            "command": sys.argv,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "skipped": self._skipped,
        }

    def _read(self):
        try:
            held = json.loads(self.path.read_text())
            _ = held["recipe"] | {"data": held["data"]["fingerprint"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self.path}: cannot be read ({error}); use a new model_dir."
            ) from error
        return held

    def _differences(self):
        # A setting that did not exist when the record was written had its default.
        before, now = (
            _DEFAULTS | record["recipe"] | {"data": record["data"]["fingerprint"]}
            for record in (self._before, self._asked)
        )
        return [
            f"{key} was {before.get(key)!r}, is {value!r}"
            for key, value in now.items()
            if before.get(key) != value
        ]

    def _check(self, allow_changed):
        listed = "; ".join(self._changed)
        fixed = [change for change in self._changed if change.split(" was ")[0] in FIXED]
        if allow_changed and fixed:
            raise TrainingError(
                f"{self.path.parent} holds a network of another shape: {'; '.join(fixed)}. No "
                "checkpoint fits; use another model_dir."
            )
        if self._changed and not allow_changed:
            raise TrainingError(
                f"{self.path.parent} holds another run: {listed}. Give the same flags"
                f"{self._data_hint()} to continue it, another model_dir to begin a new one, or "
                "--allow_changed_flags to continue it in another way."
            )

    def _data_hint(self):
        before, now = (record["data"] for record in (self._before, self._asked))
        if before["fingerprint"] == now["fingerprint"]:
            return ""
        return f" and the same data ({before['images']} images then, {now['images']} usable now)"


def _describe(images):
    return {
        "folder": str(images.root.resolve()),
        "images": len(images),
        "fingerprint": images.fingerprint,
    }


def _commit():
    """The commit of the source this runs from, or None outside a checkout."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
