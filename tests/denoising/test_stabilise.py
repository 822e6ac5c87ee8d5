"""Stabilising: noise alike everywhere, the way back exact, means right."""

import numpy as np
import pytest

from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.stabilise import Scale, channel_mean, mean_energy, stabilise

LEVELS = 8 / 255, 50 / 255


@pytest.fixture
def random():
    return np.random.default_rng(3)


LAWS = [(0.0, 25.0), (1.0, 0.0), (2.0, 9.0 - 2 * 500.0), (-0.5, 200.0), (0.01, 4e-4)]


@pytest.mark.parametrize(("gain", "read"), LAWS)
@pytest.mark.parametrize("levels", [LEVELS, (1e-6, 1.0)])
def test_what_is_not_changed_comes_back(gain, read, levels, random):
    image = 500 * (gain == 2) + random.normal(100, 50, (60, 70, 2))
    law = NoiseEstimate((gain, gain), (read, read))
    scaled, scale = stabilise(image, law, levels)
    assert scaled.dtype == np.float32 and np.isfinite(scaled).all()
    for back in (scale.undo(scaled), scale.undo(scaled, np.zeros_like(scaled))):
        np.testing.assert_allclose(back, image, atol=1e-5 * np.ptp(image))
    assert (np.diff(scale.apply(np.sort(image, axis=None)[None, :, None].repeat(2, 2))[0], axis=0)
            * np.sign(gain or 1) >= 0).all()  # fmt: skip


@pytest.mark.parametrize("photons", [3, 10, 100, 1000])
def test_photon_noise_becomes_the_networks(photons, random):
    counts = 2.5 * random.poisson(photons, (400, 400, 1)) + 40
    law = NoiseEstimate((2.5,), (-2.5 * 40,))
    scaled, scale = stabilise(counts, law, LEVELS)
    assert scaled.std() == pytest.approx(scale.level, rel=0.02)


@pytest.mark.parametrize("photons", [0.3, 1, 3, 10, 100])
def test_the_mean_of_what_is_averaged_is_unbiased(photons, random):
    counts = random.poisson(photons, (1000, 1000, 1)).astype(float)
    scaled, scale = stabilise(counts, NoiseEstimate((1.0,), (0.0,)), LEVELS)
    averaged = np.full_like(scaled, scaled.mean(dtype=np.float64))
    removed = mean_energy(scaled - averaged, scale.level)
    assert scale.undo(averaged, removed).mean() == pytest.approx(photons, rel=0.02)


def test_a_picture_fills_the_networks_range_unless_its_noise_is_too_weak_or_strong(random):
    for sigma, expected in ((0.2, LEVELS[0]), (10, 0.1), (90, LEVELS[1])):
        image = np.linspace(0, 100, 10_000).reshape(100, 100, 1)
        _, scale = stabilise(image, NoiseEstimate((0.0,), (sigma**2,)), LEVELS)
        assert scale.level == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("a", "b"), [(1e-4, 0), (1e4, -3e6), (3, 7)])
def test_the_network_sees_the_same_in_all_units(a, b, random):
    image = random.normal(100, 20, (40, 50, 3))
    law = NoiseEstimate((0.0,) * 3, (4.0, 9.0, 16.0))
    other = NoiseEstimate((0.0,) * 3, tuple(a * a * read for read in law.read))
    one, two = (stabilise(y, e, LEVELS)[0] for y, e in ((image, law), (a * image + b, other)))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_channel_without_noise_is_no_obstacle(random):
    image = random.normal(100, 20, (40, 50, 2))
    scaled, scale = stabilise(image, NoiseEstimate((0.0, 0.0), (0.0, 16.0)), LEVELS)
    np.testing.assert_allclose(scale.undo(scaled), image, rtol=1e-5)
    with pytest.raises(ValueError, match="without noise"):
        stabilise(image, NoiseEstimate((0.0, 0.0), (0.0, 0.0)), LEVELS)


@pytest.mark.parametrize("shape", [(90, 70, 1), (40, 50, 3), (5, 4, 4)])
def test_the_mean_over_channels(random, shape):
    values = np.float32(random.normal(size=shape))
    mean = values.astype(np.float64).mean(-1, keepdims=True)
    np.testing.assert_allclose(channel_mean(values), mean, rtol=1e-5, atol=1e-7)


def test_mean_energy_of_noise_is_its_variance(random):
    energy = mean_energy(random.normal(0, 3, (200, 200, 2)))
    assert energy.mean() == pytest.approx(9, rel=0.02)
    assert energy.std() < 1.2
    np.testing.assert_allclose(mean_energy(np.full((20, 30, 1), 6.0), 2), 9, rtol=1e-6)


@pytest.mark.parametrize("photons", [0, 0.02, 0.1, 0.3, 0.6, 1, 1.5, 3, 8])
def test_with_what_is_missing_the_noise_of_few_photons_is_alike_too(rng, photons):
    """Of deviation 1 after Anscombe's transform; where there are many, nothing is missing."""
    counts = rng.poisson(photons, (400, 400, 1)) + 0.0
    scale = Scale(NoiseEstimate((1.0,), (0.0,)), (3.0,), 0.1, 0.1)
    scaled = scale.apply(counts)
    missing = scale.missing(scaled)
    if photons > 5:
        assert missing is None
    else:
        evened = scaled + missing * rng.normal(size=missing.shape)
        assert evened.std() == pytest.approx(0.1, rel=0.05)


def test_other_noise_lacks_nothing(rng):
    scale = Scale(NoiseEstimate((0.0,), (1.0,)), (0.0,), 0.1, 0.1)
    assert scale.missing(np.zeros((50, 50, 1), np.float32)) is None
