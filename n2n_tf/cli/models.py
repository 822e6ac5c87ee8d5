"""Maintain the models that are shipped in saved_models/.

Measure all of them again and compare with the figures on their cards; this is `make verify-models`:

  n2n-models verify --data_dir Kodak --data_dir Set14

Add the network of a complete run under a new name or, with --overwrite, in place of an older model.
It is measured, and its card and the tables of all models are written:

  n2n-models add --name unet_raw --model runs/raw --data_dir Kodak --data_dir Set14 \\
      --data "765 photographs of ..." --data_license "research use" --hardware "one H100 GPU"

Measure some again and write their figures, when the program has changed what comes out:

  n2n-models measure --only unet_raw --data_dir Kodak --data_dir Set14

Write all cards and tables again, when only their wording has changed:

  n2n-models cards

Write the LiteRT form of every model that has none of its present network; `add` does it by itself:

  n2n-models convert

The photographs that scikit-image ships are always measured too. A data set is called by the name of
its folder. To use the models, none of this is needed: see n2n-denoise --list_models.
"""

import functools
import pathlib
import re
import sys

from absl import app, flags

from n2n_tf.cli import program

NAME = flags.DEFINE_string("name", None, "add: name of the model. Required there.")
MODEL = flags.DEFINE_string("model", None, "add: folder of the run. Required there.")
DATA = flags.DEFINE_string("data", None, "add: what it was trained on. Required there.")
DATA_LICENSE = flags.DEFINE_string(
    "data_license", None, "add: licence of what it was trained on. Required there."
)
HARDWARE = flags.DEFINE_string("hardware", None, "add: what it was trained with. Required there.")
START = flags.DEFINE_string(
    "start", None, "add: what was trained before, if its --initial_model is not a shipped one."
)
EARLIER_HOURS = flags.DEFINE_float(
    "earlier_hours", 0.0, "add: hours that its start had been trained for.", 0.0
)
LICENSE = flags.DEFINE_string("license", "Apache-2.0", "add: licence of the weights.")
DATA_DIR = flags.DEFINE_multi_string(
    "data_dir",
    [],
    "add, verify, measure: folder of clean images to measure on; may be given several times.",
)
ONLY = flags.DEFINE_list("only", None, "verify, measure, convert: names of the models. [all]")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "add: replace a model of this name.")


def main(arguments: list[str]) -> int | None:
    """Does the action named."""
    if len(arguments) != 1 or arguments[0] not in ACTIONS:
        raise app.UsageError(f"Name one action of {', '.join(ACTIONS)}")
    return ACTIONS[arguments[0]]()


def add() -> None:
    """Copies, measures, describes."""
    needed = [NAME, MODEL, DATA, DATA_LICENSE, HARDWARE]
    if missing := [f"--{holder.name}" for holder in needed if not holder.value]:
        raise app.UsageError(f"add: {', '.join(missing)} must be given")
    if not re.fullmatch(r"[a-z0-9_]+", NAME.value):
        raise ValueError(f"--name={NAME.value}: of small letters, digits and underscores only.")
    folders = _folders()
    program.import_tensorflow()
    from n2n_tf.model_files import shipped
    from n2n_tf.shipping import cards, figures
    from n2n_tf.shipping.add import add_model

    stated = DATA, DATA_LICENSE, HARDWARE, LICENSE, START, EARLIER_HOURS
    facts = {holder.name: holder.value for holder in stated}
    measure = functools.partial(figures.measure, folders=folders, progress=_progress)
    folder = add_model(NAME.value, MODEL.value, facts, OVERWRITE.value, measure)
    cards.write_cards()
    _print(NAME.value, shipped.results_of(NAME.value)["results"])
    print(f"wrote {folder}, and the table of all models")


def verify() -> int:
    """Measures and compares; status 1 if a figure differs."""
    folders = _folders()
    program.import_tensorflow()
    from n2n_tf.model_files import shipped
    from n2n_tf.shipping import figures

    names, wrong = ONLY.value or shipped.shipped_models(), []
    for name in names:
        rows = figures.measure(name, folders, _progress)
        _print(name, rows)
        wrong += figures.disagreements(name, rows)
    for line in wrong:
        print(f"n2n-models: {line}", file=sys.stderr)
    print(
        f"{len(names)} models measured on {', '.join(['embedded', *folders])}: "
        f"{len(wrong) or 'no'} figures differ by more than 0.01 dB or 0.001 in SSIM."
    )
    return 1 if wrong else 0


def measure() -> None:
    """Measures and writes the figures."""
    folders = _folders()
    program.import_tensorflow()
    from n2n_tf.model_files import shipped
    from n2n_tf.shipping import cards, figures

    names = ONLY.value or shipped.shipped_models()
    for name in names:
        sets = {row["data"] for row in shipped.results_of(name)["results"]} - {figures.EMBEDDED}
        if missing := sorted(sets - folders.keys()):
            raise ValueError(
                f"the card of {name} has figures of {', '.join(missing)}, which would be lost: "
                "give the folder of each by --data_dir."
            )
    for name in names:
        rows = figures.measure(name, folders, _progress)
        noise = figures.judged_by(shipped.info_of(name))
        figures.save_results(shipped.SHIPPED / name, noise, rows)
        _print(name, rows)
    cards.write_cards()


def cards() -> None:
    """Writes the documents again."""
    program.import_tensorflow()
    from n2n_tf.shipping import cards

    print(f"wrote {cards.write_cards()} documents")


def convert() -> None:
    """Writes the forms that are missing."""
    program.import_tensorflow()
    from n2n_tf.model_files import shipped
    from n2n_tf.model_files.info import NETWORK_FILE
    from n2n_tf.model_files.litert_form import beside, find_form
    from n2n_tf.shipping.forms import write_litert_form

    for name in ONLY.value or shipped.shipped_models():
        source = shipped.SHIPPED / name / NETWORK_FILE
        form = find_form(source)
        if form is None or form.path != beside(source):
            with program.stderr_held():
                path = write_litert_form(source.parent)
            print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB", flush=True)


def _folders():
    paths = [pathlib.Path(path) for path in DATA_DIR.value]
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"--data_dir={path}: no such folder.")
    return {path.resolve().name: path for path in paths}


def _progress(results, total, what):
    return program.progress_bar(results, desc=what, total=total, leave=False, unit="img")


def _print(name, rows):
    print(name)
    for row in rows:
        print(
            f"  {row['noise']:20} {row['data']:10} {row['images']:3}   "
            f"{row['psnr_noisy']:.4f} / {row['ssim_noisy']:.5f} -> "
            f"{row['psnr']:.4f} / {row['ssim']:.5f}",
            flush=True,
        )


ACTIONS = {
    "verify": verify,
    "add": add,
    "measure": measure,
    "cards": cards,
    "convert": convert,
}


def run() -> None:
    """Entry point of `n2n-models`."""
    program.start(main, "n2n-models", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
