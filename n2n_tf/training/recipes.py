"""One table: the name of a published training and everything that decides its result."""

import dataclasses

import keras

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.blind_spot import BUILDERS
from n2n_tf.pipelines.noise.synthetic import parse_noise


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run computes, besides the data.

    Attributes:
        noise: name in the grammar of `n2n_tf.pipelines.noise.synthetic`.
        noise_realization: "frozen", one noise field per image for the whole training, or "fresh",
            new noise for every crop as in the paper's code.
        network: name in `n2n_tf.networks.NETWORKS`.
        channels: 1 gray, 3 RGB, 4 packed camera raw.
        features: width of the network.
        init_scale: factor on the He-normal initial weights.
        initial_model: model to start from in place of random weights, as `Denoiser.load` takes it:
            the same network with images of the same or other channels; None: none.
        law: noise that a blind-spot network assumes: "auto", what the recipe's noise says;
            "gauss", "poisson" or "both", of a level to be learned.
        method: name in `n2n_tf.method.METHODS`. Recorrupted images have the recipe's noise when
            they enter the network; their own is 1 / (1 + tau^2) of its variance.
        tau: of the method "recorrupted": noise added to an image, in units of its own.
        subsampler: "random", "fixed" or "edges".
        k: side of the sub-sampler's cells in pixels.
        gamma: weight of the regularisation in the last epoch.
        gamma_delay: share of the epochs at the beginning that do without the regularisation.
        balance: whether weakly and strongly noisy images count alike in the loss.
        epochs: passes over the images.
        batch_size: crops per step.
        patch_size: side of a crop in pixels; of packed raw in cells of 2 x 2 pixels.
        crops_per_image: crops of each image in an epoch.
        learning_rate: Adam's in the first epoch; the highest of a cosine.
        schedule: of the learning rate: "halvings", four of them on the way as in the paper, or
            "cosine", a short rise and then half a cosine down to 0, step by step.
        log_levels: whether the noise levels of images are drawn log-uniformly, so that weak noise
            comes as often as strong noise.
        ema_decay: the final network has exponential moving averages of the weights, with this
            weight for the past at every step; 0 for the last weights themselves.
        augment: random flips and rotations.
        holdout: share of the images that is not trained on but scored after every epoch; None: 3 %
            of 20 or more images if no clean ones are scored, else 0.
        min_side, max_side: images outside these sides in pixels are skipped; None: half the
            patch_size, and no upper bound.
        white_level: pixel value that becomes 1.0; None: the largest of the files' type.
        precision: Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
        seed: decides initial weights, order, crops, noise and sub-samplers.
    """

    noise: str
    noise_realization: str = "frozen"
    network: str = "unet"
    channels: int = 3
    features: int = 48
    init_scale: float = 0.1
    initial_model: str | None = None
    law: str = "auto"
    method: str = "neighbor2neighbor"
    tau: float = 1.0
    subsampler: str = "random"
    k: int = 2
    gamma: float = 2.0
    gamma_delay: float = 0.0
    balance: bool = False
    epochs: int = 100
    batch_size: int = 4
    patch_size: int = 256
    crops_per_image: int = 1
    learning_rate: float = 3e-4
    schedule: str = "halvings"
    log_levels: bool = False
    ema_decay: float = 0.0
    augment: bool = False
    holdout: float | None = None
    min_side: int | None = None
    max_side: int | None = None
    white_level: float | None = None
    precision: str = "float32"
    seed: int = 0


def _paper(noise):
    """Section 5.1 as the official code runs it: fresh noise, sides of 256 to 512 pixels."""
    return Recipe(noise, noise_realization="fresh", holdout=0.0, min_side=256, max_side=512)


def _small(**more):
    """What trains small networks from noisy images of any kind in hours, not days."""
    settings = {
        "init_scale": 1.0,
        "patch_size": 128,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "ema_decay": 0.999,
    }
    return Recipe("none", **settings | more)


PRESETS = {
    "paper_gauss25": _paper("gauss25"),
    "paper_gauss5_50": _paper("gauss5_50"),
    "paper_poisson30": _paper("poisson30"),
    "paper_poisson5_50": _paper("poisson5_50"),
    # Section 5.1 for SIDD: camera raw, packed; sub-images of 512 raw pixels are 256 cells.
    "paper_sidd": Recipe(
        "none",
        channels=4,
        gamma=1.0,
        learning_rate=1e-4,
        patch_size=128,
        holdout=0.0,
        min_side=2,
    ),
    # Camera raw without any: photographs unprocessed, shot and read noise after Brooks et al.
    "raw_from_photos": Recipe(
        "raw",
        network="unet_residual",
        channels=4,
        gamma=1.0,
        features=24,
        init_scale=1.0,
        patch_size=64,
        batch_size=8,
        learning_rate=1e-3,
        augment=True,
    ),
    # A quarter and a sixteenth of what the paper's network costs per pixel. Without biases, and at
    # a learning rate of 0.001, the first one has diverged after a thousand steps.
    "unet_light": _small(network="unet_bias_free", features=48, learning_rate=4e-4),
    "unet_mobile": _small(network="unet_bias_free", features=24, learning_rate=6e-4),
    # For a CPU and an afternoon: a third of the paper's width, and He-normal weights unscaled,
    # with which short training runs get much further, and with its input added to its output.
    "quick": _small(network="unet_residual", features=16, ema_decay=0.0),
}


def build_network(recipe: Recipe) -> keras.Model:
    """Builds the recipe's network with fresh weights.

    Raises:
        ValueError: if `recipe.network` is no known network.
    """
    if recipe.network not in NETWORKS:
        raise ValueError(
            f"Unknown network {recipe.network!r}: it must be one of {', '.join(NETWORKS)}."
        )
    build = NETWORKS[recipe.network][0]
    more = {}
    if recipe.network in BUILDERS:
        more = {"law": law_for(recipe.noise) if recipe.law == "auto" else recipe.law}
    return build(recipe.channels, features=recipe.features, init_scale=recipe.init_scale, **more)


def known_law(noise: str) -> tuple[float, float] | None:
    """Shot and read of a noise of one fixed level: its variance is shot * signal + read.

    Returns:
        None if every image has a level of its own, or nothing is known.

    Example:
        >>> known_law("poisson30"), known_law("gauss5_50")
        ((0.03333333333333333, 0.0), None)
    """
    parsed = parse_noise(noise)
    if parsed.shot is not None:
        return parsed.shot, parsed.read
    if parsed.kind not in ("gauss", "poisson") or parsed.low != parsed.high:
        return None
    return (0.0, parsed.low**2) if parsed.kind == "gauss" else (1 / parsed.low, 0.0)


def law_for(noise: str) -> tuple[float, float] | str:
    """The `law` that a blind-spot network takes: the known one, or which kind is to be learned."""
    kind = parse_noise(noise).kind
    return known_law(noise) or (kind if kind in ("gauss", "poisson") else "both")
