"""Laws of the tile geometry, of mirror padding, and of denoising by tiles."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from n2n_tf.denoising import tiling
from n2n_tf.denoising.tiling import Tiling, denoise_tiled, denoised_rows, image_window
from n2n_tf.denoising.tiling import plan_tiles as planned_with
from n2n_tf.networks.padding import reflect_pad_batch
from n2n_tf.networks.unet import HALO, SIZE_MULTIPLE, unet
from n2n_tf.pipelines.padding import reflect_pad, round_up


def plan_tiles(height, width, tile, halo, size_multiple):
    return planned_with(height, width, Tiling((tile, tile), halo, size_multiple))


@st.composite
def plans(draw):
    """Arguments of `plan_tiles` that keep its conditions."""
    multiple = draw(st.sampled_from([1, 2, 8, 32]))
    halo = draw(st.integers(0, 3 * multiple))
    least = round_up(2 * halo + multiple, multiple) // multiple
    tile = multiple * draw(st.integers(least, least + 6))
    height, width = (multiple * draw(st.integers(1, 40)) for _ in range(2))
    return dict(height=height, width=width, tile=tile, halo=halo, size_multiple=multiple)


@given(plans())
def test_every_pixel_is_written_once(plan):
    painted = np.zeros((plan["height"], plan["width"]), int)
    for t in plan_tiles(**plan):
        row, row_end, column, column_end = t.keep
        assert row < row_end and column < column_end
        painted[row:row_end, column:column_end] += 1
    assert (painted == 1).all()


@given(plans())
def test_kept_pixels_lie_a_halo_inside_their_window(plan):
    for t in plan_tiles(**plan):
        row, row_end, column, column_end = t.keep
        for start, end, origin, size, whole in (
            (row, row_end, t.top, t.height, plan["height"]),
            (column, column_end, t.left, t.width, plan["width"]),
        ):
            assert start - origin >= (plan["halo"] if origin > 0 else 0)
            stop = origin + size
            assert stop - end >= (plan["halo"] if stop < whole else 0)


@given(plans())
def test_windows_are_equal_inside_the_image_and_on_the_grid(plan):
    tiles = plan_tiles(**plan)
    assert len({(t.height, t.width) for t in tiles}) == 1
    for t in tiles:
        assert t.height <= plan["height"] and t.width <= plan["width"]
        assert t.height * t.width <= plan["tile"] ** 2
        assert t.height % plan["size_multiple"] == t.width % plan["size_multiple"] == 0
        assert t.top % plan["size_multiple"] == t.left % plan["size_multiple"] == 0
        assert 0 <= t.top <= plan["height"] - t.height
        assert 0 <= t.left <= plan["width"] - t.width


@given(plans())
def test_hardly_any_other_windows_of_as_many_pixels_cover_less(plan):
    """Of any height down to half the tile, and as wide as they may be."""
    tiles = plan_tiles(**plan)
    multiple, tile = plan["size_multiple"], plan["tile"]
    margin = round_up(2 * plan["halo"], multiple)
    least = max(margin + multiple, round_up(tile // 2, multiple))

    def all_of(size, side):
        """What all windows along an axis take of it."""
        return size if side >= size else side * -(-(size - margin) // (side - margin))

    best = []
    for down in {min(least, plan["height"]), *range(least, plan["height"] + 1, multiple)}:
        across = min(plan["width"], tile**2 // down // multiple * multiple)
        if across == plan["width"] or across > margin:
            best.append(all_of(plan["height"], down) * all_of(plan["width"], across))
    assert len(tiles) * tiles[0].height * tiles[0].width <= tiling.AS_WELL * min(best)


def test_windows_of_a_fixed_size_keep_it():
    tiles = planned_with(64, 224, Tiling((192, 192), 16, 32, fixed=True))
    assert {(t.height, t.width) for t in tiles} == {(64, 192)}


def test_an_image_that_fits_has_one_tile():
    assert len(plan_tiles(96, 96, tile=96, halo=40, size_multiple=32)) == 1
    assert len(plan_tiles(96, 128, tile=96, halo=32, size_multiple=32)) == 2


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(height=65), "`height` must be a positive multiple of 32 pixels. Received: height=65"),
        (dict(width=0), "`width` must be a positive multiple of 32 pixels. Received: width=0"),
        (dict(tile=100), "`tile` must be a positive multiple of 32 pixels. Received: tile=100"),
        (dict(halo=40), "tile >= 128. Received: tile=96, halo=40"),
        (dict(halo=33), "tile >= 128. Received: tile=96, halo=33"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong, message):
    plan = dict(height=64, width=160, tile=96, halo=16, size_multiple=32)
    assert len(plan_tiles(**plan)) == 2
    with pytest.raises(ValueError, match=message):
        plan_tiles(**(plan | wrong))


@pytest.fixture(scope="module")
def network():
    """A U-Net whose pixels depend on far ones: weights as at the start of a training."""
    keras.utils.set_random_seed(7)
    model = unet(channels=3, features=2, init_scale=1.0)
    return tf.function(model, [tf.TensorSpec((None, None, None, 3), tf.float32)])


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(3).random((384, 480, 3), np.float32)


def test_tiles_with_the_halo_equal_the_whole_image(network, picture):
    whole = np.asarray(network(picture[None]))[0]
    windows = []

    def watched(window):
        windows.append(window.shape)
        return network(window)

    tiled = denoise_tiled(watched, picture, Tiling((352, 352), HALO, SIZE_MULTIPLE))
    assert set(windows) == {(1, 352, 352, 3)} and len(windows) == 10
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


def test_tiles_without_the_halo_differ(network, picture):
    whole = np.asarray(network(picture[None]))[0]
    tiled = denoise_tiled(network, picture, Tiling((192, 192), 0, SIZE_MULTIPLE))
    assert np.abs(tiled - whole).max() > 1e-2


def test_tiles_off_the_grid_would_differ(network, picture):
    whole = np.asarray(network(picture[None]))[0]
    shifted = np.asarray(network(picture[None, :, 16:464]))[0]
    inside = slice(HALO + 16, -HALO - 16)
    assert np.abs(shifted - whole[:, 16:464])[:, inside].max() > 1e-3


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 2))
def test_identity_gives_every_size_back(height, width, channels):
    image = np.arange(height * width * channels, dtype=np.float32).reshape(height, width, channels)
    same = denoise_tiled(lambda x: x, image, Tiling((24, 24), 5, 8))
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, image)


def test_progress_counts_from_none_to_all():
    told = []
    image = np.zeros((64, 160, 1), np.float32)
    tiling = Tiling((96, 96), 16, 32)
    denoise_tiled(lambda x: x, image, tiling, lambda *counts: told.append(counts))
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("ahead", [True, False])
def test_windows_are_made_ahead_while_the_network_works(monkeypatch, ahead):
    """One window ahead, unless the image is large; the network has one at a time."""
    monkeypatch.setattr(tiling, "AHEAD", 64 * 288 if ahead else 1)
    shape, told = (64, 288, 1), []
    image = np.random.default_rng(0).random(shape, np.float32)

    def window_of(tile):
        told.append(tile.left)
        return image_window(image)(tile)

    def network(windows):
        told.append("network")
        return windows + 1

    rows = denoised_rows(network, shape, window_of, Tiling((96, 96), 16, 32))
    assert [row for row, _ in rows] == [0]
    lefts = [part for part in told if part != "network"]
    assert lefts == sorted(lefts) and told.count("network") == len(lefts) == 3
    assert ahead or told[1::2] == ["network"] * 3
    tiled = denoise_tiled(network, image, Tiling((96, 96), 16, 32))
    np.testing.assert_array_equal(tiled, image + 1)


def test_an_error_of_the_network_ends_the_rows():
    def broken(windows):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        denoise_tiled(broken, np.zeros((64, 224, 1), np.float32), Tiling((96, 96), 16, 32))


def test_a_network_that_changes_the_shape_is_refused():
    image = np.zeros((8, 8, 3), np.float32)
    with pytest.raises(ValueError, match=r"Given: \(8, 8, 3\), returned: \(8, 8, 1\)"):
        denoise_tiled(lambda x: x[..., :1], image, Tiling((8, 8), 0, 8))


sides = st.integers(1, 9)


@given(sides, sides, st.integers(0, 40), st.integers(0, 40))
def test_reflect_pad_is_numpys(height, width, more_height, more_width):
    image = np.arange(height * width * 2).reshape(height, width, 2)
    expected = np.pad(image, ((0, more_height), (0, more_width), (0, 0)), "reflect")
    padded = reflect_pad(image, height + more_height, width + more_width)
    np.testing.assert_array_equal(padded, expected)


@tf.function(input_signature=[tf.TensorSpec((None, None, None, 2)), tf.TensorSpec((), tf.int32)])
def pad_in_a_graph(images, size_multiple):
    return reflect_pad_batch(images, size_multiple)


@given(sides, sides, st.sampled_from([1, 2, 5, 32]))
def test_reflect_pad_batch_is_numpys_in_a_graph_of_unknown_sizes(height, width, multiple):
    images = np.arange(3 * height * width * 2, dtype=np.float32).reshape(3, height, width, 2)
    more = (-height % multiple, -width % multiple)
    expected = np.pad(images, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)), "reflect")
    np.testing.assert_array_equal(pad_in_a_graph(images, multiple), expected)
    np.testing.assert_array_equal(reflect_pad_batch(tf.constant(images), multiple), expected)
