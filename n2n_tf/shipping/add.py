"""A finished training run becomes a shipped model."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelError
from n2n_tf.model_files.run_story import run_record, run_story
from n2n_tf.networks.cost import multiply_adds
from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.pipelines.files.checksums import file_checksum
from n2n_tf.shipping.figures import judged_by, save_results
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
    record, story = run_record(source), run_story(source)
    earlier = sum(ancestor["hours"] for ancestor in story["ancestors"])
    recipe = record["recipe"]
    if denoiser.info.epochs != recipe["epochs"]:
        raise ModelError(
            f"{source}: {denoiser.info.epochs} of {recipe['epochs']} epochs are done; let "
            "the run finish."
        )
    network = denoiser.network
    info = denoiser.info.but(
        license=facts["license"],
        parameters=network.count_params(),
        multiply_adds=round(multiply_adds(network)),
        training={
            "command": story["command"],
            "changes": [
                f"at step {change['step']:,} {'; '.join(change['changed'])}"
                for change in record.get("changes", [])
            ],
            "recipe": recipe | {"initial_model": _name(recipe["initial_model"])},
            "start": facts.get("start") or _start(recipe["initial_model"]),
            "ancestors": story["ancestors"],
            "data": facts["data"],
            "data_license": facts["data_license"],
            "images": story["images"],
            "steps": story["steps"],
            "hardware": facts["hardware"],
            "earlier_hours": facts.get("earlier_hours") or earlier,
            "hours": story["hours"],
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
            save_results(folder, judged_by(info), measure(folder))
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


def _name(model):
    """A model without the folders of this machine."""
    return model and pathlib.Path(model).name


def _start(initial_model):
    return f"the weights of `{_name(initial_model)}`" if initial_model else "random weights"
