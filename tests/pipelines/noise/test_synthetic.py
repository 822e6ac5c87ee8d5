"""Noise: the grammar, the closed forms of its moments, and one law in training and test."""

import functools
import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.pipelines.noise.synthetic import BLOCK, Noise, add_noise, add_noise_numpy, parse_noise

# ------------------------------------------------------------------------------------ grammar


@pytest.mark.parametrize(
    "text, noise",
    [
        ("none", Noise("none")),
        ("gauss25", Noise("gauss", 25 / 255, 25 / 255)),
        ("gauss5_50", Noise("gauss", 5 / 255, 50 / 255)),
        ("gauss0.5", Noise("gauss", 0.5 / 255, 0.5 / 255)),
        ("poisson30", Noise("poisson", 30, 30)),
        ("poisson5_50", Noise("poisson", 5, 50)),
        ("poisson2.5_1000", Noise("poisson", 2.5, 1000)),
    ],
)
def test_names(text, noise):
    assert parse_noise(text) == noise


def levels():
    return st.decimals("0.000001", "999999", places=6).map(lambda d: f"{d:f}") | st.integers(
        1, 999_999
    ).map(str)


@given(st.sampled_from(["gauss", "poisson"]), levels(), levels())
def test_every_pair_of_positive_levels_has_a_name(kind, a, b):
    low, high = sorted((a, b), key=float)
    scale = 255 if kind == "gauss" else 1
    assert parse_noise(f"{kind}{a}") == Noise(kind, float(a) / scale, float(a) / scale)
    assert parse_noise(f"{kind}{low}_{high}") == Noise(
        kind, float(low) / scale, float(high) / scale
    )
    if float(low) < float(high):
        with pytest.raises(ValueError, match="LOW at most HIGH"):
            parse_noise(f"{kind}{high}_{low}")


