"""Weights from a trainer in JAX: its network, its loss and its gradient are ours."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.method import trainer as model_module
from n2n_tf.method.subsamplers import neighbor_pairs
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files.info import ModelError
from n2n_tf.model_files.npz_file import MAX_BYTES, network_from_npz, read_npz
from n2n_tf.networks.unet_bias_free import unet_bias_free

# Made by data/make_jax_fixture.py with a trainer that shares no code with ours.
FIXTURE = pathlib.Path(__file__).parents[1] / "data" / "jax_step.npz"


def part(prefix):
    with np.load(FIXTURE) as file:
        return {
            name.removeprefix(f"{prefix}/"): file[name]
            for name in file.files
            if name.startswith(f"{prefix}/")
        }


def fixture(name):
    with np.load(FIXTURE) as file:
        return file[name]


@pytest.fixture
def weights_file(tmp_path):
    np.savez(tmp_path / "weights.npz", **part("weights"))
    return tmp_path / "weights.npz"


def test_the_network_answers_as_the_trainers(weights_file):
    network = network_from_npz(weights_file)
    np.testing.assert_allclose(network(fixture("noisy")), fixture("denoised"), atol=1e-5)


def test_one_train_step_has_the_trainers_loss_and_gradient(weights_file, monkeypatch):
    # The trainer's sub-sampler in place of a drawn one; SGD turns a gradient into a difference.
    first, second = np.moveaxis(neighbor_pairs(2)[fixture("pair")], -1, 0)
    pair = tf.constant(first), tf.constant(second)
    monkeypatch.setitem(model_module.DRAW, "random", lambda *_: pair)
    total, reconstruction, regularisation, gamma = fixture("losses")
    rate = 1024.0
    model = Neighbor2Neighbor(network_from_npz(weights_file), gamma=float(gamma))
    model.compile(optimizer=keras.optimizers.SGD(rate), jit_compile=False)
    before = {w.path: w.numpy() for w in model.network.trainable_variables}
    logs = model.train_on_batch(fixture("noisy"), return_dict=True)

    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)
    np.testing.assert_allclose(logs["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(logs["regularisation"], regularisation, rtol=1e-5)
    theirs = part("gradient")
    assert {w.path for w in model.network.trainable_variables} == theirs.keys()
    for w in model.network.trainable_variables:
        ours, largest = (before[w.path] - w.numpy()) / rate, np.abs(theirs[w.path]).max()
        assert largest > 0
        np.testing.assert_allclose(ours, theirs[w.path], atol=1e-4 * largest, err_msg=w.path)


def test_a_denoiser_loads_it_and_tiles_it_like_the_network(weights_file):
    denoise = Denoiser.load(weights_file)
    noisy = fixture("noisy")[0]
    np.testing.assert_allclose(denoise.bare(noisy), fixture("denoised")[0], atol=1e-5)
    assert (denoise.info.network, denoise.channels, denoise.info.size_multiple) == ("unet", 3, 32)


def test_half_precision_weights_are_taken_as_they_are(tmp_path):
    halves = {name: array.astype(np.float16) for name, array in part("weights").items()}
    np.savez_compressed(tmp_path / "half.npz", **halves)
    network = network_from_npz(tmp_path / "half.npz")
    for w in network.trainable_variables:
        np.testing.assert_array_equal(w.numpy(), halves[w.path].astype(np.float32))


def changed(change):
    weights = part("weights")
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("nin_b/bias"), r"nin_b/bias is missing, not \(8,\)"),
        (lambda w: w.update(extra=np.zeros(3)), "'extra' is unknown"),
        (lambda w: w.pop("enc_conv0/kernel"), r"enc_conv0/kernel is \(\)"),
        (lambda w: w.update({"up5/bias": np.zeros(5)}), r"up5/bias is \(5,\), not \(4,\)"),
        (lambda w: w.update({"up5/bias": np.zeros(4, int)}), "'up5/bias' must hold finite floats"),
        (lambda w: w.update({"up5/bias": np.full(4, np.nan)}), "'up5/bias' must hold finite"),
        (lambda w: w.update({"up5/bias": np.full(4, 1e300)}), "'up5/bias' must hold finite"),
        (lambda w: w.update({"up5/bias": np.array([{}])}), "damaged or not an .npz file"),
        (
            lambda w: w.update({"dec_conv1a/kernel": np.zeros((1, 1, 1, 513))}),
            "513 features, over 512",
        ),
    ],
)
def test_what_is_no_unet_is_refused_by_name(change, told, tmp_path):
    np.savez(tmp_path / "wrong.npz", **changed(change))
    with pytest.raises(ModelError, match=rf"wrong\.npz: .*{told}"):
        network_from_npz(tmp_path / "wrong.npz")


def test_the_bias_free_network_comes_back_as_it_was(tmp_path):
    network = unet_bias_free(channels=4, features=12)
    np.savez(tmp_path / "weights.npz", **{w.path: w.numpy() for w in network.weights})
    denoise = Denoiser.load(tmp_path / "weights.npz")
    assert (denoise.info.network, denoise.channels) == ("unet_bias_free", 4)
    noisy = np.random.default_rng(1).random((1, 16, 24, 4), np.float32)
    np.testing.assert_array_equal(denoise.network(noisy), network(noisy))


def test_a_bias_free_network_of_half_its_layers_is_refused(tmp_path):
    weights = {w.path: w.numpy() for w in unet_bias_free(channels=1, features=12).weights}
    weights.pop("dec0a1/kernel")
    np.savez(tmp_path / "wrong.npz", **weights)
    with pytest.raises(ModelError, match="dec0a1/kernel is missing"):
        network_from_npz(tmp_path / "wrong.npz")


@pytest.mark.parametrize("kept", [0, 40, 5000])
def test_a_truncated_file_is_refused(kept, weights_file):
    weights_file.write_bytes(weights_file.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"weights\.npz: damaged or not an \.npz file"):
        read_npz(weights_file)


def test_a_file_that_would_fill_the_memory_is_refused_unread(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(MAX_BYTES // 8 + 1))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 20
    with pytest.raises(ModelError, match=f"over {MAX_BYTES}"):
        read_npz(tmp_path / "bomb.npz")


def test_the_fixture_is_of_noise_and_neighbours():
    first, second = np.moveaxis(neighbor_pairs(2)[fixture("pair")], -1, 0)
    assert set(np.unique(fixture("pair"))) == set(range(8)) and not np.any(first == second)
    assert 0.05 < tf.math.reduce_std(fixture("noisy")[0, ..., 0]) < 0.2
