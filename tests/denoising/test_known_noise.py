"""The contract of denoising: any units, no harm, nothing changed where there is no noise."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.known_noise import Stages
from n2n_tf.denoising.noise_level import NoiseEstimate, estimate_noise
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.shipped import DEFAULTS


@pytest.fixture
def random():
    return np.random.default_rng(11)


def smoothing(x):
    """A network that averages, whatever the values, as a real one does around [0, 1]."""
    return cv2.GaussianBlur(x[0], (0, 0), 1.5).reshape(x.shape)


def denoiser(run=smoothing, channels=1, noise_level=(8 / 255, 50 / 255), **more):
    info = ModelInfo(channels, 1, 16, noise_level=noise_level, **more)
    return Denoiser(run, info)


def photo():
    return data.astronaut()[:256, 128:384] @ np.array([0.299, 0.587, 0.114])


def rms(image):
    return float(np.sqrt(np.mean(np.square(image, dtype=np.float64))))


@pytest.mark.parametrize(("a", "b"), [(1e-4, 0), (1e-2, 5), (1, 1e4), (3, -7), (1e4, 1e6)])
@pytest.mark.parametrize("levels", [(8 / 255, 50 / 255), None])
def test_units_do_not_matter(a, b, levels, random):
    noisy = photo() + random.normal(0, 8, (256, 256))
    network = denoiser(noise_level=levels)
    result, other = network(noisy), network(a * noisy + b)
    np.testing.assert_allclose((other - b) / a, result, atol=0.02)
    assert rms(result - photo()) < 0.8 * rms(noisy - photo())


@pytest.mark.parametrize("offset", [0, 7000, 60_000])
def test_integers_that_fill_little_of_their_type_lose_noise_and_nothing_else(offset, random):
    clean = np.round(offset + photo()[..., None])
    counts = np.uint16(np.maximum(clean + random.normal(0, 5, clean.shape), 0))
    result = denoiser()(counts)
    assert result.dtype == np.uint16
    assert rms(result - counts.astype(float)) < 1.5 * 5
    assert rms(result - clean) < 0.8 * rms(counts - clean)


def test_photon_counts(random):
    clean = 20 + photo()[..., None]
    counts = random.poisson(clean).astype(np.uint16)
    result = denoiser()(counts).astype(float)
    assert rms(result - clean) < 0.7 * rms(counts - clean)
    assert result.mean() == pytest.approx(counts.mean(), rel=5e-3)


@pytest.mark.parametrize("ruin", [0 * np.ones(1), 1e6 * np.ones(1), -3 * np.ones(1)])
@pytest.mark.parametrize("levels", [(8 / 255, 50 / 255), None])
def test_a_network_that_ruins_everything_is_held_back(ruin, levels, random):
    noisy = photo() + random.normal(0, 8, (256, 256))
    network = denoiser(lambda x: np.float32(x * 0.1 + ruin), noise_level=levels)
    given_back = []
    result = network(noisy, tell=lambda law, share: given_back.append(share))
    blocks = np.square(result - noisy).reshape(16, 16, 16, 16).mean((1, 3)) ** 0.5
    assert blocks.max() < 1.5 * estimate_noise(noisy).read[0] ** 0.5
    assert given_back[0] > 0.9


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_without_noise_come_back_to_the_bit(dtype):
    rows, columns = np.mgrid[:96, :96]
    for picture in (
        np.full((96, 96), 7),
        100 * np.digitize(data.camera()[:96, :96], [80, 160]),
        (np.hypot(rows - 50, columns - 40) < 30) * 200,
    ):
        told = []
        picture = picture.astype(dtype)
        result = denoiser(lambda x: x * 0)(picture, tell=lambda law, _: told.append(law))  # noqa: B023
        np.testing.assert_array_equal(result, picture)
        assert told[0].nothing


@pytest.mark.parametrize("sigma", [0.5, 1, 2, 4])
@pytest.mark.parametrize("levels", [(8 / 255, 50 / 255), None])
def test_weak_noise_never_costs_detail(sigma, levels, random):
    clean = data.chelsea()[:192, :192]  # fur, which such a network blurs
    noisy = np.float32(clean + random.normal(0, sigma, clean.shape))
    result = denoiser(channels=3, noise_level=levels)(noisy)
    assert rms(result - clean) < 1.01 * rms(noisy - clean)


def test_hot_pixels_stay_and_do_not_spread(random):
    counts = random.poisson(100, (256, 256)).astype(np.uint16)
    places = random.choice(np.arange(0, 256 * 256, 7), 60, replace=False)
    counts.flat[places] = 4000
    result = denoiser()(counts)
    assert (result.flat[places] == 4000).all()
    rest = np.ones(counts.shape, bool)
    rest.flat[places] = False
    assert np.abs(result[rest] - 100.0).max() < 20


def test_saturated_areas_stay(random):
    counts = np.uint16(np.clip(photo() * 20 + random.normal(0, 60, (256, 256)), 0, 4095))
    counts[100:130, 50:90] = 4095
    result = denoiser()(counts)
    assert (result[100:130, 50:90] == 4095).all()


@pytest.mark.parametrize("levels", [(8 / 255, 50 / 255), None])
def test_nan_stays_and_its_neighbours_are_denoised(levels, random):
    noisy = np.float32(photo() + random.normal(0, 8, (256, 256)))
    holed = noisy.copy()
    holed[100:140, 30:90] = np.nan
    holed[10, 10] = np.inf
    result = denoiser(noise_level=levels)(holed)
    hidden = ~np.isfinite(holed)
    np.testing.assert_array_equal(result[hidden], holed[hidden])
    assert np.isfinite(result[~hidden]).all()
    whole = denoiser(noise_level=levels)(noisy)
    assert rms((result - whole)[~hidden]) < 1
    assert np.isnan(denoiser()(np.full((20, 20), np.nan, np.float32))).all()


def test_dark_frames_are_averaged_without_bias(random):
    dark = random.poisson(0.3, (256, 256)).astype(np.float32)
    result = denoiser()(dark)
    assert result.mean() == pytest.approx(dark.mean(), rel=0.05)
    assert result.std() < 0.5 * dark.std()


def test_strength_and_known_noise(random):
    noisy = photo() + random.normal(0, 8, (256, 256))
    network = denoiser()
    assert (network(noisy, strength=0) == np.float32(noisy)).all()
    removed = [
        rms(network(noisy, noise=NoiseEstimate((0.0,), (64.0,)), strength=strength) - noisy)
        for strength in (0.3, 0.7, 1.0, 1.5)
    ]
    assert removed == sorted(removed) and removed[0] < 0.5 * 8


def test_noise_may_be_known_in_words(random):
    noisy = np.float32(photo() + random.normal(0, 8, (256, 256)))
    known = denoiser()(noisy, noise=NoiseEstimate((0.0,), (64.0,)))
    np.testing.assert_array_equal(denoiser()(noisy, noise="gauss:8"), known)
    with pytest.raises(ValueError, match="Unknown noise 'gauss8'"):
        denoiser()(noisy, noise="gauss8")


def test_channels_of_a_gray_network_have_their_own_noise_and_scale(random):
    clean = np.stack([photo(), 100 * photo() + 1e4, 0.01 * photo()], -1)
    noisy = clean + random.normal(0, 1, clean.shape) * (8, 800, 0.08)
    result = denoiser()(noisy)
    for channel in range(3):
        alone = denoiser()(noisy[..., channel])
        np.testing.assert_allclose(result[..., channel], alone, rtol=1e-6)


KINDS = "smooth counts dark clipped black three_levels texture spikes far_off tiny_units".split()


def weird(kind, random, height, width):
    """A picture of a kind that networks are not trained for, float64 [height, width]."""
    level = np.cumsum(random.normal(0, 3, (height, width)), 1) + 500
    noisy = level + random.normal(0, 4, level.shape)
    noisy = {
        "smooth": noisy,
        "counts": random.poisson(np.abs(level) / 20).astype(float),
        "dark": random.poisson(0.2, level.shape).astype(float),
        "clipped": np.clip(noisy, 490, 505),
        "black": np.clip(noisy, 0, 1),
        "three_levels": np.digitize(noisy, [480, 520]) * 100.0,
        "texture": random.normal(0, 1, level.shape) ** 3,
        "spikes": np.where(random.random(level.shape) < 0.01, 6e4, noisy),
        "far_off": 1e6 + noisy,
        "tiny_units": 1e-7 * noisy,
    }[kind]
    if random.random() < 0.3:
        noisy[: height // 3, : width // 4] = np.nan
    return noisy


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    ruin=st.sampled_from(["zero", "huge", "blur", "inverse"]),
    sides=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    levels=st.sampled_from([(8 / 255, 50 / 255), None]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_picture_is_changed_by_more_than_its_noise_explains(kind, ruin, sides, levels, seed):
    noisy = np.float32(weird(kind, np.random.default_rng(seed), *sides))
    network = {
        "zero": lambda x: 0 * x,
        "huge": lambda x: 1e3 + x,
        "blur": lambda x: cv2.blur(x[0], (9, 9)).reshape(x.shape),
        "inverse": lambda x: 1 - 3 * x,
    }[ruin]
    told = []
    result = denoiser(network, noise_level=levels)(noisy, tell=lambda law, _: told.append(law))
    finite = np.isfinite(noisy)
    np.testing.assert_array_equal(result[~finite], noisy[~finite])
    assert np.isfinite(result[finite]).all()
    removed = np.where(finite, noisy.astype(np.float64) - result, 0)
    rounding = 1e-6 * np.abs(noisy[finite]).max(initial=0)
    for rows in range(0, sides[0] - 15, 16):
        for columns in range(0, sides[1] - 15, 16):
            block = np.s_[rows : rows + 16, columns : columns + 16]
            levels_there = np.append(noisy[block][finite[block]], result[block][finite[block]])
            most = told[0].deviation(levels_there.max(initial=-np.inf)) if len(levels_there) else 0
            assert rms(removed[block]) <= 1.5 * np.max(most) + rounding


def test_black_places_of_few_photons_do_not_keep_the_noise_around_them(rng, monkeypatch):
    stripes = np.arange(256) // 10 % 2
    clean = (stripes * data.grass()[:192, :256] / 255.0)[..., None]
    law = NoiseEstimate((1 / 12,), (0.0,))
    noisy = np.float32(rng.poisson(12 * clean) / 12)
    denoise = Denoiser.load(DEFAULTS["gray"])
    evened = psnr(clean, denoise(noisy, noise=law), 1)
    monkeypatch.setattr(Stages, "_missing", lambda *_: None)
    assert evened > psnr(clean, denoise(noisy, noise=law), 1) + 3


@pytest.mark.parametrize("kind", ["black", "white", "nan"])
def test_areas_without_noise_do_not_keep_the_noise_around_them(rng, monkeypatch, kind):
    clean = np.float32(data.camera()[100:292, 100:356, None])
    inside = np.hypot(*np.mgrid[-96:96, -128:128])[..., None] < 90
    noisy = np.float32(clean + rng.normal(0, 12, clean.shape))
    noisy[~inside] = {"black": 0, "white": 255, "nan": np.nan}[kind]
    law, denoise = NoiseEstimate((0.0,), (144.0,)), Denoiser.load(DEFAULTS["gray"])
    filled = denoise(noisy, noise=law)
    np.testing.assert_array_equal(filled[~inside], noisy[~inside])
    monkeypatch.setattr(Stages, "_missing", lambda *_: None)
    bare = denoise(noisy, noise=law)
    assert psnr(clean[inside], filled[inside], 255) > psnr(clean[inside], bare[inside], 255) + 1
