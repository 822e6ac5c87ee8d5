"""An experiment from beginning to end: row by row, each written as soon as it is measured."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

import n2n_tf
from n2n_tf.evaluation.protocol import SEED, Result
from n2n_tf.experiments.measure import (
    Workshop,
    denoiser_of,
    model_of,
    recipe_of,
    score,
    score_sidd,
    steps_of,
)
from n2n_tf.experiments.page import page
from n2n_tf.experiments.plan import EXPERIMENTS, SIDD, Experiment, Row
from n2n_tf.experiments.tables import markdown
from n2n_tf.pipelines.files.atomic_files import atomic_file, write_json
from n2n_tf.pipelines.files.image_files import write_image

ROWS_FILE, TABLE_FILE, PAGE_FILE = "rows.json", "table.md", "page.html"


def run_experiment(
    name: str,
    experiment: Experiment,
    shop: Workshop,
    sets: dict[str, list],
    folder: pathlib.Path,
    sidd: tuple | None = None,
    report: Callable[[str], None] = print,
) -> dict:
    """Measures all rows that have not been, and returns the record of all.

    Args:
        name: of the experiment.
        experiment: its rows.
        shop: images and budget.
        sets: name of a data set -> list of (name, clean image).
        folder: receives rows.json, table.md, page.html, all three after every row, and pictures;
            the rows of the same budget that it holds are kept.
        sidd: noisy and clean blocks and patterns, for rows of SIDD.
        report: takes lines of text.

    Returns:
        dict: what rows.json holds.

    Raises:
        ValueError: if the folder holds rows of another budget, or of other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = _record(name, experiment, shop, sets, folder / ROWS_FILE)
    if record["rows"]:  # what shows them may have changed
        _write(record, experiment, folder)
    for row in experiment.rows:
        there = [done for done in record["rows"] if _names(done) == (row.key, row.noise)]
        if there and there[0].get("model") == model_of(row, shop):
            continue
        report(f"{row.noise}: {row.label}")
        others = [done for done in record["rows"] if done not in there]
        rows = [*others, _measured(row, shop, sets, folder, sidd, report)]
        record["rows"] = sorted(rows, key=_planned_place(name))
        _write(record, experiment, folder)
    return record


def _write(record, experiment, folder):
    """The record and what shows it, which is there even if the next row is interrupted."""
    write_json(folder / ROWS_FILE, record)
    shown = {TABLE_FILE: markdown(record, experiment), PAGE_FILE: page(record, experiment, folder)}
    for name, text in shown.items():
        with atomic_file(folder / name, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _planned_place(name):
    """The order of the experiment's rows, whatever order they were measured in."""
    planned = EXPERIMENTS[name].rows if name in EXPERIMENTS else ()
    places = {(row.key, row.noise): place for place, row in enumerate(planned)}
    return lambda entry: places.get(_names(entry), len(places))


def _names(entry):
    return entry["key"], entry["noise"]


def _record(name, experiment, shop, sets, path):
    """An empty record, or the one there is if it is of the same budget and data."""
    record = {
        "experiment": name,
        "title": experiment.title,
        "budget": json.loads(json.dumps(dataclasses.asdict(shop.budget))),
        "data": {name: [image for image, _ in images] for name, images in sets.items()},
        "seeds": {"training": shop.seed, "evaluation": SEED},
        "rows": [],
    }
    if not path.exists():
        return record
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        rows = there["rows"]
        kept = [there[key] == record[key] for key in ("experiment", "budget", "data", "seeds")]
        now = _trained_on(shop)
        kept += [now is None or row.get("trained_on", now) == now for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not a record of an experiment; move it away.") from error
    if not all(kept):
        raise ValueError(
            f"{path}: holds rows of another budget, other data, other training images or another "
            "seed; give another --output, or move it away."
        )
    return record | {"rows": [row for row in rows if "missing" not in row]}


def _measured(row: Row, shop: Workshop, sets: dict, folder: pathlib.Path, sidd, report) -> dict:
    """One row's entry: its figures on every set, or why it has none."""
    model = model_of(row, shop)
    label = f"{row.label} ({model})" if model else row.label
    entry = {"key": row.key, "label": label, "noise": row.noise, "kind": row.kind}
    entry["versions"] = {
        "n2n_tf": n2n_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
    begun = time.perf_counter()
    try:
        denoise = denoiser_of(row, shop, report)
    except ValueError as error:  # an optional package; a data set that is not there
        report(f"  left out: {error}")
        return entry | {"missing": str(error)}
    entry |= _conditions(row, shop, time.perf_counter() - begun)
    if row.noise == "none":
        return entry | {"sets": {SIDD: score_sidd(denoise, sidd, shop.budget.images)}}
    entry["sets"], entry["pictures"] = {}, None
    for name, figures, first in score(row, denoise, sets, shop):
        entry["sets"][name] = figures
        entry["pictures"] = entry["pictures"] or _pictures(row, first, folder)
    return entry


def _conditions(row: Row, shop: Workshop, seconds: float) -> dict:
    """Under which the row was measured."""
    if row.kind == "one_image":
        return {"steps": steps_of(row, shop.budget)}
    if row.kind == "around":
        return {"steps": steps_of(row, shop.budget), "model": model_of(row, shop)}
    if row.kind != "trained":
        return {}
    if model_of(row, shop):
        return {"model": model_of(row, shop)}
    recipe = dataclasses.asdict(recipe_of(row, shop.budget, shop.seed))
    return {
        "steps": steps_of(row, shop.budget),
        "regime": recipe["noise_realization"],
        "recipe": recipe,
        "trained_on": _trained_on(shop),
        "seconds_training": round(seconds, 1),
    }


def _trained_on(shop):
    """What tells the training images from others; None if there are none."""
    images = shop.photos if shop.raws is None else shop.raws
    return images.fingerprint if images is not None else None


def _pictures(row: Row, result: Result, folder: pathlib.Path) -> dict:
    """Saves the first image of the first set: clean and noisy once, and what the row made of it."""
    files = {}
    shared = {"clean": "clean", "noisy": f"{row.noise}_noisy", "denoised": f"{row.noise}_{row.key}"}
    for kind, image in zip(("clean", "noisy", "denoised"), result.images, strict=True):
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in shared[kind]) + ".png"
        write_image(folder / name, image, overwrite=True)
        files[kind] = name
    figures = {"psnr": result.psnr, "ssim": result.ssim}
    before = {"psnr_noisy": result.psnr_noisy, "ssim_noisy": result.ssim_noisy}
    return {"image": result.name, **files, **figures, **before}
