"""SURE of a line: the estimate, its minimum, and that no clean image is needed for either."""

import numpy as np
import pytest
import tensorflow as tf
from scalar_networks import ALONE, compiled, line

from n2n_tf.method.sure import Sure

SIGMA = 0.1


@pytest.fixture(scope="module")
def images():
    """(clean, noisy), float32 [8, 96, 96, 1]."""
    rng = np.random.default_rng(8)
    clean = rng.random((8, 96, 96, 1))
    return clean, (clean + rng.normal(0, SIGMA, clean.shape)).astype(np.float32)


def estimate(scale, noisy, law):
    tiled = tf.constant(np.tile(np.float32(law), (len(noisy), 1)))
    return float(compiled(Sure, line(scale)).loss_of(tf.constant(noisy), tiled, ALONE))


@pytest.mark.parametrize("scale", [0.0, 0.5, 0.9, 1.0, 1.2])
def test_it_estimates_the_error_against_the_clean_image(images, scale):
    clean, noisy = images
    true = np.mean((scale * np.float64(noisy) - clean) ** 2)
    assert estimate(scale, noisy, (0.0, SIGMA**2)) == pytest.approx(true, abs=4e-4)


def test_its_closed_form_for_a_line(images):
    # (a - 1)^2 mean y^2 - sigma^2 + 2 sigma^2 a
    _, noisy = images
    for scale in (0.3, 0.8):
        expected = (scale - 1) ** 2 * np.mean(np.float64(noisy) ** 2)
        expected += SIGMA**2 * (2 * scale - 1)
        assert estimate(scale, noisy, (0.0, SIGMA**2)) == pytest.approx(expected, abs=4e-4)


def test_a_line_learns_the_wiener_filter(images):
    _, noisy = images
    model = compiled(Sure, line(0.2), rate=0.5)
    law = np.tile(np.float32([0.0, SIGMA**2]), (8, 1))
    batches = tf.data.Dataset.from_tensors((noisy, law)).repeat()
    model.fit(batches, steps_per_epoch=40, verbose=0)
    expected = 1 - SIGMA**2 / np.mean(np.float64(noisy) ** 2)
    assert model.network.get_weights()[0].item() == pytest.approx(expected, abs=0.01)


def test_noise_that_grows_with_the_signal(rng):
    clean = rng.uniform(0.2, 1.0, (8, 96, 96, 1))
    noisy = (clean + np.sqrt(0.01 * clean) * rng.normal(0, 1, clean.shape)).astype(np.float32)
    true = np.mean((0.8 * np.float64(noisy) - clean) ** 2)
    assert estimate(0.8, noisy, (0.01, 0.0)) == pytest.approx(true, abs=5e-4)
