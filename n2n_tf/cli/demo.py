"""Train on a few noisy photos, denoise others: the whole method in about five minutes on two cores.

  make demo        (or: python -m n2n_tf.cli.demo --output demo_output)

Each training photo gets one fixed field of Gaussian noise (sigma 25); a small U-Net learns from
those noisy photos alone, then denoises three photos that it has never seen.
"""

from __future__ import annotations

import pathlib
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from n2n_tf.cli import program

if TYPE_CHECKING:
    from n2n_tf.evaluation.protocol import Result
    from n2n_tf.training.recipes import Recipe

OUTPUT = flags.DEFINE_string("output", "demo_output", "Folder to write into.", short_name="o")
EPOCHS = flags.DEFINE_integer("epochs", 12, "Number of epochs to train for.", 1)
REQUIRED_GAIN = flags.DEFINE_float(
    "required_gain", 6.0, "Mean gain in dB that the demo must reach."
)

NOISE = "gauss25"
CROP = 96  # side of the zoomed part in pixels


def write_photos(folder: pathlib.Path, names: Iterable[str]) -> None:
    """Writes photos that scikit-image ships as PNGs."""
    from n2n_tf.pipelines.files.embedded_photos import embedded_photo
    from n2n_tf.pipelines.files.image_files import write_image

    folder.mkdir(parents=True)
    for name in names:
        write_image(folder / f"{name}.png", embedded_photo(name))


def recipe() -> Recipe:
    """A small network and short training; the method is the paper's."""
    from n2n_tf.training.recipes import Recipe

    return Recipe(
        NOISE,
        noise_realization="frozen",
        network="unet_residual",
        features=16,
        init_scale=1.0,
        epochs=EPOCHS.value,
        batch_size=8,
        patch_size=64,
        crops_per_image=256,
        learning_rate=1e-3,
        augment=True,
    )


def picture(results: Sequence[Result]) -> np.ndarray:
    """Rows clean | noisy | denoised, each with a zoomed crop, labelled."""
    return np.concatenate([_row(result) for result in results])


def _row(result):
    import cv2

    height, width = result.images[0].shape[:2]
    top, left = (height - CROP) // 2, (width - CROP) // 2
    labels = (
        f"{pathlib.Path(result.name).stem}: clean",
        f"noisy {result.psnr_noisy:.2f} dB",
        f"denoised {result.psnr:.2f} dB",
    )
    cells = []
    for image, label in zip(result.images, labels, strict=True):
        whole = cv2.resize(image, (round(width * 300 / height), 300), interpolation=cv2.INTER_AREA)
        crop = image[top : top + CROP, left : left + CROP]
        crop = cv2.resize(crop, (300, 300), interpolation=cv2.INTER_NEAREST)
        whole = whole[:, max(0, whole.shape[1] - 400) // 2 :][:, :400]
        frame = np.zeros((300, 400, 3), np.uint8)
        frame[:, : whole.shape[1]] = whole
        cell = np.concatenate([frame, crop], axis=1)
        bar = np.full((28, cell.shape[1], 3), 255, np.uint8)
        cv2.putText(bar, label, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(np.concatenate([bar, cell]))
    return np.concatenate(cells, axis=1)


def print_table(results: Sequence[Result]) -> float:
    """One line per photo and the mean; returns the mean gain in dB."""
    from n2n_tf.evaluation.protocol import average

    print(f"\n{'held-out photo':16} {'noisy PSNR/SSIM':>17}   {'denoised PSNR/SSIM':>18}   gain")
    rows = [(pathlib.Path(r.name).stem, average([r])) for r in results]
    rows.append(("mean", average(results)))
    for name, r in rows:
        gain = r["psnr"] - r["psnr_noisy"]
        before, after = (f"{r[p]:.2f} / {r[s]:.4f}" for p, s in _PAIRS)
        print(f"{name:16} {before:>17}   {after:>18}   {gain:+.2f} dB")
    return gain


_PAIRS = (("psnr_noisy", "ssim_noisy"), ("psnr", "ssim"))


def main(arguments: list[str]) -> None:
    """Photos, training, table, picture, exports; fails if the gain is too small."""
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.evaluation.clean_images import load_clean
    from n2n_tf.evaluation.protocol import SEED, evaluate
    from n2n_tf.export.saved_model import export_saved_model
    from n2n_tf.export.tflite import export_tflite
    from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, SECOND_SET
    from n2n_tf.pipelines.files.image_files import write_image
    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.pipelines.noise.synthetic import parse_noise
    from n2n_tf.training.run import train

    started = time.monotonic()
    output = fresh_folder(pathlib.Path(OUTPUT.value))
    write_photos(output / "photos/train", FIRST_SET)
    write_photos(output / "photos/held_out", SECOND_SET)
    print(f"Training a small U-Net on {len(FIRST_SET)} noisy photos, sigma 25; no clean ones.")
    held_out = load_clean(output / "photos/held_out", 3)
    train(recipe(), ImageFolder(output / "photos/train"), output / "model", held_out[:1])

    denoiser = Denoiser.load(output / "model")
    results = list(
        evaluate(denoiser.bare, held_out, parse_noise(NOISE), np.random.RandomState(SEED))
    )
    (output / "noisy").mkdir()
    for result in results:
        write_image(output / "noisy" / result.name, result.images[1])
    write_image(output / "comparison.png", picture(results))
    with program.stderr_held():  # what TensorFlow says while it converts
        export_saved_model(denoiser.network, output / "saved_model", denoiser.info)
        export_tflite(denoiser.network, output / "model.tflite", denoiser.info)
    gain = print_table(results)
    print(_farewell(output, time.monotonic() - started))
    if gain < REQUIRED_GAIN.value:
        raise ValueError(f"the mean gain is {gain:.2f} dB, below {REQUIRED_GAIN.value} dB.")


def fresh_folder(folder: pathlib.Path) -> pathlib.Path:
    """Empties the folder of an earlier demo; any other folder is left alone.

    Raises:
        FileExistsError: if the folder holds anything that is not a demo's.
    """
    mark = folder / ".n2n_demo"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise FileExistsError(
            f"{folder}: holds something other than a demo; give another --output."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    return folder


def _farewell(output, seconds):
    return f"""
Done in {seconds / 60:.1f} minutes. Everything is in {output}/:
  comparison.png   clean | noisy | denoised, with zoomed crops: look at it
  model/           the trained network, checkpoints, TensorBoard logs
  saved_model/     SavedModel, signature denoise(noisy)
  model.tflite     TFLite, float32, the same signature
  noisy/           the noisy photos

What to type next:
  .venv/bin/n2n-denoise --model {output}/model {output}/noisy/coffee.png -o coffee_denoised.png
  .venv/bin/tensorboard --logdir {output}/model/logs
  .venv/bin/n2n-train --help"""


def run() -> None:
    """Entry point."""
    program.start(main, "demo", sys.modules[__name__])


if __name__ == "__main__":
    run()
