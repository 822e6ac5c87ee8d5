"""Training on several GPUs and several machines: which `tf.distribute` strategy, and what it needs.

A strategy decides only where a step is computed: N replicas that share a batch take the step that
one takes with the whole batch. Create it before TensorFlow is used for anything else.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

from n2n_tf.method.replicas import several_workers

NAMES = ("auto", "one_device", "mirrored", "multi_worker")


class StrategyError(ValueError):
    """A strategy that cannot be; the message says why and what to do."""


def choose(
    name: str = "auto", batch_size: int | None = None, report: Callable[[str], None] = print
) -> tf.distribute.Strategy:
    """Creates a strategy; one of several workers waits here until all of them have started.

    Args:
        name: "one_device": the first GPU, or the CPU. "mirrored": all GPUs of this machine, or
            all logical CPUs if it has none. "multi_worker": all GPUs of the machines that the
            environment variable TF_CONFIG names, or their CPUs. "auto": the last of these that
            there are machines or GPUs for.
        batch_size: int, crops in a step, over all replicas; None: not checked.
        report: callable for lines of text.

    Returns:
        `tf.distribute.Strategy`; TensorFlow's default one if there is one replica.

    Raises:
        StrategyError: if `name` is unknown, TF_CONFIG is missing or damaged, or `batch_size` cannot
            be shared evenly.
    """
    if name not in NAMES:
        raise StrategyError(f"Unknown strategy {name!r}: it must be one of {', '.join(NAMES)}.")
    gpus = len(tf.config.list_physical_devices("GPU"))  # listing logical ones starts TensorFlow
    several = name == "multi_worker" or (name == "auto" and os.environ.get("TF_CONFIG"))
    workers = _workers() if several else 1
    if workers > 1:
        _check_batch(batch_size, workers * max(gpus, 1))
        report(f"Waiting for all {workers} workers of TF_CONFIG.")
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if name == "one_device" or len(devices) == 1 or (name == "auto" and gpus < 2):
            if name not in ("auto", "one_device"):
                report("There is one device only; it trains alone.")
            return tf.distribute.get_strategy()
        _check_batch(batch_size, len(devices))
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    report(f"{strategy.num_replicas_in_sync} replicas share each batch.")
    return strategy


def _check_batch(batch_size, replicas):
    if batch_size is not None and batch_size % replicas:
        raise StrategyError(
            f"batch_size {batch_size} cannot be shared evenly by {replicas} replicas; it is the "
            f"batch of all of them together: give a multiple of {replicas}."
        )


def _workers():
    """The number of workers in TF_CONFIG, after a check of what TensorFlow takes on trust."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise StrategyError(f"TF_CONFIG is not set; multi_worker needs it, like {_EXAMPLE}.")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        address = jobs[task["type"]][int(task["index"])]
        if not set(jobs) <= {"chief", "worker"} or int(task["index"]) < 0 or ":" not in address:
            raise ValueError(f"cluster {jobs}, task {task}")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise StrategyError(
            f"TF_CONFIG cannot be used ({type(error).__name__}: {error}); it must be like "
            f"{_EXAMPLE}."
        ) from error
    return sum(len(addresses) for addresses in jobs.values())


_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the only one, or the first of the workers."""
    return strategy.extended.should_checkpoint


def agree(strategy: tf.distribute.Strategy, what: str, value: object) -> None:
    """Waits for all workers and compares what they have.

    Args:
        strategy: `tf.distribute.Strategy`.
        what: what is compared, for the message.
        value: anything; workers have the same if its `str` is.

    Raises:
        StrategyError: on all workers, if one has another value.
    """
    if not several_workers(strategy):
        return
    number = int(hashlib.sha256(str(value).encode()).hexdigest()[:15], 16)
    gather = tf.function(lambda mine: strategy.run(_gather, args=(mine,)))
    numbers = gather(tf.constant(number, tf.int64))
    if (strategy.experimental_local_results(numbers)[0].numpy() != number).any():
        raise StrategyError(f"The workers do not have the same {what}. This one has: {value}")


def _gather(mine):
    return tf.distribute.get_replica_context().all_gather(mine[None], axis=0)


@contextlib.contextmanager
def one_error_for_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the many errors that the end of another worker causes into one StrategyError."""
    try:
        yield
    except WORKER_LOST_ERRORS as error:
        if not several_workers(strategy):
            raise
        raise StrategyError(
            "Another worker has stopped, or cannot be reached; its own last line says why. Start "
            "all workers again, with the same commands, to continue."
        ) from error


WORKER_LOST_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
