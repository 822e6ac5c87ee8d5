"""Measuring one row: the denoiser it stands for, trained if need be, and its scores."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.evaluation.classical import CLASSICAL, check_installed
from n2n_tf.evaluation.protocol import PAPER_REPEATS, SEED, Progress, Result, average, evaluate
from n2n_tf.experiments.plan import GAUSSIAN_MODEL, Budget, Row
from n2n_tf.method.blind2unblind import revisible
from n2n_tf.method.blind_spot import mean_network
from n2n_tf.method.noise2vst import noise2vst
from n2n_tf.method.noisier2noise import corrected
from n2n_tf.method.one_image import deep_image_prior, self2self
from n2n_tf.networks.blind_spot import BUILDERS
from n2n_tf.networks.unet import SIZE_MULTIPLE, unet
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.sidd.blocks import evaluate_blocks
from n2n_tf.pipelines.training.sources import COMPANIONS, PairedMosaics
from n2n_tf.training.data import Images
from n2n_tf.training.recipes import Recipe, known_law
from n2n_tf.training.run import train

VST_STEPS = 2000  # the publication's, and the most that a budget gives them
EPOCHS = 10  # that a training's steps are parted into, for gamma and the learning rate to change
Image = Callable[[np.ndarray], np.ndarray]


class Repeated:
    """A folder of images seen as so many that one epoch has the steps wanted.

    Args:
        images: `n2n_tf.pipelines.files.image_folder.ImageFolder` or one of its like.
        count: how many they shall be.
    """

    def __init__(self, images: Images, count: int) -> None:
        self._images, self._count = images, count
        # The same name for the same image: a frozen noise field belongs to a name.
        self.names = [images.names[i % len(images)] for i in range(count)]
        self.sizes = [images.sizes[i % len(images)] for i in range(count)]
        self.channels, self.root, self.skipped = images.channels, images.root, images.skipped
        self.paired = getattr(images, "paired", False)
        self.fingerprint = f"{images.fingerprint}x{count}"

    def __len__(self) -> int:
        return self._count

    def crop(self, index: int, *window: int) -> np.ndarray:
        """As the folder's."""
        return self._images.crop(int(index) % len(self._images), *window)


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Where an experiment gets its images and puts its trainings.

    Attributes:
        budget: what is spent on a row.
        photos: training images, None if no row is trained.
        raws: of SIDD, likewise.
        trainings: folder for them.
        models: row key -> a model that is evaluated instead of a training.
        seed: of the trainings.
        progress: callable(iterable of results, their number, text) -> the iterable, shown or not.
    """

    budget: Budget
    photos: object | None
    raws: object | None
    trainings: pathlib.Path
    models: dict[str, str]
    seed: int = 0
    progress: Progress = lambda results, total, what: results


def recipe_of(row: Row, budget: Budget, seed: int = 0) -> Recipe:
    """Everything that decides the row's training."""
    fields = dict(budget.recipe) | dict(row.recipe) | {"epochs": EPOCHS, "seed": seed}
    short = dict(budget.recipe).get("network", "").endswith("_residual")
    if short and f"{fields['network']}_residual" in BUILDERS:  # blind-spot networks need it too
        fields["network"] += "_residual"
    return Recipe(row.noise, method=row.name, **fields)


def training_of(row: Row, budget: Budget) -> str:
    """The name of the folder with the row's training; rows of one recipe are trained once."""
    plain = dataclasses.asdict(Recipe(row.noise)) | dict(budget.recipe)
    differing = [f"{field}-{value}" for field, value in row.recipe if plain[field] != value]
    return "_".join((row.noise, row.name, *differing))


def denoiser_of(row: Row, shop: Workshop, report: Callable[[str], None]) -> Image | None:
    """What turns a noisy float32 image [height, width, channels] into a denoised one.

    Returns:
        None for the noisy image itself.

    Raises:
        ValueError: if a package or training images are missing.
    """
    if row.kind == "noisy":
        return None
    if row.kind == "classical":
        check_installed(row.name)
        return CLASSICAL[row.name]
    if row.kind == "one_image":
        return lambda noisy: _of_one_image(row.name, noisy, shop.budget, shop.seed)
    if row.kind == "around":
        inner, steps = Denoiser.load(model_of(row, shop)), steps_of(row, shop.budget)
        return lambda noisy: noise2vst(inner.network, noisy, steps, inner.bare, seed=shop.seed)
    trained = Denoiser.load(_trained(row, shop, report))
    if row.use == "mean":
        return Denoiser.load(mean_network(trained.network)).bare
    if row.use == "corrected":
        return corrected(trained.bare, known_law(row.noise))
    return revisible(trained.bare) if row.use == "revisible" else trained.bare


