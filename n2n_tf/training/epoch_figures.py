"""What an epoch is judged by: scores on clean images, or a loss on noisy ones held out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.evaluation.protocol import SEED, average, evaluate, strip
from n2n_tf.method.losses import balancing_weights, n2n_loss
from n2n_tf.method.subsamplers import DRAW, take_pixels
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.pipelines.files.image_files import to_float
from n2n_tf.pipelines.noise.synthetic import add_noise, parse_noise
from n2n_tf.pipelines.raw.unprocess import viewable
from n2n_tf.pipelines.training.batches import frozen_seed
from n2n_tf.pipelines.training.holdout import Subset
from n2n_tf.pipelines.training.sources import preparation
from n2n_tf.training.data import batches_of
from n2n_tf.training.recipes import Recipe


class Figures(keras.callbacks.Callback):
    """Completes an epoch's logs: `learning_rate`, and what validation there is.

    Goes before the callbacks that save and report.

    With clean images: `val_psnr` and `val_ssim` under the training's own noise, the same
    realisation every epoch. With images held out: `val_loss`, see `held_out_loss`.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        images, held_out: `n2n_tf.pipelines.training.holdout.Subset`, to train on and held out.
        validation: list of (name, clean image).
        network: the network to be judged.

    Attributes:
        pictures: after an epoch, dict of name to image for the eye: clean | noisy | denoised of
            the clean images, or noisy | denoised of the first training image.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Subset,
        held_out: Subset,
        validation: Sequence[tuple[str, np.ndarray]],
        network: keras.Model,
    ) -> None:
        super().__init__()
        self.recipe, self.images, self.validation = recipe, images, validation
        self.noise, self._denoise = parse_noise(recipe.noise), Denoiser.load(network).bare
        self._held_out_loss = held_out_loss(recipe, held_out, network) if len(held_out) else None
        # Read now, so that no file that vanishes later can spoil the end of an epoch.
        self._first = None if validation else self._first_noisy()
        self.pictures = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds to the logs of later callbacks."""
        # TensorFlow's graph optimizer rewrites the sum in the step, not twice in the same way: the
        # last bit of its mean differs from process to process. Those of its terms do not.
        logs["loss"] = float(logs["reconstruction"]) + float(logs["gamma"]) * float(
            logs["regularisation"]
        )
        logs["learning_rate"] = float(np.asarray(self.model.optimizer.learning_rate))
        if self._held_out_loss:
            logs["val_loss"] = self._held_out_loss()
        logs.update(self.look())

    def look(self) -> dict[str, float]:
        """Denoises what is shown: renews `pictures`; returns the scores."""
        if not self.validation:
            pair = np.concatenate([self._first, self._denoise(self._first)], axis=1)
            self.pictures = {f"noisy_denoised/{self.images.names[0]}": _for_the_eye(pair)}
            return {}
        stream = np.random.RandomState(SEED)
        results = list(evaluate(self._denoise, self.validation, self.noise, stream))
        means = average(results)
        self.pictures = {
            f"clean_noisy_denoised/{r.name}": _for_the_eye(to_float(strip(*r.images)))
            for r in results
        }
        return {"val_psnr": means["psnr"], "val_ssim": means["ssim"]}

    def _first_noisy(self):
        """The first training image as it is trained on, at most 512 pixels a side."""
        height, width = (min(side, 512) for side in self.images.sizes[0])
        crop = self.images.crop(0, 0, 0, height, width)
        seed = frozen_seed(self.recipe.seed, self.images.names[0])
        if prepare := preparation(self.images.whole):
            crop = prepare(crop, seed)
        crop = crop[..., : self.recipe.channels]  # of stored pairs the noisy one
        if self.noise.kind == "profile":
            return np.asarray(crop)
        return np.asarray(add_noise(crop, self.noise, seed))


def held_out_loss(recipe: Recipe, images: Subset, network: keras.Model) -> Callable[[], float]:
    """The training's own loss on images that it never sees, for which no clean image is needed.

    One crop of each image with one noise and one sub-sampler, the same in every epoch, and the
    final gamma: so epochs can be compared, unlike by the training's loss, whose gamma rises. It
    keeps the variance of the noise, which no network can predict; what falls is the rest.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        images: `n2n_tf.pipelines.training.holdout.Subset`.
        network: the network to be judged.

    Returns:
        callable() -> float.
    """
    # Of Neighbor2Neighbor, which needs nothing but noisy images, for every method.
    one = dataclasses.replace(recipe, batch_size=1, augment=False, method="neighbor2neighbor")
    crops = list(batches_of(images, one, len(images)).take(len(images)))
    denoise = Neighbor2Neighbor(network)

    @tf.function
    def terms(noisy, number):
        seed = tf.stack([tf.constant(recipe.seed, tf.int64), number])
        name = "fixed" if recipe.subsampler == "fixed" else "random"
        g1, g2 = DRAW[name](1, *tf.unstack(tf.shape(noisy)[1:3]), seed)
        denoised = denoise(noisy)
        pair = take_pixels(denoised, g1), take_pixels(denoised, g2)
        sub_input, sub_target = take_pixels(noisy, g1), take_pixels(noisy, g2)
        weights = balancing_weights(sub_input, sub_target) if recipe.balance else None
        return n2n_loss(denoise(sub_input), sub_target, *pair, 0.0, weights)[1:]

    def loss():
        means = np.mean(
            [terms(noisy, tf.constant(i, tf.int64)) for i, noisy in enumerate(crops)], axis=0
        )
        return float(means[0]) + recipe.gamma * float(means[1])

    return loss


def _for_the_eye(image):
    return viewable(image) if image.shape[-1] == 4 else np.clip(image, 0, 1)
