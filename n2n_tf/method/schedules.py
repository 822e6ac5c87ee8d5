"""How gamma and the learning rate change from epoch to epoch; epochs are counted from 1."""

import math
from typing import Any

import keras


def gamma_at(epoch: int, epochs: int, gamma: float, delay: float = 0.0) -> float:
    """Weight of the regularisation during an epoch: it rises linearly and ends at `gamma`.

    Args:
        epoch: 1 .. epochs.
        epochs: length of the training in epochs.
        gamma: final weight (paper: 2 for sRGB, 1 for raw).
        delay: share of the epochs, from the first, that have 0 instead.

    Returns:
        float, `gamma * epoch / epochs`.

    Source: section 4.2 ("gradually increase gamma"); the formula is the official train.py's.
    """
    return 0.0 if epoch <= delay * epochs else gamma * epoch / epochs


def learning_rate_at(epoch: int, epochs: int, initial: float) -> float:
    """Learning rate during an epoch: halved when a fifth, two, three and four fifths are reached.

    Of 100 epochs, epochs 1 to 19 have `initial`, 20 to 39 half of it, and so on, as in the official
    train.py (MultiStepLR with milestones 19, 39, 59, 79 counted from 0). A halving that would fall
    before the second epoch of a very short training is left out.

    Args:
        epoch: 1 .. epochs.
        epochs: length of the training in epochs.
        initial: learning rate of the first epoch.

    Returns:
        float.

    Source: section 5.1, "the learning rate is half-decayed per 20 epochs" of 100.
    """
    milestones = [epochs * fifth // 5 for fifth in (1, 2, 3, 4)]
    return initial * 0.5 ** sum(1 < milestone <= epoch for milestone in milestones)


class PaperSchedule(keras.callbacks.Callback):
    """Sets gamma and the learning rate at the beginning of every epoch of `fit`.

    Args:
        epochs: length of the whole training in epochs, also of a training run that continues.
        learning_rate: float, of the first epoch. None leaves the optimizer's alone.
        gamma: weight of the regularisation in the last epoch.
        gamma_delay: share of the epochs at the beginning that do without it, see `gamma_at`.

    Example:
        model.fit(batches, epochs=100, callbacks=[PaperSchedule(epochs=100)])
    """

    def __init__(
        self,
        epochs: int,
        learning_rate: float | None = 3e-4,
        gamma: float = 2.0,
        gamma_delay: float = 0.0,
    ) -> None:
        super().__init__()
        self.epochs, self.learning_rate = epochs, learning_rate
        self.gamma, self.gamma_delay = gamma, gamma_delay

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Assigns both variables; Keras counts epochs from 0."""
        self.model.gamma.assign(gamma_at(epoch + 1, self.epochs, self.gamma, self.gamma_delay))
        if self.learning_rate is not None:
            rate = learning_rate_at(epoch + 1, self.epochs, self.learning_rate)
            self.model.optimizer.learning_rate = rate


def cosine_at(step: int, steps: int, highest: float, warm_up: float = 0.03) -> float:
    """Learning rate of a step: a linear rise over `warm_up` of all, then half a cosine to 0.

    Args:
        step: 0 .. steps - 1.
        steps: length of the training in steps.
        highest: float.
        warm_up: share of the steps.

    Returns:
        float, above 0.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts.
    """
    rise = max(1, round(warm_up * steps))
    if step < rise:
        return highest * (step + 1) / rise
    return highest * 0.5 * (1.0 + math.cos(math.pi * (step - rise + 0.5) / (steps - rise)))


class CosineSchedule(PaperSchedule):
    """The same gamma; sets the learning rate before every step, by those the optimizer counts.

    Args:
        steps: length of the whole training in steps, also of a training run that continues.
        learning_rate: the highest.
        epochs, gamma, gamma_delay: as of `PaperSchedule`.
    """

    def __init__(
        self,
        steps: int,
        learning_rate: float,
        epochs: int,
        gamma: float = 2.0,
        gamma_delay: float = 0.0,
    ) -> None:
        super().__init__(epochs, learning_rate, gamma, gamma_delay)
        self.steps = steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Assigns gamma and reads the steps that are done."""
        super().on_epoch_begin(epoch, logs)
        self._step = int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Assigns it."""
        step = self._step
        if isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer):
            step = int(self.model.optimizer.iterations)  # without the steps that were skipped
        self._step += 1
        rate = cosine_at(min(step, self.steps - 1), self.steps, self.learning_rate)
        self.model.optimizer.learning_rate = rate
