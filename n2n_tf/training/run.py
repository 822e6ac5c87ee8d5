"""A training run in a folder: it can be stopped at any moment and started again where it was."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.method import METHODS
from n2n_tf.method.schedules import CosineSchedule, PaperSchedule
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files.info import ModelError
from n2n_tf.model_files.load import load_model
from n2n_tf.model_files.run_story import run_story
from n2n_tf.networks.initial_weights import transfer
from n2n_tf.pipelines.files.atomic_files import remove_leftovers
from n2n_tf.pipelines.noise.independence import correlation_warning
from n2n_tf.pipelines.training.batches import steps_per_epoch
from n2n_tf.pipelines.training.holdout import Subset, choose_held_out
from n2n_tf.pipelines.training.ranges import range_lines
from n2n_tf.training import strategies
from n2n_tf.training.checkpoints import Checkpoint, parse_interval
from n2n_tf.training.data import Images, batches_of
from n2n_tf.training.epoch_figures import Figures
from n2n_tf.training.errors import BadStep, TrainingError
from n2n_tf.training.final_network import FinalNetwork, SavedNetwork, optimizer_of
from n2n_tf.training.finite_guard import FiniteGuard
from n2n_tf.training.fused_adam import FusedAdam
from n2n_tf.training.logs import ProgressBar, TensorBoardLog
from n2n_tf.training.recipes import Recipe, build_network
from n2n_tf.training.record import RunRecord, only_process
from n2n_tf.training.stop_signals import StopOnSignal

MOST_ROLLBACKS = 5


@dataclasses.dataclass(frozen=True)
class Conduct:
    """How a training run is conducted, which does not change what it computes.

    Attributes:
        checkpoint_every: how often a checkpoint is written within an epoch: minutes, like "5m", or
            steps, like "200".
        on_nan: "stop" if a step's loss or state is NaN or infinite, or "rollback" to the last
            checkpoint and go on with half the learning rate, at most 5 times.
        allow_changed: whether another recipe or other data may continue the training in the folder.

    Raises:
        ValueError: if `checkpoint_every` is neither.
    """

    checkpoint_every: str = "5m"
    on_nan: str = "stop"
    allow_changed: bool = False

    def __post_init__(self) -> None:
        parse_interval(self.checkpoint_every)


def train(
    recipe: Recipe,
    images: Images,
    model_dir: str | os.PathLike,
    validation: Sequence[tuple[str, np.ndarray]] = (),
    conduct: Conduct | None = None,
    report: Callable[[str], None] = print,
    strategy: tf.distribute.Strategy | None = None,
) -> Neighbor2Neighbor:
    """Trains a network from noisy images, or continues the training that `model_dir` holds.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        images: `n2n_tf.pipelines.files.image_folder.ImageFolder`, or one of its like.
        model_dir: folder; receives run.json, checkpoints/, logs/ (TensorBoard), and, after every
            epoch, network.keras and model.json, which `Denoiser.load(model_dir)` takes.
        validation: list of (name, clean uint8 or uint16 image) denoised after every epoch.
        conduct: `Conduct`. Default: `Conduct()`.
        report: callable for lines of text.
        strategy: from `n2n_tf.training.strategies.choose`; of several workers all see the same
            model_dir, and only the chief writes and speaks. Default: one device.

    Returns:
        The trained `Neighbor2Neighbor`.

    Raises:
        TrainingError: if another process trains in `model_dir`, it holds a run with another
            recipe or other data, or no undamaged checkpoint; or if a step goes wrong, an image
            cannot be read any more, or a checkpoint cannot be written.
        TrainingStopped: after SIGTERM or Ctrl-C, when the state is saved.
        StrategyError: if another worker stops, or has another recipe, other data or another
            model_dir.
    """
    model_dir, conduct = pathlib.Path(model_dir), conduct or Conduct()
    strategy = strategy or tf.distribute.get_strategy()
    with strategies.one_error_for_lost_workers(strategy), contextlib.ExitStack() as stack:
        if strategies.is_chief(strategy):
            model_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_process(model_dir))
        record = RunRecord(model_dir, recipe, images, conduct.allow_changed)
        held_out = _held_out(record, recipe, images, validation)
        agreed = f"{recipe} {images.fingerprint} {held_out.names}"
        strategies.agree(strategy, "recipe or data", agreed)
        if not strategies.is_chief(strategy):
            validation, report = (), lambda line: None
        with strategy.scope(), _settings(recipe):
            model = _model(recipe)
        _Training(model, recipe, held_out, model_dir, conduct, report).run(record, validation)
        return model


@contextlib.contextmanager
def _settings(recipe):
    """The recipe's precision, and its seed for initial weights; then the caller's own again."""
    policy, state = keras.config.dtype_policy(), random.getstate()
    keras.config.set_dtype_policy(recipe.precision)
    random.seed(recipe.seed)  # Keras's initializers draw their seeds from it
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(state)


def _held_out(record, recipe, images, validation):
    """The images held out: those of the training in the folder, or a new choice."""
    if record.held_out is not None:
        return Subset(images, record.held_out)
    share = 0.0 if validation and recipe.holdout is None else recipe.holdout
    return Subset(images, choose_held_out(images.names, share, recipe.seed))


def _model(recipe):
    more = {"tau": recipe.tau} if recipe.method == "recorrupted" else {}
    model = METHODS[recipe.method](
        build_network(recipe),
        recipe.gamma,
        recipe.subsampler,
        recipe.k,
        seed=recipe.seed,
        balance=recipe.balance,
        **more,
    )
    # XLA is left off: measured 2.3 times slower on CPUs, and one numeric path for all machines.
    optimizer = FusedAdam(
        recipe.learning_rate,
        use_ema=recipe.ema_decay > 0,
        ema_momentum=recipe.ema_decay,
    )
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    return model


def _digest(network):
    """SHA-256 of a network's weights, in hexadecimal, however their file is packed."""
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()


