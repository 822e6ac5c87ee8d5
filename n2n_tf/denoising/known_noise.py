"""Denoises a picture whose noise is known: scaled to the network, and never changed by more."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from n2n_tf.denoising.clipped import Ends, beyond, ends_of
from n2n_tf.denoising.given_back import (
    ENERGY_OF_NOISE,
    constant_areas,
    filled_in,
    hot_pixels,
    noise_taken,
    share_given_back,
)
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.stabilise import Scale, mean_energy, stabilise

ANY_LEVEL = 1e-6, 1.0
WEAK = 0.03  # noise as a share of the range, below which the network is asked twice


def denoise_known(
    network: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    estimate: NoiseEstimate,
    levels: tuple[float, float] | None,
) -> tuple[np.ndarray, float]:
    """Denoises one image.

    What is more than noise explains is given back. Left as they are: channels without noise, areas
    of one value (saturated, masked), pixels that are NaN or infinite, and hot ones; the network
    sees the mean of their neighbours in place of the last three, so they do not spread.

    Args:
        network: callable, float32 [H, W, channels] -> the same shape, for images with Gaussian
            noise in nominal range [0, 1]; without `levels`, for images in the units of `image`. If
            the noise is weak it is called twice (see `noise_taken`).
        image: array [H, W, channels] in any units.
        estimate: its noise.
        levels: standard deviations of the weakest and the strongest noise that the network knows;
            None if it is one for such images as they are.

    Returns:
        float32 [H, W, channels] in the units of `image`, and the mean share of what the network
        took away that was given back.
    """
    stages = Stages.of(image, estimate, levels)
    if stages is None:
        return image.astype(np.float32), 0.0
    before = stages.before(image)
    denoised, taken = stages.back(network(before.shown)), ENERGY_OF_NOISE
    if stages.asks_twice:
        level = stages.scale.level

        def run(scaled: np.ndarray) -> np.ndarray:
            return stages.back(network(stages.shown_of(scaled)))

        taken = noise_taken(run, before.scaled, denoised, level, estimate.correlation)
    result, share = stages.after(image, before, denoised, taken)
    return result, float(share.mean())


class Before(NamedTuple):
    """A picture before the network, [H, W, channels].

    Attributes:
        shown: float32, what the network gets.
        scaled: float32, what it sees with its noise alike everywhere.
        silent: bool, what it does not see, and areas of one value.
    """

    shown: np.ndarray
    scaled: np.ndarray
    silent: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stages:
    """What is done to a picture, or to a part of one, before and after the network.

    Attributes:
        estimate: its noise.
        scale: of the whole picture.
        known: whether the network is one for Gaussian noise of known levels.
        ends: the levels at which the noise was cut off, see `clipped.ends_of`.
    """

    estimate: NoiseEstimate
    scale: Scale
    known: bool
    ends: Ends | None = None

    @classmethod
    def of(
        cls, image: np.ndarray, estimate: NoiseEstimate, levels: tuple[float, float] | None
    ) -> "Stages | None":
        """The stages of a picture, or None if it stays as it is; see `denoise_known`."""
        unusable = ~np.isfinite(image)
        if estimate.nothing or unusable.all():
            return None
        scale = stabilise(filled_in(image, unusable), estimate, levels or ANY_LEVEL)[1]
        ends = ends_of(image, estimate) if levels and scale.share >= WEAK else None
        return cls(estimate, scale, levels is not None, ends)

    @property
    def asks_twice(self) -> bool:
        """Whether the noise is so weak that a network's errors are the larger evil."""
        return self.scale.share < WEAK

    def before(self, image: np.ndarray, scaled: np.ndarray | None = None, top: int = 0) -> Before:
        """What comes before the network.

        Args:
            image: array [H, W, channels], a picture, or rows of one.
            scaled: the same scaled, if it is known.
            top: number of its first row in the picture.
        """
        unusable = ~np.isfinite(image)
        usable = filled_in(np.asarray(image, np.float32), unusable)
        if scaled is None or unusable.any():
            scaled = self.scale.apply(usable)
        hidden = unusable | hot_pixels(scaled, self.scale.level)
        usable, scaled = filled_in(usable, hidden), filled_in(scaled, hidden)
        silent = constant_areas(usable)
        silent |= hidden
        shown = self._shown(usable, scaled, silent, top) if self.known else usable
        return Before(shown, scaled, silent)

    def _shown(self, usable, scaled, silent, top):
        """What a network for Gaussian noise gets.

        Networks judge the strength of noise by what lies around. Where the noise of few photons is
        weaker than elsewhere, some is added, in areas without any, such as saturated or masked
        ones, all of it, and where noise was cut off, as at black, what it may have been.
        """
        shown = scaled
        height, width, channels = shown.shape
        rows, columns = slice(top, top + height), slice(0, width)
        if self.ends is not None:
            patterns = repeated(_evenly(channels), rows, columns)
            step = self.scale.level * self.scale.directions
            shown = shown + step * beyond(usable, self.ends, patterns)
        missing = None if self.asks_twice else self._missing(scaled, silent)
        if missing is None:
            return shown
        missing *= repeated(_noise(channels), rows, columns)
        missing += shown
        return missing

    def _missing(self, scaled, silent):
        """Standard deviation of the noise that is to be added, float32; None if there is none."""
        missing = self.scale.missing(scaled)
        if not silent.any():
            return missing
        if missing is None:
            missing = np.zeros(scaled.shape, np.float32)
        missing[silent] = self.scale.level
        return missing

    def shown_of(self, scaled: np.ndarray) -> np.ndarray:
        """The same of float32 [H, W, channels] in the units of `Before.scaled`."""
        return scaled if self.known else self.scale.undo(scaled)

    def back(self, made: np.ndarray) -> np.ndarray:
        """What the network made of that -> the same in the units of `Before.scaled`."""
        return made if self.known else self.scale.apply(made)

    def after(
        self,
        image: np.ndarray,
        before: Before,
        denoised: np.ndarray,
        taken: np.ndarray | float = ENERGY_OF_NOISE,
        rows: slice = slice(None),
    ) -> tuple[np.ndarray, np.ndarray]:
        """The result, float32 [H, W, channels], and which share was given back.

        Args:
            image: the picture.
            before: what `before` made of it.
            denoised: what `run` made of that.
            taken: as `n2n_tf.denoising.given_back.share_given_back` takes it.
            rows: those that are wanted.
        """
        scale, scaled = self.scale, before.scaled
        share = share_given_back(scaled, denoised, scale.level, taken)
        kept = scaled - denoised
        kept *= share
        kept += denoised
        removed = None
        if self.known and any(self.estimate.gain):
            removed = mean_energy(scaled - kept, scale.level)[rows]
        image, scaled, kept, share = (part[rows] for part in (image, scaled, kept, share))
        result = scale.undo(kept, removed)
        if self.ends is not None:
            np.clip(result, *self.ends, out=result)
        laws = zip(self.estimate.gain, self.estimate.read, strict=True)
        silent = [channel for channel, (gain, read) in enumerate(laws) if not gain and read <= 0]
        same = kept == scaled
        same |= before.silent[rows]
        same[..., silent] = True
        np.copyto(result, image, where=same)
        return result, share


SIDE = 1021  # pixels, after which patterns repeat


def repeated(pattern: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Part of a picture filled with a pattern [height, width, channels] that repeats."""
    for axis, span in enumerate((rows, columns)):
        places = np.arange(span.start, span.stop) % pattern.shape[axis]
        pattern = pattern.take(places, axis)
    return pattern


@functools.cache
def _noise(channels):
    """Standard normal numbers, the same at the same place of every picture."""
    return np.random.default_rng(0).normal(size=(SIDE, SIDE, channels)).astype(np.float32)


@functools.cache
def _evenly(channels):
    """Numbers spread evenly over 0..1, the same at the same place of every picture."""
    return np.random.default_rng(1).random((SIDE, SIDE, channels), np.float32)
