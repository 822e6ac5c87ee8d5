"""MODEL_CARD.md of every shipped model and the table of all, written from their JSON files."""

import pathlib

from n2n_tf.method.recorrupted import recorruption_factor
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import NETWORK_FILE
from n2n_tf.model_files.shipped import CARD_FILE, DEFAULTS, KINDS
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.shipping import paper
from n2n_tf.shipping.figures import EMBEDDED


def card(name: str) -> str:
    """MODEL_CARD.md of a shipped model, from its model.json and results.json."""
    info, results = shipped.info_of(name), shipped.results_of(name)
    training, recipe = info.training, info.training["recipe"]
    kind = KINDS[info.channels]
    default = (
        f" The default of `n2n-denoise` for {kind} images." if name in DEFAULTS.values() else ""
    )
    regime = {
        "fresh": "fresh: new noise on the clean photograph for every crop, as the paper's code "
        "does. So the training saw many noisy versions of one scene, which single noisy images "
        "would not give",
        "frozen": "frozen: each photograph had one noise field for good, as single noisy images "
        "have",
    }[recipe["noise_realization"]]
    folders = " ".join(f"--data_dir {row}" for row in _data_sets(results) if row != EMBEDDED)
    lines = [
        f"# {name}",
        "",
        f"Denoises {_WORDS[kind]}.{default}",
        "",
        f"`n2n-denoise --model {name} INPUT -o OUTPUT`, or in Python "
        f'`Denoiser.load("{name}")(image)`.',
        "",
        "| | |",
        "| --- | --- |",
        f"| network | {info.network}, {recipe['features']} features (the paper's U-Net has 48), "
        f"{info.parameters:,} parameters, {info.multiply_adds:,} multiply-adds per pixel |",
        f"| noise it was trained on | {_noise_words(info.noise)}"
        f"{_ROOTED if kind == 'raw' and info.noise_level else ''} |",
        f"| noise realisation | {regime} |",
        f"| method | {_METHODS[recipe.get('method', 'neighbor2neighbor')](recipe)}"
        f"{_recipe_words(recipe)} |",
        f"| training data | {training['images']} photographs: {training['data']} |",
        f"| licence of the training data | {training['data_license']} |",
        f"| start | {training['start']} |",
        *(
            f"| ancestor | `{a['name']}`, weights `{a['weights_sha256'][:12]}`, {a['hours']:g} h |"
            for a in training.get("ancestors", [])
        ),
        f"| steps | {training['steps']:,} ({_epochs(recipe['epochs'])}) of {recipe['batch_size']} "
        f"crops of {recipe['patch_size']} x {recipe['patch_size']}"
        f"{' cells of 2 x 2 pixels' if kind == 'raw' else ' pixels'} |",
        *(f"| changed on the way | {change} |" for change in training["changes"]),
        f"| hardware | {training['hardware']}; {_hours(training)} |",
        f"| licence of the weights | {info.license} |",
        f"| SHA-256 of {NETWORK_FILE} | `{info.sha256}` |",
        "",
        "## Figures",
        "",
        "PSNR in dB / SSIM, means over images, one noise realisation per image"
        + (
            ". Photographs are unprocessed to linear raw, denoised as `n2n-denoise` does it, with "
            "levels and detail kept, and compared as floats with peak 1. `raw:SHOT,READ` has the "
            "variance SHOT * signal + READ; 0.0001 is a base ISO, 0.012 a very high one. These are "
            "known, as from a DNG's NoiseProfile; estimated where it says so."
            if kind == "raw"
            else ", the paper's protocol otherwise (8 bits, seed 101). The network alone, or, "
            'where it says "estimated", as `n2n-denoise` works: the noise of each image is '
            "estimated, and the network sees it made Gaussian."
        ),
        "",
        "| noise | images | noisy | denoised |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row['noise']}{', estimated' if row.get('estimated') else ''} | "
            f"{row['data']} ({row['images']}) | "
            f"{row['psnr_noisy']:.2f} / {row['ssim_noisy']:.4f} | "
            f"{row['psnr']:.2f} / {row['ssim']:.4f} |"
            for row in results["results"]
        ),
        "",
        f'"{EMBEDDED}" are photographs that scikit-image ships. Measured by '
        f"`n2n-models verify --only {name} {folders}`"
        + (
            "."
            if kind == "raw"
            else f", a single figure by `n2n-evaluate --model {name} --repeats 1 --noise "
            f"{info.noise} {folders.split(' --')[0]}`."
        ),
        "",
        "## Limits",
        "",
        _limits(name, kind, recipe),
        "",
        "## Trained by",
        "",
        "```sh",
        *(
            _spread(ancestor["command"])
            for ancestor in training.get("ancestors", [])
            if "command" in ancestor
        ),
        _spread(training["command"]),
        "```",
        "",
        "with " + ", ".join(f"{key} {value}" for key, value in training["versions"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _epochs(number):
    return "1 epoch" if number == 1 else f"{number} epochs"


def _spread(command):
    return command.replace(" --", " \\\n    --")


_WORDS = {
    "gray": "gray images, and colour ones plane by plane",
    "RGB": "colour photographs and other RGB images",
    "raw": "Bayer mosaics of cameras, packed to four planes",
}


def _noise_words(name):
    noise = parse_noise(name)
    if noise.kind == "gauss":
        low, high = (f"{255 * level:g}" for level in (noise.low, noise.high))
        levels = low if low == high else f"{low} to {high}"
        return f"`{name}`: Gaussian, sigma {levels} on the 0..255 scale"
    if noise.kind == "poisson":
        levels = f"{noise.low:g}" if noise.low == noise.high else f"{noise.low:g} to {noise.high:g}"
        return f"`{name}`: Poisson, {levels} photons at white"
    return f"`{name}`: shot and read noise after Brooks et al. 2019, from a low to a high ISO"


_ROOTED = ", on the square root of linear raw; in use Anscombe's transform makes raws such"


def _recorrupted_words(recipe):
    share = recorruption_factor(recipe["tau"]) ** 0.5
    return (
        f"Recorrupted-to-Recorrupted, tau {recipe['tau']:g}: from single noisy photographs whose "
        f"noise is known and {share:.2f} times as strong as the noise above, to which they were "
        "brought; no clean photograph was a target"
    )


_METHODS = {
    "neighbor2neighbor": lambda recipe: f"Neighbor2Neighbor, gamma {recipe['gamma']:g}",
    "recorrupted": _recorrupted_words,
    "noise2noise": lambda recipe: "Noise2Noise: from two noisy versions of each photograph",
    "supervised": lambda recipe: "supervised: clean photographs were the targets",
}


def _recipe_words(recipe):
    words = []
    if recipe["gamma_delay"]:
        words.append(f"0 for the first {100 * recipe['gamma_delay']:g} % of the epochs")
    if recipe.get("log_levels"):
        words.append("noise levels drawn log-uniformly")
    if recipe["balance"]:
        words.append("losses balanced over noise levels")
    if recipe["ema_decay"]:
        words.append(f"moving averages of the weights ({recipe['ema_decay']:g})")
    if recipe.get("precision", "float32") != "float32":
        words.append(f"computed in {recipe['precision']}")
    return "".join(f"; {word}" for word in words)


def _limits(name, kind, recipe):
    if kind == "raw":
        return (
            "Trained on photographs unprocessed to raw, not on any camera's own raws, and on "
            "Gaussian noise. X-Trans and monochrome sensors are not supported. "
            "A run on raws of your own camera (`n2n-train --channels 4 --noise none "
            f"--initial_model {name} --network {recipe['network']} --features "
            f"{recipe['features']}`) suits that camera better."
        )
    return (
        "For noise of the kind above that is independent from pixel to pixel. In JPEGs from "
        "cameras it is not: demosaicing spreads noise over neighbouring pixels, and much of it "
        "stays. Denoise the raw file, or reduce the picture to half its size first. Noise of other "
        "kinds, or far stronger than in training, is left or smeared; fine texture under strong "
        "noise is smoothed."
    )


def _hours(training):
    earlier = training["earlier_hours"]
    return f"{training['hours']:g} h" + (f" after {earlier:g} h" if earlier else "")


def _data_sets(results):
    return list(dict.fromkeys(row["data"] for row in results["results"]))


def overview() -> str:
    """README.md of saved_models/: one table of all models."""
    lines = [
        "# Shipped models",
        "",
        "`n2n-denoise` takes them by name, and without `--model` the one marked as default for the "
        "kind of image. Each folder's MODEL_CARD.md says how the model came to be. PSNR in dB, "
        "noisy to denoised, one noise realisation per image; parameters and multiply-adds per "
        "pixel are the network's cost. Written by `n2n-models cards`.",
        "",
        "| model | images | noise | Kodak | Set14 | parameters | MAC/pixel | training |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in shipped.shipped_models():
        info, results = shipped.info_of(name), shipped.results_of(name)
        training = info.training
        default = ", default" if name in DEFAULTS.values() else ""
        own = {r["data"]: r for r in results["results"] if r["noise"] == results["noise"]}
        figures = [
            f"{own[data]['psnr_noisy']:.2f} → {own[data]['psnr']:.2f}" if data in own else "-"
            for data in ("Kodak", "Set14")
        ]
        lines.append(
            f"| [{name}]({name}/{CARD_FILE}) | {KINDS[info.channels]}{default} | "
            f"{results['noise']} | {figures[0]} | {figures[1]} | {info.parameters:,} | "
            f"{info.multiply_adds:,} | {training['steps']:,} steps, {_hours(training)}, "
            f"{training['recipe']['noise_realization']} noise |"
        )
    return "\n".join(lines) + "\n"


def documents() -> dict[pathlib.Path, str]:
    """What is written from the models' figures: dict of path to text.

    The README of a checkout, beside saved_models/, gets its table too.
    """
    written = {shipped.SHIPPED / n / CARD_FILE: card(n) for n in shipped.shipped_models()}
    written[shipped.SHIPPED / "README.md"] = overview()
    readme = shipped.SHIPPED.parent / "README.md"
    if readme.exists():
        written[readme] = paper.with_table(readme.read_text(encoding="utf-8"))
    return written


def write_cards() -> int:
    """Writes the card of every model and the table of all; returns how many documents that is."""
    written = documents()
    for path, text in written.items():
        with atomic_file(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return len(written)
