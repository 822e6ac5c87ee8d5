"""What a training run learns from, which network learns it, and how: three tables.

  python benchmarks/objectives.py --data_dir photos --clean_dir Kodak --steps 300 \
      --start runs/n2n --network unet_residual --features 24 objectives
  python benchmarks/objectives.py --data_dir photos --clean_dir Kodak --steps 2000 networks
  python benchmarks/objectives.py --data_dir photos --clean_dir Kodak --steps 1000 recipes

objectives: all from the weights of --start, a model of Neighbor2Neighbor: the same crops at the
same noise levels (log-uniform, Gaussian sigma 5 to 50), the same optimizer; only the loss differs.
networks: all from random weights by one objective, as many steps as cost the multiply-adds of
--steps steps of unet_bias_free with 48 features.
recipes: this network again, --steps steps of as many pixels, one setting changed at a time.
PSNR in dB on the first --images clean photographs at sigma 10, 25 and 50, from the moving average
of the weights; CPU seconds are those of the process while it trained, all threads together. An
interrupted run continues.
"""

import dataclasses
import pathlib
import resource

from absl import app, flags

from n2n_tf.cli import program

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of training photographs.", required=True)
CLEAN_DIR = flags.DEFINE_string("clean_dir", None, "Folder of clean photographs.", required=True)
OUTPUT = flags.DEFINE_string("output", "objectives", "Folder for the training runs.")
STEPS = flags.DEFINE_integer("steps", 300, "Steps of each training.", 1)
IMAGES = flags.DEFINE_integer("images", 6, "Clean photographs, the first by name.", 1)
START = flags.DEFINE_string("start", "unet_rgb_gauss5_50", "Where the objectives start.")
NETWORK = flags.DEFINE_string("network", "unet_bias_free", "Network of --start.")
FEATURES = flags.DEFINE_integer("features", 48, "Its width.", 1)
PRECISION = flags.DEFINE_string("precision", "float32", "Dtype policy of the training runs.")
ONLY = flags.DEFINE_list("only", None, "Names of rows. [all]")

NOISES = ("gauss10", "gauss25", "gauss50")
RECORRUPTED = {"method": "recorrupted"}
# Name of a row -> what differs in its recipe.
OBJECTIVES = {
    "neighbor2neighbor": {"gamma": 2.0},
    "recorrupted tau 0.5": RECORRUPTED | {"tau": 0.5},
    "recorrupted tau 1": RECORRUPTED | {"tau": 1.0},
    "recorrupted tau 2": RECORRUPTED | {"tau": 2.0},
    "noise2noise": {"method": "noise2noise"},
    "sure": {"method": "sure"},
    "supervised": {"method": "supervised"},
}
NETWORKS = {
    "unet_bias_free 24 features": {"network": "unet_bias_free", "features": 24},
    "unet_residual 12 features": {"network": "unet_residual", "features": 12},
    "unet_bias_free 48 features": {"network": "unet_bias_free", "features": 48},
    "unet_residual 24 features": {"network": "unet_residual", "features": 24},
    "unet_bias_free 96 features": {"network": "unet_bias_free", "features": 96},
    "unet_residual 48 features": {"network": "unet_residual", "features": 48},
    "unet 48 features, the paper's": {"network": "unet", "features": 48},
}
RECIPES = {
    "the recipe": {},
    "halvings": {"schedule": "halvings"},
    "no moving average": {"ema_decay": 0.0},
    "no flips and rotations": {"augment": False},
    "levels drawn uniformly": {"log_levels": False},
    "losses not balanced": {"balance": False},
    "sixteen crops of 64 x 64": {"batch_size": 16, "patch_size": 64},
    "one crop of 256 x 256": {"batch_size": 1, "patch_size": 256},
    "half the learning rate": {"learning_rate": 5e-4},
    "sigma 25 alone": {"noise": "gauss25"},
}


