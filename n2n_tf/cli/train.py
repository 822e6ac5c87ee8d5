"""Train a denoising network from noisy images alone (Neighbor2Neighbor).

Images that are noisy already, which is the usual case. No clean image is needed:

  n2n-train --data_dir my_noisy_photos --noise none --model_dir runs/mine

An experiment: noise is added to clean images, one fixed noise field to each, and the network never
sees the clean ones. --val_dir adds PSNR and SSIM after every epoch:

  n2n-train --data_dir photos --noise gauss25 --model_dir runs/g25 --val_dir Kodak

A network of the paper's tables, with the paper's settings (100 epochs; needs a GPU):

  n2n-train --preset paper_gauss25 --data_dir imagenet_val --model_dir runs/paper

A small network for a CPU:

  n2n-train --preset quick --noise gauss25 --epochs 20 --data_dir photos --model_dir runs/quick

Camera raws (DNG, NEF, CR2, ARW, ...), noisy as they are. The network learns from the Bayer mosaic:

  n2n-train --channels 4 --gamma 1 --noise none --data_dir my_raws --model_dir runs/raw

A raw model without any raws: photographs are turned into synthetic raws first:

  n2n-train --preset raw_from_photos --data_dir photos --model_dir runs/raw

Stopped runs resume: run the same command again. Ctrl-C saves first; a power cut costs the steps
since the last checkpoint. When the run is complete:

  n2n-denoise --model runs/mine noisy.png -o denoised.png
  tensorboard --logdir runs/mine/logs
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from typing import TYPE_CHECKING

from absl import app, flags

from n2n_tf.cli import program
from n2n_tf.pipelines.files import image_limits
from n2n_tf.pipelines.processors import computes_in_bfloat16

if TYPE_CHECKING:
    from n2n_tf.training.data import Images
    from n2n_tf.training.recipes import Recipe

_NUMBERS = {"lower_bound": 1}
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of training images, searched recursively.")
MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder for the network, checkpoints and logs.")
VAL_DIR = flags.DEFINE_string("val_dir", None, "Folder of clean images to score every epoch.")
VAL_IMAGES = flags.DEFINE_integer("val_images", 6, "How many of them to use, in order of name.", 1)
PRESET = flags.DEFINE_string(
    "preset", None, "Named set of flags (see docs/training.md); flags given beside it override it."
)
MAX_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", 400.0, "Refuse larger files; their pixels would need a lot of memory.", 0.0
)
AXES = flags.DEFINE_string(
    "axes",
    None,
    "Axes of all images, also of --val_dir, one letter each, as for n2n-denoise: e.g. ZYX for "
    "stacks in .npy files. [TIFF: what the file says; .npy: YX]",
)
CACHE_MB = flags.DEFINE_integer("cache_mb", 2048, "Memory for decoded images, in MB.", 0)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    ["auto", "one_device", "mirrored", "multi_worker"],
    "Where to compute: one GPU or the CPU, all GPUs, or the machines that TF_CONFIG names (see "
    "docs/training.md). auto takes all GPUs. Changes the result only by rounding.",
)
CHECKPOINT_EVERY = flags.DEFINE_string(
    "checkpoint_every",
    "5m",
    "How often to save the state within an epoch: minutes, like 5m, or steps, like 200.",
)
ON_NAN = flags.DEFINE_enum(
    "on_nan",
    "stop",
    ["stop", "rollback"],
    "If loss or weights become NaN or infinite, or an epoch's loss ten times that of an earlier "
    "one: stop, naming the images, or go back to the last checkpoint and continue with half the "
    "learning rate, at most 5 times.",
)
ALLOW_CHANGED_FLAGS = flags.DEFINE_bool(
    "allow_changed_flags",
    False,
    "Resume the run in --model_dir with other flags or data; run.json records the change.",
)

# Flags of the recipe: None means the preset's value, or the default named in the help.
RECIPE = [
    flags.DEFINE_string(
        "noise",
        None,
        "Noise to add: gaussS, gaussLOW_HIGH (sigma on 0..255), poissonL, poissonLOW_HIGH; 'none' "
        "if the images are noisy already. Required without --preset.",
    ),
    flags.DEFINE_enum(
        "noise_realization",
        None,
        ["frozen", "fresh"],
        "frozen: each image keeps one noise field, as single noisy images do; fresh: new noise for "
        "every crop, as in the authors' code. [frozen]",
    ),
    flags.DEFINE_string(
        "network",
        None,
        "unet, as in the paper; unet_residual, better in short runs; "
        "unet_bias_free, of the shipped models; rrg, the paper's second for raw; blind_spot_unet, "
        "blind_spot_dilated, and both with _residual, better in short runs. [unet]",
    ),
    flags.DEFINE_integer(
        "channels",
        None,
        "1 gray, 3 RGB (images are converted), 4 packed camera raw; if the folder holds no raws, "
        "its photographs are unprocessed to raw. [3]",
        1,
        4,
    ),
    flags.DEFINE_integer("features", None, "Width of the network. [48]", **_NUMBERS),
    flags.DEFINE_float("init_scale", None, "Factor on He-normal initial weights. [0.1]", 1e-6),
    flags.DEFINE_string(
        "initial_model",
        None,
        "Model to start from: a shipped one, the folder of a run, a .keras, .npz or .pth file. It "
        "must be the same network; one for RGB will do for gray and raw too. [random weights]",
    ),
    flags.DEFINE_enum(
        "method",
        None,
        [
            "neighbor2neighbor",
            "noise2void",
            "laine19",
            "dbsn",
            "blind2unblind",
            "recorrupted",
            "noisier2noise",
            "sure",
            "noise2noise",
            "supervised",
        ],
        "What to learn from. Single noisy images: neighbors; pixels hidden from the network; the "
        "likelihood under a blind-spot network (laine19: --network=blind_spot_unet, dbsn: "
        "--network=blind_spot_dilated); blind spots that are seen again (at seven times the cost). "
        "Single noisy images of known noise: made noisier, twice or "
        "once; Stein's estimate of the error. Two noisy images of each scene; clean images. All "
        "from recorrupted on must know the noise, so it has to be synthetic; the last two also "
        "take SIDD's sub-images (--channels=4 --noise=none). "
        "[neighbor2neighbor]",
    ),
    flags.DEFINE_enum(
        "law",
        None,
        ["auto", "gauss", "poisson", "both"],
        "Noise that a blind-spot network assumes: what --noise says, or of a level to be learned. "
        "[auto]",
    ),
    flags.DEFINE_float(
        "tau",
        None,
        "For recorrupted: how much noise to add, relative to the image's own, which is made weaker "
        "than --noise so that the network sees --noise in all. [1]",
        0.01,
        100.0,
    ),
    flags.DEFINE_enum(
        "subsampler",
        None,
        ["random", "fixed", "edges"],
        "Neighbor sub-sampler: random; the same two pixels of all cells; random, along edges. "
        "[random]",
    ),
    flags.DEFINE_integer("k", None, "Side of the sub-sampler's cells in pixels. [2]", 2, 16),
    flags.DEFINE_float("gamma", None, "Weight of the regularisation in the last epoch. [2]", 0.0),
    flags.DEFINE_float(
        "gamma_delay",
        None,
        "Share of the epochs, at the beginning, that do without the regularisation; these take "
        "about half the time. [0]",
        0.0,
        1.0,
    ),
    flags.DEFINE_bool(
        "balance",
        None,
        "Give weakly and strongly noisy images equal influence, by weights of 1 / noise variance "
        "in the loss; for images of many noise levels. [off]",
    ),
    flags.DEFINE_integer("epochs", None, "Passes over the images. [100]", **_NUMBERS),
    flags.DEFINE_integer(
        "batch_size", None, "Crops per step, on all GPUs together. [4]", **_NUMBERS
    ),
    flags.DEFINE_integer(
        "patch_size", None, "Side of a crop in pixels (raw: in cells of 2 x 2). [256]", 8
    ),
    flags.DEFINE_integer("crops_per_image", None, "Crops per image and epoch. [1]", **_NUMBERS),
    flags.DEFINE_float("learning_rate", None, "Highest learning rate of Adam. [0.0003]", 0.0),
    flags.DEFINE_enum(
        "schedule",
        None,
        ["halvings", "cosine"],
        "How the learning rate falls: halved 4 times as in the paper, or by a cosine. [halvings]",
    ),
    flags.DEFINE_bool(
        "log_levels",
        None,
        "Draw noise levels log-uniformly, so that weak noise comes as often as strong noise. [off]",
    ),
    flags.DEFINE_float(
        "ema_decay",
        None,
        "Give the final network moving averages of the weights, with this decay, e.g. 0.999; 0: "
        "the last weights. [0]",
        0.0,
        0.999999,
    ),
    flags.DEFINE_bool("augment", None, "Random flips and rotations by 90 degrees. [off]"),
    flags.DEFINE_float(
        "holdout",
        None,
        "Share of the images to keep out of training and score every epoch, as val_loss. [0.03 if "
        "there are 20 or more images and no --val_dir, else 0]",
        0.0,
        0.9,
    ),
    flags.DEFINE_integer("min_side", None, "Skip images with a shorter side. [patch_size / 2]", 2),
    flags.DEFINE_integer("max_side", None, "Skip images with a longer side. [none]", 2),
    flags.DEFINE_float(
        "white_level",
        None,
        "Pixel value of white. [255 or 65535; with --noise=none each image is scaled by its noise]",
        1e-9,
    ),
    flags.DEFINE_enum(
        "precision", None, ["float32", "mixed_bfloat16", "mixed_float16"], "Arithmetic. [float32]"
    ),
    flags.DEFINE_integer("seed", None, "Seed of everything random. [0]", 0),
]


def recipe_from_flags() -> Recipe:
    """The preset's recipe, or the default one, with the flags that were given.

    Raises:
        ValueError: for an unknown preset or noise, or if neither gives the noise.
    """
    from n2n_tf.method import FROM_NOISY_IMAGES
    from n2n_tf.pipelines.noise.synthetic import RAW_KINDS, parse_noise
    from n2n_tf.pipelines.training.sources import COMPANIONS, holds_raws
    from n2n_tf.training.recipes import PRESETS, Recipe

    given = {holder.name: holder.value for holder in RECIPE if holder.value is not None}
    if PRESET.value is not None and PRESET.value not in PRESETS:
        raise ValueError(f"--preset={PRESET.value}: unknown; known are {', '.join(PRESETS)}.")
    if PRESET.value is None and "noise" not in given:
        raise ValueError("--noise is required: --noise=none if the images are noisy already.")
    recipe = dataclasses.replace(PRESETS.get(PRESET.value) or Recipe("none"), **given)
    noise = parse_noise(recipe.noise)
    if noise.kind in RAW_KINDS and recipe.channels != 4:
        raise ValueError(
            f"--noise={recipe.noise}: is the noise of camera raws, which need --channels=4."
        )
    if noise.kind == "poisson" and recipe.channels == 4:
        raise ValueError(
            f"--noise={recipe.noise}: for camera raw it must be none, raw, poisson_gaussian, or "
            "gauss for a network that sees raws through Anscombe's transform."
        )
    if noise.kind == "profile" and not holds_raws(DATA_DIR.value):
        raise ValueError(
            "--noise=profile: takes the noise from DNG files, but --data_dir holds no raws."
        )
    paired = recipe.channels == 4 and noise.kind == "none" and recipe.method in COMPANIONS
    if recipe.method not in FROM_NOISY_IMAGES and noise.kind in ("none", "profile") and not paired:
        raise ValueError(
            f"--method={recipe.method}: must know the noise, which --noise={recipe.noise} does not "
            "tell. For images that are noisy already use one of "
            f"{', '.join(FROM_NOISY_IMAGES)}."
        )
    if (
        noise.kind == "gauss"
        and recipe.channels == 4
        and (VAL_DIR.value or holds_raws(DATA_DIR.value))
    ):
        raise ValueError(
            f"--noise={recipe.noise}: for camera raw it is added to photographs, as a network sees "
            "raws through Anscombe's transform; for raws and for --val_dir it cannot be. Score the "
            "network by n2n-evaluate --estimate."
        )
    if VAL_DIR.value and noise.kind in ("none", "profile"):
        raise ValueError(
            "--val_dir: its images would get the noise of the training images, but "
            f"--noise={recipe.noise} cannot be added to any."
        )
    if recipe.channels == 2:
        raise ValueError("--channels=2: it must be 1, 3 or 4.")
    return recipe


def open_images(recipe: Recipe) -> Images:
    """The training images: a folder of pictures, of camera raws, or photographs as raws."""
    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.pipelines.training import sources

    if AXES.value and recipe.channels == 4:
        raise ValueError(f"--axes={AXES.value}: is for pictures, not for --channels=4.")
    if recipe.noise == "none" and recipe.method in sources.COMPANIONS:
        return sources.PairedMosaics(DATA_DIR.value, sources.COMPANIONS[recipe.method])
    if recipe.channels == 4 and sources.holds_raws(DATA_DIR.value):
        return sources.RawFolder(DATA_DIR.value, f"{MODEL_DIR.value}/raw_cache")
    if recipe.channels == 4 and recipe.noise == "none":
        return sources.MosaicFolder(DATA_DIR.value)
    if recipe.channels != 4:
        _refuse_raws(DATA_DIR.value)
    pixels_per_step = 2 if recipe.channels == 4 else 1
    photos = ImageFolder(
        DATA_DIR.value,
        channels=min(recipe.channels, 3),
        min_side=recipe.min_side or recipe.patch_size * pixels_per_step // 2,
        max_side=recipe.max_side,
        white_level=recipe.white_level,
        cache_bytes=CACHE_MB.value << 20,
        progress=lambda items, total: program.progress_bar(
            items, desc="Reading images", total=total, leave=False
        ),
        axes=AXES.value,
    )
    if recipe.channels == 4:
        return sources.PhotosAsRaw(photos)
    if recipe.noise != "none" or recipe.white_level is not None:
        return photos
    from n2n_tf.training.scaled_by_noise import ScaledByNoise

    return ScaledByNoise(photos)


def _faster_precision(recipe):
    """What to say of a new run in float32 on a processor that is faster in bfloat16; None else."""
    import tensorflow as tf

    from n2n_tf.model_files.run_story import RUN_FILE

    begun = (pathlib.Path(MODEL_DIR.value) / RUN_FILE).exists()
    if begun or recipe.precision != "float32" or not computes_in_bfloat16():
        return None
    if tf.config.list_physical_devices("GPU"):
        return None
    return "This processor computes in bfloat16 too: --precision=mixed_bfloat16 is much faster."


def _refuse_raws(folder):
    """Refuses a folder of raws without pictures, unless --channels=4 was given."""
    from n2n_tf.pipelines.files.image_files import SUFFIXES
    from n2n_tf.pipelines.files.listing import files_below
    from n2n_tf.pipelines.training.sources import holds_raws

    if holds_raws(folder) and not files_below(folder, SUFFIXES):
        raise ValueError(
            f"--data_dir={folder}: holds camera raws; train on them with --channels=4 --noise=none."
        )


def main(arguments: list[str]) -> int:
    """Opens the data, trains, reports where the network is; returns the exit status."""
    if arguments:
        raise app.UsageError(f"Unexpected argument {arguments[0]!r}; folders are given by flags.")
    image_limits.MAX_PIXELS = 1e6 * MAX_MEGAPIXELS.value
    recipe = recipe_from_flags()

    from n2n_tf.evaluation.clean_images import load_clean
    from n2n_tf.training import strategies
    from n2n_tf.training.errors import TrainingStopped
    from n2n_tf.training.run import Conduct, train

    conduct = Conduct(CHECKPOINT_EVERY.value, ON_NAN.value, ALLOW_CHANGED_FLAGS.value)
    strategy = strategies.choose(STRATEGY.value, recipe.batch_size)
    images = open_images(recipe)
    for skipped in images.skipped:
        print(f"skipped {skipped.path}: {skipped.reason}")
    print(f"{len(images)} images to train on, {len(images.skipped)} skipped.")
    if hint := _faster_precision(recipe):
        print(hint)
    clean = []
    if VAL_DIR.value:
        clean = load_clean(VAL_DIR.value, recipe.channels, VAL_IMAGES.value, AXES.value)
    try:
        train(recipe, images, MODEL_DIR.value, clean, conduct, strategy=strategy)
    except TrainingStopped as stopped:
        print(f"n2n-train: {stopped}", file=sys.stderr)
        return stopped.status
    if not strategies.is_chief(strategy):
        return 0
    print(
        f"The network is in {MODEL_DIR.value}. Next:\n"
        f"  n2n-denoise --model {MODEL_DIR.value} INPUT -o OUTPUT\n"
        f"  tensorboard --logdir {MODEL_DIR.value}/logs"
    )
    return 0


def run() -> None:
    """Entry point of `n2n-train`."""
    # TensorFlow does so by itself only where there is AVX-512; steps gain on other processors too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    flags.mark_flags_as_required(["data_dir", "model_dir"])
    program.start(main, "n2n-train", sys.modules[__name__])


if __name__ == "__main__":
    run()
