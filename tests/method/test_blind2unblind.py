"""Blind2Unblind: what is hidden and by what, the loss in NumPy, the gradient, the use."""

import numpy as np
import pytest
import tensorflow as tf
from scalar_networks import ALONE, compiled, line

from n2n_tf.method.blind2unblind import Blind2Unblind, place, revisible, with_hidden


def test_the_four_positions_share_all_pixels():
    places = [place(tf.constant([1, 5, 6, 1]), i).numpy()[0, :, :, 0] for i in range(4)]
    np.testing.assert_array_equal(sum(places), np.ones((5, 6)))
    assert places[1][0, 1] == places[2][1, 0] == places[3][3, 5] == 1


def test_a_hidden_pixel_is_the_weighted_mean_of_those_around(rng):
    image = rng.random((1, 6, 8, 2), np.float32)
    hidden = with_hidden(tf.constant(image), 3).numpy()
    window = np.float64(image[0, 2:5, 4:7, 1])
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    assert hidden[0, 3, 5, 1] == pytest.approx(np.sum(weights * window), rel=1e-5)
    untouched = np.ones((6, 8), bool)
    untouched[1::2, 1::2] = False
    np.testing.assert_array_equal(hidden[0, untouched], image[0, untouched])


def blind_of(image, scale):
    padded = np.pad(np.float64(image), ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    height, width = image.shape[1:3]
    shifted = [
        weights[i, j] * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return scale * sum(shifted)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_the_loss_and_where_no_gradient_flows(gamma, rng):
    image, scale = rng.random((2, 8, 8, 1), np.float32), 0.7
    model = compiled(Blind2Unblind, line(scale), gamma=gamma)
    with tf.GradientTape() as tape:
        loss = model.loss_of(tf.constant(image), None, ALONE)
    (gradient,) = tape.gradient(loss, model.network.trainable_variables)
    weight, y, blind = 2 + 9 * gamma, np.float64(image), blind_of(image, 1.0)
    error = scale * blind + weight * scale * y - (weight + 1) * y
    expected = np.mean(error**2) + np.mean((scale * blind - y) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    # Of the pass that sees everything only the value counts.
    slope = np.mean(2 * error * blind) + np.mean(2 * (scale * blind - y) * blind)
    assert float(tf.squeeze(gradient)) == pytest.approx(slope, rel=1e-4)


def test_in_use_both_passes_are_weighed(rng):
    image = rng.random((8, 10, 1), np.float32)
    result = revisible(lambda noisy: 0.5 * noisy, weight=3.0)(image)
    expected = (blind_of(image[None], 0.5)[0] + 3 * 0.5 * image) / 4
    np.testing.assert_allclose(result, expected, rtol=1e-5)
