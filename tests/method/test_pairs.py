"""Training from pairs: the law of recorrupted images, the steps in NumPy, whole trainings."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method import METHODS
from n2n_tf.method.losses import LEAST_ENERGY
from n2n_tf.method.noise2noise import Noise2Noise
from n2n_tf.method.recorrupted import Recorrupted, recorruption_factor
from n2n_tf.method.supervised import Supervised
from n2n_tf.networks.blind_spot import blind_spot_dilated

ALONE = types.SimpleNamespace(num_replicas_in_sync=1, replica_id_in_sync_group=0)


def line(scale):
    """f(y) = scale * y, with one trainable number."""
    noisy = keras.Input((None, None, 1))
    constant = keras.initializers.Constant(scale)
    layer = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=constant)
    return keras.Model(noisy, layer(noisy), name="line")


def compiled(method, scale=0.7, rate=1e-2, **more):
    model = method(line(scale), **more)
    model.compile(optimizer=keras.optimizers.SGD(rate), jit_compile=False)
    return model


def recorrupted(noisy, law, tau, replica=ALONE):
    model = compiled(Recorrupted, tau=tau)
    law = np.tile(np.float32(law), (len(noisy), 1))
    return [np.asarray(part) for part in model.pair(noisy, tf.constant(law), replica)]


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_recorrupted_noises_are_uncorrelated_and_of_the_variances_said(tau, rng):
    sigma = 0.2
    clean = rng.random((16, 64, 64, 1), np.float32)
    noisy = clean + rng.normal(0, sigma, clean.shape).astype(np.float32)
    source, target = recorrupted(noisy, (0.0, sigma**2), tau)
    of_source, of_target = source - clean, target - clean
    assert of_source.var() == pytest.approx(sigma**2 / recorruption_factor(tau), rel=0.02)
    assert of_target.var() == pytest.approx(sigma**2 * (1 + 1 / tau**2), rel=0.02)
    correlations = np.corrcoef([of_source.ravel(), of_target.ravel(), clean.ravel()])
    # Four standard errors of a correlation of 65,536 pairs; independent, not uncorrelated only:
    assert np.abs(correlations - np.eye(3)).max() < 4 / 256
    assert abs(np.corrcoef(of_source.ravel() ** 2, of_target.ravel() ** 2)[0, 1]) < 4 / 256


def test_recorrupted_camera_noise_is_uncorrelated_at_every_signal(rng):
    shot, read = 0.01, 1e-4
    for signal in (0.0, 0.02, 0.2, 0.8):
        variance = shot * signal + read
        noisy = signal + rng.normal(0, variance**0.5, (16, 64, 64, 1)).astype(np.float32)
        source, target = recorrupted(noisy, (shot, read), 1.0)
        bound = 0.06 if signal == 0 else 4 / 256  # where the law would be negative, it is 0
        assert abs(np.corrcoef((source - signal).ravel(), target.ravel())[0, 1]) < bound


def test_what_a_line_learns_from_recorrupted_images_is_the_wiener_filter(rng):
    sigma, tau = 0.5, 2.0
    clean = rng.normal(0, 1, (16, 64, 64, 1)).astype(np.float32)
    noisy = clean + rng.normal(0, sigma, clean.shape).astype(np.float32)
    source, target = recorrupted(noisy, (0.0, sigma**2), tau)
    learned = np.sum(source * target) / np.sum(source**2)
    assert learned == pytest.approx(1 / (1 + sigma**2 * (1 + tau**2)), rel=0.03)


def test_replicas_share_the_noise_of_the_whole_batch(rng):
    noisy = rng.random((4, 8, 8, 1), np.float32)
    whole = recorrupted(noisy, (0.0, 0.01), 1.0)
    halves = [
        recorrupted(
            noisy[2 * i : 2 * i + 2],
            (0.0, 0.01),
            1.0,
            types.SimpleNamespace(num_replicas_in_sync=2, replica_id_in_sync_group=i),
        )
        for i in (0, 1)
    ]
    for part in (0, 1):
        np.testing.assert_array_equal(whole[part], np.concatenate([h[part] for h in halves]))


def test_each_step_has_noise_of_its_own(rng):
    model = compiled(Recorrupted)
    noisy, law = rng.random((2, 8, 8, 1), np.float32), tf.constant([[0.0, 0.01]] * 2)
    first, again = (np.asarray(model.pair(noisy, law, ALONE)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    model.optimizer.iterations.assign(1)
    assert np.abs(np.asarray(model.pair(noisy, law, ALONE)[0]) - first).max() > 0.05


@pytest.mark.parametrize("method", [Noise2Noise, Supervised])
@pytest.mark.parametrize("balance", [False, True])
def test_a_step_is_gradient_descent_on_the_mean_squared_error(method, balance, rng):
    source, target = rng.random((2, 3, 8, 8, 1), np.float32)
    model = compiled(method, balance=balance)
    logs = model.train_on_batch(source, target, return_dict=True)
    x, y = np.float64(source), np.float64(target)
    weights = np.ones((3, 1, 1, 1))
    if balance:
        weights = (np.mean((x - y) ** 2, (1, 2, 3), keepdims=True) + LEAST_ENERGY) ** -0.5
    assert float(logs["loss"]) == pytest.approx(np.mean(weights * (0.7 * x - y) ** 2), rel=1e-5)
    gradient = np.mean(2 * weights * (0.7 * x - y) * x)
    scale = float(np.ravel(model.network.get_weights()[0])[0])
    assert scale == pytest.approx(0.7 - 1e-2 * gradient, rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_trainer_comes_back_as_it_was(name, tmp_path):
    more = {"tau": 0.5} if name == "recorrupted" else {}
    blind = name in ("laine19", "dbsn")
    network = blind_spot_dilated(channels=1, features=4) if blind else line(0.5)
    model = METHODS[name](network, balance=True, seed=3, **more)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is METHODS[name]
    assert getattr(loaded, "tau", None) == more.get("tau")
    assert (loaded.seed, loaded.balance) == (3, True)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_a_tau_that_is_none_is_refused(tau):
    with pytest.raises(ValueError, match="`tau` must be above 0"):
        recorruption_factor(tau)
