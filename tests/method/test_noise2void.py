"""Noise2Void: which pixels are hidden, by which others, and what the loss sees of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scalar_networks import ALONE, compiled, line

from n2n_tf.method.noise2void import Noise2Void, hidden_pixels, neighbours, uniform


@pytest.mark.parametrize(("height", "width"), [(16, 24), (19, 31), (8, 8)])
def test_one_pixel_of_every_cell_is_hidden(height, width):
    hidden = hidden_pixels(uniform((3, height, width), (1, 2))).numpy()
    assert hidden.shape == (3, height, width, 1)
    rows, columns = height // 8, width // 8
    cells = hidden[:, : 8 * rows, : 8 * columns].reshape(3, rows, 8, columns, 8)
    assert (cells.sum(axis=(2, 4)) == 1).all()
    assert hidden.sum() == 3 * rows * columns


def test_every_place_of_a_cell_is_hidden_equally_often():
    hidden = hidden_pixels(uniform((1, 800, 800), (3, 4))).numpy()
    counts = hidden.reshape(100, 8, 100, 8).sum(axis=(0, 2))
    expected = 10_000 / 64
    assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_a_pixel_is_replaced_by_another_within_two_rows_and_columns():
    height, width = 12, 9
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns], -1)[None].astype(np.float32)
    images = np.tile(image, (500, 1, 1, 1))
    moved = neighbours(images, uniform((500, height, width), (5, 6))).numpy() - images
    assert np.abs(moved).max() == 2
    assert (np.abs(moved).max(axis=-1) > 0).all()  # never itself, at borders neither
    inner = moved[:, 2:-2, 2:-2].reshape(-1, 2)
    places, counts = np.unique(inner, axis=0, return_counts=True)
    assert len(places) == 24
    expected = len(inner) / 24
    assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_the_loss_ignores_what_comes_out_elsewhere_and_hides_what_it_compares(rng):
    # The identity gives a hidden pixel its neighbour: the loss is that of a difference of two
    # independent noises, 2 sigma^2, where any unhidden pixel would add 0 to the mean.
    noisy = rng.normal(0, 0.1, (4, 128, 128, 1)).astype(np.float32)
    model = compiled(Noise2Void, line(1.0))
    loss = float(model.loss_of(tf.constant(noisy), None, ALONE))
    assert loss == pytest.approx(2 * 0.1**2, rel=0.15)


def test_what_a_line_learns_is_nothing_from_white_noise(rng):
    # E (a n - y)^2 with n independent of y is least at a = 0.
    noisy = rng.normal(0, 1, (8, 64, 64, 1)).astype(np.float32)
    model = compiled(Noise2Void, line(0.5), rate=0.1)
    batches = tf.data.Dataset.from_tensors(noisy).repeat()
    model.fit(batches, steps_per_epoch=25, verbose=0)
    assert abs(float(model.network.weights[0].numpy().item())) < 0.06


def test_the_step_is_the_same_again(rng):
    noisy = rng.random((2, 16, 16, 1), np.float32)
    ends = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = compiled(Noise2Void, line(0.5), seed=9)
        model.train_on_batch(noisy)
        ends.append(model.network.get_weights()[0])
    np.testing.assert_array_equal(*ends)
