"""A finished training run becomes a shipped model."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelError, read_json
from n2n_tf.networks.cost import multiply_adds
from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.pipelines.files.checksums import file_checksum
from n2n_tf.shipping.figures import save_results
from n2n_tf.shipping.forms import in_16_bits, write_litert_form


def add_model(
    name: str,
    model_dir: str | os.PathLike,
    facts: dict[str, Any],
    overwrite: bool = False,
    measure: Callable[[pathlib.Path], list[dict[str, Any]]] | None = None,
) -> pathlib.Path:
    """Puts the network of a run into saved_models/, with a model.json that describes its training.

    All files of the model change places at once: no network lies beside another's figures.

    Args:
        name: the model's name.
        model_dir: folder of a finished training run.
        facts: dict of what no file knows: "data", "data_license", "hardware", "license", and
            "start", what was trained before, if the name of the initial model does not tell it,
            and "earlier_hours", for how many hours.
        overwrite: whether a model of this name may be replaced.
        measure: None, or callable(folder of the new model) -> rows of its results.json.

    Returns:
        `pathlib.Path` of the model's folder.

    Raises:
        FileExistsError: if there is one, without `overwrite`.
        ModelError: if the training cannot be read, or has not come to its end.
    """
    source, target = pathlib.Path(model_dir), shipped.SHIPPED / name
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists already; --overwrite replaces it.")
    denoiser = Denoiser.load(source, engine="keras")
    try:
        record = json.loads((source / "run.json").read_text())
        recipe = record["recipe"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{source}/run.json: cannot be read ({error}).") from error
    if denoiser.info.epochs != recipe["epochs"]:
        raise ModelError(
            f"{source}: {denoiser.info.epochs} of {recipe['epochs']} epochs are done; let "
            "the run finish."
        )
    network = denoiser.network
    images = record["data"]["images"] - len(record["data"].get("held_out", []))
    steps = recipe["epochs"] * max(1, images * recipe["crops_per_image"] // recipe["batch_size"])
    ancestors = record.get("ancestors", [])
    info = denoiser.info.but(
        license=facts["license"],
        parameters=network.count_params(),
        multiply_adds=round(multiply_adds(network)),
        training={
            "command": _command(record.get("changes", [record])[-1]["command"]),
            "changes": [
                f"at step {change['step']:,} {'; '.join(change['changed'])}"
                for change in record.get("changes", [])
            ],
            "recipe": recipe | {"initial_model": _name(recipe["initial_model"])},
            "start": facts.get("start") or _start(recipe["initial_model"]),
            "ancestors": ancestors,
            "data": facts["data"],
            "data_license": facts["data_license"],
            "images": images,
            "steps": steps,
            "hardware": facts["hardware"],
            "earlier_hours": facts.get("earlier_hours") or sum(a["hours"] for a in ancestors),
            "hours": round(_seconds(source) / 3600, 2),
            "versions": record["versions"],
        },
    )
    with _replaced(target) as folder:
        rounded = in_16_bits(network, info)
        if rounded is network:
            shutil.copyfile(source / NETWORK_FILE, folder / NETWORK_FILE)
        else:
            rounded.save(folder / NETWORK_FILE)
        info = info.but(sha256=file_checksum(folder / NETWORK_FILE))
        write_json(folder / INFO_FILE, info.to_json())
        write_litert_form(folder)
        if measure:
            save_results(folder, info.noise, measure(folder))
    return target


@contextlib.contextmanager
def _replaced(target):
    """Gives an empty folder that takes the place of `target` when the block ends well."""
    new = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    old = new.with_name(f"{new.name}.old")
    try:
        yield new
        new.chmod(0o755)
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def _seconds(source):
    """Seconds that a training run took, all its parts together, from its newest checkpoint."""
    newest = max((source / "checkpoints").glob("*.json"), default=None)
    if newest is None:
        raise ModelError(f"{source}/checkpoints: holds no checkpoint, which records the hours.")
    return read_json(newest).get("seconds", 0.0)


def _name(model):
    """A model without the folders of this machine."""
    return model and pathlib.Path(model).name


def _start(initial_model):
    return f"the weights of `{_name(initial_model)}`" if initial_model else "random weights"


def _command(argv):
    """The command of a run as others would type it, without the folders of this machine."""
    words = list(argv[1:])
    lines = ["n2n-train"]
    while words:
        name, equals, value = words.pop(0).removeprefix("--").partition("=")
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        value = {"data_dir": "PHOTOS", "model_dir": "RUN"}.get(name, value)
        if name == "initial_model":
            value = pathlib.Path(value).name
        if name != "allow_changed_flags":
            lines.append(f"--{name} {value}".rstrip())
    return " ".join(lines)
