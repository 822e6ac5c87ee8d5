"""What a training tells: TensorBoard, and a progress bar in the terminal."""

import sys

import keras
import numpy as np
import tensorflow as tf
import tqdm

from n2n_tf.denoiser import Denoiser
from n2n_tf.evaluation import SEED, average, evaluate, strip
from n2n_tf.raw import preparation, viewable
from pipelines.batches import frozen_seed
from pipelines.image_files import to_float
from pipelines.noise import add_noise, parse_noise


class TensorBoardLog(keras.callbacks.Callback):
    """Scalars and denoised pictures of every epoch for TensorBoard; steps are epochs from 1.

    With validation images: clean | noisy | denoised of each, and the mean PSNR and SSIM under the
    training's own noise, the same realisation every epoch. Without: noisy | denoised of the first
    training image.

    Args:
        folder: where the logs go.
        recipe: `n2n_tf.presets.Recipe`.
        images: the training images.
        validation: list of (name, clean image).
        network: the network to be shown.
    """

    def __init__(self, folder, recipe, images, validation, network):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.noise, self.images, self.validation = parse_noise(recipe.noise), images, validation
        self.seed, self._denoise = recipe.seed, Denoiser.load(network)

    def on_epoch_end(self, epoch, logs=None):
        """Writes one step and adds val_psnr and val_ssim to the logs of later callbacks."""
        rate = float(np.asarray(self.model.optimizer.learning_rate))
        scalars = {k: float(v) for k, v in logs.items()} | {"learning_rate": rate}
        pictures, scores = self._validate()
        logs.update(scores)
        with self.writer.as_default(step=epoch + 1):
            for name, value in (scalars | scores).items():
                tf.summary.scalar(name, value)
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], max_outputs=1)
        self.writer.flush()

    def _validate(self):
        if not self.validation:
            noisy = self._first_noisy()
            pair = np.concatenate([noisy, self._denoise(noisy)], axis=1)
            return {f"noisy_denoised/{self.images.names[0]}": _for_the_eye(pair)}, {}
        stream = np.random.RandomState(SEED)
        results = list(evaluate(self._denoise, self.validation, self.noise, stream))
        means = average(results)
        pictures = {
            f"clean_noisy_denoised/{r.name}": _for_the_eye(to_float(strip(*r.images)))
            for r in results
        }
        return pictures, {"val_psnr": means["psnr"], "val_ssim": means["ssim"]}

    def _first_noisy(self):
        """The first training image as it is trained on, at most 512 pixels a side."""
        height, width = (min(side, 512) for side in self.images.sizes[0])
        crop = self.images.crop(0, 0, 0, height, width)
        seed = frozen_seed(self.seed, self.images.names[0])
        if prepare := preparation(self.images):
            crop = prepare(crop, seed)
        if self.noise.kind == "profile":
            return np.asarray(crop)
        return np.asarray(add_noise(crop, self.noise, seed))


def _for_the_eye(image):
    return viewable(image) if image.shape[-1] == 4 else np.clip(image, 0, 1)


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole training, with images/s and the time left; a line for each epoch."""

    def __init__(self, recipe, total_steps, start_step):
        super().__init__()
        self.recipe = recipe
        self.bar = tqdm.tqdm(
            total=total_steps * recipe.batch_size,
            initial=start_step * recipe.batch_size,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar."""
        self.bar.set_postfix(loss=f"{float(logs['loss']):.5f}", refresh=False)
        self.bar.update(self.recipe.batch_size)

    def on_epoch_end(self, epoch, logs=None):
        """Prints the epoch's figures above the bar."""
        figures = "  ".join(f"{name} {float(value):.5g}" for name, value in logs.items())
        self.bar.write(f"epoch {epoch + 1}/{self.recipe.epochs}  {figures}")

    def close(self):
        """Leaves the bar as it is."""
        self.bar.close()