@settings(max_examples=150)
@given(
    st.text(max_size=12)
    | st.text("0123456789._+-e \n٣²", max_size=9).map("gauss{}".format)
    | st.text("0123456789._", max_size=9).map("poisson{}".format)
    | st.text("0123456789.,e-", max_size=9).map("raw:{}".format)
)
def test_any_text_is_a_noise_or_a_value_error_that_quotes_it(text):
    try:
        noise = parse_noise(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        if noise.kind in ("gauss", "poisson"):
            assert 0 < noise.low <= noise.high < math.inf
        elif text not in ("none", "raw"):
            assert noise.kind == "raw" and noise.shot >= 0 and noise.read >= 0
            assert 0 < noise.shot + noise.read <= 2


@pytest.mark.parametrize(
    "text",
    ["", "gauss", "Gauss25", "gauss25 ", "gauss25\n", " gauss25", "gauss-25", "gauss+25",
     "gauss1e2", "gauss25_", "gauss_25", "gauss5_25_50", "gauss5-50", "gaussnan", "gaussinf",
     "gauss٣", "gauss.5", "gauss5.", "poisson", "poissonfoo", "none5", "gauss1234567",
     "gausspoisson5"],
)  # fmt: skip
def test_misspelt_names_are_refused_with_the_grammar(text):
    with pytest.raises(ValueError, match=r"Unknown noise .*gaussS, gaussLOW_HIGH .*like gauss25"):
        parse_noise(text)


@pytest.mark.parametrize("text", ["gauss0", "poisson0.0", "gauss0_50", "poisson50_5"])
def test_levels_of_nothing_and_ranges_upside_down_are_refused(text):
    with pytest.raises(ValueError, match=f"{text}.*above 0 and LOW at most HIGH"):
        parse_noise(text)


# ---------------------------------------------------------------------------- the law of noise


@functools.cache
def graph_of(noise):
    any_size = [tf.TensorSpec((None, None, None), tf.float32), tf.TensorSpec((2,), tf.int64)]
    return tf.function(lambda clean, seed: add_noise(clean, noise, seed), input_signature=any_size)


def by_tensorflow(clean, noise, seed):
    return graph_of(noise)(tf.constant(clean), tf.constant([seed, 7], tf.int64)).numpy()


def by_official_stream(clean, noise, seed):
    return add_noise_numpy(clean, noise, np.random.RandomState(seed))


def by_generator(clean, noise, seed):
    return add_noise_numpy(clean, noise, np.random.default_rng(seed))


IMPLEMENTATIONS = pytest.mark.parametrize("add", [by_tensorflow, by_official_stream, by_generator])
FIXED = ["gauss25", "gauss50", "gauss0.5", "poisson30", "poisson5", "poisson0.5", "poisson900"]
RANGES = ["gauss5_50", "poisson5_50"]
BACKGROUNDS = [0.01, 0.25, 1.0, 1.5]


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", FIXED)
def test_moments_are_the_closed_forms(add, name):
    """Mean, variance and third central moment within 5 standard errors."""
    noise = parse_noise(name)
    for seed, x in enumerate(BACKGROUNDS):
        sample = add(np.full((64, 64, 3), x, np.float32), noise, seed).astype(np.float64).ravel()
        n = sample.size
        if noise.kind == "gauss":
            cumulants = [x, noise.low**2, 0, 0, 0, 0]
        else:  # of counts all are equal; each division by the level scales
            cumulants = [x * noise.low / noise.low**k for k in range(1, 7)]
        mean, variance, third, k4, _, k6 = cumulants
        assert abs(sample.mean() - mean) < 5 * math.sqrt(variance / n)
        centred = sample - mean
        m4 = k4 + 3 * variance**2
        m6 = k6 + 15 * k4 * variance + 10 * third**2 + 15 * variance**3
        assert abs((centred**2).mean() - variance) < 5 * math.sqrt((m4 - variance**2) / n)
        assert abs((centred**3).mean() - third) < 5 * math.sqrt((m6 - third**2) / n)


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", ["gauss25", "poisson30", "poisson2"])
def test_the_whole_distribution_is_right(add, name):
    noise, x = parse_noise(name), 0.6
    sample = add(np.full((100, 100, 3), x, np.float32), noise, 3).astype(np.float64).ravel()
    if noise.kind == "gauss":
        assert scipy.stats.kstest(sample, scipy.stats.norm(x, noise.low).cdf).pvalue > 1e-4
        return
    counts = sample * noise.low
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    law = scipy.stats.poisson(x * noise.low)
    low, high = int(law.ppf(1e-3)), int(law.ppf(1 - 1e-3))
    observed = np.bincount(np.clip(np.rint(counts), low, high).astype(int) - low)
    expected = law.pmf(np.arange(low, high + 1))
    expected[0], expected[-1] = law.cdf(low), law.sf(high - 1)
    assert scipy.stats.chisquare(observed, expected * sample.size).pvalue > 1e-4


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", ["gauss25", "poisson30", "poisson3", "gauss5_50"])
def test_pixels_and_channels_are_independent(add, name):
    """What the method assumes of its two neighbours."""
    noisy = add(np.full((120, 120, 3), 0.5, np.float32), parse_noise(name), 11).astype(np.float64)
    z = (noisy - noisy.mean()) / noisy.std()
    pairs = {
        "right": (z[:, 1:], z[:, :-1]),
        "below": (z[1:], z[:-1]),
        "diagonal": (z[1:, 1:], z[:-1, :-1]),
        "two apart": (z[:, 2:], z[:, :-2]),
        "channels": (z[..., 1:], z[..., :-1]),
        "squares": (z[:, 1:] ** 2 - 1, z[:, :-1] ** 2 - 1),
    }
    for pair, (a, b) in pairs.items():
        correlation = np.mean(a * b) / math.sqrt(np.mean(a**2) * np.mean(b**2))
        assert abs(correlation) < 5 / math.sqrt(a.size), pair


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", RANGES)
def test_one_level_per_image_uniform_in_its_range(add, name):
    """The level is recovered exactly enough from each image, and from each channel alone."""
    noise, drawn = parse_noise(name), []
    for seed in range(250):
        clean = np.full((24, 24, 3), 0.5, np.float32)
        noisy = add(clean, noise, seed).astype(np.float64)
        if noise.kind == "poisson":  # counts are integers: the smallest step is 1 / level
            found = [1 / np.diff(np.unique(noisy[..., c])).min() for c in range(3)]
            np.testing.assert_allclose(found, found[0], rtol=1e-4)
        else:
            found = [noisy[..., c].std() for c in range(3)]
            assert max(found) / min(found) < 1.25  # 5 sigma of the ratio of two such estimates
        drawn.append(np.mean(found))
    low, high = noise.low, noise.high
    assert low * 0.9 < min(drawn) < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < max(drawn) < high * 1.1
    assert scipy.stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-4


def test_the_gaussian_level_multiplies_one_field():
    clean = np.zeros((16, 16, 3), np.float32)
    for seed in range(20):
        field = by_tensorflow(clean, Noise("gauss", 1.0, 1.0), seed)
        ratio = by_tensorflow(clean, parse_noise("gauss5_50"), seed) / field
        np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-5)
        assert 5 / 255 <= ratio[0, 0, 0] < 50 / 255


