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
from n2n_tf.denoising.stabilise import Scale, stabilise

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
    denoised, taken = stages.back(network(stages.shown(before))), ENERGY_OF_NOISE
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
        usable: float32 in its units, without what the network does not see.
        hidden: bool, what that is.
        scaled: float32, `usable` with its noise alike everywhere.
        constant: bool, areas of one value.
    """

    usable: np.ndarray
    hidden: np.ndarray
    scaled: np.ndarray
    constant: np.ndarray


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

    def before(self, image: np.ndarray, scaled: np.ndarray | None = None) -> Before:
        """Array [H, W, channels] -> `Before`; `scaled`: the image scaled, if it is known."""
        unusable = ~np.isfinite(image)
        usable = filled_in(np.asarray(image, np.float32), unusable)
        if scaled is None or unusable.any():
            scaled = self.scale.apply(usable)
        hidden = unusable | hot_pixels(scaled, self.scale.level)
        usable, scaled = filled_in(usable, hidden), filled_in(scaled, hidden)
        return Before(usable, hidden, scaled, constant_areas(usable))

    def shown(self, before: Before, top: int = 0, left: int = 0) -> np.ndarray:
        """What the network gets of a picture, or of the part of one that begins there.

        Networks judge the strength of noise by what lies around. Where the noise of few photons is
        weaker than elsewhere, some is added, in areas without any, such as saturated or masked
        ones, all of it, and where noise was cut off, as at black, what it may have been.
        """
        if not self.known:
            return before.usable
        shown = before.scaled
        height, width, channels = shown.shape
        rows, columns = slice(top, top + height), slice(left, left + width)
        if self.ends is not None:
            patterns = repeated(_evenly(channels), rows, columns)
            step = self.scale.level * self.scale.directions
            shown = shown + step * beyond(before.usable, self.ends, patterns)
        missing = None if self.asks_twice else self._missing(before)
        if missing is None:
            return shown
        return shown + missing * repeated(_noise(channels), rows, columns)

    def _missing(self, before):
        """Standard deviation of the noise that is to be added, float32; None if there is none."""
        missing, silent = self.scale.missing(before.scaled), before.hidden | before.constant
        if not silent.any():
            return missing
        level = np.float32(self.scale.level)
        return np.where(silent, level, np.float32(0) if missing is None else missing)

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
    ) -> tuple[np.ndarray, np.ndarray]:
        """The result, float32 [H, W, channels], and which share was given back.

        Args:
            image: the picture.
            before: what `before` made of it.
            denoised: what `run` made of that.
            taken: as `n2n_tf.denoising.given_back.share_given_back` takes it.
        """
        scale, scaled = self.scale, before.scaled
        share = share_given_back(scaled, denoised, scale.level, taken)
        kept = scaled - denoised
        kept *= share
        kept += denoised
        result = scale.undo(kept, scaled if self.known else None)
        if self.ends is not None:
            np.clip(result, *self.ends, out=result)
        laws = zip(self.estimate.gain, self.estimate.read, strict=True)
        silent = [channel for channel, (gain, read) in enumerate(laws) if not gain and read <= 0]
        same = before.constant | before.hidden
        same |= kept == scaled
        same[..., silent] = True
        np.copyto(result, image, where=same)
        return result, share


SIDE = 1021  # pixels, after which patterns repeat


def repeated(pattern: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Part of a picture filled with a pattern [height, width, channels] that repeats."""
    spans = zip((rows, columns), pattern.shape[:2], strict=True)
    return pattern[np.ix_(*(np.arange(s.start, s.stop) % side for s, side in spans))]


@functools.cache
def _noise(channels):
    """Standard normal numbers, the same at the same place of every picture."""
    return np.random.default_rng(0).normal(size=(SIDE, SIDE, channels)).astype(np.float32)


@functools.cache
def _evenly(channels):
    """Numbers spread evenly over 0..1, the same at the same place of every picture."""
    return np.random.default_rng(1).random((SIDE, SIDE, channels), np.float32)
