"""What is said beside a model: the model.json that tells how to run it on pictures."""

import json

NETWORK_FILE, INFO_FILE = "network.keras", "model.json"
# What model.json must say, and within what bounds.
REQUIRED = {"channels": (1, 64), "size_multiple": (1, 512), "halo": (0, 4096)}


class ModelError(ValueError):
    """A model that cannot be used; the message names the file and what to do."""


def info_path(path):
    """Where the model.json of an exported file lies: model.tflite -> model.tflite.json."""
    return path.with_name(f"{path.name}.json")


def read_info(path):
    """Reads and checks a model.json.

    Raises:
        ModelError: if it is missing, damaged or lacks something.
    """
    return check_info(read_json(path), path)


def read_json(path):
    """What a JSON file beside a model says.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; it was written beside the model, copy both.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}).") from error


def check_info(info, path):
    """Returns what a model.json says if it says enough.

    Raises:
        ModelError: naming `path` and the first entry that is missing or wrong.
    """
    for key, (low, high) in REQUIRED.items():
        value = info.get(key) if isinstance(info, dict) else None
        if type(value) is not int or not low <= value <= high:
            raise ModelError(
                f"{path}: {key!r} must be a whole number in {low}..{high}, is {value!r:.50}."
            )
    return info


def first_line(error):
    """The first line of an error's message, shortened, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
