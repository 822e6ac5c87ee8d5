"""Laws of the synthetic camera, each step against its own formula in float64 NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.pipelines.raw import bayer, unprocess

SEED = [7, 11]


def eagerly(function, *images):
    """Calls a function outside any graph."""
    return tf.nest.map_structure(lambda t: t.numpy(), function(*map(tf.constant, images)))


def in_tf_data(function, *images):
    """Calls the same function in a tf.data map that knows neither height nor width."""
    unknown = tuple(tf.TensorSpec([None] * image.ndim, image.dtype) for image in images)
    data = tf.data.Dataset.from_generator(lambda: iter([images]), output_signature=unknown)
    return next(data.map(function).as_numpy_iterator())


both_ways = pytest.mark.parametrize("run", [eagerly, in_tf_data])


def photograph(height=24, width=32, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def numpy_camera(camera):
    return [np.asarray(part, np.float64) for part in camera]


def numpy_unprocess(rgb, rgb2cam, gains):
    """The forward steps in float64; the tone curve is inverted by bisection, not by arcsine."""
    rgb = np.asarray(rgb, np.float64)
    low, high = np.zeros_like(rgb), np.ones_like(rgb)
    for _ in range(60):
        middle = (low + high) / 2
        below = 3 * middle**2 - 2 * middle**3 < rgb
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    linear = np.exp(2.2 * np.log(np.maximum(low, 1e-8)))
    colour = np.einsum("ij,...j->...i", rgb2cam, linear)
    fade = np.clip((colour.mean(-1, keepdims=True) - 0.9) / 0.1, 0, None) ** 2
    factor = np.maximum(fade + (1 - fade) / gains, 1 / gains)
    return colour, np.clip(colour * factor, 0, 1)


# Cameras


def test_a_camera_keeps_grey_and_its_matrices_are_inverse():
    for index in range(20):
        rgb2cam, cam2rgb, gains = numpy_camera(unprocess.draw_camera([index, 3]))
        np.testing.assert_allclose(rgb2cam.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(rgb2cam @ cam2rgb, np.eye(3), atol=1e-5)
        assert 1.9 <= gains[0] / gains[1] <= 2.4 and 1.5 <= gains[2] / gains[1] <= 1.9


def test_camera_matrix_is_a_mixture_of_the_four_published_ones():
    rgb2xyz = np.array(unprocess.RGB_TO_XYZ)
    published = np.array([np.array(m) @ rgb2xyz for m in unprocess.XYZ_TO_CAMERAS])
    for index in range(10):
        rgb2cam = numpy_camera(unprocess.draw_camera([index, 5]))[0]
        # A mixture scaled row by row: w_k >= 0 and s_i > 0 with sum_k w_k M_k[i] = s_i rgb2cam[i].
        unknowns = np.zeros((10, 7))
        for row in range(3):
            unknowns[3 * row : 3 * row + 3, :4] = published[:, row].T
            unknowns[3 * row : 3 * row + 3, 4 + row] = -rgb2cam[row]
        unknowns[9, :4] = 1
        solution, *_ = np.linalg.lstsq(unknowns, np.eye(10)[9], rcond=None)
        np.testing.assert_allclose(unknowns @ solution, np.eye(10)[9], atol=1e-5)
        assert (solution > -1e-4).all()


def test_exposure_gains_follow_the_published_distribution():
    draw = tf.data.Dataset.range(1200).map(lambda i: unprocess.draw_camera([i, 0]).gains)
    gains = np.array(list(draw.as_numpy_iterator()), np.float64)
    exposure = 1 / gains[:, 1]
    assert abs(exposure.mean() - 0.8) < 5 * 0.1 / np.sqrt(1200)
    assert abs(exposure.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * 1200)
    for channel, low, high in ((0, 1.9, 2.4), (2, 1.5, 1.9)):
        balance = gains[:, channel] / gains[:, 1]
        assert balance.min() >= low - 1e-5 and balance.max() <= high + 1e-5
        assert abs(balance.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * 1200)


def test_same_seed_same_camera_other_seed_other_camera():
    first, again, other = (unprocess.draw_camera(seed) for seed in (SEED, SEED, [7, 12]))
    np.testing.assert_array_equal(first.rgb2cam, again.rgb2cam)
    assert not np.allclose(first.rgb2cam, other.rgb2cam)


# Steps and round trip


@both_ways
@pytest.mark.parametrize("index", range(3))
def test_unprocess_agrees_with_the_float64_reference(run, index):
    camera = unprocess.draw_camera([index, 1])
    rgb = photograph(seed=index)
    rgb[0, :5] = [[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    rgb2cam, _, gains = numpy_camera(camera)
    expected = numpy_unprocess(rgb, rgb2cam, gains)[1]
    result = run(lambda x: unprocess.unprocess(x, camera), rgb)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=2e-6)


@both_ways
def test_process_agrees_with_the_float64_reference(run):
    camera = unprocess.draw_camera(SEED)
    _, cam2rgb, gains = numpy_camera(camera)
    linear = photograph(seed=3) * 1.2 - 0.1  # noise leaves the range
    colour = np.einsum("ij,...j->...i", cam2rgb, np.clip(linear * gains, 0, 1)).clip(1e-8, 1)
    tone = colour ** (1 / 2.2)
    result = run(lambda x: unprocess.process(x, camera), linear)
    np.testing.assert_allclose(result, 3 * tone**2 - 2 * tone**3, atol=1e-4)


@both_ways
@pytest.mark.parametrize("index", range(4))
def test_round_trip_restores_all_that_was_not_lost(run, index):
    camera = unprocess.draw_camera([index, 9])
    rgb = np.concatenate([photograph(seed=index), photograph(seed=index) ** 4], axis=0)
    rgb2cam, _, gains = numpy_camera(camera)
    colour, _ = numpy_unprocess(rgb, rgb2cam, gains)
    kept = (colour.mean(-1) < 0.899) & (colour.min(-1) >= 0)
    kept &= (colour.max(-1) <= 1) & ((colour / gains).max(-1) <= 1)
    assert kept.mean() > 0.95
    result = run(lambda x: unprocess.process(unprocess.unprocess(x, camera), camera), rgb)
    assert np.abs(result - rgb)[kept].max() < 1e-5


def test_highlights_come_back_brighter_and_white_as_white():
    camera = unprocess.draw_camera(SEED)
    grey = np.linspace(0, 1, 101, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    linear = unprocess.unprocess(grey, camera).numpy()
    result = unprocess.process(linear, camera).numpy()
    assert (np.diff(linear, axis=0) > 0).all()  # brighter stays brighter on the sensor
    assert (result >= grey - 1e-5).all()
    np.testing.assert_allclose(linear[-1], 1, atol=1e-6)
    np.testing.assert_allclose(result[-1], 1, atol=1e-6)  # no violet


def test_integer_or_greyscale_images_are_refused():
    camera = unprocess.draw_camera(SEED)
    with pytest.raises(ValueError, match=r"divide 8-bit values by 255\. Received: dtype=uint8"):
        unprocess.unprocess(np.zeros((4, 4, 3), np.uint8), camera)
    with pytest.raises(ValueError, match="3 channels, last"):
        unprocess.unprocess(np.zeros((4, 4, 1), np.float32), camera)


# Mosaic


@both_ways
@pytest.mark.parametrize("pattern", bayer.PATTERNS)
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 2)])
def test_mosaic_keeps_the_colour_under_each_filter(run, pattern, size):
    rgb = photograph(*size)
    result = run(lambda x: unprocess.mosaic(x, pattern), rgb)
    assert result.shape == size
    for row in range(size[0]):
        for column in range(size[1]):
            letter = pattern[2 * (row % 2) + column % 2]
            assert result[row, column] == rgb[row, column, "RGB".index(letter)]


def test_mosaic_refuses_an_unknown_pattern():
    with pytest.raises(ValueError, match="'RGBG'"):
        unprocess.mosaic(photograph(), "RGBG")


@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_mosaic_and_pack_agree_on_where_the_colours_are(pattern):
    flat = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (2, 6, 8, 3))
    planes = bayer.pack(unprocess.mosaic(flat, pattern), pattern)
    np.testing.assert_array_equal(
        planes, np.broadcast_to(np.float32([0.2, 0.5, 0.5, 0.9]), (2, 3, 4, 4))
    )


# Noise


def test_noise_levels_follow_the_published_line():
    draw = tf.data.Dataset.range(1200).map(lambda i: unprocess.draw_noise_level([i, 4]))
    shot, read = np.log(np.array(list(draw.as_numpy_iterator()), np.float64)).T
    low, high = np.log(1e-4), np.log(0.012)
    assert shot.min() >= low - 1e-5 and shot.max() <= high + 1e-5
    assert abs(shot.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(12 * 1200)
    residual = read - (2.18 * shot + 1.20)
    assert abs(residual.mean()) < 5 * 0.26 / np.sqrt(1200)
    assert abs(residual.std() - 0.26) < 5 * 0.26 / np.sqrt(2 * 1200)
    assert abs(np.corrcoef(residual, shot)[0, 1]) < 5 / np.sqrt(1200)


def test_noise_level_bounds_are_checked():
    with pytest.raises(ValueError, match="low=1, high=0"):
        unprocess.draw_noise_level(SEED, 1, 0)


def central_moments(shot, read, x, poisson):
    """Closed forms of the second, third and fourth central moments of the noise."""
    variance = shot * x + read
    third = shot**2 * x if poisson else 0.0
    fourth = 3 * variance**2 + (shot**3 * x if poisson else 0.0)
    return variance, third, fourth


@both_ways
@pytest.mark.parametrize("name", ["add_shot_read_noise", "add_poisson_gaussian_noise"])
@pytest.mark.parametrize("shot, read", [(0.012, 2e-4), (0.05, 1e-5), (1e-4, 6e-9)])
@pytest.mark.parametrize("x", [0.0, 0.02, 0.6])
def test_noise_has_the_moments_of_its_formula(run, name, shot, read, x):
    count = 200_000
    clean = np.full((400, count // 400), x, np.float32)
    noisy = run(lambda c: getattr(unprocess, name)(c, shot, read, SEED), clean)
    error = noisy.astype(np.float64) - x
    variance, third, fourth = central_moments(shot, read, x, name == "add_poisson_gaussian_noise")
    assert abs(error.mean()) < 5 * np.sqrt(variance / count)
    assert abs((error**2).mean() - variance) < 5 * np.sqrt((fourth - variance**2) / count)
    sixth = 15 * variance**3 + 10 * third**2 + 15 * (fourth - 3 * variance**2) * variance
    assert abs((error**3).mean() - third) < 6 * np.sqrt(sixth / count)


@pytest.mark.parametrize("name", ["add_shot_read_noise", "add_poisson_gaussian_noise"])
def test_noise_is_white_and_fixed_by_its_seed(name):
    add_noise, clean = getattr(unprocess, name), np.full((300, 300), 0.3, np.float32)
    noisy = add_noise(clean, 0.01, 1e-4, SEED).numpy()
    np.testing.assert_array_equal(noisy, add_noise(clean, 0.01, 1e-4, SEED))
    error = (noisy - 0.3) / noisy.std()
    for shift in ((0, 1), (1, 0), (1, 1), (0, 2)):
        assert abs((error * np.roll(error, shift, (0, 1))).mean()) < 5 / 300
    other = (add_noise(clean, 0.01, 1e-4, [7, 12]).numpy() - 0.3) / noisy.std()
    assert abs((error * other).mean()) < 5 / 300


def test_poisson_noise_without_read_noise_is_whole_photons():
    noisy = unprocess.add_poisson_gaussian_noise(
        np.full((64, 64), 0.1, np.float32), 0.02, 0.0, SEED
    )
    photons = noisy.numpy() / 0.02
    np.testing.assert_allclose(photons, np.round(photons), atol=1e-4)
    assert len(np.unique(np.round(photons))) > 5


@pytest.mark.parametrize("name", ["add_shot_read_noise", "add_poisson_gaussian_noise"])
def test_noise_keeps_negatives_and_takes_one_level_per_plane(name):
    add_noise = getattr(unprocess, name)
    clean = np.zeros((200, 200, 4), np.float32)
    shot, read = np.float32([0.01] * 4), np.float32([1e-6, 1e-4, 1e-3, 1e-2])
    noisy = add_noise(clean, shot, read, SEED).numpy()
    assert (noisy < 0).mean() > 0.45
    np.testing.assert_allclose(noisy.std(axis=(0, 1)), np.sqrt(read), rtol=0.03)
    below = add_noise(np.full((4, 4), -0.5, np.float32), 0.01, 1e-8, SEED).numpy()
    assert np.isfinite(below).all()


def test_poisson_noise_refuses_a_shot_of_zero():
    with pytest.raises(ValueError, match="shot=0"):
        unprocess.add_poisson_gaussian_noise(np.zeros((2, 2), np.float32), 0, 1e-4, SEED)


# Whole examples


@both_ways
@pytest.mark.parametrize("kind", ["of 8 bits", "of more", "beyond 0 and 1"])
def test_an_example_is_packed_raw_of_the_photograph(run, kind):
    rgb = photograph(24, 32)
    if kind == "of 8 bits":
        rgb = np.rint(255 * rgb).astype(np.float32) / np.float32(255)
    if kind == "beyond 0 and 1":
        rgb = 1.2 * rgb - 0.1
    clean = run(lambda x: unprocess.raw_planes_of_photo(x, SEED), rgb)
    camera_seed = tf.random.fold_in(SEED, 2**30, alg="philox")
    linear = unprocess.unprocess(rgb, unprocess.draw_camera(camera_seed)).numpy()
    expected = [
        linear[::2, ::2, 0],
        linear[::2, 1::2, 1],
        linear[1::2, ::2, 1],
        linear[1::2, 1::2, 2],
    ]
    np.testing.assert_allclose(clean, np.stack(expected, axis=-1), rtol=0, atol=5e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_seed_gives_a_usable_example(first, second):
    clean = unprocess.raw_planes_of_photo(photograph(4, 4), [first, second]).numpy()
    again = unprocess.raw_planes_of_photo(photograph(4, 4), [first, second + 1]).numpy()
    assert clean.min() >= 0 and clean.max() <= 1 and not np.array_equal(clean, again)
