"""Neighbouring planes of a stack: where they show the same, their mean holds less noise."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import cv2
import numpy as np

from n2n_tf.denoising.noise_level import NoiseEstimate

EACH = 2  # planes on each side
ALIKE = 0.1  # difference of denoised planes that counts as none, in variances of the noise
WINDOW = 2.0  # pixels, standard deviation of the area over which it is looked at
_INDEPENDENT = 0.8  # share of the noise, at least, that is taken to be all of it
_AXES = "TZ"  # along which planes are neighbours, the first that there is

Item = TypeVar("Item")


def blended(
    noisy: Sequence[np.ndarray],
    alone: Sequence[np.ndarray],
    at: int,
    law: NoiseEstimate,
    denoise: Callable[[np.ndarray, NoiseEstimate], np.ndarray],
) -> np.ndarray:
    """One plane of a stack, denoised with the help of those around it.

    Where none of the others, denoised by itself, differs from the plane by more than `ALIKE`, the
    denoised mean of all takes the place of the plane denoised by itself. What moves stays sharp,
    and what differs is never mixed. Noise that the planes share does not average out; how much of
    it they do is measured where they are alike.

    Args:
        noisy: arrays [H, W, channels], the plane and its neighbours.
        alone: float32 of the same shapes, each denoised by itself.
        at: which of them the plane is.
        law: noise of the plane.
        denoise: callable(mean of planes, its noise) -> the mean denoised, float32.

    Returns:
        float32 [H, W, channels].

    Example:
        >>> planes = [np.full((9, 9, 1), level, np.float32) for level in (86, 100, 114)]
        >>> law = NoiseEstimate((0.0,), (100.0,))
        >>> blended(planes, [planes[1]] * 3, 1, law, lambda mean, law: mean + law.read[0])[0, 0, 0]
        np.float32(133.33333)
    """
    if law.nothing or len(noisy) == 1:
        return alone[at]
    with np.errstate(invalid="ignore"):  # NaN and infinite pixels are like nothing
        variance = law.deviation(_around(alone[at])) ** 2
        same = np.ones(variance.shape[:2], bool)
        for plane in alone:
            same &= (_around((plane - alone[at]) ** 2) <= ALIKE * variance).all(-1)
        if not same.any():
            return alone[at]
        mean = np.mean(noisy, axis=0, dtype=np.float32)
        together = denoise(mean, of_mean(law, len(noisy), _shared(noisy, at, variance, same)))
        share = _around(np.float32(same)[..., None])
        return np.where(share > 0, alone[at] + share * (together - alone[at]), alone[at])


def of_mean(law: NoiseEstimate, planes: int, shared: float = 0.0) -> NoiseEstimate:
    """The noise of a mean of planes with noise of one law, of which they share a part.

    Example:
        >>> of_mean(NoiseEstimate((0.0,), (4.0,)), 4).read
        (1.0,)
    """
    return law.scaled(float(np.sqrt(shared + (1 - shared) / planes)))


def _shared(noisy, at, variance, same):
    """How much of the noise's variance the planes share: 0 for frames, 1 for copies of one."""
    squares = [((plane - noisy[at])[same] ** 2).mean() for i, plane in enumerate(noisy) if i != at]
    independent = np.mean(squares) / max(2 * variance[same].mean(), np.finfo(np.float32).tiny)
    return float(max(0.0, 1 - independent / _INDEPENDENT))


def _around(image):
    """Means over the area around each pixel of float [H, W, channels]."""
    return cv2.GaussianBlur(image, (0, 0), WINDOW).reshape(image.shape)


def windows(items: Iterable[Item], each: int = EACH) -> Iterator[tuple[int, list[Item]]]:
    """Slides over items, each of which is taken once: (place of an item, it and those around it).

    Example:
        >>> list(windows("abcd", each=1))
        [(0, ['a', 'b']), (1, ['a', 'b', 'c']), (1, ['b', 'c', 'd']), (1, ['c', 'd'])]
    """
    held, end = collections.deque(maxlen=2 * each + 1), object()
    for item in itertools.chain(items, [end] * each):
        held.append(item)
        if len(held) > each:
            yield len(held) - 1 - each, [item for item in held if item is not end]


def runs_of(outer: dict[str, int]) -> list[list[int]] | None:
    """Which planes follow one another in time, or, if there is no time, in depth.

    Args:
        outer: {letter: side} of the axes along which planes lie in a file, the last the fastest.

    Returns:
        lists of numbers of planes; together they hold every plane once. None without such an axis.

    Example:
        >>> runs_of({"T": 3, "C": 2})
        [[0, 2, 4], [1, 3, 5]]
    """
    axis = next((letter for letter in _AXES if letter in outer), None)
    if axis is None:
        return None
    numbers = np.arange(np.prod([*outer.values()])).reshape([*outer.values()])
    rows = np.moveaxis(numbers, list(outer).index(axis), -1)
    return rows.reshape(-1, outer[axis]).tolist()
