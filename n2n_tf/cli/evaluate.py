"""Evaluate a denoiser as the paper does: noise with seed 101, PSNR and SSIM on 8-bit images.

  n2n-evaluate --model runs/g25 --data_dir Kodak --noise gauss25

The paper's three sets in one go and in its order, so that all noise comes from one stream, as in
the authors' code. Folders with these names get the paper's number of repeats (Kodak 10, BSD300 3,
Set14 20):

  n2n-evaluate --model runs/g25 --noise gauss25 \\
      --data_dir Kodak --data_dir BSD300 --data_dir Set14 --output results.json

A model for camera raw, on photographs unprocessed to linear raw, compared as floats:

  n2n-evaluate --model runs/raw --data_dir Kodak --noise raw:0.004,0.0001

This scores the network alone, as the validation of a training run does. n2n-denoise also gives back
what a network took away beyond noise; n2n-models scores models with that.

The noisy images themselves, which needs no model and checks data and protocol:

  n2n-evaluate --model noisy --data_dir Kodak --noise gauss25 --repeats 1
"""

import dataclasses
import functools
import pathlib
import sys

from absl import app, flags

from n2n_tf.cli import program
from n2n_tf.pipelines.files import image_limits

MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of a shipped model, folder of a run, .keras, .npz, .pth or .tflite file, SavedModel "
    "folder (which can read and write any file when it runs: take one only from people you trust), "
    "or 'noisy'. Required.",
)
DATA_DIR = flags.DEFINE_multi_string(
    "data_dir",
    None,
    "Folder of clean 8- or 16-bit images, searched recursively; may be given several times. "
    "Required.",
)
NOISE = flags.DEFINE_string(
    "noise",
    None,
    "Noise to add: gaussS, gaussLOW_HIGH (sigma on 0..255), poissonL or poissonLOW_HIGH (photons "
    "at white); for a raw model raw, raw:SHOT,READ or poisson_gaussian:SHOT,READ, on photographs "
    "unprocessed to linear packed raw. Required.",
)
REPEATS = flags.DEFINE_integer(
    "repeats",
    None,
    "Noise realisations per image. [by name: Kodak 10, BSD300 3, Set14 20, else 1]",
    1,
)
ESTIMATE = flags.DEFINE_bool(
    "estimate",
    False,
    "Denoise as n2n-denoise does: estimate the noise of each image, scale the image to what the "
    "model knows, give back what is more than noise. [the bare model, as in the paper]",
)
AXES = flags.DEFINE_string(
    "axes", None, "Axes of the images, as for n2n-denoise. [TIFF: what the file says; .npy: YX]"
)
SEED = flags.DEFINE_integer("seed", 101, "Seed of NumPy's legacy generator.", 0)
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write with every figure.")
SAVE_IMAGES = flags.DEFINE_string(
    "save_images", None, "Folder for clean, noisy and denoised PNGs of the first repeat."
)
MAX_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", 400.0, "Refuse larger files; their pixels would need a lot of memory.", 0.0
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that exist.")


