"""Noisier2Noise: what its loss learns, and how the correction makes a denoiser of it."""

import numpy as np
import pytest
import tensorflow as tf
from scalar_networks import ALONE, compiled, line

from n2n_tf.method.noisier2noise import Noisier2Noise, corrected


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_correction_of_the_best_line_is_the_best_line_for_the_noisier_image(alpha):
    # x ~ N(0, s^2), y = x + n, z = y + alpha m: E[y|z] = a z, E[x|z] = b z, in closed form.
    s2, n2 = 1.0, 0.25
    z2 = s2 + n2 + alpha**2 * n2
    a, b = (s2 + n2) / z2, s2 / z2
    run = corrected(lambda noisier: a * noisier, law=(0.0, n2), alpha=alpha, seed=3)
    noisy = np.random.default_rng(0).normal(0, 1, (8, 8, 1)).astype(np.float32)
    added = np.sqrt(n2) * np.random.default_rng(3).standard_normal(noisy.shape, np.float32)
    np.testing.assert_allclose(run(noisy), b * (noisy + alpha * added), rtol=1e-4, atol=1e-5)


def test_its_loss_is_least_where_the_noisy_image_is_predicted(rng):
    clean = rng.normal(0, 1, (8, 64, 64, 1))
    noisy = (clean + rng.normal(0, 0.5, clean.shape)).astype(np.float32)
    law = tf.constant(np.tile(np.float32([0.0, 0.25]), (8, 1)))
    best = (1 + 0.25) / (1 + 0.5)
    losses = {
        a: float(compiled(Noisier2Noise, line(a)).loss_of(tf.constant(noisy), law, ALONE))
        for a in (best - 0.1, best, best + 0.1)
    }
    # E (a z - y)^2 = a^2 var z - 2 a var y + var y
    for a, loss in losses.items():
        assert loss == pytest.approx(a**2 * 1.5 - 2 * a * 1.25 + 1.25, rel=0.03)
    assert min(losses, key=losses.get) == best


def test_poisson_noise_grows_with_the_signal(rng):
    signal = np.float32([0.1, 0.4, 0.9])[:, None, None, None]
    noisy = np.tile(signal, (1, 64, 64, 1))
    law = tf.constant(np.tile(np.float32([0.02, 0.0]), (3, 1)))
    model = compiled(Noisier2Noise, line(1.0))
    loss = float(model.loss_of(tf.constant(noisy), law, ALONE))  # of the identity: var m
    assert loss == pytest.approx(0.02 * signal.mean(), rel=0.05)
