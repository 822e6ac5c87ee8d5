"""Adapting a model to the pictures given: what it trains on, and that it is never worse for it."""

import keras
import numpy as np
import pytest
from skimage import data

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.training import adapt as adapting
from n2n_tf.training.adapt import Crop, Crops, adapt, recorrupted


def scaling_network(factor):
    """One weight: the picture times a factor."""
    x = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 1, use_bias=False)
    network = keras.Model(x, layer(x), name="scaling")
    network.set_weights([np.full((1, 1, 1, 1), factor, np.float32)])
    return network


@pytest.fixture
def small_crops(monkeypatch):
    monkeypatch.setattr(adapting, "SIDE", 16)


def noisy_crops(rng, count=30):
    noise = 0.05 * rng.normal(size=(count, 16, 16, 1)).astype(np.float32)
    return [Crop(0.5 + one, np.float32([0.05])) for one in noise]


def test_crops_are_what_the_network_is_given_and_none_overlap(rng, small_crops):
    info = ModelInfo(channels=1, size_multiple=16, halo=16, noise_level=(0.02, 0.2))
    crops = Crops(Denoiser(lambda x: x, info, tile=48))
    image = (100 + 5 * rng.normal(size=(70, 100))).astype(np.float32)
    np.testing.assert_array_equal(crops.recorder(image), image)
    assert len(crops.kept) == 4 * 6  # the rest at the border is less than a crop
    shown = np.block([[c.noisy[..., 0] for c in crops.kept[6 * r :][:6]] for r in range(4)])
    slope, offset = np.polyfit(image[:64, :96].ravel(), shown.ravel(), 1)
    np.testing.assert_allclose(shown, slope * image[:64, :96] + offset, atol=1e-4)
    assert crops.kept[0].deviation == pytest.approx(5 * slope, rel=0.1)  # the noise, so scaled


def test_a_network_that_knows_no_level_gets_units_of_its_training(rng, small_crops):
    crops = Crops(Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=16, halo=0)))
    image = np.uint8(100.5 + 5 * rng.normal(size=(64, 64)))
    crops.recorder(image)
    np.testing.assert_allclose(crops.kept[1].noisy[..., 0] * 255, image[:16, 16:32], atol=1e-4)
    assert crops.kept[1].deviation * 255 == pytest.approx(5, rel=0.1)


def test_correlated_and_photon_noise_are_not_learnt_from(rng, small_crops):
    info = ModelInfo(channels=1, size_multiple=16, halo=16, noise_level=(0.02, 0.2))
    crops = Crops(Denoiser(lambda x: x, info, tile=48))
    noise = 5 * rng.normal(size=(130, 130))
    image = 100 + (noise[:-1, :-1] + noise[1:, :-1] + noise[:-1, 1:] + noise[1:, 1:]) / 2
    crops.recorder(np.float32(image))
    crops.recorder(np.float32(rng.poisson(40, (64, 64))), noise="poisson_gaussian:1,0")
    assert not crops.kept


def test_a_pair_of_crops_has_independent_noise(rng):
    noisy = np.float32(100 + 6 * rng.normal(size=(700, 700, 1)))
    pair = [one.ravel() - 100 for one in recorrupted(Crop(noisy, np.float32([6])), rng)]
    np.testing.assert_allclose(np.cov(pair), [[36 * 1.25, 0], [0, 36 * 5]], atol=1)


def test_of_many_crops_each_is_kept_as_often(monkeypatch):
    monkeypatch.setattr(adapting, "MOST", 10)
    denoiser = Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=1, halo=0))
    kept = []
    for seed in range(200):
        crops = Crops(denoiser, seed)
        for number in range(100):
            crops._keep(number)
        kept += crops.kept
    counts = np.bincount(kept, minlength=100)
    assert counts.sum() == 2000 and abs(counts[:50].sum() - 1000) < 5 * np.sqrt(500)


def test_a_network_that_is_wrong_is_put_right(rng):
    """Pixels of mean 0.5 and independent noise: the best factor is nearly 1, from 0.8."""
    denoiser = Denoiser.load(scaling_network(0.8))
    adapted = adapt(denoiser, noisy_crops(rng), steps=300)
    assert adapted.kept and adapted.after < adapted.before
    factor = denoiser.network.get_weights()[0].item()
    assert 0.8 < factor < 1.01
    image = np.full((8, 8, 1), 0.5, np.float32)
    np.testing.assert_allclose(denoiser.run(image[None]), 0.5 * factor, rtol=1e-5)


def test_a_network_that_training_makes_worse_stays_to_the_bit(rng, monkeypatch):
    monkeypatch.setattr(adapting, "LEARNING_RATE", 100.0)
    denoiser = Denoiser.load(scaling_network(0.99))
    before = denoiser.network.get_weights()
    adapted = adapt(denoiser, noisy_crops(rng), steps=3)
    assert not adapted.kept
    np.testing.assert_array_equal(denoiser.network.get_weights()[0], before[0])


def test_noise_that_neighbours_share_is_refused(rng):
    """The loss would fall while such noise is left in."""
    rows = np.float32(0.05 * rng.normal(size=(30, 16, 1, 1)))
    crops = [c._replace(noisy=c.noisy + r) for c, r in zip(noisy_crops(rng), rows, strict=True)]
    with pytest.raises(ModelError, match=r"correlates by 0\.[45]"):
        adapt(Denoiser.load(scaling_network(0.5)), crops, 1)


def test_what_cannot_be_adapted_is_said(rng):
    export = Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=1, halo=0))
    with pytest.raises(ModelError, match="--adapt needs a Keras model, not an export"):
        adapt(export, noisy_crops(rng), 1)
    with pytest.raises(ModelError, match="Received: 4 such squares"):
        adapt(Denoiser.load(scaling_network(1)), noisy_crops(rng, 4), 1)


@pytest.mark.slow
def test_a_picture_of_one_texture_gains_by_what_its_parts_share(rng):
    clean = data.brick()[:256, :384] / 255.0
    noisy = np.float32(clean + 15 / 255 * rng.normal(size=clean.shape))
    denoiser = Denoiser.load(DEFAULTS["gray"], engine="keras")
    crops = Crops(denoiser)
    crops.recorder(noisy)
    before = psnr(clean, denoiser(noisy), 1)
    assert adapt(denoiser, crops.kept, 40).kept
    assert psnr(clean, denoiser(noisy), 1) > before + 0.1
