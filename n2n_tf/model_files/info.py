"""ModelInfo: what a network is and what running it on pictures needs; model.json on disk."""

import dataclasses
import json
import pathlib
from typing import Any

NETWORK_FILE, INFO_FILE = "network.keras", "model.json"
_WHOLE = {"channels": (1, 64), "size_multiple": (1, 512), "halo": (0, 4096)}
# What the other entries may be, where that matters to a program.
_TYPES = {
    "text": (str, ("network", "noise", "noise_realization", "license", "sha256", "input",
                   "precision", "dtype", "pattern", "takes_and_returns", "version")),
    "a whole number": (int, ("epochs", "parameters", "multiply_adds")),
    "a number": ((int, float), ("white_level",)),
    "an object": (dict, ("training", "measured")),
    "true or false": (bool, ("keeps_clipped",)),
}  # fmt: skip


class ModelError(ValueError):
    """A model that cannot be used; the message names the file and what to do."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a network is, and what a caller must know to run it.

    Attributes:
        channels: of the images: 1 gray, 3 RGB, 4 packed camera raw.
        size_multiple: sides that the network takes are multiples of this many pixels.
        halo: margin in pixels that a tile needs for its inside to equal the whole image's.
        network: the network's name.
        noise: noise of its training, in the grammar of `n2n_tf.pipelines.noise.synthetic`; "none"
            if its images were noisy already.
        noise_realization: "frozen" or "fresh"; None if not known.
        white_level: pixel value that was 1.0 in its training; None: the largest of the files' type.
        noise_level: of a network for Gaussian noise, the standard deviations in [0, 1] of the
            weakest and the strongest noise for which it is best; None for other networks, which
            take images in the units of their training.
        epochs: passes over the images.
        version: of this package when it was written.
        license: of the weights.
        sha256: of the file that this describes; None for a training run's own.
        parameters, multiply_adds: the network's cost, the latter per pixel.
        training: how a shipped model was trained, for its card.
        input: what a TFLite file takes, key of `n2n_tf.model_files.tflite_domain.INPUTS`.
        precision: of a TFLite file, key of `n2n_tf.export.tflite.PRECISIONS`.
        tile: (height, width) that a TFLite file takes, in pixels of the network's input; None: any.
        takes_and_returns: the input in words.
        dtype, levels, pattern, keeps_clipped: of a TFLite file for sensor mosaics.
        measured: what a TFLite file is worth, `n2n_tf.export.measure.Figures` as a dict.
    """

    channels: int
    size_multiple: int
    halo: int
    network: str = "unknown"
    noise: str = "none"
    noise_realization: str | None = None
    white_level: float | None = None
    noise_level: tuple[float, float] | None = None
    epochs: int | None = None
    version: str | None = None
    license: str = "not stated"
    sha256: str | None = None
    parameters: int | None = None
    multiply_adds: int | None = None
    training: dict | None = None
    input: str = "image"
    precision: str | None = None
    tile: tuple[int, int] | None = None
    takes_and_returns: str | None = None
    dtype: str | None = None
    levels: str | dict | None = None
    pattern: str | None = None
    keeps_clipped: bool | None = None
    measured: dict | None = None

    @property
    def takes_noise_profile(self) -> bool:
        """Whether a TFLite file has the noise of the sensor as an input."""
        return self.input == "bayer_mosaic" and self.noise_level is not None

    @classmethod
    def from_json(cls, held: Any, path: pathlib.Path) -> "ModelInfo":
        """Makes it of what a model.json holds; entries of other versions are left out.

        Raises:
            ModelError: naming `path` and the first entry that is missing or wrong.
        """
        held = held if isinstance(held, dict) else {}
        for key, (low, high) in _WHOLE.items():
            value = held.get(key)
            if type(value) is not int or not low <= value <= high:
                raise ModelError(
                    f"{path}: {key!r} must be a whole number in {low}..{high}, is {value!r:.50}."
                )
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in held.items() if key in names and value is not None}
        for what, (types, keys) in _TYPES.items():
            for key in keys:
                if key in known and not isinstance(known[key], types):
                    raise ModelError(f"{path}: {key!r} must be {what}, is {known[key]!r:.50}.")
        if known.get("noise_level") is not None:
            known["noise_level"] = _noise_level(known["noise_level"], path)
        if known.get("tile") is not None:
            known["tile"] = _tile(known["tile"], known["size_multiple"], path)
        return cls(**known)

    def to_json(self) -> dict:
        """What model.json holds: all that is known."""
        held = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in held.items() if value is not None}

    def but(self, **changed: Any) -> "ModelInfo":
        """A copy with other entries."""
        return dataclasses.replace(self, **changed)


def _noise_level(ends, path):
    good = isinstance(ends, list | tuple) and len(ends) == 2
    if good and all(type(e) in (int, float) for e in ends) and 0 < ends[0] <= ends[1] <= 1:
        return tuple(ends)
    raise ModelError(
        f"{path}: 'noise_level' must be two standard deviations in 0..1 or null, is {ends!r:.50}."
    )


def _tile(sides, multiple, path):
    good = isinstance(sides, list | tuple) and len(sides) == 2
    if good and all(type(s) is int and 0 < s <= 1 << 16 and s % multiple == 0 for s in sides):
        return tuple(sides)
    raise ModelError(f"{path}: 'tile' must be two sides in pixels or null, is {sides!r:.50}.")


def info_path(path: pathlib.Path) -> pathlib.Path:
    """Where the model.json of an exported file lies: model.tflite -> model.tflite.json."""
    return path.with_name(f"{path.name}.json")


def read_info(path: pathlib.Path) -> ModelInfo:
    """Reads and checks a model.json.

    Raises:
        ModelError: if it is missing, damaged or lacks something.
    """
    return ModelInfo.from_json(read_json(path), path)


def read_json(path: pathlib.Path) -> Any:
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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
