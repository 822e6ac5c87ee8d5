"""A training in a folder: it can be stopped at any moment and started again where it was."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import subprocess
import sys
import time

import filelock
import keras
import numpy as np
import tensorflow as tf

import n2n_tf
from n2n_tf.checkpoints import Checkpoint
from n2n_tf.model import Neighbor2Neighbor
from n2n_tf.model_files import INFO_FILE, NETWORK_FILE, describe
from n2n_tf.presets import build_network
from n2n_tf.raw import preparation
from n2n_tf.schedules import PaperSchedule
from n2n_tf.training_log import ProgressBar, TensorBoardLog
from pipelines.atomic_files import atomic_file, write_json
from pipelines.batches import steps_per_epoch, training_batches
from pipelines.noise import parse_noise

RUN_FILE = "run.json"


class TrainingError(ValueError):
    """A training that cannot start or continue; the message says why and what to do."""


def train(recipe, images, model_dir, validation=(), checkpoint_minutes=5.0, say=print):
    """Trains a network from noisy images, or continues the training that `model_dir` holds.

    Args:
        recipe: `n2n_tf.presets.Recipe`.
        images: `pipelines.image_folder.ImageFolder`.
        model_dir: folder; receives run.json, checkpoints/, logs/ (TensorBoard), and, after every
            epoch, network.keras and model.json, which `Denoiser.load(model_dir)` takes.
        validation: list of (name, clean uint8 or uint16 image) denoised after every epoch.
        checkpoint_minutes: float, minutes between checkpoints within an epoch.
        say: callable for lines of text.

    Returns:
        The trained `Neighbor2Neighbor`.

    Raises:
        TrainingError: if another process trains in `model_dir`, or it holds a training with another
            recipe or other data.
    """
    model_dir = pathlib.Path(model_dir)
    model_dir.mkdir(parents=True, exist_ok=True)
    with _only_process(model_dir):
        _record_run(model_dir / RUN_FILE, recipe, images)
        keras.utils.set_random_seed(recipe.seed)
        keras.mixed_precision.set_global_policy(recipe.precision)
        model = Neighbor2Neighbor(
            build_network(recipe), recipe.gamma, recipe.subsampler, seed=recipe.seed
        )
        # XLA is left off: measured 2.3 times slower on CPUs, and one numeric path for all machines.
        optimizer = keras.optimizers.Adam(
            recipe.learning_rate,
            use_ema=recipe.ema_decay > 0,
            ema_momentum=recipe.ema_decay,
        )
        model.compile(optimizer=optimizer, jit_compile=False)
        model.optimizer.build(model.network.trainable_variables)
        _fit(model, recipe, images, model_dir, validation, checkpoint_minutes, say)
        return model


def _fit(model, recipe, images, model_dir, validation, checkpoint_minutes, say):
    per_epoch = steps_per_epoch(len(images), recipe.batch_size, recipe.crops_per_image)
    checkpoint = Checkpoint(model_dir / "checkpoints", per_epoch, checkpoint_minutes)
    start = checkpoint.restore(model, say)
    total = recipe.epochs * per_epoch
    if start >= total:
        say(f"This training is complete ({recipe.epochs} epochs); its network is in {model_dir}.")
        optimizer_of(model).finalize_variable_values(model.network.trainable_variables)
        return
    say(f"{'Continuing' if start else 'Starting'} at step {start + 1} of {total}.")
    progress, final = ProgressBar(recipe, total, start), FinalNetwork(model)
    callbacks = [
        PaperSchedule(recipe.epochs, recipe.learning_rate, recipe.gamma),
        checkpoint,  # before those that report: nothing is reported that was not kept
        final,
        SavedNetwork(model_dir, recipe, final.network),
        TensorBoardLog(model_dir / "logs", recipe, images, validation, final.network),
        progress,
    ]

    def fit(epoch, epochs, skip):
        model.fit(
            _batches(recipe, images, per_epoch, epoch * per_epoch + skip),
            initial_epoch=epoch,
            epochs=epochs,
            steps_per_epoch=per_epoch - skip,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,
        )

    epoch, done = divmod(start, per_epoch)
    with contextlib.closing(progress):
        if done:  # finish the interrupted epoch
            fit(epoch, epoch + 1, done)
            epoch += 1
            checkpoint.restore(model, say)  # `fit` leaves averaged weights behind
        if epoch < recipe.epochs:
            fit(epoch, recipe.epochs, 0)


def _batches(recipe, images, per_epoch, start_step):
    return training_batches(
        images,
        parse_noise(recipe.noise),
        frozen=recipe.noise_realization == "frozen",
        patch_size=recipe.patch_size,
        batch_size=recipe.batch_size,
        epoch_steps=per_epoch,
        augment=recipe.augment,
        seed=recipe.seed,
        start_step=start_step,
        prepare=preparation(images),
    )


def optimizer_of(model):
    """The optimizer itself, without the loss scaling that mixed_float16 wraps around it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


