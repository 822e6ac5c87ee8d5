"""The batches of a recipe."""

import dataclasses
import pathlib
from typing import Protocol

import numpy as np
import tensorflow as tf

from n2n_tf.method import METHODS
from n2n_tf.method.recorrupted import recorruption_factor
from n2n_tf.pipelines.files.image_folder import Skipped
from n2n_tf.pipelines.noise.synthetic import Noise, parse_noise
from n2n_tf.pipelines.training.batches import training_batches
from n2n_tf.pipelines.training.holdout import Subset
from n2n_tf.pipelines.training.sources import preparation
from n2n_tf.training.recipes import Recipe


class Images(Protocol):
    """What a training takes its images from: an `ImageFolder`, or one of its like.

    Attributes:
        names: of the images; a frozen noise field belongs to a name.
        sizes: (height, width) of each, in pixels or in cells of a mosaic.
        channels: of all of them.
        root: the folder that they come from.
        skipped: files of it that are left out.
        fingerprint: of names and contents, by which the same data are known again.
    """

    names: list[str]
    sizes: list[tuple[int, int]]
    channels: int
    root: pathlib.Path
    skipped: list[Skipped]
    fingerprint: str

    def __len__(self) -> int: ...

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window of an image, [height, width, channels]."""


def batches_of(
    images: Subset,
    recipe: Recipe,
    epoch_steps: int,
    start_step: int = 0,
    worker: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """The batches of a recipe, from a `Subset` of a folder's images; see `training_batches`."""
    noise = noise_of(recipe)
    return training_batches(
        images,
        noise,
        frozen=recipe.noise_realization == "frozen",
        patch_size=recipe.patch_size,
        batch_size=recipe.batch_size,
        epoch_steps=epoch_steps,
        augment=recipe.augment,
        seed=recipe.seed,
        start_step=start_step,
        prepare=preparation(images.whole, noise.kind == "gauss"),
        worker=worker,
        parts=METHODS[recipe.method].batch_parts,
        paired=getattr(images.whole, "paired", False),
    )


def noise_of(recipe: Recipe) -> Noise:
    """The noise that the recipe's training images are given."""
    noise = dataclasses.replace(parse_noise(recipe.noise), log_levels=recipe.log_levels)
    if recipe.method == "recorrupted":
        return dataclasses.replace(noise, variance_factor=recorruption_factor(recipe.tau))
    return noise
