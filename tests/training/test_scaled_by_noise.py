"""Training images in any units give the network the same pictures, and model.json says so."""

import types

import numpy as np
import pytest
from skimage import data

from n2n_tf.denoising.noise_level import estimate_noise
from n2n_tf.denoising.stabilise import stabilise
from n2n_tf.training.scaled_by_noise import ScaledByNoise


class Folder(types.SimpleNamespace):
    channels, fingerprint = 1, "abc"

    def __len__(self):
        return len(self.pixels)

    def crop(self, index, top, left, height, width):
        return self.pixels[index][top : top + height, left : left + width]


def folder(*pixels):
    names = [f"{number}.tif" for number in range(len(pixels))]
    return Folder(pixels=pixels, names=names, sizes=[image.shape[:2] for image in pixels])


@pytest.fixture(scope="module")
def noisy():
    clean = data.camera()[:200, :240, None] / 255
    return np.float32(clean + np.random.default_rng(1).normal(0, 0.05, clean.shape))


def test_units_and_offsets_do_not_matter(noisy):
    scaled = ScaledByNoise(folder(noisy, 3e-3 * noisy, 2000 * noisy - 1000))
    crops = [scaled.crop(index, 8, 16, 100, 120) for index in range(3)]
    for crop in crops[1:]:
        np.testing.assert_allclose(crop, crops[0], atol=2e-3)
    assert crops[0].min() > -0.5 and crops[0].max() < 1.5
    assert 0.01 <= estimate_noise(crops[0]).read[0] ** 0.5 <= 0.2


def test_a_picture_is_scaled_for_denoising_as_for_training(noisy):
    trained_on = ScaledByNoise(folder(noisy)).crop(0, 0, 0, 200, 240)
    given = stabilise(noisy, estimate_noise(noisy), ScaledByNoise.noise_level)[0]
    np.testing.assert_array_equal(trained_on, given)


def test_images_without_noise_or_with_gaps_are_scaled_too(noisy):
    holed = noisy.copy()
    holed[20:40, 30:60] = np.nan
    flat = np.full((64, 64, 1), 7.0, np.float32)
    scaled = ScaledByNoise(folder(holed, flat))
    assert np.isfinite(scaled.crop(0, 50, 0, 64, 64)).all()
    np.testing.assert_allclose(scaled.crop(1, 0, 0, 64, 64), 0.5, atol=1e-3)


def test_it_is_other_data_than_the_folder_itself(noisy):
    scaled = ScaledByNoise(folder(noisy))
    assert scaled.fingerprint != "abc" and len(scaled) == 1 and scaled.names == ["0.tif"]
