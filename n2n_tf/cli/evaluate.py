"""Evaluate a denoiser as the paper does: noise with seed 101, PSNR and SSIM on 8-bit images.

  n2n-evaluate --model runs/g25 --data_dir Kodak --noise gauss25

The paper's three sets in one go, in its order, so that all noise comes from one stream as in the
official loop; folders of these names get its numbers of repeats (Kodak 10, BSD300 3, Set14 20):

  n2n-evaluate --model runs/g25 --noise gauss25 \\
      --data_dir Kodak --data_dir BSD300 --data_dir Set14 --output results.json

The noisy images themselves, which needs no model and checks the protocol:

  n2n-evaluate --model noisy --data_dir Kodak --noise gauss25 --repeats 1
"""

import json
import pathlib
import sys

from absl import app, flags

from n2n_tf import cli

MODEL = flags.DEFINE_string(
    "model", None, "Folder of a training, .keras, .pth or .tflite file, SavedModel; or 'noisy'."
)
DATA_DIR = flags.DEFINE_multi_string(
    "data_dir", None, "Folder of clean images; may be given several times."
)
NOISE = flags.DEFINE_string(
    "noise", None, "Noise to add: gaussS, gaussLOW_HIGH, poissonL or poissonLOW_HIGH."
)
REPEATS = flags.DEFINE_integer(
    "repeats",
    None,
    "Noise realisations per image. [by name: Kodak 10, BSD300 3, Set14 20, else 1]",
    1,
)
SEED = flags.DEFINE_integer("seed", 101, "Seed of NumPy's legacy generator.", 0)
OUTPUT = flags.DEFINE_string("output", None, "JSON file to write with every figure.")
SAVE_IMAGES = flags.DEFINE_string(
    "save_images", None, "Folder for clean, noisy and denoised PNGs of the first repeat."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files that exist.")


def main(arguments):
    """Evaluates every folder and prints one row for each."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}; folders are given by flags.")

    import numpy as np

    from n2n_tf.denoiser import Denoiser
    from n2n_tf.evaluation import load_clean
    from pipelines.noise import parse_noise

    noise = parse_noise(NOISE.value)
    if noise.kind == "none":
        raise ValueError("--noise=none: the evaluation adds noise to clean images; name one.")
    if OUTPUT.value and pathlib.Path(OUTPUT.value).exists() and not OVERWRITE.value:
        raise FileExistsError(f"--output={OUTPUT.value} exists already; --overwrite replaces it.")
    denoise = None if MODEL.value == "noisy" else Denoiser.load(MODEL.value)
    folders = [
        (name, load_clean(name, denoise.channels if denoise else 3)) for name in DATA_DIR.value
    ]
    stream = np.random.RandomState(SEED.value)
    rows = [_evaluate(denoise, name, images, noise, stream) for name, images in folders]
    _print(rows)
    if OUTPUT.value:
        _write(rows)


def _evaluate(denoise, folder, images, noise, stream):
    """One folder -> dict of its figures."""
    import tqdm

    from n2n_tf.evaluation import PAPER_REPEATS, average, evaluate

    folder = pathlib.Path(folder)
    repeats = REPEATS.value or PAPER_REPEATS.get(folder.resolve().name, 1)
    results = []
    for result in tqdm.tqdm(
        evaluate(denoise, images, noise, stream, repeats),
        folder.name,
        len(images) * repeats,
        leave=False,
        unit="img",
    ):
        if SAVE_IMAGES.value and result.repeat == 0:
            _save(folder.resolve().name, result)
        results.append(result)
    per_image = [
        {"name": r.name, "repeat": r.repeat} | dict(zip(average([r]), r.figures(), strict=True))
        for r in results
    ]
    counts = {"images": len(images), "repeats": repeats}
    return {"data": folder.resolve().name} | counts | average(results) | {"per_image": per_image}


def _save(folder, result):
    from pipelines.image_files import write_image

    stem = pathlib.Path(SAVE_IMAGES.value) / folder / pathlib.Path(result.name).with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind, image in zip(("clean", "noisy", "denoised"), result.images, strict=True):
        write_image(f"{stem}_{kind}.png", image, overwrite=OVERWRITE.value)


def _print(rows):
    print(f"{NOISE.value}, seed {SEED.value}, model {MODEL.value}")
    print(
        f"{'data':12} {'images':>6} {'x':>3}   {'noisy PSNR / SSIM':>19}   "
        f"{'denoised PSNR / SSIM':>20}"
    )
    for row in rows:
        print(
            f"{row['data']:12} {row['images']:6} {row['repeats']:3}   "
            f"{row['psnr_noisy']:11.4f} /{row['ssim_noisy']:.5f}   "
            f"{row['psnr']:12.4f} /{row['ssim']:.5f}"
        )


def _write(rows):
    from pipelines.atomic_files import atomic_file

    record = {"model": MODEL.value, "noise": NOISE.value, "seed": SEED.value, "results": rows}
    with atomic_file(OUTPUT.value, OVERWRITE.value) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {OUTPUT.value}")


def run():
    """Entry point of `n2n-evaluate`."""
    flags.mark_flags_as_required(["model", "data_dir", "noise"])
    cli.start(main, "n2n-evaluate", sys.modules[__name__])


if __name__ == "__main__":
    run()