@IMPLEMENTATIONS
def test_nothing_is_clipped(add):
    black, white = np.zeros((50, 50, 3), np.float32), np.ones((50, 50, 3), np.float32)
    for share in (
        np.mean(add(black, parse_noise("gauss25"), 1) < 0),
        np.mean(add(white, parse_noise("gauss25"), 2) > 1),
    ):
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(7500)
    bright = np.mean(add(white, parse_noise("poisson30"), 3) > 1)
    assert abs(bright - scipy.stats.poisson.sf(30, 30)) < 5 * 0.5 / math.sqrt(7500)


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", ["poisson30", "poisson5_50"])
@pytest.mark.parametrize("value", [0.0, -0.0, -0.3, -1e6])
def test_no_light_gives_no_photons(add, name, value):
    noisy = add(np.full((8, 8, 3), value, np.float32), parse_noise(name), 5)
    assert noisy.dtype == np.float32
    np.testing.assert_array_equal(noisy, 0)


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", ["none", *FIXED, *RANGES])
@pytest.mark.parametrize("shape", [(9, 7, 3), (1, 1, 1), (6, 4, 4)])
def test_type_shape_and_input_are_kept(add, rng, name, shape):
    clean = rng.random(shape).astype(np.float32)
    before = clean.copy()
    noisy = add(clean, parse_noise(name), 5)
    assert noisy.dtype == np.float32 and noisy.shape == shape
    np.testing.assert_array_equal(clean, before)
    assert np.array_equal(noisy, clean) == (name == "none")


# ------------------------------------------------------------------------------ TensorFlow only


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("gauss25", tf.int32),
        ("gauss5_50", tf.int64),
        ("poisson30", tf.int64),
        ("poisson5_50", tf.int32),
    ],
)
def test_noise_is_a_function_of_the_seed_alone(rng, name, dtype):
    """The same eagerly, in a graph, and whatever was drawn before; another for another seed."""
    noise = parse_noise(name)
    clean = tf.constant(rng.random((20, 18, 3)), tf.float32)
    known_size = tf.function(lambda image, seed: add_noise(image, noise, seed))
    seeds = [tf.constant(s, dtype) for s in ([0, 0], [0, 1], [1, 0], [-5, 2**31 - 1])]
    first = [add_noise(clean, noise, s).numpy() for s in seeds]
    tf.random.normal((5,))
    for seed, noisy in zip(seeds, first, strict=True):
        np.testing.assert_array_equal(add_noise(clean, noise, seed), noisy)
        np.testing.assert_array_equal(known_size(clean, seed), noisy)
        np.testing.assert_array_equal(graph_of(noise)(clean, tf.cast(seed, tf.int64)), noisy)
    for i in range(4):
        for j in range(i):
            a, b = first[i] - clean.numpy(), first[j] - clean.numpy()
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / math.sqrt(a.size)


@pytest.mark.parametrize(
    "name", ["gauss5_50", "poisson5_50", "raw", "poisson_gaussian:0.01,0.0001"]
)
@settings(max_examples=20)
@given(st.tuples(*[st.integers(0, 149)] * 2), st.tuples(*[st.integers(0, 139)] * 2))
def test_a_crop_has_the_noise_of_its_place_in_the_whole_image(name, rows, columns):
    """To the bit, wherever the crop lies: within a block, on a border, over several."""
    whole, noisy = whole_and_noisy(name)
    (top, bottom), (left, right) = sorted(rows), sorted(columns)
    crop = tf.constant(whole[top : bottom + 1, left : right + 1])
    ours = placed_graph_of(parse_noise(name))(crop, tf.constant([5, 7], tf.int64), top, left)
    np.testing.assert_array_equal(ours, noisy[top : bottom + 1, left : right + 1])