def recipes(what):
    """Name -> recipe of every row of a table."""
    from n2n_tf.training.recipes import Recipe

    common = Recipe(
        "gauss5_50",
        noise_realization="fresh",
        init_scale=1.0,
        log_levels=True,
        balance=True,
        augment=True,
        batch_size=4,
        patch_size=128,
        crops_per_image=1,
        schedule="cosine",
        learning_rate=1e-3,
        ema_decay=0.99,
        holdout=0.0,
        epochs=1,
        precision=PRECISION.value,
        tau=2.0,
    )
    if what == "objectives":
        start = {
            "network": NETWORK.value,
            "features": FEATURES.value,
            "initial_model": START.value,
        }
        return {
            name: dataclasses.replace(common, **start, **more, learning_rate=8e-4)
            for name, more in OBJECTIVES.items()
        }
    light = NETWORKS["unet_bias_free 48 features"]
    rows = NETWORKS if what == "networks" else {name: light | r for name, r in RECIPES.items()}
    return {name: dataclasses.replace(common, **RECORRUPTED | more) for name, more in rows.items()}


def steps_of(what, recipe):
    """How many steps a row has."""
    from n2n_tf.networks.cost import multiply_adds
    from n2n_tf.training.recipes import build_network

    if what != "networks":
        return STEPS.value
    light = dataclasses.replace(recipe, **NETWORKS["unet_bias_free 48 features"])
    costs = [multiply_adds(build_network(one)) for one in (light, recipe)]
    return round(STEPS.value * costs[0] / costs[1])


def scores(denoise, images):
    """PSNR at the three levels."""
    import numpy as np

    from n2n_tf.evaluation.protocol import SEED, average, evaluate
    from n2n_tf.pipelines.noise.synthetic import parse_noise

    return [
        average(evaluate(denoise, images, parse_noise(noise), np.random.RandomState(SEED)))["psnr"]
        for noise in NOISES
    ]


class Steps:
    """An `ImageFolder` seen as so many images that one epoch has the steps wanted."""

    def __init__(self, images, count):
        self._images, self._count = images, count
        self.names = [f"{images.names[i % len(images)]}#{i}" for i in range(count)]
        self.sizes = [images.sizes[i % len(images)] for i in range(count)]
        self.channels, self.root, self.skipped = images.channels, images.root, images.skipped
        self.fingerprint, self.failure = f"{images.fingerprint}x{count}", None

    def __len__(self):
        return self._count

    def crop(self, index, *window):
        """As the folder's."""
        return self._images.crop(int(index) % len(self._images), *window)


def cpu_seconds():
    """Of this process, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(arguments):
    """Trains and scores row after row."""
    if arguments[1:] not in (["objectives"], ["networks"], ["recipes"]):
        raise app.UsageError("Name one of: objectives, networks, recipes.")
    program.import_tensorflow()
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.evaluation.clean_images import load_clean
    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.training.run import train

    photos = ImageFolder(DATA_DIR.value, min_side=64, cache_bytes=2048 << 20)
    clean = load_clean(CLEAN_DIR.value, 3, IMAGES.value)
    print("| training | steps | CPU s | sigma 10 | sigma 25 | sigma 50 |")
    print("| --- | --- | --- | --- | --- | --- |")
    if arguments[1] == "objectives":
        figures = scores(Denoiser.load(START.value).bare, clean)
        print(f"| {START.value}, the start | 0 | 0 | {_cells(figures)} |", flush=True)
    for name, recipe in recipes(arguments[1]).items():
        if ONLY.value and name not in ONLY.value:
            continue
        folder = pathlib.Path(OUTPUT.value) / name.replace(" ", "_")
        before, steps = cpu_seconds(), steps_of(arguments[1], recipe)
        images = Steps(photos, steps * recipe.batch_size)
        train(recipe, images, folder, report=lambda line: None)
        used = cpu_seconds() - before
        figures = scores(Denoiser.load(folder).bare, clean)
        print(f"| {name} | {steps} | {used:.0f} | {_cells(figures)} |", flush=True)


def _cells(figures):
    return " | ".join(f"{figure:.2f}" for figure in figures)


if __name__ == "__main__":
    app.run(main)
