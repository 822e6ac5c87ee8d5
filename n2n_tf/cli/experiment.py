"""Measure the paper's tables and figures, beside its figures.

  n2n-experiment table1 --budget minutes --train_dir photos --data_dir Kodak --data_dir Set14

The tables and figures:

  table1           methods under four synthetic noises, on Kodak, BSD300 and Set14
  table2           methods on SIDD's raw validation blocks
  table3           the weight gamma of the regularisation: 0, 2, 8, 20
  table4           fix-location and random sub-sampler
  table4_sidd      the same on SIDD
  figure3          panels: methods at Gaussian noise, sigma 25
  figure4          panels: methods at Poisson noise, lambda 30
  figure6          panels: the weights gamma
  frozen_vs_fresh  one noise field for each image for good, or new noise in every epoch
  k                cells of 2, 3 and 4 pixels
  objectives       what one network learns from, at one noise

Budgets: smoke (seconds a row; shows that everything runs), minutes (a row takes minutes on two
cores), hours, paper (the paper's network, steps and repeats; for GPUs).

Rows appear in OUTPUT/NAME as soon as they are measured: in rows.json, in table.md and in page.html,
which needs no other file. If it is stopped, run the same command again. Experiments with the same
--output share training runs. To score a model that you have instead of training one:

  n2n-experiment table1 --noise gauss25 --model neighbor2neighbor=runs/g25 \\
      --only noisy,bm3d,neighbor2neighbor --train_dir photos --data_dir Kodak

On SIDD, --train_dir is the folder that 'n2n-sidd prepare --clean' wrote:

  n2n-experiment table2 --budget hours --train_dir sidd_sub --sidd_dir SIDD_Validation

Noise2VST is measured around a shipped model; --model noise2vst=NAME takes another.
BM3D and the wavelets need packages of their own: pip install n2n_tf[benchmarks].
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING

from absl import app, flags

from n2n_tf.cli import program

if TYPE_CHECKING:
    from n2n_tf.experiments.plan import Budget, Experiment
    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.pipelines.training.sources import MosaicFolder

BUDGET = flags.DEFINE_string("budget", "minutes", "smoke, minutes, hours or paper.")
TRAIN_DIR = flags.DEFINE_string(
    "train_dir", None, "Folder of clean photographs; for table2, of SIDD's sub-images."
)
DATA_DIR = flags.DEFINE_multi_string(
    "data_dir",
    None,
    "Folder of clean images to score on, named Kodak, BSD300 or Set14; may be given several times.",
)
SIDD_DIR = flags.DEFINE_string("sidd_dir", None, "Folder with SIDD's validation blocks (.mat).")
OUTPUT = flags.DEFINE_string("output", "experiments", "Folder for training runs, rows and pages.")
NOISE = flags.DEFINE_list("noise", None, "Only the rows of these noises. [all]")
ONLY = flags.DEFINE_list("only", None, "Only the rows of these keys. [all]")
MODEL = flags.DEFINE_multi_string(
    "model",
    None,
    "KEY=MODEL: score this model for the row KEY instead of training one; may be given several "
    "times.",
)
STEPS = flags.DEFINE_integer("steps", None, "Steps of each training run. [the budget's]", 10)
IMAGES = flags.DEFINE_integer("images", None, "Images of each set. [the budget's]", 1)
REPEATS = flags.DEFINE_integer(
    "repeats", None, "Noise realisations of each image. [the budget's]", 1
)
PRECISION = flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "Arithmetic of the trainings; mixed_bfloat16 is faster on CPUs with AMX and on GPUs.",
)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the training runs.", 0)

PLACES = {
    "Kodak": "r0k.us/graphics/kodak (24 PNG files)",
    "BSD300": "github.com/TaoHuang2018/Neighbor2Neighbor, folder validation/BSD300",
    "Set14": "github.com/TaoHuang2018/Neighbor2Neighbor, folder validation/Set14",
    "SIDD": "www.eecs.yorku.ca/~kamel/sidd",
}


def main(arguments: list[str]) -> int:
    """Runs one experiment and writes its pages; returns the exit status."""
    from n2n_tf.experiments.plan import EXPERIMENTS, SIDD

    if len(arguments) != 1 or arguments[0] not in EXPERIMENTS:
        given = f"Unknown experiment {arguments[0]!r}" if arguments else "No experiment"
        given = "One experiment at a time" if len(arguments) > 1 else given
        raise app.UsageError(f"{given}: name one of {', '.join(EXPERIMENTS)}")
    name = arguments[0]
    experiment, budget = chosen_rows(EXPERIMENTS[name]), chosen_budget()
    models = chosen_models(experiment)
    check_folders(experiment, models)

    program.import_tensorflow()
    from n2n_tf.evaluation.clean_images import load_clean
    from n2n_tf.experiments.measure import Workshop
    from n2n_tf.experiments.run import PAGE_FILE, ROWS_FILE, TABLE_FILE, run_experiment
    from n2n_tf.training.errors import TrainingStopped

    folder = pathlib.Path(OUTPUT.value) / name
    sets = {
        pathlib.Path(path).resolve().name: load_clean(path, 3, budget.images)
        for path in sorted(DATA_DIR.value or [], key=_official_place)
    }
    for absent in [each for each in experiment.sets if each not in sets and each != SIDD]:
        print(f"Not scored on {absent}: no --data_dir has this name. It is at {PLACES[absent]}.")
    photos, raws = open_training_images(experiment, models, budget)
    spent = f"{BUDGET.value}_{budget.steps}_steps_{PRECISION.value}"
    trainings = pathlib.Path(OUTPUT.value) / "trainings" / spent
    shop = Workshop(budget, photos, raws, trainings, models, SEED.value, _progress)
    try:
        run_experiment(name, experiment, shop, sets, folder, _sidd_blocks(experiment))
    except TrainingStopped as stopped:
        print(f"n2n-experiment: {stopped}", file=sys.stderr)
        return stopped.status
    print((folder / TABLE_FILE).read_text(encoding="utf-8"))
    print(f"wrote {', '.join(str(folder / file) for file in (ROWS_FILE, TABLE_FILE, PAGE_FILE))}")
    return 0


def chosen_rows(experiment: Experiment) -> Experiment:
    """The experiment with the rows that --noise and --only leave.

    Raises:
        ValueError: listing what there is, for a name that is none.
    """
    rows = experiment.rows
    for flag, attribute in ((NOISE, "noise"), (ONLY, "key")):
        there = list(dict.fromkeys(getattr(row, attribute) for row in experiment.rows))
        for name in flag.value or []:
            if name not in there:
                raise ValueError(f"--{flag.name}={name}: there are {', '.join(there)}.")
        rows = [row for row in rows if not flag.value or getattr(row, attribute) in flag.value]
    return dataclasses.replace(experiment, rows=tuple(rows))


def chosen_budget() -> Budget:
    """The budget named, with the numbers that were given.

    Raises:
        ValueError: for an unknown name.
    """
    from n2n_tf.experiments.plan import BUDGETS

    if BUDGET.value not in BUDGETS:
        raise ValueError(f"--budget={BUDGET.value}: there are {', '.join(BUDGETS)}.")
    given = {"steps": STEPS.value, "images": IMAGES.value, "repeats": REPEATS.value}
    given = {field: value for field, value in given.items() if value is not None}
    budget = BUDGETS[BUDGET.value]
    recipe = (*budget.recipe, ("precision", PRECISION.value))
    return dataclasses.replace(budget, recipe=recipe, **given)


def chosen_models(experiment: Experiment) -> dict[str, str]:
    """Row key -> model, as --model gives them.

    Raises:
        ValueError: for one that names no trained row of the experiment.
    """
    kinds = ("trained", "around")
    keys = list(dict.fromkeys(row.key for row in experiment.rows if row.kind in kinds))
    models = {}
    for text in MODEL.value or []:
        key, _, model = text.partition("=")
        if key not in keys or not model:
            raise ValueError(f"--model={text}: must be KEY=MODEL; keys are {', '.join(keys)}.")
        models[key] = model
    return models


def check_folders(experiment: Experiment, models: dict[str, str]) -> None:
    """Refuses to begin without the data that the rows need, saying where to get it.

    Raises:
        ValueError: naming the flag, and the page or command.
    """
    sidd = any(row.noise == "none" for row in experiment.rows)
    if sidd:
        for file in ("ValidationNoisyBlocksRaw.mat", "ValidationGtBlocksRaw.mat"):
            if not SIDD_DIR.value or not (pathlib.Path(SIDD_DIR.value) / file).is_file():
                raise ValueError(
                    "--sidd_dir: must name the folder of ValidationNoisyBlocksRaw.mat and "
                    f"ValidationGtBlocksRaw.mat, from {PLACES['SIDD']}."
                )
    else:
        _check_data_dirs(experiment)
    if _to_be_trained(experiment, models):
        what = (
            "the folder that 'n2n-sidd prepare' writes"
            if sidd
            else "a folder of clean photographs (the paper's: 50,000 of ImageNet's validation set, "
            "www.image-net.org)"
        )
        if not TRAIN_DIR.value:
            raise ValueError(f"--train_dir: must name {what}.")
        if not pathlib.Path(TRAIN_DIR.value).is_dir():
            raise ValueError(f"--train_dir={TRAIN_DIR.value}: no such folder. It is {what}.")


def _check_data_dirs(experiment):
    if not DATA_DIR.value:
        pages = "; ".join(f"{name}: {PLACES[name]}" for name in experiment.sets)
        raise ValueError(f"--data_dir: must name a folder to score on. {pages}.")
    names = [pathlib.Path(path).resolve().name for path in DATA_DIR.value]
    for path, name in zip(DATA_DIR.value, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"--data_dir={path}: two folders are called {name}.")
        if not pathlib.Path(path).is_dir():
            place = f" {name}: {PLACES[name]}." if name in PLACES else ""
            raise ValueError(f"--data_dir={path}: no such folder.{place}")


def _to_be_trained(experiment, models):
    return any(row.kind == "trained" and row.key not in models for row in experiment.rows)


def _official_place(path):
    """Noise of all sets comes from one stream: Kodak first, as in the official loop."""
    name, order = pathlib.Path(path).resolve().name, list(PLACES)
    return (order.index(name) if name in order else len(order), name)


def open_training_images(
    experiment: Experiment, models: dict[str, str], budget: Budget
) -> tuple[ImageFolder | None, MosaicFolder | None]:
    """(photographs, SIDD's sub-images), None where no row needs them."""
    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.pipelines.training.sources import MosaicFolder

    if not _to_be_trained(experiment, models):
        return None, None
    if any(row.noise == "none" for row in experiment.rows):
        return None, MosaicFolder(TRAIN_DIR.value)
    side = dict(budget.recipe)["patch_size"]
    largest = {"max_side": 512} if side == 256 else {}  # the paper's filter
    return ImageFolder(TRAIN_DIR.value, min_side=side, **largest), None


def _progress(results, total, what):
    return program.progress_bar(results, desc=what, total=total, leave=False, unit="img")


def _sidd_blocks(experiment):
    """(noisy, clean, patterns) of SIDD's validation, None if no row needs them."""
    if not any(row.noise == "none" for row in experiment.rows):
        return None
    from n2n_tf.pipelines.sidd import files
    from n2n_tf.pipelines.sidd.blocks import block_patterns

    noisy, clean = (
        files.read_blocks(
            pathlib.Path(SIDD_DIR.value) / f"Validation{kind}BlocksRaw.mat", files.BLOCKS_SHAPE
        )
        for kind in ("Noisy", "Gt")
    )
    return noisy, clean, block_patterns()


def run() -> None:
    """Entry point of `n2n-experiment`."""
    program.start(main, "n2n-experiment", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