class FinalNetwork(keras.callbacks.Callback):
    """The network as it is validated and saved: with averaged weights if the optimizer has them.

    A network of its own, since weights swapped in and out, as `SwapEMAWeights` does it by adding
    and subtracting, do not come back bit for bit.

    Attributes:
        network: functional `keras.Model`, up to date after the first epoch.
    """

    def __init__(self, model):
        super().__init__()
        averages = optimizer_of(model).use_ema
        self.network = keras.models.clone_model(model.network) if averages else model.network

    def on_epoch_end(self, epoch, logs=None):
        """Takes the averages."""
        if self.network is not self.model.network:
            averages = optimizer_of(self.model)._model_variables_moving_average
            for variable, average in zip(self.network.trainable_variables, averages, strict=True):
                variable.assign(average)


class SavedNetwork(keras.callbacks.Callback):
    """Writes the bare network and its model.json after every epoch, ready for `Denoiser.load`."""

    def __init__(self, model_dir, recipe, network):
        super().__init__()
        self.model_dir, self.recipe, self.network = model_dir, recipe, network

    def on_epoch_end(self, epoch, logs=None):
        """Replaces the files of the epoch before."""
        info = describe(
            self.network,
            noise=self.recipe.noise,
            noise_realization=self.recipe.noise_realization,
            epochs=epoch + 1,
            version=n2n_tf.__version__,
        )
        write_json(self.model_dir / INFO_FILE, info)
        with atomic_file(self.model_dir / NETWORK_FILE, overwrite=True) as temporary:
            self.network.save(temporary)


@contextlib.contextmanager
def _only_process(model_dir):
    lock = filelock.FileLock(model_dir / ".lock", blocking=False)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise TrainingError(f"{model_dir}: another process is training here.") from error


def _record_run(path, recipe, images):
    """Writes run.json, or checks that the training in it is the one asked for now."""
    asked = {
        "recipe": dataclasses.asdict(recipe),
        "data": {
            "folder": str(images.root.resolve()),
            "images": len(images),
            "fingerprint": images.fingerprint,
        },
    }
    if path.exists():
        _check_same(path, asked)
        return
    versions = {m.__name__: m.__version__ for m in (n2n_tf, keras, tf, np)}
    skipped = {s.path.relative_to(images.root).as_posix(): s.reason for s in images.skipped}
    more = {
        "versions": versions | {"python": platform.python_version()},
        "commit": _commit(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "skipped": skipped,
    }
    write_json(path, asked | more)


def _check_same(path, asked):
    try:
        held = json.loads(path.read_text())
        before = held["recipe"] | {"data": held["data"]["fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); use a new model_dir.") from error
    now = asked["recipe"] | {"data": asked["data"]["fingerprint"]}
    changed = [
        f"{key} was {before.get(key)!r}, is {value!r}"
        for key, value in now.items()
        if before.get(key) != value
    ]
    if changed:
        raise TrainingError(
            f"{path.parent} holds another training: {'; '.join(changed)}. Give the same flags to "
            "continue it, or another model_dir to begin a new one."
        )


def _commit():
    """The commit of the source this runs from, or None outside a checkout."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
