"""The noise of a raw: one law of all planes, where a sensor made it."""

import cv2
import numpy as np
import pytest
from skimage import data

from n2n_tf import estimate_noise
from n2n_tf.denoising.raw_noise import estimate_raw_noise


@pytest.fixture(scope="module")
def scene():
    """Packed linear raw of a photograph without grain, float64 [256, 384, 4], detail in all."""
    photo = cv2.resize(data.astronaut(), (384, 256), interpolation=cv2.INTER_AREA) / 255.0
    red, green, blue = np.moveaxis(photo**2.2, 2, 0)
    return np.stack([red * 0.6, green, green, blue * 0.7], -1)


def _noisy(scene, gain, read, seed=3):
    rng = np.random.default_rng(seed)
    return scene + rng.normal(size=scene.shape) * np.sqrt(gain * scene + read)


@pytest.mark.parametrize(("gain", "read"), [(0.001, 2e-6), (0.004, 2e-5), (0.012, 2e-4)])
def test_the_law_of_a_sensor_is_found(scene, gain, read):
    estimate = estimate_raw_noise(_noisy(scene, gain, read))
    assert len(set(estimate.gain)) == len(set(estimate.read)) == 1
    levels = np.quantile(scene, (0.1, 0.5, 0.9))
    found = np.sqrt(estimate.gain[0] * levels + estimate.read[0])
    assert found == pytest.approx(np.sqrt(gain * levels + read), rel=0.1)
    assert estimate.confidence > 0.8 and not estimate.assumed


def test_a_plane_of_texture_gets_the_law_of_the_others(scene):
    gain, read = 0.002, 1e-5
    fur = cv2.resize(data.gravel(), (384, 256)) / 255.0
    planes = np.concatenate([scene[..., :3], 0.5 * fur[..., None]], -1)
    planes = _noisy(planes, gain, read)
    alone, together = estimate_noise(planes), estimate_raw_noise(planes)
    true = np.sqrt(gain * 0.25 + read)
    errors = [abs(law.deviation(0.25)[3] / true - 1) for law in (together, alone)]
    assert errors[0] < 0.1 and errors[0] <= errors[1]


def test_reading_noise_that_is_not_there_is_not_found_below_nothing(scene):
    """Texture in the dark would tilt a free line: read below 0, and no noise in the shadows."""
    estimate = estimate_raw_noise(_noisy(scene, 0.0005, 0.0))
    assert estimate.gain[0] > 0 and estimate.read[0] >= 0


def test_units_do_not_matter(scene):
    noisy = _noisy(scene, 0.004, 2e-5)
    one, thousand = estimate_raw_noise(noisy), estimate_raw_noise(noisy * 1000)
    assert thousand.gain == pytest.approx(np.multiply(one.gain, 1e3), rel=1e-3)
    assert thousand.read == pytest.approx(np.multiply(one.read, 1e6), rel=1e-3)


def test_planes_that_were_stretched_keep_laws_of_their_own(scene):
    """Four times the level is four times the gain and sixteen times the read variance."""
    planes = _noisy(scene, 0.004, 2e-5) * [4, 1, 1, 1]
    estimate = estimate_raw_noise(planes)
    assert estimate == estimate_noise(planes)
    assert estimate.gain[0] == pytest.approx(4 * 0.004, rel=0.1)
    assert estimate.gain[1] == pytest.approx(0.004, rel=0.1)


@pytest.mark.parametrize(
    "planes",
    [
        np.full((64, 64, 4), 0.25),
        np.kron(np.random.default_rng(0).integers(0, 3, (8, 8, 4)) / 4, np.ones((16, 16, 1))),
        np.random.default_rng(0).normal(size=(5, 5, 4)),
        np.full((64, 64, 4), np.nan),
    ],
    ids=["constant", "drawn", "less than a block", "no pixel"],
)
def test_what_no_sensor_made_is_looked_at_plane_by_plane(planes):
    assert estimate_raw_noise(planes) == estimate_noise(planes)


def test_black_that_clips_the_noise_does_not_deceive(scene):
    dark = scene * 0.2
    estimate = estimate_raw_noise(np.clip(_noisy(dark, 0.012, 2e-4), 0, 1))
    bright = np.quantile(dark, 0.9)
    assert estimate.deviation(bright)[0] == pytest.approx(np.sqrt(0.012 * bright + 2e-4), rel=0.1)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (0, 8, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="planes of a raw"):
        estimate_raw_noise(np.zeros(shape))
