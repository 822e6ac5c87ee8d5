"""A network trained on, a little, on the very pictures that it is to denoise."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.known_noise import Stages
from n2n_tf.denoising.large import sampled_rows
from n2n_tf.model_files.info import ModelError
from n2n_tf.training.fused_adam import FusedAdam

SIDE = 128  # pixels of a crop
MOST = 512  # crops kept, drawn alike from all that pass
HELD_OUT = 0.2  # share of the crops that only decide which network is kept
PART = 32  # pixels: the side of parts of crops whose losses are compared
CERTAIN = 2.0  # standard errors by which these losses must have fallen on average
DRAWN = 4  # times that noise is drawn for them
BATCH = 4
MOST_CORRELATED = 0.2  # of what is taken away from neighbouring pixels
TAU = 0.5  # of Recorrupted-to-Recorrupted
# The recorrupted input's noise is stronger than the picture's. So that a network meets the noise
# that it will meet, its pictures are made so much flatter.
_SHARE = (1 + TAU**2) ** -0.5
LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What became of it: losses of the parts held out, before and after, and how sure the fall is.

    Attributes:
        before, after: means over the parts.
        certainty: how many standard errors the loss has fallen.
    """

    before: float
    after: float
    certainty: float

    @property
    def kept(self) -> bool:
        """Whether the network is the new one."""
        return self.certainty > CERTAIN


class Crop(NamedTuple):
    """A noisy part of a picture as a network meets it.

    Attributes:
        noisy: float32 [side, side, channels].
        deviation: float32 [channels], of its noise, which is alike at all levels.
    """

    noisy: np.ndarray
    deviation: np.ndarray


class Crops:
    """Noisy crops as a network meets them, whatever a `Denoiser` does before it; none overlap.

    Args:
        denoiser: `Denoiser`.
        seed: decides which crops are kept.

    Attributes:
        kept: list of `Crop`.
        recorder: a `Denoiser` that takes nothing away and keeps crops of what it is given; it
            stands in for the other in a run over all pictures.
    """

    def __init__(self, denoiser: Denoiser, seed: int = 0) -> None:
        self._rng, self._seen, self.kept = np.random.default_rng(seed), 0, []
        self.recorder = _Recorder(denoiser, self._keep)

    def _keep(self, crop):
        """Reservoir sampling: each crop that passes is kept with the same probability."""
        self._seen += 1
        if len(self.kept) < MOST:
            self.kept.append(crop)
            return
        place = self._rng.integers(self._seen)
        if place < MOST:
            self.kept[place] = crop


