"""The paper's U-Net: sizes, initial weights, what one pixel reaches."""

import keras
import numpy as np
import pytest

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.unet import HALO, SIZE_MULTIPLE, unet


@pytest.mark.parametrize(
    ("channels", "parameters"), [(3, 1_259_475), (4, 1_260_868), (1, 1_256_689)]
)
def test_parameter_count_is_the_official_networks(channels, parameters):
    # Official layers: kernels plus biases, the transposed convolutions' biases included.
    f, t, c = 48, 96, channels
    conv = lambda i, o, k=3: k * k * i * o + o  # noqa: E731
    expected = conv(c, f) + 6 * conv(f, f) + conv(f, f, 2) + conv(2 * f, t) + 4 * conv(t, t)
    expected += 4 * conv(t, t, 2) + 3 * conv(t + f, t) + conv(t + c, t) + conv(t, t)
    expected += 2 * conv(t, t, 1) + conv(t, c, 1)
    assert unet(channels).count_params() == expected == parameters


def test_no_two_layers_start_equal():
    kernels = [
        layer.kernel.numpy() for layer in unet(features=8).layers if hasattr(layer, "kernel")
    ]
    assert len(kernels) == 25
    for i, a in enumerate(kernels):
        for b in kernels[:i]:
            assert a.shape != b.shape or not np.allclose(a, b)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_initial_weights_are_scaled_he_normal(scale):
    keras.utils.set_random_seed(0)
    for layer in unet(features=48, init_scale=scale).layers:
        if not hasattr(layer, "kernel"):
            continue
        assert not layer.bias.numpy().any()
        kernel = layer.kernel.numpy()
        # PyTorch's fan_in: input channels x area; for a transposed convolution, output x area.
        inputs = kernel.shape[3] if layer.name.startswith("up") else kernel.shape[2]
        outputs = kernel.shape[2] if layer.name.startswith("up") else kernel.shape[3]
        fan_in = (outputs if layer.name.startswith("up") else inputs) * kernel.shape[0] ** 2
        expected = scale * np.sqrt(2 / fan_in)
        # Standard error of a sample deviation: sigma / sqrt(2 n).
        assert abs(kernel.std() - expected) < 5 * expected / np.sqrt(2 * kernel.size), layer.name


def test_leaky_slope_and_output_type():
    network = unet(features=2)
    slopes = [
        layer.activation.negative_slope
        for layer in network.layers
        if isinstance(getattr(layer, "activation", None), keras.layers.LeakyReLU)
    ]
    assert slopes == [0.2] * 19  # all convolutions but the last; no transposed convolution
    assert network(np.zeros((1, 32, 64, 3))).dtype == "float32"


def test_one_pixel_reaches_no_farther_than_the_halo():
    # Random weights, biases and slopes of 1 keep every path open; shift one pixel of the input.
    network = unet(channels=1, features=2, init_scale=1.0)
    side = 2 * SIZE_MULTIPLE * 8
    image = np.random.default_rng(0).random((1, side, side, 1), np.float32)
    reach = 0
    for offset in range(0, SIZE_MULTIPLE, 5):  # the reach depends on the place in the pooling grid
        row = side // 2 + offset
        changed = image.copy()
        changed[0, row, row, 0] += 100.0
        difference = np.abs(network(changed) - network(image))[0, ..., 0]
        rows = np.flatnonzero(difference.max(axis=1))
        reach = max(reach, row - rows.min(), rows.max() - row)
    assert 128 <= reach <= 157 < HALO


def test_the_residual_network_adds_its_input(rng):
    keras.utils.set_random_seed(0)
    residual = NETWORKS["unet_residual"][0](channels=3, features=4, init_scale=1.0)
    plain = unet(channels=3, features=4)
    plain.set_weights(residual.get_weights())
    image = rng.random((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(residual(image), plain(image) + image, atol=1e-6)
    assert np.abs(residual(image) - image).std() < 0.2 * image.std()  # it begins near the identity
    assert residual.count_params() == plain.count_params()


def test_other_widths():
    narrow = unet(channels=1, features=4, tail_features=96)
    assert narrow.get_layer("dec_conv1a").kernel.shape == (3, 3, 9, 96)
    assert unet(channels=1, features=4).get_layer("nin_b").kernel.shape == (1, 1, 8, 8)


def test_keras_file_round_trip(tmp_path, rng):
    network = unet(features=3)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    image = rng.random((2, 32, 64, 3), np.float32)
    np.testing.assert_array_equal(loaded(image), network(image))
