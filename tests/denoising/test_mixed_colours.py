"""Noise that red, green and blue share in part, as after a conversion of colours by a matrix."""

import dataclasses

import numpy as np
import pytest
from skimage import data

from n2n_tf import Denoiser, estimate_noise
from n2n_tf.denoising.flat_blocks import Cut, measure
from n2n_tf.denoising.mixed_colours import unmixing
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.shipped import DEFAULTS

WIDE = np.array([[0.53, 0.33, 0.14], [0.10, 0.87, 0.03], [0.02, 0.12, 0.86]])  # of sRGB


@pytest.fixture(scope="module")
def clean():
    return data.astronaut()[100:292, 100:292] @ WIDE.T


@pytest.fixture(scope="module")
def denoise():
    return Denoiser.load(DEFAULTS["RGB"])


def noisy(clean, sigma=15, matrix=WIDE, dtype=np.uint8):
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape) @ matrix.T
    return (clean + noise).round().clip(0, 255).astype(dtype)


def test_only_noise_that_is_shared_in_part_is_taken_apart(clean):
    flat = np.full((192, 192, 3), 100.0)
    for picture in (clean, flat):
        assert estimate_noise(noisy(picture)).apart is not None
        assert estimate_noise(noisy(picture, matrix=np.eye(3))).apart is None
        assert estimate_noise(noisy(picture, matrix=np.full((3, 3), 1 / 3))).apart is None
    assert estimate_noise(np.uint8(clean)).apart is None
    assert matrix_of(np.zeros((64, 64, 3), np.uint8)) is None
    assert matrix_of(np.full((64, 64, 3), np.nan)) is None
    assert matrix_of(np.zeros((5, 64, 3))) is None


def matrix_of(image):
    cut = Cut(image)
    return unmixing(cut, np.stack([blocks.low for blocks, _ in measure(cut)[0]]))


def test_the_matrix_is_found_in_finite_blocks_that_are_not_clipped(clean):
    expected, spoilt = matrix_of(noisy(clean)), np.float32(noisy(clean))
    wider = np.pad(spoilt, ((0, 64), (0, 0), (0, 0)), constant_values=255)
    wider[192:, 1::2] = 0
    spoilt[90:, 100] = np.nan
    assert np.abs(matrix_of(wider) - expected).max() < 0.2
    assert np.abs(matrix_of(spoilt) - expected).max() < 0.2


def test_the_law_is_that_of_the_channels_as_they_are(clean):
    expected = 15 * np.sqrt((WIDE**2).sum(1))
    law = estimate_noise(noisy(clean, dtype=np.int16))
    assert law.deviation(128.0) == pytest.approx(expected, rel=0.1)
    assert law.scaled(0.5).apart[1].read == pytest.approx([x / 4 for x in law.apart[1].read])
    assert law.of_channels(0, 1, 2).apart and law.of_channels(0).apart is None


def test_photons_that_were_mixed_are_counted_at_gray():
    gray = np.tile(np.linspace(40, 200, 256)[None, :, None], (256, 1, 3))
    mixed = np.random.default_rng(0).poisson(gray) @ WIDE.T
    law = estimate_noise(mixed)
    assert law.apart
    assert law.gain == pytest.approx((WIDE**2).sum(1), rel=0.15)


def test_noise_that_is_shared_in_part_goes(denoise, clean):
    image = noisy(clean)
    law = estimate_noise(image)
    taken_for_own = denoise(image, noise=dataclasses.replace(law, apart=None))
    reference = np.uint8(clean.round())
    assert psnr(denoise(image), reference, 255) > psnr(taken_for_own, reference, 255) + 2


def test_what_stays_as_it_is_does_so_channel_by_channel(denoise, clean):
    image = np.float32(noisy(clean))
    image[50:70, 50:70, 0] = 255  # saturated red
    image[10, 10, 1] = np.nan
    image[12, 30, 2] = np.inf
    before = image.copy()
    assert estimate_noise(image).apart
    result = denoise(image)
    np.testing.assert_array_equal(image, before)
    assert (result[50:70, 50:70, 0] == 255).all()
    assert not (result[50:70, 50:70, 1] == image[50:70, 50:70, 1]).all()
    assert (np.isfinite(result) == np.isfinite(image)).all()
