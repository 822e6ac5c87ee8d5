"""What ends a training run with one line."""

import signal


class TrainingError(ValueError):
    """A training that cannot start or continue; the message says why and what to do."""


class BadStep(ArithmeticError):
    """A step after which the loss or the state is NaN or infinite; nothing of it was saved."""


class TrainingStopped(Exception):
    """A training that a signal ended after a step, and that was saved.

    Attributes:
        status: int, the exit status for it, 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number, step):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}, which is saved. "
            "The same command again continues."
        )
        self.status = 128 + number
