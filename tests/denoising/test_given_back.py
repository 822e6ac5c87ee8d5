"""Lost detail comes back, noise does not; hot pixels, saturated areas and NaN stay as they are."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.denoising.given_back import (
    ENERGY_OF_NOISE,
    MOST,
    constant_areas,
    filled_in,
    hot_pixels,
    noise_taken,
    share_given_back,
)
from n2n_tf.denoising.stabilise import SIGMA

LEVEL = 0.03
BLOCK = 16


@pytest.fixture
def random():
    return np.random.default_rng(5)


def kept(noisy, denoised):
    return denoised + share_given_back(noisy, denoised, LEVEL) * (noisy - denoised)


def test_the_share_is_that_of_gaussian_means(random):
    noisy = np.float32(0.5 + LEVEL * random.normal(size=(201, 300, 3)))
    denoised = np.float32(0.5 + 0.7 * LEVEL * random.normal(size=noisy.shape))
    removed = (np.float64(noisy) - denoised) / LEVEL
    energy = cv2.GaussianBlur(removed**2, (0, 0), SIGMA, borderType=cv2.BORDER_REFLECT)
    of_noise = ENERGY_OF_NOISE / energy.mean(-1, keepdims=True)
    expected = 1 - np.minimum(np.minimum(of_noise, MOST / np.sqrt(energy)), 1)
    difference = np.abs(share_given_back(noisy, denoised, LEVEL) - expected)
    assert 0.1 < expected.mean() < 0.4
    assert difference[20:-20, 20:-20].max() < 0.01 and difference.max() < 0.1


def error(image, clean):
    return np.mean(np.square(image - clean, dtype=np.float64))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("detail", [0.5, 1.0, 4.0])
def test_lost_detail_comes_back_and_noise_does_not(detail, channels, random):
    clean = np.full((192, 256, channels), 0.4, np.float32)
    clean[96:] += detail * LEVEL * random.normal(size=(96, 256, channels))
    noisy = np.float32(clean + LEVEL * random.normal(size=clean.shape))
    blurred = np.full_like(clean, 0.4)
    result = kept(noisy, blurred)
    smooth, fine = np.s_[:80], np.s_[112:]
    assert error(result[smooth], clean[smooth]) < 0.02 * LEVEL**2
    best = 1 / (1 / LEVEL**2 + 1 / error(blurred[fine], clean[fine]))
    assert error(result[fine], clean[fine]) < 1.3 * best


def blocks(removed):
    """Root mean squares of a channel's whole blocks."""
    height, width = (side // BLOCK * BLOCK for side in removed.shape[:2])
    cut = removed[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1)
    return np.sqrt(np.mean(np.square(cut), axis=(1, 3)))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["noise", "zero", "lattice", "shift", "spot", "inverse", "edge"]),
    strength=st.floats(0.1, 1000),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_network_takes_away_more_than_noise_explains(kind, strength, channels, seed):
    random = np.random.default_rng(seed)
    noisy = np.float32(0.5 + LEVEL * random.normal(size=(96, 112, channels)))
    rows, columns = np.mgrid[:96, :112][..., None]
    ruin = {
        "noise": LEVEL * strength * random.normal(size=noisy.shape),
        "zero": noisy,
        "lattice": LEVEL * strength * (rows % 32 == 0),
        "shift": LEVEL * strength + 0 * noisy,
        "spot": LEVEL * strength * ((rows // 4 == 11) & (columns // 4 == 13)),
        "inverse": 2 * noisy - 1,
        "edge": LEVEL * strength * (columns > 50),
    }[kind]
    denoised = np.float32(noisy - ruin)
    result = kept(noisy, denoised)
    assert blocks(noisy - result).max() <= 1.5 * LEVEL
    low, high = np.minimum(noisy, denoised), np.maximum(noisy, denoised)
    slack = 1e-5 * (1 + np.abs(denoised).max())
    assert (result >= low - slack).all() and (result <= high + slack).all()


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_the_noise_that_a_network_takes_away_is_found_by_asking_it(correlation, random):
    noisy = random.random((200, 200, 3), np.float32)
    for left in (0.0, 0.4, 1.0):
        taken = noise_taken(lambda x, a=left: a * x, noisy, left * noisy, LEVEL, correlation)
        assert taken.shape == (200, 200, 1)
        np.testing.assert_allclose(taken.mean(), 1 - left, atol=0.03)

    def mean(x):
        return cv2.blur(x, (5, 5))

    taken = noise_taken(mean, noisy, mean(noisy), LEVEL)
    np.testing.assert_allclose(taken.mean(), 1 - 1 / 25, atol=0.01)
    np.testing.assert_allclose(taken, 1 - 1 / 25, atol=0.1)


def test_nothing_taken_away_is_nothing_given_back(random):
    noisy = random.random((20, 20, 3), np.float32)
    np.testing.assert_array_equal(kept(noisy, noisy), noisy)


def test_hot_and_dead_pixels_are_single_and_far_off(random):
    image = np.float32(0.5 + LEVEL * random.normal(size=(300, 300, 2)))
    image[:, 150:] += 10 * LEVEL  # an edge
    image[200:203, 100:103] += 30 * LEVEL  # a bead
    image[50:52, 50] += 30 * LEVEL  # two pixels
    assert not hot_pixels(image, LEVEL).any()
    image[20, 30, 0] += 30 * LEVEL
    image[0, 0, 1] -= 30 * LEVEL
    assert np.argwhere(hot_pixels(image, LEVEL)).tolist() == [[0, 0, 1], [20, 30, 0]]


def test_areas_of_one_value_are_found_whole(random):
    image = random.integers(0, 50, (60, 70, 2)).astype(np.uint16)
    image[10:30, 5:40, 1] = 4095
    image[50:53, 50:60, 0] = 4095  # too small to tell
    constant = constant_areas(image)
    expected = np.zeros_like(constant)
    expected[10:30, 5:40, 1] = True
    np.testing.assert_array_equal(constant, expected)


def test_gaps_get_the_mean_of_what_is_around_them():
    rows, columns = np.mgrid[:100, :120]
    image = (7000.0 + rows + columns)[..., None].repeat(2, 2)
    hidden = np.zeros(image.shape, bool)
    hidden[50, 60, 0] = hidden[20:24, 30:34, 0] = True
    hidden[..., 1] = True
    damaged = np.where(hidden, np.nan, image)
    filled = filled_in(damaged, hidden)
    np.testing.assert_array_equal(filled[~hidden], image[~hidden])
    np.testing.assert_allclose(filled[..., 0], image[..., 0], atol=3)
    assert (filled[..., 1] == 0).all()
    assert filled_in(image, np.zeros(image.shape, bool)) is image


def test_a_gap_gets_the_gaussian_mean_of_what_is_known(random):
    image = np.float32(random.normal(300, 9, (200, 333, 2)))
    hidden = np.zeros(image.shape, bool)
    hidden[5, 7] = hidden[30, 300] = hidden[80:141, 60:121] = True
    filled = filled_in(image, hidden)
    for row, column, sigma in (30, 300, 1), (110, 90, 16):  # the latter deep in a hole
        kernel = cv2.getGaussianKernel(8 * sigma + 1, sigma, cv2.CV_64F)
        around = np.s_[row - 4 * sigma : row + 4 * sigma + 1, column - 4 * sigma :][:2]
        around = tuple(slice(at - 4 * sigma, at + 4 * sigma + 1) for at in (row, column))
        weights = (kernel @ kernel.T)[..., None] * ~hidden[around]
        expected = (weights * image[around]).sum((0, 1)) / weights.sum((0, 1))
        np.testing.assert_allclose(filled[row, column], expected, rtol=1e-5)
