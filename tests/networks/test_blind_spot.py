"""Blind-spot networks: the mean of a pixel hangs on all that lies around it, not on itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method.blind_spot import mean_network
from n2n_tf.model_files.keras_file import load_network
from n2n_tf.networks.blind_spot import (
    BUILDERS,
    HALO,
    SIZE_MULTIPLE,
    blind_spot_dilated,
    blind_spot_unet,
)


def built(build, channels=2):
    """A small network; leaky everywhere, so that no gradient is 0 by chance."""
    keras.utils.set_random_seed(6)
    return build(channels=channels, features=4, law=(0.01, 0.01))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize("place", [(31, 32), (0, 0), (63, 40)])
def test_a_pixel_is_not_seen_where_it_lies_but_those_around_are(build, place, rng):
    mean = mean_network(built(build))
    image = tf.constant(rng.random((1, 64, 64, 2), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(image)
        pixel = tf.reduce_sum(mean(image)[0, place[0], place[1]])
    seen = np.abs(tape.gradient(pixel, image)[0]).max(axis=-1)
    row, column = place
    assert seen[row, column] == 0
    around = seen[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    assert (around > 0).sum() == around.size - 1
    rows, columns = np.nonzero(seen)
    assert max(np.abs(rows - row).max(), np.abs(columns - column).max()) <= HALO[mean.name]


@pytest.mark.parametrize("name", BUILDERS)
def test_the_smallest_image_it_is_said_to_take_can_be_taken(name):
    side = SIZE_MULTIPLE[name]
    image = np.full((1, side, side, 2), 0.5, np.float32)
    assert np.isfinite(built(BUILDERS[name])(image)).all()


@pytest.mark.parametrize(
    ("build", "sides"), [(blind_spot_unet, (32, 64)), (blind_spot_dilated, (9, 13))]
)
def test_keras_file_round_trip(build, sides, tmp_path, rng):
    network = built(build, channels=3)
    network.save(tmp_path / "network.keras")
    loaded = load_network(tmp_path / "network.keras")
    image = rng.random((2, *sides, 3), np.float32)
    np.testing.assert_allclose(loaded(image), network(image), rtol=1e-5, atol=1e-6)


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="`law` must be"):
        blind_spot_dilated(law="cauchy")
