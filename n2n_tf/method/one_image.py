"""Methods that train a network anew on each image they denoise: self2self, deep image prior.

Both take a fresh network and one noisy image, and need no other image and no noise model; minutes
of a GPU for each image, hours of a CPU.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.method.noise2void import uniform
from n2n_tf.pipelines.padding import reflect_pad, round_up

KEPT = 0.7  # of the pixels, in each of Self2Self's Bernoulli samples
AVERAGED = 0.99  # weight of the past in the deep image prior's mean of results, at most
SHARE = 0.1  # of the steps, over which that mean reaches in runs of less than 1,000
JITTER = 1 / 30  # standard deviation of what is added to the deep image prior's input each step


def self2self(
    network: keras.Model,
    noisy: np.ndarray,
    steps: int,
    size_multiple: int = 1,
    results: int = 50,
    learning_rate: float = 1e-4,
    seed: int = 0,
) -> np.ndarray:
    """Bernoulli samples of the image are completed; many completions by dropout are averaged.

        loss = sum over pixels left out of (f(b y) - y)^2 / their number,  b = 1 for `KEPT` of them

    b is drawn anew at every step, for each channel of each pixel. Half of the steps see the image
    mirrored.

    Args:
        network: fresh functional `keras.Model` with dropout, which stays on when it is used.
        noisy: float32 [height, width, channels].
        steps: of Adam; the publication takes 450,000.
        size_multiple: that the sides must have; the image is mirror-padded.
        results: how many are averaged.
        learning_rate: Adam's.
        seed: of the samples; dropout has Keras's.

    Returns:
        float32, the shape of `noisy`.

    Source: Quan et al., "Self2Self with Dropout: Learning Self-Supervised Denoising from Single
    Image", CVPR 2020; its partial convolutions are left out.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    image = tf.constant(_padded(noisy, size_multiple)[None])

    @tf.function
    def step(number: tf.Tensor) -> None:
        seeds = tf.stack([tf.constant(seed, tf.int64), number])
        mirrored = tf.cond(number % 2 == 0, lambda: image, lambda: tf.reverse(image, [2]))
        with tf.GradientTape() as tape:
            loss = self2self_loss(network, mirrored, seeds)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)

    @tf.function
    def complete(number: tf.Tensor) -> tf.Tensor:
        seeds = tf.stack([tf.constant(seed, tf.int64), -1 - number])
        kept = tf.cast(uniform(tf.shape(image), seeds) < KEPT, tf.float32)
        return network(kept * image, training=True)

    for number in range(steps):
        step(tf.constant(number, tf.int64))
    total = sum(complete(tf.constant(number, tf.int64)) for number in range(results))
    height, width = noisy.shape[:2]
    return np.asarray(total)[0, :height, :width] / np.float32(results)


def self2self_loss(network: Callable, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The loss of one Bernoulli sample; see `self2self`. `image`: [1, height, width, channels]."""
    kept = tf.cast(uniform(tf.shape(image), seed) < KEPT, tf.float32)
    error = tf.square(tf.cast(network(kept * image, training=True), tf.float32) - image)
    return tf.reduce_sum((1 - kept) * error) / tf.maximum(tf.reduce_sum(1 - kept), 1.0)


def deep_image_prior(
    network: keras.Model,
    noisy: np.ndarray,
    steps: int,
    size_multiple: int = 1,
    learning_rate: float = 1e-2,
    seed: int = 0,
) -> np.ndarray:
    """A network is fitted to the image from an input of fixed random numbers, and stopped early.

        loss = mean (f(z + jitter) - y)^2,  z uniform in [0, 0.1)

    The network draws what images have before it draws noise. The result is the mean of what it
    gave, the past weighing `AVERAGED`, less in short runs. Here z has as many channels as the image
    (the publication: 32), so that any network of this package will do.

    Args:
        network: fresh functional `keras.Model`.
        noisy: float32 [height, width, channels].
        steps: of Adam, the only regularisation there is; the publication takes 1,800 to 3,000.
        size_multiple: as of `self2self`.
        learning_rate: as of `self2self`.
        seed: as of `self2self`.

    Returns:
        float32, the shape of `noisy`.

    Source: Ulyanov, Vedaldi and Lempitsky, "Deep Image Prior", CVPR 2018.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    image = tf.constant(_padded(noisy, size_multiple)[None])
    fixed = 0.1 * uniform(tf.shape(image), tf.constant([seed, -1], tf.int64))
    past = min(AVERAGED, 1.0 - 1.0 / max(1.0, SHARE * steps))
    mean = tf.Variable(image)  # an ordinary variable: it belongs to no network

    @tf.function
    def step(number: tf.Tensor) -> None:
        seeds = tf.stack([tf.constant(seed, tf.int64), number])
        jitter = JITTER * tf.random.stateless_normal(tf.shape(image), seeds, alg="philox")
        with tf.GradientTape() as tape:
            drawn = tf.cast(network(fixed + jitter, training=True), tf.float32)
            loss = tf.reduce_mean(tf.square(drawn - image))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        share = tf.minimum(tf.cast(number, tf.float32) / (1.0 + tf.cast(number, tf.float32)), past)
        mean.assign(share * mean + (1.0 - share) * drawn)

    for number in range(steps):
        step(tf.constant(number, tf.int64))
    height, width = noisy.shape[:2]
    return np.asarray(mean)[0, :height, :width]


def _padded(image, multiple):
    height, width = image.shape[:2]
    return reflect_pad(
        np.asarray(image, np.float32), round_up(height, multiple), round_up(width, multiple)
    )