def steps_of(row: Row, budget: Budget) -> int:
    """How many steps a row learns for: on all images together, or on each of them."""
    if row.kind == "trained":
        return budget.steps
    return (
        min(budget.one_image_steps, VST_STEPS) if row.kind == "around" else budget.one_image_steps
    )


def model_of(row: Row, shop: Workshop) -> str | None:
    """The model that a row is given, or is around; None: it trains one, or has none."""
    return shop.models.get(row.key, GAUSSIAN_MODEL if row.kind == "around" else None)


def _trained(row, shop, report):
    """The path of the model that the row is about."""
    if given := model_of(row, shop):
        return given
    images = shop.raws if row.noise == "none" else shop.photos
    if row.noise == "none" and row.name in COMPANIONS:
        images = PairedMosaics(images.root, COMPANIONS[row.name])
    recipe = recipe_of(row, shop.budget, shop.seed)
    count = max(1, shop.budget.steps // EPOCHS) * recipe.batch_size
    folder = shop.trainings / training_of(row, shop.budget)
    report(f"training {folder.name}, {EPOCHS} x {count // recipe.batch_size} steps")
    train(recipe, Repeated(images, count), folder, report=lambda line: None)
    return folder


def _of_one_image(name, noisy, budget, seed):
    fields, policy = dict(budget.recipe), keras.config.dtype_policy()
    keras.utils.set_random_seed(seed)
    dropout = 0.3 if name == "self2self" else 0.0
    scale = fields.get("init_scale", 1.0)
    keras.config.set_dtype_policy(fields.get("precision", "float32"))
    network = unet(noisy.shape[2], fields["features"], init_scale=scale, dropout=dropout)
    keras.config.set_dtype_policy(policy)
    run = self2self if name == "self2self" else deep_image_prior
    # Few steps must be large ones; the deep image prior's always are.
    few = name == "self2self" and budget.one_image_steps < 100_000 and "learning_rate" in fields
    rate = {"learning_rate": fields["learning_rate"]} if few else {}
    return run(network, noisy, budget.one_image_steps, SIZE_MULTIPLE, seed=seed, **rate)


def score(
    row: Row, denoise: Image | None, sets: dict[str, list], shop: Workshop
) -> Iterator[tuple[str, dict, Result]]:
    """Scores a denoiser on all sets, with noise from one stream as the official loop has it.

    Args:
        row: of the denoiser.
        denoise: see `denoiser_of`.
        sets: name -> list of (name, clean image), in the order of the stream.
        shop: its budget for images and repeats, and its progress.

    Yields:
        `(name of the set, figures, result of its first image)`.
    """
    stream = np.random.RandomState(SEED)
    # Networks see the square that the official loop makes of an image; others have no need of it.
    square = row.kind == "trained"
    for name, images in sets.items():
        images = images[: shop.budget.images]
        repeats = shop.budget.repeats or PAPER_REPEATS.get(name, 1)
        begun, first, kept = time.perf_counter(), None, []
        results = evaluate(denoise, images, parse_noise(row.noise), stream, repeats, square)
        for result in shop.progress(results, repeats * len(images), f"{row.noise} {name}"):
            first = first or result
            kept.append(dataclasses.replace(result, images=None))
        counts = {"images": len(images), "repeats": repeats}
        seconds = {"seconds": round(time.perf_counter() - begun, 1)}
        yield name, average(kept) | counts | seconds, first


def score_sidd(denoise: Image | None, blocks: tuple, most: int | None) -> dict:
    """Figures on SIDD's validation blocks.

    Args:
        denoise: see `denoiser_of`.
        blocks: (noisy, clean, patterns), see `n2n_tf.pipelines.sidd.blocks`.
        most: how many scenes; None: all.
    """
    begun = time.perf_counter()
    noisy, clean, patterns = (part[:most] for part in blocks)
    before = evaluate_blocks(lambda planes: planes, noisy, clean, patterns)
    after = before
    if denoise:
        after = evaluate_blocks(
            lambda planes: np.stack([denoise(image) for image in planes]), noisy, clean, patterns
        )
    figures = {f"{key}_noisy": value for key, value in before.items()} | after
    seconds = round(time.perf_counter() - begun, 1)
    return figures | {"images": len(noisy), "repeats": 1, "seconds": seconds}
