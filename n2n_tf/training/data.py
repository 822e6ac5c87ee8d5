"""The batches of a recipe."""

import dataclasses

from n2n_tf.method import METHODS
from n2n_tf.method.recorrupted import recorruption_factor
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.training.batches import training_batches
from n2n_tf.pipelines.training.sources import preparation


def batches_of(images, recipe, epoch_steps, start_step=0, worker=None):
    """The batches of a recipe, from a `Subset` of a folder's images; see `training_batches`."""
    return training_batches(
        images,
        noise_of(recipe),
        frozen=recipe.noise_realization == "frozen",
        patch_size=recipe.patch_size,
        batch_size=recipe.batch_size,
        epoch_steps=epoch_steps,
        augment=recipe.augment,
        seed=recipe.seed,
        start_step=start_step,
        prepare=preparation(images.whole),
        worker=worker,
        parts=METHODS[recipe.method].batch_parts,
    )


def noise_of(recipe):
    """The noise that the recipe's training images are given."""
    noise = dataclasses.replace(parse_noise(recipe.noise), log_levels=recipe.log_levels)
    if recipe.method == "recorrupted":
        return dataclasses.replace(noise, variance_factor=recorruption_factor(recipe.tau))
    return noise
