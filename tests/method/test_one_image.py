"""Methods of one image: what their losses compare, and what they reach on a flat one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method.noise2void import uniform
from n2n_tf.method.one_image import KEPT, deep_image_prior, self2self, self2self_loss
from n2n_tf.networks.unet import unet


def test_self2self_compares_only_what_was_left_out(rng):
    image = tf.constant(rng.random((1, 16, 16, 3), np.float32))
    seed = tf.constant([4, 5], tf.int64)
    kept = uniform(tf.shape(image), seed).numpy() < KEPT
    seen = []

    def network(given, training):
        assert training  # dropout stays on
        seen.append(given.numpy())
        return given + np.where(kept, 7.0, 0.0).astype(np.float32)  # wrong where it is not asked

    loss = float(self2self_loss(network, image, seed))
    np.testing.assert_array_equal(seen[0], np.where(kept, image, 0))
    assert loss == pytest.approx(np.mean(np.float64(image)[~kept] ** 2), rel=1e-5)


def tiny(dropout=0.0):
    keras.utils.set_random_seed(1)
    return unet(channels=1, features=4, init_scale=1.0, dropout=dropout)


@pytest.fixture(scope="module")
def flat():
    """(clean, noisy), float32 [40, 36, 1]: neither side a multiple of 32."""
    clean = np.full((40, 36, 1), 0.6, np.float32)
    return clean, clean + np.random.default_rng(3).normal(0, 0.1, clean.shape).astype(np.float32)


def error(clean, image):
    return np.sqrt(np.mean((image - clean) ** 2))


def test_self2self_of_a_flat_image(flat):
    clean, noisy = flat
    result = self2self(tiny(0.3), noisy, 150, 32, results=10, learning_rate=3e-3)
    assert result.shape == noisy.shape and result.dtype == np.float32
    assert error(clean, result) < 0.5 * error(clean, noisy)


def test_deep_image_prior_of_a_flat_image(flat):
    clean, noisy = flat
    result = deep_image_prior(tiny(), noisy, 120, 32)
    assert result.shape == noisy.shape and result.dtype == np.float32
    assert error(clean, result) < 0.5 * error(clean, noisy)


def test_deep_image_prior_never_shows_the_image_to_the_network(flat):
    _, noisy = flat
    seen = []

    class Watched(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Conv2D(1, 1)

        def call(self, given, training=None):
            tf.py_function(lambda x: seen.append(x.numpy()), [given], [])
            return self.inner(given)

    deep_image_prior(Watched(), noisy, 2, 32)
    assert len(seen) >= 2
    for given in seen:
        assert abs(np.corrcoef(given[0, :40, :36, 0].ravel(), noisy.ravel())[0, 1]) < 0.1
        assert given.max() < 0.1 + 6 / 30
