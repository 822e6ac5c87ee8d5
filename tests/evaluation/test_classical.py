"""What learns nothing: the noise estimate, Anscombe's transform, each denoiser, absent packages."""

import importlib.util

import numpy as np
import pytest

from n2n_tf.evaluation import classical
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.pipelines.files.embedded_photos import embedded_photo
from n2n_tf.pipelines.files.image_files import to_float

INSTALLED = {
    name: name not in classical.NEEDS or importlib.util.find_spec(classical.NEEDS[name][0])
    for name in classical.CLASSICAL
}


@pytest.fixture(scope="module")
def photo():
    """RGB, 128 x 160 pixels."""
    return to_float(embedded_photo("astronaut"))[100:228, 100:260]


@pytest.mark.parametrize("sigma", [5, 10, 25, 50])
def test_the_noise_of_a_photograph_is_found(photo, sigma, rng):
    noisy = photo + rng.normal(0, sigma / 255, photo.shape)
    assert 255 * classical.pca_sigma(noisy) == pytest.approx(sigma, rel=0.1, abs=0.5)


def test_the_noise_of_a_small_image_is_found(photo, rng):
    for height, width in ((40, 48), (24, 20)):
        noisy = photo[:height, :width] + rng.normal(0, 0.1, (height, width, 3))
        assert classical.pca_sigma(noisy) == pytest.approx(0.1, rel=0.25)


def test_the_noise_of_a_tiny_image_is_refused():
    with pytest.raises(ValueError, match=r"from 16 x 16 pixels or more\. Received: 19 x 7"):
        classical.pca_sigma(np.zeros((7, 19, 3)))


@pytest.mark.parametrize("photons", [5.0, 12.34, 30.0, 50.0])
def test_photons_are_counted_off_the_pixels(photo, photons, rng):
    noisy = np.float32(rng.poisson(photons * photo) / photons)
    assert classical.photons_at_white(noisy) == pytest.approx(photons, rel=1e-5)


def test_pixels_that_are_no_counts_are_refused(photo, rng):
    for image in (photo + rng.normal(0, 0.1, photo.shape), np.zeros((16, 16, 1))):
        with pytest.raises(ValueError, match="not photon counts"):
            classical.photons_at_white(image)


@pytest.mark.parametrize("mean", [0.5, 2.0, 10.0, 100.0])
def test_the_inverse_of_anscombe_is_unbiased(mean):
    # The expectation by its sum, not by drawing: probabilities of counts 0 .. 399.
    counts = np.arange(400.0)
    logs = counts * np.log(mean) - mean - np.cumsum(np.log(np.maximum(counts, 1)))
    stable = np.sum(np.exp(logs) * 2 * np.sqrt(counts + 0.375))
    assert classical.unbiased_inverse(stable) == pytest.approx(mean, rel=0.02, abs=0.02)


@pytest.mark.parametrize(
    ("name", "gain"), [("nlm", 5.0), ("wavelets", 5.0), ("tv", 5.0), ("bm3d", 7.0)]
)
def test_gaussian_noise_is_taken_away(photo, name, gain, rng):
    if not INSTALLED[name]:
        pytest.skip(f"{classical.NEEDS[name][1]} is not installed")
    for clean in (photo, photo[..., :1]):
        noisy = np.float32(clean + rng.normal(0, 25 / 255, clean.shape))
        denoised = classical.CLASSICAL[name](noisy)
        assert denoised.shape == clean.shape and denoised.dtype == np.float32
        assert psnr(clean, denoised, 1.0) > psnr(clean, noisy, 1.0) + gain - 2 * (name == "bm3d")


@pytest.mark.parametrize("name", ["anscombe_bm3d", "bm3d_raw"])
def test_bm3d_of_counts_and_of_raw(photo, name, rng):
    if not INSTALLED[name]:
        pytest.skip("bm3d is not installed")
    clean = photo if name == "anscombe_bm3d" else photo[..., [0, 1, 1, 2]]
    noisy = np.float32(rng.poisson(30 * clean) / 30)
    denoised = classical.CLASSICAL[name](noisy)
    assert psnr(clean, denoised, 1.0) > psnr(clean, noisy, 1.0) + 4


def test_planes_of_raw_know_nothing_of_one_another(monkeypatch, rng):
    monkeypatch.setattr(classical, "bm3d", lambda plane: plane - plane.mean())
    planes = rng.random((16, 16, 4))
    expected = planes - planes.mean(axis=(0, 1))
    np.testing.assert_allclose(classical.bm3d_raw(planes), expected)


@pytest.mark.parametrize("name", sorted(classical.NEEDS))
def test_an_absent_package_is_told(monkeypatch, name):
    def absent(module):
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", absent)
    package = classical.NEEDS[name][1]
    with pytest.raises(ValueError, match=f"{package}.* is not installed: pip install {package}"):
        classical.check_installed(name)
    with pytest.raises(ValueError, match="non-commercial"):
        classical.check_installed("bm3d")
