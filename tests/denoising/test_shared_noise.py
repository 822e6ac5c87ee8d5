"""Pictures whose channels share their noise: JPEG files and gray pictures of three channels."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from n2n_tf import Denoiser, estimate_noise
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.shipped import DEFAULTS


@pytest.fixture(scope="module")
def clean():
    return data.astronaut()[100:292, 100:292]


@pytest.fixture(scope="module")
def denoise():
    return Denoiser.load(DEFAULTS["RGB"])


def noisy(clean, sigma=10, channels=3):
    noise = np.random.default_rng(0).normal(0, sigma, (*clean.shape[:2], channels))
    return np.uint8((clean + noise).round().clip(0, 255))


def jpeg(pixels, subsampling, quality=95):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality, subsampling=subsampling)
    return np.array(Image.open(file))


def test_only_noise_that_is_one_in_all_channels_is_shared(clean):
    assert estimate_noise(jpeg(noisy(clean), "4:2:0")).shared
    assert not estimate_noise(jpeg(noisy(clean), "4:4:4")).shared
    assert not estimate_noise(noisy(clean)).shared
    assert not estimate_noise(clean).shared
    assert estimate_noise(noisy(clean[..., 1:2].repeat(3, 2), channels=1)).shared
    assert not estimate_noise(noisy(clean)[..., :1]).shared  # one channel shares with none


def test_of_a_jpeg_the_luminance_is_denoised(clean, denoise):
    picture, told = jpeg(noisy(clean), "4:2:0"), []
    result = denoise(picture, tell=lambda law, share: told.append(law))
    assert psnr(clean, result, 255) > psnr(clean, picture, 255) + 2.5
    assert [law.shared for law in told] == [True]
    network_alone = denoise(picture, noise="gauss:8")  # leaves most of it
    assert psnr(clean, network_alone, 255) < psnr(clean, picture, 255) + 1.5


def test_a_gray_picture_of_three_channels_is_denoised_as_gray(clean, denoise):
    gray = noisy(clean[..., 1:2], channels=1)
    result = denoise(gray.repeat(3, 2))
    np.testing.assert_array_equal(result, Denoiser.load(DEFAULTS["gray"])(gray).repeat(3, 2))


def test_the_noise_of_a_jpeg_without_flat_places_is_told():
    photo = data.coffee()[:256, :384]
    texture = np.uint8(np.clip(photo / 2.0 + data.gravel()[:256, :384, None] / 2.0, 0, 255))
    for sigma in (12, 25):
        law = estimate_noise(jpeg(noisy(texture, sigma), "4:2:0"))
        luminance = sigma * np.linalg.norm([0.299, 0.587, 0.114])
        assert law.deviation(120.0) == pytest.approx(luminance, rel=0.3)


@pytest.mark.parametrize("quality", [80, 90])
def test_a_clean_jpeg_has_hardly_any_noise(quality):
    for photo in (data.coffee(), data.astronaut(), data.chelsea()):
        law = estimate_noise(jpeg(photo, "4:2:0", quality))
        assert law.deviation(np.median(photo, axis=(0, 1))).max() < 2


def test_units_do_not_matter(clean, denoise):
    picture = np.float32(jpeg(noisy(clean), "4:2:0"))
    other = picture / 1024 - 7  # exact in float32
    assert estimate_noise(other).deviation(0) == pytest.approx(
        estimate_noise(picture).deviation(7168) / 1024
    )
    result = denoise(picture)
    np.testing.assert_allclose(denoise(other), result / 1024 - 7, rtol=0, atol=2e-5)
