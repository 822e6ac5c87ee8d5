"""The phone network: its cost, its reach, its operations; and the counting of multiply-adds."""

import keras
import numpy as np
import pytest
from keras import layers

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.cost import multiply_adds
from n2n_tf.networks.unet_mobile import HALO, SIZE_MULTIPLE, unet_mobile


def test_multiply_adds_of_layers_one_can_count_by_hand():
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same")(x)  # 3 * 3 * 3 * 8 at a quarter: 54
    y = layers.DepthwiseConv2D(3, padding="same", name="not_counted")(y)
    y = layers.Conv2DTranspose(5, 2, strides=2)(y)  # 2 * 2 * 8 * 5 at a quarter: 40
    y = layers.Conv2D(3, 1)(y)  # 15
    assert multiply_adds(keras.Model(x, y), side=64) == 54 + 40 + 15


def test_multiply_adds_of_the_papers_network():
    # Level by level: (positions) * kernel * kernel * in * out, features 48 and 96.
    f, w = 48, 96
    total = 9 * (3 * f + f * f)  # enc_conv0, 1
    total += sum(9 * f * f / 4**level for level in (1, 2, 3, 4))  # enc_conv2..5
    total += 9 * f * f / 4**5  # enc_conv6
    for level in (5, 4, 3, 2, 1):
        below = f if level == 5 else w
        skip = 3 if level == 1 else f
        total += (below * below + 9 * (below + skip) * w + 9 * w * w) / 4 ** (level - 1)
    total += w * w + w * w + w * 3
    assert multiply_adds(NETWORKS["unet"][0](3)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_costs_at_most_20_000_multiply_adds_per_pixel(channels):
    assert 10_000 < multiply_adds(unet_mobile(channels)) <= 20_000


def test_its_operations_are_those_that_phones_have():
    kinds = {type(layer).__name__ for layer in unet_mobile(3, features=8).layers}
    assert kinds == {"InputLayer", "Conv2D", "Conv2DTranspose", "Add", "Concatenate", "Activation"}


def test_one_pixel_reaches_no_farther_than_the_halo():
    # With positive weights and pixels nothing cancels.
    network = unet_mobile(channels=1, features=8)
    network.set_weights([np.abs(weight) + 0.01 for weight in network.get_weights()])
    side = 2 * (HALO + SIZE_MULTIPLE)
    image = np.ones((1, side, side, 1), np.float32)
    before, reach = network(image), 0
    for offset in range(SIZE_MULTIPLE):  # the reach depends on the place in the grid of halvings
        row = side // 2 + offset
        changed = image.copy()
        changed[0, row, row, 0] = 1e4
        difference = np.abs(network(changed) - before)[0, ..., 0]
        rows = np.flatnonzero(difference.max(axis=1))
        reach = max(reach, row - rows.min(), rows.max() - row)
    assert 100 < reach <= 118 <= HALO
    assert HALO % SIZE_MULTIPLE == 0


def test_it_begins_near_the_identity(rng):
    keras.utils.set_random_seed(0)
    image = rng.random((1, 32, 48, 3), np.float32)
    output = unet_mobile(3)(image)
    assert output.shape == image.shape
    assert output.dtype == "float32"
    assert 0 < np.abs(output - image).std() < 0.3 * image.std()


def test_keras_file_round_trip(tmp_path, rng):
    network = unet_mobile(4, features=8)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    image = rng.random((2, 32, 64, 4), np.float32)
    np.testing.assert_array_equal(loaded(image), network(image))
