"""Noise2VST: a rising curve and its inverse, a blind loss, and a Poisson image made clean."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.method.noise2vst import KNOTS, STRIDE, Curve, blind_loss, noise2vst
from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, embedded_photo


@pytest.fixture
def curve(rng):
    """One that rises by steps of very different heights."""
    curve = Curve()
    curve.first.assign([-0.3])
    curve.steps.assign(rng.uniform(-9, -4, KNOTS - 1))
    return curve


def test_the_curve_is_piecewise_linear_rises_and_is_inverted(curve, rng):
    knots = np.cumsum(np.r_[-0.3, np.exp(np.float64(curve.steps)) + 1e-6])
    assert (np.diff(curve.knots()) > 0).all()
    z = rng.random((5, 7), np.float32)
    np.testing.assert_allclose(curve(z), np.interp(z, np.linspace(0, 1, KNOTS), knots), atol=1e-5)
    np.testing.assert_allclose(curve.inverse(curve(z)), z, atol=1e-3)
    beyond = np.float32([-0.2, 1.3])  # the outermost pieces go on
    np.testing.assert_allclose(curve.inverse(curve(beyond)), beyond, atol=1e-3)
    curve.line.assign([2.0, 0.5])
    np.testing.assert_allclose(curve.inverse(curve(z)), z + 2 * curve(z) + 0.5, atol=1e-3)


def test_it_begins_as_no_change():
    z = np.linspace(-0.5, 1.5, 50, dtype=np.float32)
    np.testing.assert_allclose(Curve()(z), z, atol=1e-5)
    np.testing.assert_allclose(Curve().inverse(z), z, atol=1e-5)


def test_a_hidden_pixel_is_compared_and_never_shown(rng):
    batch, place = rng.random((2, 16, 12, 3), np.float32), (1, 2, 1)
    hidden = np.zeros(batch.shape, bool)
    hidden[:, place[0] :: STRIDE, place[1] :: STRIDE, place[2]] = True
    seen = []

    def network(given):
        seen.append(given.numpy())
        return given + tf.constant(np.where(hidden, 0, 7), tf.float32)  # wrong where nobody looks

    loss = float(blind_loss(Curve(), network, tf.constant(batch), tf.constant(place)))
    wide = np.pad(np.float64(batch), ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    beside = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
    np.testing.assert_allclose(seen[0], np.where(hidden, beside / 4, batch), atol=1e-5)
    expected = np.mean((beside / 4 - batch)[hidden] ** 2)
    assert loss == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_noise_that_grows_with_brightness_is_removed_by_a_network_for_gaussian_noise():
    clean = np.float32(embedded_photo(FIRST_SET[0])[:96, :128]) / 255
    noisy = np.float32(np.random.default_rng(3).poisson(4 * clean) / 4)
    denoiser = Denoiser.load("mobile_rgb_gauss5_50")
    before = [weight.copy() for weight in denoiser.network.get_weights()]
    keras.utils.set_random_seed(0)
    errors = [
        np.mean((result - clean) ** 2)
        for result in (denoiser.bare(noisy), noise2vst(denoiser.network, noisy, 90, denoiser.bare))
    ]
    assert errors[1] < 0.92 * errors[0]
    for weight, after in zip(before, denoiser.network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, after)


def test_an_image_smaller_than_a_window_is_refused():
    image = np.zeros((40, 100, 3), np.float32)
    with pytest.raises(ValueError, match=r"windows of 64 x 64 pixels\. Received: an image of 100"):
        noise2vst(lambda x: x, image, 1)