@functools.cache
def whole_and_noisy(name):
    """Of 3 x 3 blocks, the last ones cut."""
    whole = np.random.default_rng(3).random((150, 140, 2), np.float32)
    return whole, by_tensorflow(whole, parse_noise(name), 5)


@functools.cache
def placed_graph_of(noise):
    scalar = tf.TensorSpec((), tf.int32)
    seed = tf.TensorSpec((2,), tf.int64)
    any_size = [tf.TensorSpec((None, None, None), tf.float32), seed, scalar, scalar]
    return tf.function(
        lambda clean, seed, top, left: add_noise(clean, noise, seed, top, left),
        input_signature=any_size,
    )


@pytest.mark.parametrize("name", ["gauss25", "poisson30"])
def test_the_blocks_of_a_field_are_unrelated_and_have_no_seams(name):
    field = by_tensorflow(np.full((6 * BLOCK, 6 * BLOCK, 1), 0.5, np.float32), parse_noise(name), 2)
    z = (field[..., 0].astype(np.float64) - field.mean()) / field.std()
    blocks = z.reshape(6, BLOCK, 6, BLOCK).swapaxes(1, 2).reshape(36, BLOCK**2)
    correlation = blocks @ blocks.T / BLOCK**2
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5 / BLOCK
    for seams in (z, z.T):  # the last row of each block beside the first of the next
        pairs = seams[BLOCK - 1 : -1 : BLOCK] * seams[BLOCK::BLOCK]
        assert abs(pairs.mean()) < 5 / math.sqrt(pairs.size)


def test_far_away_places_go():
    """A strip at the far corner of the largest image that is read."""
    noise, seed = parse_noise("gauss25"), tf.constant([5, 7], tf.int64)
    clean = tf.zeros((3, 70, 1))
    seen = [
        placed_graph_of(noise)(clean, seed, top, left).numpy().tobytes()
        for top, left in [(0, 0), (399_999_990, 0), (0, 2_000_000), (60_000, 6_600)]
    ]
    assert len(set(seen)) == 4


def test_gaussian_noise_compiles_under_xla_to_the_same_law():
    """Not to the same field: XLA turns the random bits into floats in its own way."""
    noise = parse_noise("gauss5_50")
    compiled = tf.function(lambda x, seed: add_noise(x, noise, seed), jit_compile=True)
    field = compiled(tf.zeros((100, 100, 3)), tf.constant([3, 4])).numpy().ravel()
    assert noise.low * 0.98 < field.std() < noise.high * 1.02
    assert scipy.stats.kstest(field / field.std(), "norm").pvalue > 1e-4


# ------------------------------------------------------------------------ the official protocol


@pytest.mark.parametrize("name", ["gauss25", "gauss5_50", "poisson30", "poisson5_50"])
def test_one_stream_through_several_images_equals_the_official_loop(rng, name):
    """Order, number and type of the draws, written out again as the paper's evaluation has them."""
    images = [rng.random(s).astype(np.float32) for s in ((9, 7, 3), (4, 12, 3), (5, 5, 1))]
    kind, *numbers = name.replace("gauss", "gauss_").replace("poisson", "poisson_").split("_")
    numbers = [float(n) / (255 if kind == "gauss" else 1) for n in numbers]
    np.random.seed(101)
    official = []
    for x in images:
        level = numbers[0]
        if len(numbers) == 2:
            level = np.random.uniform(low=numbers[0], high=numbers[1], size=(1, 1, 1))
        if kind == "gauss":
            y = np.array(x + np.random.normal(size=x.shape) * level, dtype=np.float32)
        else:
            y = np.array(np.random.poisson(level * x) / level, dtype=np.float32)
        official.append(y)
    stream = np.random.RandomState(101)
    for x, expected in zip(images, official, strict=True):
        noisy = add_noise_numpy(x, parse_noise(name), stream)
        assert noisy.dtype == np.float32
        np.testing.assert_array_equal(noisy, expected)
    assert stream.uniform() == np.random.uniform()  # and not one number more was drawn


def test_none_draws_nothing():
    stream = np.random.RandomState(101)
    clean = np.ones((4, 4, 3), np.float32)
    assert add_noise_numpy(clean, parse_noise("none"), stream) is clean
    assert stream.uniform() == np.random.RandomState(101).uniform()