def main(arguments: list[str]) -> None:
    """Evaluates every folder and prints one row for each."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}; folders are given by flags.")

    from n2n_tf.pipelines.noise.synthetic import RAW_KINDS, parse_noise

    image_limits.MAX_PIXELS = 1e6 * MAX_MEGAPIXELS.value
    noise = parse_noise(NOISE.value)
    if noise.kind in ("none", "profile"):
        raise ValueError(
            f"--noise={NOISE.value}: the evaluation adds noise to clean images; name one."
        )
    _check_output()

    program.import_tensorflow()
    import numpy as np

    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.evaluation.clean_images import load_clean

    with program.stderr_held():
        denoise = None if MODEL.value == "noisy" else Denoiser.load(MODEL.value)
    raw = noise.kind in RAW_KINDS
    channels = denoise.channels if denoise else 4 if raw else 3
    if raw and denoise and denoise.info.noise_level and not ESTIMATE.value:
        raise ValueError(
            f"--model={MODEL.value}: is a network for Gaussian noise, which sees raws through "
            "Anscombe's transform: give --estimate."
        )
    if raw and denoise and not ESTIMATE.value:
        print("The network alone is scored, without the levels and detail that n2n-denoise keeps.")
    if (channels == 4) != raw:
        raise ValueError(
            f"--noise={NOISE.value}, --model={MODEL.value}: raw noise goes with a model of 4 "
            f"channels and the others do not; this model has {channels}."
        )
    folders = [
        (_folder_name(path), load_clean(path, channels, axes=AXES.value)) for path in DATA_DIR.value
    ]
    _check_pictures(folders)
    stream = np.random.RandomState(SEED.value)
    rows = [_evaluate(denoise, name, images, noise, stream) for name, images in folders]
    _print(rows)
    if OUTPUT.value:
        _write(rows)


def _folder_name(path):
    return pathlib.Path(path).resolve().name


def _check_output():
    """Makes the folder of --output, so that no evaluation is lost for want of it."""
    if not OUTPUT.value:
        return
    output = pathlib.Path(OUTPUT.value)
    if output.is_dir():
        raise ValueError(f"--output={output} is a folder; name a JSON file.")
    if output.exists() and not OVERWRITE.value:
        raise FileExistsError(f"--output={output} exists already; --overwrite replaces it.")
    output.parent.mkdir(parents=True, exist_ok=True)


def _check_pictures(folders):
    """Refuses to save two images under one name, or over files that exist, before any work."""
    if not SAVE_IMAGES.value:
        return
    taken = set()
    for folder, images in folders:
        for name, _ in images:
            for file in _picture_files(folder, name).values():
                if file in taken:
                    raise ValueError(f"--save_images: two images would be saved as {file}.")
                if file.exists() and not OVERWRITE.value:
                    raise FileExistsError(f"{file} exists already; --overwrite replaces it.")
                taken.add(file)


def _picture_files(folder, name):
    """Where the pictures of an image are saved: {"clean": path, "noisy": ..., "denoised": ...}."""
    stem = pathlib.Path(SAVE_IMAGES.value) / folder / pathlib.Path(name).with_suffix("")
    kinds = ("clean", "noisy", "denoised")
    return {kind: stem.with_name(f"{stem.name}_{kind}.png") for kind in kinds}


def _denoising(denoiser):
    """What is evaluated: callable(noisy image) -> denoised image; None for the noisy image."""
    from n2n_tf.denoising.raw_frames import denoise_planes

    if denoiser is None or not ESTIMATE.value:
        return denoiser and denoiser.bare
    if denoiser.channels == 4:
        return functools.partial(denoise_planes, denoiser)
    return denoiser


def _evaluate(denoise, folder, images, noise, stream):
    """One folder -> dict of its figures."""
    from n2n_tf.evaluation.protocol import FIGURES, PAPER_REPEATS, average, evaluate

    repeats = REPEATS.value or PAPER_REPEATS.get(folder, 1)
    results = evaluate(_denoising(denoise), images, noise, stream, repeats)
    kept, total = [], len(images) * repeats
    for result in program.progress_bar(results, desc=folder, total=total, leave=False, unit="img"):
        if SAVE_IMAGES.value and result.repeat == 0:
            _save(folder, result)
        # Without the pictures: those of ten repeats would fill the memory.
        kept.append(dataclasses.replace(result, images=None))
    per_image = [
        {"name": r.name, "repeat": r.repeat} | dict(zip(FIGURES, r.figures(), strict=True))
        for r in kept
    ]
    counts = {"images": len(images), "repeats": repeats}
    return {"data": folder} | counts | average(kept) | {"per_image": per_image}


def _save(folder, result):
    from n2n_tf.pipelines.files.image_files import write_image
    from n2n_tf.pipelines.raw.unprocess import viewable

    files = _picture_files(folder, result.name)
    files["clean"].parent.mkdir(parents=True, exist_ok=True)
    for file, image in zip(files.values(), result.images, strict=True):
        image = viewable(image) if image.shape[-1] == 4 else image
        write_image(file, image, overwrite=OVERWRITE.value)


def _print(rows):
    print(f"{NOISE.value}, seed {SEED.value}, model {MODEL.value}")
    wide = max(12, *(len(row["data"]) for row in rows))
    print(
        f"{'data':{wide}} {'images':>6} {'x':>3}   {'noisy PSNR / SSIM':>20}   "
        f"{'denoised PSNR / SSIM':>20}"
    )
    for row in rows:
        before = f"{row['psnr_noisy']:.4f} / {row['ssim_noisy']:.5f}"
        after = f"{row['psnr']:.4f} / {row['ssim']:.5f}" if MODEL.value != "noisy" else "-"
        counts = f"{row['images']:6} {row['repeats']:3}"
        print(f"{row['data']:{wide}} {counts}   {before:>20}   {after:>20}")


def _write(rows):
    from n2n_tf.pipelines.files.atomic_files import write_json

    record = {"model": MODEL.value, "noise": NOISE.value, "seed": SEED.value, "results": rows}
    write_json(OUTPUT.value, record, OVERWRITE.value)
    print(f"wrote {OUTPUT.value}")


def run() -> None:
    """Entry point of `n2n-evaluate`."""
    flags.mark_flags_as_required(["model", "data_dir", "noise"])
    program.start(main, "n2n-evaluate", sys.modules[__name__], tensorflow=False)


if __name__ == "__main__":
    run()
