"""What a network's cost buys: PSNR against multiply-adds and time, after equal training.

    python benchmarks/quality_cost.py --data_dir photos --output quality_cost

Every network is trained on the same crops with the same noise for the same number of steps, then
exported in every precision. Quality is PSNR over noisy photographs of scikit-image that no training
saw; time is LiteRT's on this machine. Writes table.md and plot.png; an interrupted run continues.
"""

import pathlib

import matplotlib
from absl import app, flags

from n2n_tf.cli import program

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of training photographs.", required=True)
OUTPUT = flags.DEFINE_string(
    "output", "quality_cost", "Folder for training runs, files and results."
)
EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the photographs, the same for all.", 1)
NOISE = flags.DEFINE_string("noise", "gauss25", "Noise of the training runs.")
TILE = flags.DEFINE_integer("tile", 256, "Side of the files' tiles in pixels.")
ONLY = flags.DEFINE_list("only", None, "Names of rows to measure. [all]")

# name of the row -> network and width, from the cheapest to the paper's
NETWORKS = {
    "unet_mobile 12 features": ("unet_mobile", 12),
    "unet_mobile": ("unet_mobile", 24),
    "unet_residual 16 features": ("unet_residual", 16),
    "unet_residual 24 features": ("unet_residual", 24),
    "unet of the paper + input": ("unet_residual", 48),
}


def measure(name, images):
    """Trains one network, exports it; returns its row."""
    import dataclasses

    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.export.tflite import PRECISIONS, Variant, export_tflite
    from n2n_tf.networks.cost import multiply_adds
    from n2n_tf.training.recipes import PRESETS
    from n2n_tf.training.run import train

    network, features = NETWORKS[name]
    recipe = dataclasses.replace(
        PRESETS["unet_light"],
        network=network,
        features=features,
        learning_rate=1e-3,
        noise=NOISE.value,
        noise_realization="fresh",
        epochs=EPOCHS.value,
        batch_size=4,
        augment=True,
        holdout=0.0,
        ema_decay=0.99,  # over a hundred steps, a small part even of a short training
    )
    folder = pathlib.Path(OUTPUT.value) / name.replace(" ", "_")
    if not (folder / "model.json").exists() or Denoiser.load(folder).info.epochs < EPOCHS.value:
        train(recipe, images, folder)
    denoiser = Denoiser.load(folder)
    figures = {}
    for precision in PRECISIONS:
        variant = Variant((TILE.value, TILE.value), precision)
        with program.stderr_held():
            figures[precision] = export_tflite(
                denoiser.network,
                folder / variant.name,
                denoiser.info,
                variant,
                max_psnr_drop=float("inf"),
                overwrite=True,
            )
    return name, multiply_adds(denoiser.network), denoiser.network.count_params(), figures


def table(rows):
    """Markdown: a row for each network, PSNR and time of each precision."""
    precisions = list(rows[0][3])
    head = ["network", "MAC/pixel", "parameters", *(f"{p}: dB / ms per MP" for p in precisions)]
    lines = [head, ["---"] * len(head)]
    for name, cost, parameters, figures in rows:
        cells = [f"{f.psnr:.2f} / {f.milliseconds_per_megapixel:.0f}" for f in figures.values()]
        lines.append([name, f"{cost:,.0f}", f"{parameters:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(rows, path):
    """PSNR against cost, and against time for each precision."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5), sharey=True)
    left.plot([r[1] for r in rows], [r[3]["float32"].psnr for r in rows], "o-")
    for name, cost, _, figures in rows:
        place = {"textcoords": "offset points", "ha": "right", "fontsize": 8}
        left.annotate(name, (cost, figures["float32"].psnr), (-6, 4), **place)
    left.set(xscale="log", xlabel="multiply-adds per pixel", ylabel="PSNR in dB", title="float32")
    for precision in rows[0][3]:
        points = [r[3][precision] for r in rows]
        right.plot(
            [f.milliseconds_per_megapixel for f in points],
            [f.psnr for f in points],
            "o-",
            label=precision,
        )
    right.set(xscale="log", xlabel="milliseconds per megapixel, LiteRT on this machine")
    right.legend(title="precision")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{NOISE.value}, {EPOCHS.value} epochs each")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(_):
    """Trains and measures all networks."""
    program.import_tensorflow()
    from n2n_tf.pipelines.files.image_folder import ImageFolder

    images = ImageFolder(DATA_DIR.value, min_side=64)
    rows = []
    for name in ONLY.value or NETWORKS:
        print(f"== {name}", flush=True)
        rows.append(measure(name, images))
    text = table(rows)
    output = pathlib.Path(OUTPUT.value)
    (output / "table.md").write_text(text + "\n")
    plot(rows, output / "plot.png")
    print(f"\n{text}\n\nPlot: {output / 'plot.png'}")


if __name__ == "__main__":
    app.run(main)
