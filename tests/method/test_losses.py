"""Equation 7 in float64, and the paper's theory as numbers."""

import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method.losses import balancing_weights, n2n_loss
from n2n_tf.method.subsamplers import draw_neighbor_pairs, take_pixels

SHAPE = (3, 8, 10, 4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 20.0])
def test_loss_is_equation_7(gamma, rng):
    output, target, gap_input, gap_target = rng.normal(size=(4, *SHAPE))
    reconstruction = np.mean((output - target) ** 2)
    regularisation = np.mean((output - target - (gap_input - gap_target)) ** 2)
    got = n2n_loss(output, target, gap_input, gap_target, gamma)
    expected = (reconstruction + gamma * regularisation, reconstruction, regularisation)
    np.testing.assert_allclose([float(x) for x in got], expected, rtol=1e-5)


def test_without_gamma_it_is_training_on_the_pair(rng):
    output, target, gap_input, gap_target = rng.normal(size=(4, *SHAPE))
    total, reconstruction, regularisation = n2n_loss(output, target, gap_input, gap_target, 0.0)
    assert float(total) == float(reconstruction) and float(regularisation) > 0


def test_half_precision_inputs_are_summed_in_float32():
    # 4096 differences of 1 plus a gap: a float16 sum of squares would stop growing at 2048.
    ones = tf.ones((1, 64, 64, 1), tf.float16)
    total, _, _ = n2n_loss(ones * 100, -ones * 100, ones * 0, ones * 0, 1.0)
    assert total.dtype == tf.float32
    assert float(total) == 80000.0  # beyond float16's largest number


def test_theorem_1_for_a_linear_denoiser(rng):
    # Equation 2, with z and y independent given x, E z = x + epsilon, f(y) = a y + b:
    # E|f(y) - x|^2 = E|f(y) - z|^2 - sigma_z^2 + 2 epsilon E(f(y) - x)
    n, a, b, epsilon, sigma_y, sigma_z = 4_000_000, 0.7, 0.05, 0.08, 0.2, 0.3
    x = rng.random(n)
    y = x + sigma_y * rng.normal(size=n)
    z = x + epsilon + sigma_z * rng.normal(size=n)
    f = a * y + b
    left = np.mean((f - x) ** 2)
    # The paper's sigma_z^2 is E|z - x|^2 in its proof (equation 9): variance plus epsilon^2.
    spread = sigma_z**2 + epsilon**2
    right = np.mean((f - z) ** 2) - spread + 2 * epsilon * np.mean(f - x)
    error = 5 * np.std((f - z) ** 2) / np.sqrt(n)
    assert abs(left - right) < error
    # Without the last term the equation fails: that is why a gap over-smooths.
    assert abs(left - (np.mean((f - z) ** 2) - spread)) > 5 * error


def test_equation_4_for_the_ideal_denoiser(rng):
    # f*(y) = x and f*(g(y)) = g(x): the constraint's expectation over the noise is zero, pixel by
    # pixel, although the gap g1(x) - g2(x) is not.
    x = tf.constant(rng.random((1, 8, 8, 1), np.float32))
    g1, g2 = draw_neighbor_pairs(1, 8, 8, [1, 1])
    draws, sigma = 20_000, 0.1
    noise = tf.constant(rng.normal(scale=sigma, size=(draws, 8, 8, 1)).astype(np.float32))
    y = x + noise
    repeat = [draws, 1, 1]
    target = take_pixels(y, tf.tile(g2, repeat))
    gap = take_pixels(x, g1) - take_pixels(x, g2)
    constraint = take_pixels(x, g1) - target - gap
    bound = 5 * sigma / np.sqrt(draws)
    assert np.abs(np.mean(constraint, axis=0)).max() < bound
    without_gap = np.mean(take_pixels(x, g1) - target, axis=0)
    assert np.abs(without_gap).max() > 5 * bound


def test_the_ideal_denoiser_minimises_the_regularisation(rng):
    # For constant denoised sub-images d = g1(x) + c the regularisation's expectation is
    # sigma^2 + c^2: least at c = 0, the clean image, whatever the gap.
    x1, x2 = rng.random((2, 100_000))
    target = x2 + 0.1 * rng.normal(size=x2.shape)
    values = [
        float(n2n_loss(x1 + c, target, x1, x2, 1.0)[2]) for c in (-0.05, -0.02, 0.0, 0.02, 0.05)
    ]
    expected = [0.01 + c**2 for c in (-0.05, -0.02, 0.0, 0.02, 0.05)]
    np.testing.assert_allclose(values, expected, rtol=0.03)
    assert min(values) == values[2]


def test_weights_are_of_images_in_both_means(rng):
    output, target, gap_input, gap_target = rng.normal(size=(4, *SHAPE))
    weights = rng.uniform(0.1, 10, SHAPE[0])
    got = n2n_loss(output, target, gap_input, gap_target, 1.5, tf.constant(weights, tf.float32))
    axes, difference = (1, 2, 3), output - target
    rec = np.mean(weights * np.mean(difference**2, axis=axes))
    reg = np.mean(weights * np.mean((difference - (gap_input - gap_target)) ** 2, axis=axes))
    np.testing.assert_allclose([float(x) for x in got], [rec + 1.5 * reg, rec, reg], rtol=1e-5)


def test_balanced_losses_of_pure_noise_do_not_know_its_strength(rng):
    # f = 0 on flat black: mean g2^2 / mean (g1 - g2)^2 is 1/2 for noise of any variance.
    g1, g2 = rng.normal(size=(2, 2, 64, 64, 3)) * np.array([0.005, 0.2])[:, None, None, None]
    weights = balancing_weights(g1, g2).numpy()
    losses = weights * np.mean(g2**2, axis=(1, 2, 3))
    np.testing.assert_allclose(losses, 0.5, rtol=0.05)


def test_the_weight_of_a_flat_crop_is_finite():
    flat = tf.ones((1, 8, 8, 3))
    np.testing.assert_allclose(balancing_weights(flat, flat), 1e6, rtol=1e-6)
