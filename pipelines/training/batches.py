"""Batches of noisy training images: the order of the tf.data stages, written once.

Everything random is a function of (seed, number of the sample since the training began), so a
training that starts again at step s sees exactly the batches it would have seen, whatever the
number of parallel calls. Samples are numbered 0, 1, 2, ... over all epochs.
"""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from n2n_tf.pipelines.noise.synthetic import Noise, add_noise, noise_law
from n2n_tf.pipelines.padding import reflected
from n2n_tf.pipelines.processors import available_processors
from n2n_tf.pipelines.raw import bayer

FAR_BELOW = 1 << 20  # pixels; no image is as high


def steps_per_epoch(images: int, batch_size: int, crops_per_image: int = 1) -> int:
    """Whole batches in an epoch; what is left over is dropped, as in the official code."""
    return max(1, images * crops_per_image // batch_size)


def training_batches(
    images: Any,
    noise: Noise,
    *,
    frozen: bool,
    patch_size: int = 256,
    batch_size: int = 4,
    epoch_steps: int | None = None,
    augment: bool = False,
    seed: int = 0,
    start_step: int = 0,
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    worker: tf.distribute.InputContext | None = None,
    parts: str = "noisy",
    paired: bool = False,
) -> tf.data.Dataset:
    """Endless batches of noisy crops, continuing at any step.

    Args:
        images: `ImageFolder`, or anything with `__len__`, `names`, `sizes`, `channels` and
            `crop(index, top, left, height, width)` -> float32 [height, width, channels].
        noise: `n2n_tf.pipelines.noise.synthetic.Noise`.
        frozen: True gives each image exactly one noise field, from (seed, name of the image): what
            "only single noisy images" means. False draws fresh noise for every crop, as the paper's
            code does.
        patch_size: int, side of the crops in pixels. Smaller images are mirror-padded.
        batch_size: int.
        epoch_steps: int, batches per epoch; every image comes once before any comes again.
            Default: `steps_per_epoch(len(images), batch_size)`.
        augment: bool, random flips and rotations by 90 degrees (the paper uses none). Those of
            packed raw keep its Bayer phase.
        seed: int.
        start_step: int, batches to leave out at the beginning (at no cost).
        prepare: None, or callable(crop, seed) -> crop applied before the noise; the seed int64 [2]
            is the image's if `frozen`, else the sample's.
        worker: `tf.distribute.InputContext`, for `Strategy.distribute_datasets_from_function`: only
            this worker's part of every batch is made, cut into one piece for each of its replicas,
            one after another. Laid side by side, the pieces of all replicas are the batch. Default:
            one worker with one replica.
        parts: "noisy": noisy crops alone. Or pairs, "noisy_clean" with the clean crop,
            "noisy_noisy" with a second noise of the same level, "noisy_law" with shot and read
            variance of the noise, float32 [batch_size, 2].
        paired: bool, whether crops hold two images of each place, channels of the first first; then
            those are the pairs, and there is no noise to be added.

    Returns:
        `tf.data.Dataset` of float32 [batch_size, patch_size, patch_size, channels], not clipped;
        with `worker`, [batch_size // replicas, ...]; or of pairs, see `parts`.

    Raises:
        ValueError: if the replicas of all workers cannot share a batch evenly.
    """
    worker = worker or tf.distribute.InputContext()
    piece, workers = worker.get_per_replica_batch_size(batch_size), worker.num_input_pipelines
    epoch_steps = epoch_steps or steps_per_epoch(len(images), batch_size)
    epoch_samples = epoch_steps * batch_size
    noise_seeds = tf.constant([frozen_seed(seed, name) for name in images.names], tf.int64)
    sizes = tf.constant(images.sizes, tf.int32)
    profiles = tf.constant(images.noise_profiles) if noise.kind == "profile" else None
    raw = images.channels == 4 or prepare is not None
    channels = 4 if raw else images.channels
    size = patch_size + (raw and augment)  # a flip that keeps the Bayer phase costs one cell

    def samples_of(epoch):
        numbers = epoch * epoch_samples + tf.range(epoch_samples, dtype=tf.int64)
        order = epoch_order(epoch, len(images), epoch_samples, seed)
        ours = [
            tf.reshape(of_all, (epoch_steps, workers, -1))[:, worker.input_pipeline_id]
            for of_all in (numbers, order)
        ]
        return tf.data.Dataset.from_tensor_slices(tuple(tf.reshape(part, [-1]) for part in ours))

    def noise_of(index):
        if profiles is None:
            return noise
        return Noise("poisson_gaussian", shot=profiles[index, :, 0], read=profiles[index, :, 1])

    def example(sample, index):
        sample_seed = tf.stack([tf.constant(seed, tf.int64), sample])
        crop_seed, flip_seed, noise_seed = tf.unstack(tf.random.split(sample_seed, 3, alg="philox"))
        window = crop_window(sizes[index], size, crop_seed)
        crop = tf.numpy_function(images.crop, [index, *window], tf.float32, stateful=False)
        crop = tf.ensure_shape(crop, (None, None, images.channels * (2 if paired else 1)))
        if paired:
            noisy, crop = tf.split(crop, 2, axis=-1)
            noisy = finished(noisy, flip_seed)
            return noisy if parts == "noisy" else (noisy, finished(crop, flip_seed))
        if frozen:  # the noise that this place of the image has for good
            noise_seed, place = noise_seeds[index], window[:2]
        else:
            place = 0, 0
        if prepare:
            crop = prepare(crop, noise_seed)
        noisy = add_noise(crop, noise_of(index), noise_seed, *place)
        if parts == "noisy":
            return finished(noisy, flip_seed)
        if parts == "noisy_law":
            return finished(noisy, flip_seed), noise_law(noise_of(index), noise_seed)
        if parts == "noisy_noisy":  # noise from another place of the same field
            crop = add_noise(crop, noise_of(index), noise_seed, place[0] + FAR_BELOW, place[1])
        return finished(noisy, flip_seed), finished(crop, flip_seed)

    def finished(crop, flip_seed):
        crop = mirror(crop, size)  # after the noise, so that a pixel and its mirror are one
        if augment:
            crop = random_bayer_flip(crop, flip_seed) if raw else random_flip(crop, flip_seed)
        return tf.ensure_shape(crop, (patch_size, patch_size, channels))

    first_epoch, done = divmod(start_step, epoch_steps)
    return (
        tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        .flat_map(samples_of)
        .skip(done * batch_size // workers)  # only numbers until here: a start anywhere is cheap
        .map(example, num_parallel_calls=available_processors(), deterministic=True)
        .batch(piece, drop_remainder=True)
        .prefetch(2 * batch_size // workers // piece)  # the next batch is made during this one
        .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        .with_options(_untuned())
    )


def _untuned():
    """No autotuning: its thread sleeps for up to a minute, and whatever ends the batches waits."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def epoch_order(epoch: tf.Tensor, images: int, epoch_samples: int, seed: int) -> tf.Tensor:
    """Which image each sample of an epoch shows.

    Args:
        epoch: int64 scalar tensor, counted from 0.
        images: int, number of images.
        epoch_samples: int, samples in an epoch.
        seed: int.

    Returns:
        int32 [epoch_samples]: rounds of all images, each round in a new random order; the last one
        may be cut short.
    """
    rounds = -(-epoch_samples // images)
    # Negative, so that no order is drawn from the same random bits as the crop of a sample.
    order_seed = tf.stack([tf.constant(seed, tf.int64), -1 - epoch])
    # Sorting random numbers is uniform over all orders; `index_shuffle` is not: it knows 2**16.
    keys = tf.random.stateless_uniform(
        (rounds, images), order_seed, None, None, tf.int64, alg="philox"
    )
    return tf.reshape(tf.argsort(keys, axis=1, stable=True), (-1,))[:epoch_samples]


def frozen_seed(seed: int, name: str) -> np.ndarray:
    """Seed [2] of an image's one noise field: it depends on the image's name, not on its place."""
    digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogatepass")).digest()
    return np.frombuffer(digest[:16], "<i8")


def crop_window(image_size: tf.Tensor, size: int, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Draws a window of size x size pixels at a uniform offset, the last one included.

    Args:
        image_size: int tensor [2], height and width of the image.
        size: int, side of the window; along an axis on which the image is shorter, the window is
            the image.
        seed: int tensor [2].

    Returns:
        `top, left, height, width`: int32 scalar tensors.
    """
    extent = tf.minimum(image_size, size)
    free = image_size - extent
    offset = tf.random.stateless_uniform((2,), seed, alg="philox") * tf.cast(free + 1, tf.float32)
    offset = tf.minimum(tf.cast(offset, tf.int32), free)
    return (*tf.unstack(offset), *tf.unstack(extent))


def mirror(image: tf.Tensor, size: int) -> tf.Tensor:
    """Mirrors an image [height, width, channels] at its bottom and right up to size x size."""
    for axis in (0, 1):
        places = reflected(tf.range(size), tf.shape(image)[axis], tf)
        image = tf.gather(image, places, axis=axis)
    return image


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One of the 8 symmetries of the square, uniformly."""
    turns, mirror = tf.unstack(
        tf.random.stateless_uniform((2,), seed, 0, 4, tf.int32, alg="philox")
    )
    image = tf.image.rot90(image, turns)
    return tf.cond(mirror % 2 == 0, lambda: image, lambda: tf.reverse(image, [1]))


def random_bayer_flip(planes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """One of the 8 symmetries of packed raw [n, n, 4] in RGGB phase -> [n - 1, n - 1, 4].

    It is `bayer.random_augment` of the mosaic, without making one: a turned plane goes on where it
    is, and loses its first row (column) instead of its last if it had the second of each cell.

    Source: arXiv 1904.12945, Bayer preserving augmentation.
    """
    *flips, transpose = bayer.draw_flips(seed)
    turned = functools.partial(tf.transpose, planes, (1, 0, 2))  # which exchanges the greens
    planes = tf.cond(transpose, lambda: tf.gather(turned(), (0, 2, 1, 3), axis=2), lambda: planes)
    for axis, flip in enumerate(flips):
        planes = tf.cond(flip, lambda x=planes, a=axis: tf.reverse(x, [a]), lambda x=planes: x)
    by_row, by_column = (tf.cast(flip, tf.int32) for flip in flips)
    size = tf.shape(planes)[0] - 1
    parts = []
    for colour, (row, column) in enumerate(bayer.plane_positions("RGGB")):
        top, left = row * by_row, column * by_column
        parts.append(planes[top : top + size, left : left + size, colour])
    return tf.stack(parts, axis=-1)
