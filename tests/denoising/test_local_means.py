"""Means from a pyramid are those of a Gaussian, and those of a part are those of the whole."""

import cv2
import numpy as np
import pytest

from n2n_tf.denoising.local_means import doubled, half_mean, local_mean


@pytest.mark.parametrize("sigma", [1.5, 4, 8])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_means_are_those_of_a_gaussian(sigma, channels, rng):
    values = np.square(rng.normal(size=(300, 333, channels))).astype(np.float32)
    expected = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    difference = np.abs(local_mean(values, sigma) - expected.reshape(values.shape))
    inside = difference[40:-40, 40:-40]
    assert np.sqrt(np.mean(inside**2)) < 0.005 * expected.std() and inside.max() < 0.02
    assert difference.max() < 0.2  # at borders


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (2, 2, 4), (3, 5, 1), (37, 40, 2)])
@pytest.mark.parametrize("sigma", [4, 8])
def test_the_mean_of_one_value_is_that_value(shape, sigma):
    mean = local_mean(np.full(shape, 7, np.float32), sigma)
    assert mean.shape == shape
    np.testing.assert_allclose(mean, 7, rtol=1e-6)


@pytest.mark.parametrize("sigma", [4, 8])
def test_nothing_reaches_farther_than_it_says(sigma):
    reach = int(4.5 * sigma)
    for place in range(100, 104):
        dot = np.zeros((201, 201, 1), np.float32)
        dot[place, place] = 1
        rows, columns, _ = np.nonzero(local_mean(dot, sigma))
        assert np.abs(rows - place).max() <= reach and np.abs(columns - place).max() <= reach


@pytest.mark.parametrize(("sigma", "start"), [(4, 34), (8, 36)])
def test_the_mean_of_a_part_is_that_of_the_whole(sigma, start, rng):
    values = rng.random((160, 90, 4), np.float32)
    whole, part = local_mean(values, sigma), local_mean(values[start:-21], sigma)
    inside = slice(start + 40, -21 - 40)
    np.testing.assert_array_equal(part[40:-40], whole[inside])


def test_half_the_pixels_make_all(rng):
    values = rng.random((33, 40, 3), np.float32)
    half = half_mean(values, 4)
    assert half.shape == (17, 20, 3)
    np.testing.assert_array_equal(doubled(half, values.shape), local_mean(values, 4))
