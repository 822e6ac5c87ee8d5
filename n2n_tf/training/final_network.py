"""The network that a training run leaves: averaged if asked for, and written every epoch."""

import pathlib
from typing import Any

import keras

import n2n_tf
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files.keras_file import describe, save_network
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.training.recipes import Recipe


def optimizer_of(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer itself, without the loss scaling that mixed_float16 wraps around it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


class FinalNetwork(keras.callbacks.Callback):
    """The network as it is validated and saved: with averaged weights if the optimizer has them.

    A network of its own, since weights swapped in and out, as `SwapEMAWeights` does it by adding
    and subtracting, do not come back bit for bit.

    Attributes:
        network: functional `keras.Model`, up to date at the beginning and after every epoch.
    """

    def __init__(self, model: Neighbor2Neighbor) -> None:
        super().__init__()
        averages = optimizer_of(model).use_ema
        self.network = keras.models.clone_model(model.network) if averages else model.network

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Takes the averages of a training run that continues."""
        self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes the averages."""
        if self.network is not self.model.network:
            averages = optimizer_of(self.model)._model_variables_moving_average
            for variable, average in zip(self.network.trainable_variables, averages, strict=True):
                variable.assign(average)


class SavedNetwork(keras.callbacks.Callback):
    """Writes the bare network and its model.json after every epoch, ready for `Denoiser.load`.

    Args:
        model_dir: folder.
        recipe: `Recipe`.
        network: to be written.
        noise_level: what the images were scaled to, if they were scaled by their noise.
    """

    def __init__(
        self,
        model_dir: pathlib.Path,
        recipe: Recipe,
        network: keras.Model,
        noise_level: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.model_dir, self.recipe, self.network = model_dir, recipe, network
        self.noise_level = noise_level or _noise_level(recipe)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replaces the files of the epoch before."""
        info = describe(
            self.network,
            noise=self.recipe.noise,
            noise_realization=self.recipe.noise_realization,
            white_level=self.recipe.white_level,
            noise_level=self.noise_level,
            epochs=epoch + 1,
            version=n2n_tf.__version__,
        )
        save_network(self.network, self.model_dir, info, overwrite=True)


def _noise_level(recipe):
    """For which Gaussian noise a network will be best; None for other noise.

    Below the weakest of its training it leaves less noise than a picture that leaves [0, 1], as
    scaling it up would make it, gets ruined; to half of that.
    """
    noise = parse_noise(recipe.noise)
    if noise.kind != "gauss":
        return None
    return (noise.low if noise.low == noise.high else noise.low / 2, noise.high)
