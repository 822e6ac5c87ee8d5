"""The sub-sampler's laws, and its figures against the official pair table."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from n2n_tf.method.subsamplers import (
    draw_eighths,
    draw_fixed_pair,
    draw_neighbor_pairs,
    fixed_pairs,
    neighbor_pairs,
    pairs_along_edges,
    take_pixels,
)

OFFICIAL_PAIRS = [[0, 1], [0, 2], [1, 3], [2, 3], [1, 0], [2, 0], [3, 1], [3, 2]]


def take_slowly(images, position, k):
    """The definition, pixel by pixel."""
    batch, rows, columns = position.shape
    result = np.empty((batch, rows, columns, images.shape[-1]), images.dtype)
    for b, i, j in np.ndindex(batch, rows, columns):
        row, column = divmod(position[b, i, j], k)
        result[b, i, j] = images[b, i * k + row, j * k + column]
    return result


def test_pairs_are_those_of_the_official_code():
    assert neighbor_pairs(2).tolist() == OFFICIAL_PAIRS


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_neighbor_pairs_are_all_ordered_pairs_that_share_an_edge(k):
    cells = list(itertools.product(range(k), range(k)))
    expected = {
        (a[0] * k + a[1], b[0] * k + b[1])
        for a in cells
        for b in cells
        if abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1
    }
    pairs = [tuple(pair) for pair in neighbor_pairs(k).tolist()]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


@pytest.mark.parametrize("k", [2, 3])
def test_fixed_pairs_are_all_ordered_pairs_of_different_positions(k):
    pairs = [tuple(pair) for pair in fixed_pairs(k).tolist()]
    assert sorted(pairs) == sorted(itertools.permutations(range(k * k), 2))


@pytest.mark.parametrize("table", [neighbor_pairs, fixed_pairs])
def test_a_cell_of_one_pixel_is_refused(table):
    with pytest.raises(ValueError, match=r"must be at least 2\. Received: k=1"):
        table(1)


@pytest.mark.parametrize("k", [2, 3])
def test_all_neighbor_pairs_are_equally_often(k):
    first, second = draw_neighbor_pairs(4, 200 * k, 200 * k, [1, 2], k)
    codes = (first.numpy() * k * k + second.numpy()).ravel()
    values, counts = np.unique(codes, return_counts=True)
    pairs = neighbor_pairs(k)
    assert values.tolist() == sorted(int(a) * k * k + int(b) for a, b in pairs)
    # chi-square with len(pairs) - 1 degrees of freedom: mean n, standard deviation sqrt(2 n)
    expected = codes.size / len(pairs)
    chi_square = np.sum((counts - expected) ** 2 / expected)
    freedom = len(pairs) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_cells_are_independent_of_their_neighbours():
    first, second = draw_neighbor_pairs(1, 1000, 1000, [3, 4])
    code = (first.numpy() * 4 + second.numpy())[0].astype(float)
    for a, b in ((code[:, :-1], code[:, 1:]), (code[:-1], code[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_a_fixed_pair_is_one_per_image_and_all_twelve_are_equally_often():
    first, second = draw_fixed_pair(24000, 4, 6, [5, 6])
    first, second = first.numpy(), second.numpy()
    assert first.shape == (24000, 2, 3)
    assert (first == first[:, :1, :1]).all() and (second == second[:, :1, :1]).all()
    values, counts = np.unique(first[:, 0, 0] * 4 + second[:, 0, 0], return_counts=True)
    assert len(values) == 12
    assert np.sum((counts - 2000) ** 2 / 2000) < 11 + 5 * np.sqrt(22)


@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.integers(1, 4),
    k=st.integers(2, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_taking_pixels_is_the_definition_for_any_size(batch, height, width, channels, k, seed):
    images = np.arange(batch * height * width * channels).reshape(batch, height, width, channels)
    for draw in (draw_neighbor_pairs, draw_fixed_pair):
        for position in draw(batch, height, width, [seed, 7], k):
            assert position.shape == (batch, height // k, width // k)
            taken = take_pixels(tf.constant(images), position, k).numpy()
            np.testing.assert_array_equal(taken, take_slowly(images, position.numpy(), k))


def test_equal_seeds_give_equal_maps_and_others_do_not():
    one = draw_neighbor_pairs(2, 64, 64, [1, 2])
    again = draw_neighbor_pairs(2, 64, 64, [1, 2])
    other = draw_neighbor_pairs(2, 64, 64, [1, 3])
    np.testing.assert_array_equal(one, again)
    assert np.mean(one[0].numpy() != other[0].numpy()) > 0.5


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_of_unknown_size_and_xla_give_the_eager_result(jit_compile, rng):
    def sample(images, seed):
        shape = tf.shape(images)
        first, second = draw_neighbor_pairs(shape[0], shape[1], shape[2], seed)
        return take_pixels(images, first), take_pixels(images, second)

    signature = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((2,), tf.int64)]
    compiled = tf.function(sample, signature, jit_compile=jit_compile)
    for height, width in ((16, 16), (11, 14)):
        images = tf.constant(rng.random((2, height, width, 3), np.float32))
        seed = tf.constant([8, 9], tf.int64)
        for got, expected in zip(compiled(images, seed), sample(images, seed), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_pairs_along_edges_follow_what_lies_around_and_not_the_cell(rng):
    # Vertical stripes wider than cells: the image changes across, so pairs stand one on another.
    stripes = np.tile(np.repeat(np.arange(16.0) % 4, 4), (64, 1))[None, ..., None]
    noisy = (stripes + rng.normal(0, 0.05, stripes.shape)).astype(np.float32)
    drawn = draw_eighths(1, 64, 64, (1, 2))[0]
    first, second = (np.asarray(part) for part in pairs_along_edges(noisy, drawn))
    inner = np.abs(second - first)[0, 1:-1, 1:-1]
    assert (inner == 2).mean() > 0.95
    turned = np.swapaxes(noisy, 1, 2)
    first, second = (np.asarray(part) for part in pairs_along_edges(turned, drawn))
    assert (np.abs(second - first)[0, 1:-1, 1:-1] == 1).mean() > 0.95
    # What is in a cell itself decides nothing.
    other = noisy.copy()
    other[:, 20:22, 30:32] = rng.normal(0, 9, (1, 2, 2, 1))
    again = np.asarray(pairs_along_edges(other, drawn)[0])
    assert again[0, 10, 15] == np.asarray(pairs_along_edges(noisy, drawn)[0])[0, 10, 15]


def test_pairs_along_edges_of_noise_are_independent_and_equally_often(rng):
    noise = rng.normal(0, 1, (1, 512, 512, 1)).astype(np.float32)
    maps = pairs_along_edges(noise, draw_eighths(1, 512, 512, (3, 4))[0])
    one, other = (np.asarray(take_pixels(noise, part)).ravel() for part in maps)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 256
    pairs, counts = np.unique(np.stack(maps, -1).reshape(-1, 2), axis=0, return_counts=True)
    assert {tuple(pair) for pair in pairs} == {tuple(pair) for pair in neighbor_pairs(2).tolist()}
    assert np.abs(counts - 8192).max() < 5 * 8192**0.5


def test_edges_are_of_cells_of_two():
    with pytest.raises(ValueError, match="2 x 2 pixels"):
        draw_eighths(1, 9, 9, (0, 0), k=3)