class _Recorder(Denoiser):
    """Shows crops of what the network would get to `keep`, and gives pictures back as they are."""

    def __init__(self, denoiser, keep):
        super().__init__(denoiser.run, denoiser.info)
        self._keep = keep

    def known(self, image, law, out, white_level=None, progress=None, finish=None):
        """Instead of denoising: crops of what the network would get."""
        out[...] = image
        levels = self.info.noise_level
        stages = Stages.of(np.float32(sampled_rows(image)), law, levels)
        if stages is None or any(law.gain) or law.correlation or law.shared:
            return 0.0  # nothing to learn from
        white = 1.0 if levels else self._white(image.dtype, white_level)
        deviation = np.sqrt(np.float32(law.read)) / np.float32(white)
        if levels:
            deviation = np.full_like(deviation, _SHARE * stages.scale.level)
        height, width = (side // SIDE * SIDE for side in image.shape[:2])
        for top in range(0, height, SIDE):
            before = stages.before(np.float32(image[top : top + SIDE]))
            shown = before.shown / np.float32(white)
            if levels:
                shown = 0.5 + np.float32(_SHARE) * (shown - 0.5)
            for left in range(0, width, SIDE):
                self._keep(Crop(shown[:, left : left + SIDE].copy(), deviation))
        return 0.0


def adapt(
    denoiser: Denoiser,
    crops: list[Crop],
    steps: int,
    seed: int = 0,
    progress: Callable[[Iterator], Iterator] = lambda steps: steps,
) -> Adapted:
    """Trains a denoiser's network on noisy crops, in place, and keeps what is certainly better.

    By Recorrupted-to-Recorrupted at full size, with the noise that was estimated. Photon noise is
    left out: after Anscombe's transform it is not normal, and networks learn to leave it. Some
    crops are held out: if their loss does not fall clearly, nothing changes.

    Args:
        denoiser: `Denoiser` with a Keras network.
        crops: as `Crops` collects them.
        steps: int, optimizer steps of 4 crops.
        seed: int.
        progress: callable(iterable of the steps) -> the same.

    Returns:
        `Adapted`.

    Raises:
        ModelError: for a model without a Keras network, too few crops, or noise that is alike in
            neighbouring pixels: the loss would fall while such noise is left in.

    Source: Pang et al., "Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image
    Denoising", CVPR 2021.
    """
    network = denoiser.network
    if network is None:
        raise ModelError("--adapt needs a Keras model, not an export.")
    if len(crops) < 5:
        raise ModelError(
            f"--adapt needs pictures of at least 5 x {SIDE} x {SIDE} pixels, whose noise is "
            f"independent and alike at all levels. Received: {len(crops)} such squares."
        )
    rng = np.random.default_rng(seed)
    crops = [crops[i] for i in rng.permutation(len(crops))]
    count = max(1, round(HELD_OUT * len(crops)))
    held_out, rest = crops[:count], crops[count:]
    _check_independent(network, held_out)
    before, weights = _losses(network, held_out), network.get_weights()
    _train(network, rest, progress(range(steps)), rng)
    after = _losses(network, held_out)
    fallen = before - after
    error = fallen.std(ddof=1) / np.sqrt(fallen.size)
    adapted = Adapted(before.mean(), after.mean(), fallen.mean() / max(error, 1e-30))
    if not adapted.kept:
        network.set_weights(weights)
    else:
        denoiser.run = tf.function(lambda noisy: network(noisy, training=False))
    return adapted


def _check_independent(network, crops):
    noisy = np.stack([crop.noisy for crop in crops[:32]])
    taken_away = noisy - np.asarray(network(noisy, training=False), np.float32)
    beside = (np.s_[:, :, 1:], np.s_[:, :, :-1]), (np.s_[:, 1:], np.s_[:, :-1])
    pairs = ((taken_away[one].ravel(), taken_away[other].ravel()) for one, other in beside)
    correlation = max(np.corrcoef(*pair)[0, 1] for pair in pairs)
    if correlation > MOST_CORRELATED:
        raise ModelError(
            f"--adapt learns from independent noise; here that of neighbouring pixels correlates "
            f"by {correlation:.2f} (at most {MOST_CORRELATED}). Denoise without it."
        )


def recorrupted(crop: Crop, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy crops of one, whose noise is independent: a network's input and its target."""
    z = crop.deviation * rng.normal(size=crop.noisy.shape).astype(np.float32)
    return crop.noisy + TAU * z, crop.noisy - z / TAU


def _train(network, crops, steps, rng):
    optimizer = FusedAdam(LEARNING_RATE)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(source: tf.Tensor, target: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            made = tf.cast(network(source, training=True), tf.float32)
            loss = tf.reduce_mean(tf.square(made - target))
        optimizer.apply(tape.gradient(loss, network.trainable_variables))

    for _ in steps:
        chosen = rng.integers(len(crops), size=BATCH)
        pairs = np.stack([recorrupted(crops[i], rng) for i in chosen], 1)
        number = rng.integers(8)
        source, target = (tf.constant(_turned(part, number)) for part in pairs)
        step(source, target)


def _turned(batch, number):
    batch = batch[:, :, ::-1] if number >= 4 else batch
    return np.ascontiguousarray(np.rot90(batch, number % 4, axes=(1, 2)))


def _losses(network, crops):
    """Losses of all parts of crops, with noise that is the same at every call: float64 [parts]."""
    rng, drawn = np.random.default_rng(7), []
    for _ in range(DRAWN):
        losses = []
        for crop in crops:
            source, target = recorrupted(crop, rng)
            made = keras.ops.convert_to_numpy(network(source[None], training=False))[0]
            side = min(PART, len(made))
            height, width = (n // side for n in made.shape[:2])
            error = np.square(np.float64(made) - target)
            losses.append(error.reshape(height, side, width, -1).mean((1, 3)).ravel())
        drawn.append(np.concatenate(losses))
    return np.mean(drawn, axis=0)
