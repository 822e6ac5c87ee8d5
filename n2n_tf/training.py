"""A training in a folder: it can be stopped at any moment and started again where it was."""

import contextlib
import dataclasses
import hashlib
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
import tqdm

import n2n_tf
from n2n_tf.denoiser import INFO_FILE, NETWORK_FILE, Denoiser, describe
from n2n_tf.evaluation import SEED, average, evaluate, strip
from n2n_tf.model import Neighbor2Neighbor
from n2n_tf.presets import build_network
from n2n_tf.raw import raw_planes_of_photo, viewable
from n2n_tf.schedules import PaperSchedule
from pipelines.atomic_files import atomic_file
from pipelines.batches import frozen_seed, steps_per_epoch, training_batches
from pipelines.image_files import to_float
from pipelines.noise import add_noise, parse_noise
from pipelines.raw_sources import PhotosAsRaw

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
        model.compile(optimizer=keras.optimizers.Adam(recipe.learning_rate), jit_compile=False)
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
        return
    say(f"{'Continuing' if start else 'Starting'} at step {start + 1} of {total}.")
    progress = ProgressBar(recipe, total, start)
    callbacks = [
        PaperSchedule(recipe.epochs, recipe.learning_rate, recipe.gamma),
        checkpoint,  # before those that report: nothing is reported that was not kept
        SavedNetwork(model_dir, recipe),
        TensorBoardLog(model_dir / "logs", recipe, images, validation),
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
        prepare=_prepare(images),
    )


def _prepare(images):
    return raw_planes_of_photo if isinstance(images, PhotosAsRaw) else None


class Checkpoint(keras.callbacks.Callback):
    """Saves all of a training's state: weights, optimizer, step, running means, history.

    Two files per checkpoint, written whole or not at all: the state, then a JSON file that names
    its step and checksum and so makes it valid. The newest two are kept.

    Args:
        folder: where the files lie.
        per_epoch: int, steps in an epoch.
        minutes: float, time between checkpoints within an epoch; one is written after each epoch.
    """

    def __init__(self, folder, per_epoch, minutes):
        super().__init__()
        self.folder, self.per_epoch, self.seconds = pathlib.Path(folder), per_epoch, 60 * minutes
        self.folder.mkdir(exist_ok=True)
        self.step, self.history, self._means = 0, [], {}
        self._saved_at = time.monotonic()

    def restore(self, model, say):
        """Restores the newest undamaged checkpoint; returns the number of steps done."""
        for file in sorted(self.folder.glob("*.json"), reverse=True):
            try:
                progress = json.loads(file.read_text())
                state = file.with_suffix(".weights.h5")
                if _checksum(state) != progress["sha256"]:
                    raise ValueError("its checksum is wrong")
                model.load_weights(state)
            except (OSError, ValueError, KeyError) as error:
                say(f"Checkpoint {file} is damaged ({error}); trying the one before it.")
                continue
            self.step, self.history = progress["step"], progress["history"]
            self._means = progress["means"]
            return self.step
        return 0

    def on_epoch_begin(self, epoch, logs=None):
        """Gives an interrupted epoch its running means back, after Keras has reset them."""
        for name, values in self._means.items():
            for variable, value in zip(self.model.means[name].variables, values, strict=True):
                variable.assign(value)
        self._means = {}

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step and saves if it is time."""
        self.step += 1
        last = self.step % self.per_epoch == 0  # on_epoch_end saves it, with its history
        if not last and time.monotonic() - self._saved_at > self.seconds:
            means = {
                name: [float(variable.numpy()) for variable in mean.variables]
                for name, mean in self.model.means.items()
            }
            self._save(means)

    def on_epoch_end(self, epoch, logs=None):
        """Saves, with the epoch's figures added to the history."""
        self.history.append({"epoch": epoch + 1} | {k: float(v) for k, v in logs.items()})
        self._save({})

    def _save(self, means):
        state = self.folder / f"{self.step:09d}.weights.h5"
        with atomic_file(state, overwrite=True) as temporary:
            self.model.save_weights(temporary, overwrite=True)
        progress = {
            "step": self.step,
            "sha256": _checksum(state),
            "means": means,
            "history": self.history,
        }
        _write_json(self.folder / f"{self.step:09d}.json", progress)
        for old in sorted(self.folder.glob("*.json"))[:-2]:
            old.unlink()
            old.with_suffix(".weights.h5").unlink(missing_ok=True)
        self._saved_at = time.monotonic()


class SavedNetwork(keras.callbacks.Callback):
    """Writes the bare network and its model.json after every epoch, ready for `Denoiser.load`."""

    def __init__(self, model_dir, recipe):
        super().__init__()
        self.model_dir, self.recipe = model_dir, recipe

    def on_epoch_end(self, epoch, logs=None):
        """Replaces the files of the epoch before."""
        info = describe(
            self.model.network,
            noise=self.recipe.noise,
            noise_realization=self.recipe.noise_realization,
            epochs=epoch + 1,
            version=n2n_tf.__version__,
        )
        _write_json(self.model_dir / INFO_FILE, info)
        with atomic_file(self.model_dir / NETWORK_FILE, overwrite=True) as temporary:
            self.model.network.save(temporary)


class TensorBoardLog(keras.callbacks.Callback):
    """Scalars and denoised pictures of every epoch for TensorBoard; steps are epochs from 1.

    With validation images: clean | noisy | denoised of each, and the mean PSNR and SSIM under the
    training's own noise, the same realisation every epoch. Without: noisy | denoised of the first
    training image.
    """

    def __init__(self, folder, recipe, images, validation):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.noise, self.images, self.validation = parse_noise(recipe.noise), images, validation
        self.seed, self._denoise = recipe.seed, None

    def on_epoch_end(self, epoch, logs=None):
        """Writes one step and adds val_psnr and val_ssim to the logs of later callbacks."""
        self._denoise = self._denoise or Denoiser.load(self.model.network)
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
        if prepare := _prepare(self.images):
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
    _write_json(path, asked | more)


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


def _checksum(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _write_json(path, value):
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")
