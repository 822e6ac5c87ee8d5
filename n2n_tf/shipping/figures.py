"""The figures of a shipped model: measured, kept, and compared with those on its card."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.raw_frames import denoise_planes
from n2n_tf.evaluation.clean_images import embedded_clean, load_clean
from n2n_tf.evaluation.protocol import SEED, Progress, average, evaluate
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.shipped import RESULTS_FILE
from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.pipelines.noise.synthetic import parse_noise

EMBEDDED = "embedded"  # the photographs that scikit-image ships


# Noise that a model is measured with, beside its own.
ALSO = {
    "gauss5_50": ["gauss10", "gauss25", "gauss50", "poisson30", "poisson5_50"],
    "raw": ["raw:0.0001,6.3e-9", "raw:0.001,9.6e-7", "raw:0.012,2.2e-4"],
}


TOLERANCES = {"psnr_noisy": 0.01, "ssim_noisy": 0.001, "psnr": 0.01, "ssim": 0.001}


def measure(
    name: str | os.PathLike,
    folders: Mapping[str, str | os.PathLike],
    progress: Progress = lambda results, total, what: results,
) -> list[dict[str, Any]]:
    """Figures of a shipped model: one noise realisation per image, drawn with seed 101.

    Args:
        name: name of the model, or its folder.
        folders: dict of data set name to folder of clean images. The photographs of scikit-image
            are always measured, as "embedded".
        progress: callable(iterable of results, their number, text) -> the iterable.

    A model of Gaussian noise is measured alone with that, and with Poisson noise as `n2n-denoise`
    works: the noise of each image is estimated, and the network sees it made Gaussian. One of raw
    is measured as `n2n-denoise` works: with noise of one law for all images that is known, as from
    a DNG's NoiseProfile; else it is estimated.

    Returns:
        list of dicts: "noise", "data", "images", "estimated" (whether the noise was) and the names
        of `n2n_tf.evaluation.protocol.FIGURES`.
    """
    denoiser = Denoiser.load(name)
    sets = {EMBEDDED: embedded_clean(denoiser.channels)}
    sets |= {data: load_clean(path, denoiser.channels) for data, path in folders.items()}
    own, rows = judged_by(denoiser.info), []
    for noise in [own, *ALSO.get(own, [])]:
        model = parse_noise(noise)
        estimated = noise != own and model.kind == "poisson"
        denoise = denoiser if estimated else denoiser.bare
        if denoiser.channels == 4:
            estimated = model.shot is None
            law = "auto" if estimated else NoiseEstimate((model.shot,), (model.read,))
            denoise = functools.partial(denoise_planes, denoiser, noise=law)
        for data, images in sets.items():
            stream = np.random.RandomState(SEED)
            results = evaluate(denoise, images, model, stream)
            kept = list(progress(results, len(images), f"{pathlib.Path(name).name} {noise} {data}"))
            what = {"noise": noise, "data": data, "images": len(images), "estimated": estimated}
            rows.append(what | average(kept))
    return rows


def judged_by(info: ModelInfo) -> str:
    """The noise of a model's main figures: that of its training, or of sensors if it is for raw."""
    return "raw" if info.channels == 4 else info.noise


def save_results(folder: pathlib.Path, noise: str, rows: list[dict[str, Any]]) -> None:
    """Writes the results.json of the model in a folder: these figures and no older ones.

    Args:
        folder: `pathlib.Path`.
        noise: that of the main figures.
        rows: what `measure` gave.
    """
    results = {"noise": noise, "seed": SEED, "repeats": 1, "results": rows}
    write_json(folder / RESULTS_FILE, results)


def disagreements(name: str | os.PathLike, rows: list[dict[str, Any]]) -> list[str]:
    """Lines that say where new figures differ from those of a model's results.json.

    A difference is more than 0.01 dB, or 0.001 in SSIM; a figure that is missing is one too.
    """
    known = {(row["noise"], row["data"]): row for row in shipped.results_of(name)["results"]}
    lines = []
    for row in rows:
        said = known.get((row["noise"], row["data"]))
        where = f"{name}, {row['noise']}, {row['data']}"
        if said is None:
            lines.append(f"{where}: {RESULTS_FILE} has no figure.")
            continue
        lines += [
            f"{where}: {figure} is {row[figure]:.4f}, {RESULTS_FILE} says {said[figure]:.4f}."
            for figure, tolerance in TOLERANCES.items()
            if not abs(row[figure] - said[figure]) <= tolerance
        ]
    return lines
