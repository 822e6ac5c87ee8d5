"""Batches of noisy training images: the order of the tf.data stages, written once.

Everything random is a function of (seed, number of the sample since the training began), so a
training that starts again at step s sees exactly the batches it would have seen, whatever the
number of parallel calls. Samples are numbered 0, 1, 2, ... over all epochs.
"""

import hashlib

import numpy as np
import tensorflow as tf

from pipelines.noise import add_noise


def steps_per_epoch(images, batch_size, crops_per_image=1):
    """Whole batches in an epoch; what is left over is dropped, as in the official code."""
    return max(1, images * crops_per_image // batch_size)


def training_batches(
    images,
    noise,
    *,
    frozen,
    patch_size=256,
    batch_size=4,
    epoch_steps=None,
    augment=False,
    seed=0,
    start_step=0,
):
    """Endless batches of noisy crops, continuing at any step.

    Args:
        images: `ImageFolder`, or anything with `__len__`, `load(i)` -> float32 [H, W, C],
            `names[i]` and `channels`.
        noise: `pipelines.noise.Noise`.
        frozen: True gives each image exactly one noise field, drawn on the whole image from (seed,
            name of the image): what "only single noisy images" means. False draws fresh noise for
            every crop, as the paper's code does.
        patch_size: int, side of the crops in pixels. Smaller images are mirror-padded.
        batch_size: int.
        epoch_steps: int, batches per epoch; every image comes once before any comes again.
            Default: `steps_per_epoch(len(images), batch_size)`.
        augment: bool, random flips and rotations by 90 degrees (the paper uses none).
        seed: int.
        start_step: int, batches to leave out at the beginning (at no cost).

    Returns:
        `tf.data.Dataset` of float32 [batch_size, patch_size, patch_size, channels], not clipped.
    """
    epoch_steps = epoch_steps or steps_per_epoch(len(images), batch_size)
    noise_seeds = tf.constant([frozen_seed(seed, name) for name in images.names], tf.int64)

    def load(index):
        image = tf.numpy_function(images.load, [index], tf.float32, stateful=False)
        return tf.ensure_shape(image, (None, None, images.channels))

    def example(sample):
        index, sample_seed = locate(sample, len(images), epoch_steps * batch_size, seed)
        crop_seed, flip_seed, noise_seed = tf.unstack(tf.random.split(sample_seed, 3))
        image = load(index)
        if frozen:  # on the whole image and before the crop: a pixel's noise never changes
            image = add_noise(image, noise, noise_seeds[index])
        image = random_crop(image, patch_size, crop_seed)
        if augment:
            image = random_flip(image, flip_seed)
        if not frozen:
            image = add_noise(image, noise, noise_seed)
        return tf.ensure_shape(image, (patch_size, patch_size, images.channels))

    first = start_step * batch_size
    return (
        tf.data.Dataset.range(first, np.iinfo(np.int64).max)  # numbers: cheap to start anywhere
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)  # batches: the next one is made while this one trains
    )


def locate(sample, images, epoch_samples, seed):
    """Which image a sample shows, and the seed of all that is random about it.

    Args:
        sample: int64 scalar tensor, number of the sample.
        images: int, number of images.
        epoch_samples: int, samples in an epoch.
        seed: int.

    Returns:
        `index` int64, `sample_seed` int64 [2]. Within an epoch the images come in rounds, each a
        new permutation of all of them.
    """
    epoch, place = sample // epoch_samples, sample % epoch_samples
    rounds = -(-epoch_samples // images)
    order_seed = tf.stack([tf.cast(seed, tf.int64), epoch * rounds + place // images])
    index = tf.random.experimental.index_shuffle(
        place % images, order_seed, tf.constant(images - 1, tf.int64)
    )
    return index, tf.stack([tf.cast(seed, tf.int64), sample])


def frozen_seed(seed, name):
    """Seed [2] of an image's one noise field: it depends on the image's name, not on its place."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.frombuffer(digest[:16], "<i8")


def random_crop(image, size, seed):
    """Cuts size x size pixels at a uniform offset, the last one included.

    An image with a shorter side is first mirrored at its bottom or right border.
    """
    for axis in (0, 1):
        length = tf.shape(image)[axis]
        period = tf.maximum(2 * (length - 1), 1)
        index = tf.range(tf.maximum(length, size)) % period
        image = tf.gather(image, tf.minimum(index, (period - index) % period), axis=axis)
    free = tf.shape(image)[:2] - size
    offset = tf.random.stateless_uniform((2,), seed, alg="philox") * tf.cast(free + 1, tf.float32)
    top, left = tf.unstack(tf.minimum(tf.cast(offset, tf.int32), free))
    return image[top : top + size, left : left + size]


def random_flip(image, seed):
    """One of the 8 symmetries of the square, uniformly."""
    turns, mirror = tf.unstack(
        tf.random.stateless_uniform((2,), seed, 0, 4, tf.int32, alg="philox")
    )
    image = tf.image.rot90(image, turns)
    return tf.cond(mirror % 2 == 0, lambda: image, lambda: tf.reverse(image, [1]))
