"""Adapting a model to the pictures given: what it trains on, and that it is never worse for it."""

import keras
import numpy as np
import pytest

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.training import adapt as adapting
from n2n_tf.training.adapt import Crops, adapt


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
    return [0.5 + 0.05 * rng.normal(size=(16, 16, 1)).astype(np.float32) for _ in range(count)]


def test_crops_are_the_windows_that_the_network_is_given(rng, small_crops):
    crops = Crops(Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=16, halo=0)))
    window = rng.normal(size=(1, 32, 48, 1)).astype(np.float32)
    np.testing.assert_array_equal(crops.recorder.run(window), window)
    assert len(crops.kept) == 6
    np.testing.assert_array_equal(crops.kept[1], window[0, :16, 16:32])


def test_of_many_crops_each_is_kept_as_often(monkeypatch):
    monkeypatch.setattr(adapting, "MOST", 10)
    monkeypatch.setattr(adapting, "SIDE", 1)
    denoiser = Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=1, halo=0))
    kept = []
    for seed in range(200):
        crops = Crops(denoiser, seed)
        crops._record(np.arange(100, dtype=np.float32).reshape(1, 10, 10, 1))
        kept += [int(crop.item()) for crop in crops.kept]
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
    """The loss would fall while it is left in: 28.1 became 27.7 dB with rows of noise."""
    crops = [c + np.float32(0.05 * rng.normal(size=(16, 1, 1))) for c in noisy_crops(rng)]
    with pytest.raises(ModelError, match=r"correlates by 0\.[45]"):
        adapt(Denoiser.load(scaling_network(0.5)), crops, 1)


def test_what_cannot_be_adapted_is_said(rng):
    export = Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=1, halo=0))
    with pytest.raises(ModelError, match="--adapt needs a Keras model, not an export"):
        adapt(export, noisy_crops(rng), 1)
    with pytest.raises(ModelError, match="Received: 4 such squares"):
        adapt(Denoiser.load(scaling_network(1)), noisy_crops(rng, 4), 1)
