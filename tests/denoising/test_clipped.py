"""Noise that was cut off: where, what is put in its place, and what that gains."""

import statistics

import numpy as np
import pytest

from n2n_tf.denoising.clipped import Ends, _quantile, beyond, ends_of
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_channels

LAW = NoiseEstimate((0.0,), (100.0,))


def test_the_quantile_is_the_normal_distributions():
    shares = np.float32(np.linspace(1e-4, 1 - 1e-4, 999))
    exact = [statistics.NormalDist().inv_cdf(float(share)) for share in shares]
    np.testing.assert_allclose(_quantile(shares), exact, atol=1e-3)


@pytest.mark.parametrize("mean", [-5.0, 0.0, 8.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_noise_has_its_mean_and_deviation_again(rng, mean, sign):
    """Of deviation 10, cut off at 0 from below or above."""
    whole = np.float32(rng.normal(mean, 10, (300, 300, 1)))
    image = sign * np.maximum(whole, 0)
    ends = ends_of(image, LAW)
    assert np.isfinite(ends.least if sign > 0 else ends.greatest)
    evenly = rng.random(image.shape, np.float32)
    again = sign * (image + 10 * beyond(image, ends, evenly))
    assert again.mean() == pytest.approx(mean, abs=0.7)
    assert again.std() == pytest.approx(10, rel=0.06)
    np.testing.assert_array_equal(again[whole > 0], whole[whole > 0])


def test_where_there_is_no_noise_or_no_end_nothing_changes(rng):
    whole = np.float32(rng.normal(0, 10, (64, 64, 1)))
    assert ends_of(whole, LAW) is None
    black = np.maximum(whole, 0)
    assert (
        ends_of(black, NoiseEstimate((1.0,), (0.0,))) is None
    )  # photons: black is an end by nature
    assert ends_of(black.repeat(4, 2), NoiseEstimate((0.0,) * 4, (100.0,) * 4)) is None
    assert ends_of(np.zeros((9, 9, 1)), LAW) is None
    ends = Ends(np.float32([0]), np.float32([np.inf]))
    masked = np.zeros((64, 64, 1), np.float32)
    assert not beyond(masked, ends, np.full_like(masked, 0.5)).any()


def test_units_do_not_matter(rng):
    image = np.maximum(np.float32(rng.normal(0, 10, (64, 64, 1))), 0)
    evenly = rng.random(image.shape, np.float32)
    plain = beyond(image, ends_of(image, LAW), evenly)
    moved = image * 4 + 32
    np.testing.assert_array_equal(beyond(moved, ends_of(moved, LAW), evenly), plain)


@pytest.mark.parametrize("gain", [0.0, -3.0])
def test_a_picture_with_clipped_noise_is_denoised_as_one_without(gain):
    """The shipped gray model: within 0.3 dB, and nothing leaves the range.

    Noise that falls with the level, as after a gamma curve, turns the picture upside down.
    """
    denoise = Denoiser.load(DEFAULTS["gray"])
    clean = to_channels(embedded_photo(SECOND_SET[0])[:192, :192], 1).astype(np.float32)
    clean = np.clip(1.6 * clean - 120, 0, 255)  # with much black
    noisy = clean + np.random.default_rng(0).normal(0, np.sqrt(900 + gain * clean))
    law, errors = NoiseEstimate((gain,), (900.0,)), []
    for image in (noisy, np.clip(noisy, 0, 255)):
        result = denoise(np.float32(image), noise=law)
        errors.append(10 * np.log10(np.square(np.clip(result, 0, 255) - clean).mean()))
    assert errors[1] < errors[0] + 0.3
    assert result.min() >= 0 and result.max() <= 255
