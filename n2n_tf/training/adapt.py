"""A network trained on, a little, on the very pictures that it is to denoise."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.known_noise import Stages
from n2n_tf.denoising.large import sampled_rows
from n2n_tf.method.losses import n2n_loss
from n2n_tf.method.subsamplers import draw_neighbor_pairs, take_pixels
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files.info import ModelError
from n2n_tf.training.fused_adam import FusedAdam

SIDE = 128  # pixels of a crop
MOST = 512  # crops kept, drawn alike from all that pass
HELD_OUT = 0.2  # share of the crops that only decide which network is kept
BATCH = 4
MOST_CORRELATED = 0.2  # of what is taken away from neighbouring pixels
LEARNING_RATE = 1e-4
# Share by which the held-out loss must fall. It is a loss of pictures of half the size: training
# makes a network somewhat better at those, and not at the pictures themselves.
LEAST_GAIN = 0.05


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What became of it: the held-out losses before and after, and whether the new one is kept."""

    before: float
    after: float

    @property
    def kept(self) -> bool:
        """Whether the network is the new one."""
        return self.after < (1 - LEAST_GAIN) * self.before


class Crops:
    """Noisy crops as a network meets them, whatever a `Denoiser` does before it; none overlap.

    Args:
        denoiser: `Denoiser`.
        seed: decides which crops are kept.

    Attributes:
        kept: list of float32 [side, side, channels].
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
        if stages is None:  # nothing to learn from
            return 0.0
        white = 1.0 if levels else self._white(image.dtype, white_level)
        height, width = (side // SIDE * SIDE for side in image.shape[:2])
        for top in range(0, height, SIDE):
            before = stages.before(np.float32(image[top : top + SIDE]))
            shown = stages.shown(before) / np.float32(white)
            for left in range(0, width, SIDE):
                self._keep(shown[:, left : left + SIDE].copy())
        return 0.0


def adapt(
    denoiser: Denoiser,
    crops: list[np.ndarray],
    steps: int,
    seed: int = 0,
    progress: Callable[[Iterator], Iterator] = lambda steps: steps,
) -> Adapted:
    """Trains a denoiser's network on noisy crops, in place, and keeps what is clearly better.

    Neighbor2Neighbor with its regularisation, the noise as it is in the crops. Some are held out:
    their loss before and after decides.

    Args:
        denoiser: `Denoiser` with a Keras network.
        crops: float32 [side, side, channels], as `Crops` collects them.
        steps: int, optimizer steps of 4 crops.
        seed: int.
        progress: callable(iterable of the steps) -> the same.

    Returns:
        `Adapted`.

    Raises:
        ModelError: for a model without a Keras network, too few crops, or noise that is alike in
            neighbouring pixels: the loss would fall while such noise is left in.
    """
    network = denoiser.network
    if network is None:
        raise ModelError("--adapt needs a Keras model, not an export.")
    if len(crops) < 5:
        raise ModelError(
            f"--adapt needs noisy pictures of at least 5 x {SIDE} x {SIDE} pixels. Received: "
            f"{len(crops)} such squares."
        )
    rng = np.random.default_rng(seed)
    crops = np.stack([crops[i] for i in rng.permutation(len(crops))])
    count = max(1, round(HELD_OUT * len(crops)))
    held_out, rest = crops[:count], crops[count:]
    _check_independent(network, held_out)
    before, weights = _loss(network, held_out), network.get_weights()
    model = Neighbor2Neighbor(network, gamma=1.0, seed=seed)
    model.compile(optimizer=FusedAdam(LEARNING_RATE), jit_compile=False)
    model.optimizer.build(network.trainable_variables)
    step = tf.function(model.train_step)
    for _ in progress(range(steps)):
        batch = rest[rng.integers(len(rest), size=BATCH)]
        step(tf.constant(_turned(batch, rng.integers(8))))
    adapted = Adapted(before, _loss(network, held_out))
    if not adapted.kept:
        network.set_weights(weights)
    else:
        denoiser.run = tf.function(lambda noisy: network(noisy, training=False))
    return adapted


def _check_independent(network, crops):
    taken_away = crops[:32] - np.asarray(network(crops[:32], training=False), np.float32)
    along_rows, along_columns = (
        np.corrcoef(taken_away[at].ravel(), taken_away[beside].ravel())[0, 1]
        for at, beside in (
            (np.s_[:, :, 1:], np.s_[:, :, :-1]),
            (np.s_[:, 1:], np.s_[:, :-1]),
        )
    )
    correlation = max(along_rows, along_columns)
    if correlation > MOST_CORRELATED:
        raise ModelError(
            f"--adapt learns from independent noise; here that of neighbouring pixels correlates "
            f"by {correlation:.2f} (at most {MOST_CORRELATED}). Denoise without it."
        )


def _turned(batch, number):
    batch = batch[:, :, ::-1] if number >= 4 else batch
    return np.ascontiguousarray(np.rot90(batch, number % 4, axes=(1, 2)))


def _loss(network, crops):
    """Mean Neighbor2Neighbor loss of crops, with sub-samplers that are the same at every call."""
    total = 0.0
    for number in range(0, len(crops), BATCH):
        noisy = tf.constant(crops[number : number + BATCH])
        seed = tf.constant([7, number], tf.int64)
        pairs = draw_neighbor_pairs(len(noisy), *noisy.shape[1:3], seed)
        sub_input, sub_target = (take_pixels(noisy, p) for p in pairs)
        of_all = tf.cast(network(noisy, training=False), tf.float32)
        sub_output = tf.cast(network(sub_input, training=False), tf.float32)
        loss, _, _ = n2n_loss(sub_output, sub_target, *(take_pixels(of_all, p) for p in pairs), 1.0)
        total += float(loss) * len(noisy)
    return total / len(crops)