class _Callbacks(keras.callbacks.CallbackList):
    """Keras's own, but it does not wait for every step's losses to make them Python numbers."""

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class _Training:
    """One part of a training run, from a checkpoint or the beginning to the end or a stop."""

    def __init__(self, model, recipe, held_out, model_dir, conduct, report):
        self.model, self.recipe, self.held_out = model, recipe, held_out
        self.model_dir, self.conduct, self.report = model_dir, conduct, report
        self.images = held_out.rest()
        self.strategy = model.distribute_strategy
        self.chief = strategies.is_chief(self.strategy)
        self.per_epoch = steps_per_epoch(
            len(self.images), recipe.batch_size, recipe.crops_per_image
        )
        self.total = recipe.epochs * self.per_epoch
        self.checkpoint = Checkpoint(
            model_dir / "checkpoints", self.per_epoch, conduct.checkpoint_every, self.chief
        )

    def run(self, record, validation):
        """Restores, trains, and leaves the final weights in the model."""
        restored = self.checkpoint.restore(self.model, self.report)
        if not restored and self.recipe.initial_model is not None:
            record.ancestors = self._start_from(self.recipe.initial_model)
        step = self.checkpoint.step
        what = "checkpoint; model_dir must be the same storage for all"
        strategies.agree(self.strategy, what, step)
        final = FinalNetwork(self.model)
        reports = []
        if self.chief:
            self._prepare_folder(record, restored)
            reports = self._reports(final, validation)
        if step >= self.total:
            self._finish(final, reports)
            return
        self.report(f"{'Continuing' if step else 'Starting'} at step {step + 1} of {self.total}.")
        self._warn(step)
        recipe = self.recipe
        rate, gamma = self._learning_rate(), (recipe.gamma, recipe.gamma_delay)
        schedule = PaperSchedule(recipe.epochs, rate, *gamma)
        if recipe.schedule == "cosine":
            schedule = CosineSchedule(self.total, rate, recipe.epochs, *gamma)
        guard = FiniteGuard(self.recipe, self.images.names, self.checkpoint)
        if not self.chief:
            self._fit_all(schedule, [schedule, guard, self.checkpoint])
            return
        figures, saved, log = reports
        progress = ProgressBar(self.recipe, self.total, self.checkpoint)
        stop = StopOnSignal(self.checkpoint, self.report)
        # Saved before it is reported: nothing is reported that was not kept.
        callbacks = [schedule, guard, final, figures, self.checkpoint, saved, log, progress, stop]
        with contextlib.closing(progress), stop.listening():
            self._fit_all(schedule, callbacks)

    def _start_from(self, name):
        """Takes the weights of another model; returns what is known of it and its ancestors."""
        loaded = load_model(name)
        network = loaded.network
        if network is None:
            raise TrainingError(f"{name}: is an export; a run must start from the network itself.")
        try:
            transfer(self.model.network, network)
        except ValueError as error:
            raise TrainingError(f"{name}: a run cannot start from it here. {error}") from error
        self.report(f"The weights of {name} are where the run starts.")
        story = loaded.info.training or {}
        with contextlib.suppress(ModelError):  # it is no folder of a run
            story = story or run_story(pathlib.Path(name))
        known = {key: story[key] for key in ("command", "steps", "hours") if key in story}
        own = {"name": pathlib.Path(name).name, "weights_sha256": _digest(network), "hours": 0.0}
        return [*story.get("ancestors", []), own | known]

    def _reports(self, final, validation):
        figures = Figures(self.recipe, self.images, self.held_out, validation, final.network)
        level = getattr(self.images.whole, "noise_level", None)
        saved = SavedNetwork(self.model_dir, self.recipe, final.network, level)
        log = TensorBoardLog(self.model_dir / "logs", self.checkpoint, figures, self.report)
        return figures, saved, log

    def _prepare_folder(self, record, restored):
        remove_leftovers(self.model_dir)
        self.checkpoint.clean()
        record.write(self.held_out.names, self.checkpoint.step)
        if not restored:  # a checkpoint to roll back to; and a full disk is found out now
            self.checkpoint.set_model(self.model)
            self.checkpoint.save()

    def _finish(self, final, reports):
        """Writes what a kill after the last checkpoint left unwritten."""
        optimizer_of(self.model).finalize_variable_values(self.model.network.trainable_variables)
        if reports:
            final.set_model(self.model)
            final.on_train_begin()
            _, saved, log = reports
            saved.on_epoch_end(self.recipe.epochs - 1)
            log.on_train_begin()
        self.report(
            f"This run is complete ({self.recipe.epochs} epochs); its network is in "
            f"{self.model_dir}."
        )

    def _warn(self, step):
        if self.held_out.names:
            self.report(f"Held out for val_loss: {len(self.held_out)} images (--holdout).")
        if not step and self.chief:
            plain = getattr(self.images.whole, "plain", None)
            for line in range_lines(plain or self.images, scaled=plain is not None):
                self.report(line)
        looks = self.recipe.noise == "none" and not step and self.chief
        if looks and (warning := correlation_warning(self.images)):
            self.report(f"Warning: {warning}")

    def _learning_rate(self):
        return self.recipe.learning_rate * 0.5**self.checkpoint.rollbacks

    def _fit_all(self, schedule, callbacks):
        while self.checkpoint.step < self.total:
            try:
                self._fit_or_tell_data_lost(callbacks)
            except BadStep as bad:
                self._roll_back(bad)
                schedule.learning_rate = self._learning_rate()

    def _fit_or_tell_data_lost(self, callbacks):
        try:
            self._fit(callbacks)
        except tf.errors.OpError as error:
            if not self.images.failure:
                raise
            raise self._data_lost() from error

    def _fit(self, callbacks):
        """Fits to the end of an interrupted epoch, or else all that are left."""
        start = self.checkpoint.step
        epoch, done = divmod(start, self.per_epoch)
        batches = self.strategy.distribute_datasets_from_function(
            lambda worker: batches_of(self.images, self.recipe, self.per_epoch, start, worker)
        )
        self.model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1 if done else self.recipe.epochs,
            steps_per_epoch=self.per_epoch - done,
            callbacks=_Callbacks(callbacks, add_history=True, model=self.model),
            verbose=0,
            shuffle=False,
        )
        strategies.agree(self.strategy, "step", self.checkpoint.step)  # the chief has written
        if self.checkpoint.step < self.total:
            self.checkpoint.restore(self.model, self.report)  # `fit` leaves averaged weights behind

    def _roll_back(self, bad):
        batches = batches_of(self.images, self.recipe, self.per_epoch, bad.step)
        pixels = np.asarray(tf.nest.flatten(next(iter(batches)))[0])
        found = f"{bad} Its noisy pixels lie in {pixels.min():.3g} .. {pixels.max():.3g}. "
        if self.conduct.on_nan == "stop" or self.checkpoint.rollbacks >= MOST_ROLLBACKS:
            raise TrainingError(
                f"{found}Nothing of it was saved; the checkpoint of step "
                f"{self.checkpoint.saved_step} is good. Are these files as they should be? If so, "
                "the same command with --on_nan=rollback continues from there with half the "
                f"learning rate (done {self.checkpoint.rollbacks} times so far, "
                f"{MOST_ROLLBACKS} at most), or give --learning_rate={self._learning_rate() / 10:g}"
                " --allow_changed_flags."
            ) from bad
        strategies.agree(self.strategy, "step", self.checkpoint.step)
        self.checkpoint.roll_back(self.model, self.report)
        self.report(
            f"{found}Back to the checkpoint of step {self.checkpoint.step}, with learning rates "
            f"{0.5**self.checkpoint.rollbacks:g} of the recipe's."
        )

    def _data_lost(self):
        """Saves the steps done; returns the error that ends the training."""
        if self.checkpoint.step % self.per_epoch:
            self.checkpoint.save_within_epoch()
        return TrainingError(
            f"{self.images.failure} It was readable when the training began. Step "
            f"{self.checkpoint.saved_step} is saved: bring the file back as it was, and run the "
            "same command again."
        )
