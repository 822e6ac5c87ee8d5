"""What ends a training run with one line."""

import signal


class TrainingError(ValueError):
    """A run that cannot start or resume; the message says why and what to do."""


class BadStep(ArithmeticError):
    """A step after which the loss or the state is NaN or infinite; nothing of it was saved.

    Attributes:
        step: int, which one, counted from 0.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class TrainingStopped(Exception):
    """A run that a signal ended after a step, and that was saved.

    Attributes:
        status: int, the exit status for it, 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}, which is saved. "
            "Run the same command again to resume."
        )
        self.status = 128 + number
