"""The network without biases: equivariant to contrast, affordable, with the reach that is said."""

import keras
import numpy as np
import pytest

from n2n_tf.networks.cost import multiply_adds
from n2n_tf.networks.initial_weights import transfer
from n2n_tf.networks.unet_bias_free import HALO, SIZE_MULTIPLE, unet_bias_free


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_has_no_bias_and_scales_with_the_contrast(channels, rng):
    keras.utils.set_random_seed(2)
    network = unet_bias_free(channels, features=6)
    assert all(weight.shape.rank == 4 for weight in network.weights)
    image = rng.normal(0.5, 0.3, (1, 32, 40, channels)).astype(np.float32)
    output = np.asarray(network(image))
    assert np.abs(output - image).max() > 0.01
    for factor in (2.0**-8, 0.3, 4.0):
        stretched = np.float32(0.5) + (image - np.float32(0.5)) * np.float32(factor)
        wanted = 0.5 + (output - 0.5) * factor
        np.testing.assert_allclose(network(stretched), wanted, atol=1e-6 * max(1, factor))
    np.testing.assert_array_equal(network(np.full_like(image, 0.5)), 0.5)


@pytest.mark.parametrize(("features", "most"), [(48, 80_000), (24, 20_000)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_its_cost_at_the_two_widths(channels, features, most):
    assert 0.9 * most < multiply_adds(unet_bias_free(channels, features)) <= most


def test_its_operations_are_those_that_integer_kernels_have():
    kinds = {type(layer).__name__ for layer in unet_bias_free(3, features=6).layers}
    assert kinds == {"InputLayer", "Conv2D", "Conv2DTranspose", "Add", "Activation", "Rescaling"}


def test_one_pixel_reaches_no_farther_than_the_halo():
    # With positive weights and pixels nothing cancels.
    network = unet_bias_free(channels=1, features=6)
    network.set_weights([np.abs(weight) + 0.01 for weight in network.get_weights()])
    side = 2 * (HALO + SIZE_MULTIPLE)
    image = np.ones((1, side, side, 1), np.float32)
    before, reach = network(image), 0
    for offset in range(SIZE_MULTIPLE):  # the reach depends on the place in the grid of halvings
        row = side // 2 + offset
        changed = image.copy()
        changed[0, row, row, 0] = 1e4
        rows = np.flatnonzero(np.abs(network(changed) - before)[0, ..., 0].max(axis=1))
        reach = max(reach, row - rows.min(), rows.max() - row)
    assert reach == 67 <= HALO
    assert HALO % SIZE_MULTIPLE == 0


def test_it_begins_near_the_identity(rng):
    keras.utils.set_random_seed(0)
    image = rng.random((1, 32, 48, 3), np.float32)
    output = unet_bias_free(3)(image)
    assert (output.shape, output.dtype) == (image.shape, "float32")
    assert 0 < np.abs(output - image).std() < 0.3 * image.std()


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_of_rgb_answer_for_other_channels_between_two_conversions(channels, rng):
    keras.utils.set_random_seed(3)
    rgb, other = unet_bias_free(3, features=6), unet_bias_free(channels, features=6)
    transfer(other, rgb)
    image = rng.random((1, 16, 24, channels), np.float32)
    if channels == 1:
        as_rgb = np.repeat(image, 3, axis=-1)
    else:
        red, green1, green2, blue = np.moveaxis(image, -1, 0)
        as_rgb = np.stack([red, (green1 + green2) / 2, blue], -1)
    correction = np.asarray(rgb(as_rgb)) - as_rgb
    wanted = correction[..., [0, 1, 1, 2]] if channels == 4 else correction.mean(-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(other(image)) - image, wanted, atol=1e-5)


def test_keras_file_round_trip(tmp_path, rng):
    network = unet_bias_free(4, features=6)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    image = rng.random((2, 32, 64, 4), np.float32)
    np.testing.assert_array_equal(loaded(image), network(image))
