"""How the network in the folder of a training run came to be, for those that go on from it."""

import json
import pathlib
import shlex
from typing import Any

from n2n_tf.model_files.info import ModelError, read_json

RUN_FILE = "run.json"


def run_record(folder: pathlib.Path) -> dict[str, Any]:
    """run.json of a training run.

    Args:
        folder: `pathlib.Path` of the run.

    Returns:
        dict: "recipe", "data", "command", "versions" and more, see `n2n_tf.training.record`.

    Raises:
        ModelError: if there is none or it cannot be read.
    """
    try:
        record = json.loads((folder / RUN_FILE).read_text())
        _ = record["recipe"] | {"images": record["data"]["images"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RUN_FILE}: cannot be read ({error}).") from error
    return record


def run_story(folder: pathlib.Path) -> dict[str, Any]:
    """What is told of a training run.

    Args:
        folder: `pathlib.Path` of the run.

    Returns:
        dict: "command" as others would type it, "steps" and "hours" that the run took, all its
        parts together, "images" that it learned from, and "ancestors", what it started from.

    Raises:
        ModelError: if run.json or the newest checkpoint, which records the hours, cannot be read.
    """
    record = run_record(folder)
    recipe, data = record["recipe"], record["data"]
    images = data["images"] - len(data.get("held_out", []))
    per_epoch = max(1, images * recipe["crops_per_image"] // recipe["batch_size"])
    return {
        "command": _command(record.get("changes", [record])[-1]["command"]),
        "images": images,
        "steps": recipe["epochs"] * per_epoch,
        "hours": round(_seconds(folder) / 3600, 2),
        "ancestors": record.get("ancestors", []),
    }


def _seconds(folder):
    newest = max((folder / "checkpoints").glob("*.json"), default=None)
    if newest is None:
        raise ModelError(f"{folder}/checkpoints: holds no checkpoint, which records the hours.")
    return read_json(newest).get("seconds", 0.0)


def _command(argv):
    """The command of a run without the folders of this machine."""
    told, words = [_program(argv[0])], list(argv[1:])
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if word == name:  # no flag
            told.append(_without_folders(word))
            continue
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        value = {"data_dir": "PHOTOS", "model_dir": "RUN"}.get(name, value)
        if name != "allow_changed_flags":
            told.append(f"--{name} {_without_folders(value)}".rstrip())
    return " ".join(told)


def _program(path):
    """What others type to run it."""
    file = pathlib.PurePath(path)
    if file.suffix != ".py":
        return file.name.removesuffix(".exe")
    return f"n2n-{file.stem}" if file.parent.name == "cli" else f"python {file.name}"


def _without_folders(value):
    return shlex.quote(pathlib.PurePath(value).name) if value else ""
