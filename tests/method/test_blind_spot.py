"""The likelihood of a blind-spot network: NumPy's, where no gradient flows, the posterior mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scalar_networks import ALONE, compiled, line

from n2n_tf.method.blind_spot import BlindSpot, mean_network, negative_log_likelihood, parts_of
from n2n_tf.networks.blind_spot import LEAST, blind_spot_dilated
from n2n_tf.training.recipes import Recipe, build_network


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_likelihood_is_that_of_a_normal_distribution(channels, rng):
    error = rng.normal(0, 1, (5, channels))
    factor = rng.normal(0, 1, (5, channels, channels))
    noise = rng.uniform(0.1, 1.0, (5, channels))
    got = negative_log_likelihood(
        tf.constant(error, tf.float32),
        tf.constant(factor.reshape(5, -1), tf.float32),
        tf.constant(noise, tf.float32),
    )
    for number in range(5):
        total = factor[number] @ factor[number].T + np.diag(noise[number])
        _, logdet = np.linalg.slogdet(total)
        expected = error[number] @ np.linalg.solve(total, error[number]) + logdet
        assert float(got[number]) == pytest.approx(expected / 2, rel=1e-4, abs=1e-4)


@pytest.fixture(scope="module")
def network():
    """Random, one channel of variance learned."""
    keras.utils.set_random_seed(2)
    return blind_spot_dilated(channels=3, features=8, law=(0.01, 0.002))


def test_the_output_is_the_posterior_mean(network, rng):
    noisy = rng.random((2, 9, 11, 3), np.float32)
    mean, factor, law = (np.float64(part) for part in parts_of(network)(noisy))
    np.testing.assert_allclose(law.reshape(2, 2), [[0.01, 0.002]] * 2, rtol=1e-5)
    root = factor.reshape(2, 9, 11, 3, 3)
    covariance = root @ np.swapaxes(root, -1, -2)
    noise = 0.01 * np.maximum(mean, 0) + 0.002 + LEAST
    total = covariance + noise[..., None] * np.eye(3)
    gain = np.linalg.solve(total, (noisy - mean)[..., None])
    expected = mean + (covariance @ gain)[..., 0]
    np.testing.assert_allclose(network(noisy), expected, rtol=1e-3, atol=1e-4)


def test_the_mean_alone_is_what_mu_means(network, rng):
    noisy = rng.random((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(mean_network(network)(noisy), parts_of(network)(noisy)[0])


def test_known_noise_is_no_variable_of_the_loss(network, rng):
    model = compiled(BlindSpot, network)
    with tf.GradientTape() as tape:
        loss = model.loss_of(tf.constant(rng.random((1, 8, 8, 3), np.float32)), None, ALONE)
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        if variable.path.startswith("law"):
            assert gradient is None or not np.any(gradient)


def test_it_learns_the_noise_of_flat_images():
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(4)
    clean = np.tile(rng.uniform(0.2, 0.8, (8, 1, 1, 1)), (1, 16, 16, 1))
    noisy = (clean + rng.normal(0, 0.1, clean.shape)).astype(np.float32)
    model = BlindSpot(blind_spot_dilated(channels=1, features=8, law="gauss"))
    model.compile(optimizer=keras.optimizers.Adam(8e-3), jit_compile=False)
    before = model.evaluate(noisy, np.float32(clean), verbose=0, return_dict=True)["psnr"]
    model.fit(tf.data.Dataset.from_tensors(noisy).repeat(), steps_per_epoch=60, verbose=0)
    shot, read = parts_of(model.network)(noisy)[2].numpy().mean(axis=(0, 1, 2))
    assert shot == 0
    assert 0.05 < read**0.5 < 0.2  # begins at 0.05
    assert model.evaluate(noisy, np.float32(clean), verbose=0, return_dict=True)["psnr"] > max(
        22.0, before
    )


@pytest.mark.parametrize(("law", "nothing"), [("gauss", 0), ("poisson", 1)])
def test_a_recipe_says_which_noise_is_assumed_and_mixed_precision_keeps_it_float32(law, nothing):
    recipe = Recipe("none", network="blind_spot_dilated", channels=4, features=4, law=law)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_network(recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    mean, factor, law = parts_of(network)(np.full((1, 8, 8, 4), 0.3, np.float32))
    assert {part.dtype for part in (mean, factor, law)} == {tf.float32}
    assert law[0, 0, 0, nothing] == 0 and law[0, 0, 0, 1 - nothing] > 0
    model = compiled(BlindSpot, network)
    assert np.isfinite(model.loss_of(tf.fill((1, 8, 8, 4), 0.3), None, ALONE))


def test_another_network_is_refused():
    with pytest.raises(
        ValueError, match="'line' is not a blind-spot network: it has no layer factor"
    ):
        BlindSpot(line(1.0))


def test_a_checkpoint_holds_every_weight_once_and_brings_it_back(network, tmp_path):
    model = compiled(BlindSpot, network)
    model.save_weights(tmp_path / "state.weights.h5")
    other = compiled(BlindSpot, blind_spot_dilated(channels=3, features=8, law=(0.01, 0.002)))
    other.load_weights(tmp_path / "state.weights.h5")
    for one, again in zip(network.get_weights(), other.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, again)
    stored = (tmp_path / "state.weights.h5").stat().st_size
    assert stored < 2 * 4 * network.count_params() + 200_000
