"""Laws of the Bayer functions, on NumPy arrays and inside tf.data."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from dng_samples import colour_labels
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.bayer import (
    PATTERNS,
    augment,
    pack,
    pad_to_cells,
    undo_unify,
    unify,
    unpack,
)

R, G, B = map(ord, "RGB")
FLAGS = list(itertools.product([False, True], repeat=3))


def numbered(height, width, dtype=np.uint16):
    """Every pixel its own number."""
    return np.arange(height * width, dtype=dtype).reshape(height, width)


def in_dataset(function, *arrays):
    """Runs a function inside tf.data, where no size is known."""

    def generate():
        yield arrays

    signature = tuple(tf.TensorSpec([None] * a.ndim, a.dtype) for a in map(np.asarray, arrays))
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return next(iter(dataset.map(function))).numpy()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_planes_are_red_two_greens_blue(pattern):
    planes = pack(colour_labels(pattern, 6, 8), pattern)
    assert planes.shape == (3, 4, 4)
    assert (planes == [R, G, G, B]).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_first_green_shares_its_row_with_red(pattern):
    rows = np.repeat(np.arange(6)[:, None], 8, axis=1)
    planes = pack(rows, pattern)
    np.testing.assert_array_equal(planes[..., 0], planes[..., 1])
    np.testing.assert_array_equal(planes[..., 2], planes[..., 3])


@given(
    st.sampled_from(PATTERNS),
    st.integers(2, 9),
    st.integers(2, 9),
    st.sampled_from([(), (3,), (2, 3)]),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_unpack_inverts_pack_for_any_size(pattern, height, width, leading, dtype, seed):
    mosaic = (np.random.default_rng(seed).random((*leading, height, width)) * 255).astype(dtype)
    planes = pack(pad_to_cells(mosaic), pattern)
    again = unpack(planes, pattern, size=(height, width))
    assert planes.dtype == again.dtype == dtype
    np.testing.assert_array_equal(again, mosaic)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_tensors_in_a_dataset_give_what_arrays_give(pattern, dtype, leading):
    mosaic = np.broadcast_to(numbered(5, 7, dtype), (*leading, 5, 7))
    planes = in_dataset(lambda m: pack(pad_to_cells(m), pattern), mosaic)
    np.testing.assert_array_equal(planes, pack(pad_to_cells(mosaic), pattern))
    again = in_dataset(lambda p: unpack(p, pattern, size=(5, 7)), planes)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, mosaic)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_static_shapes_survive(pattern):
    planes = pack(tf.zeros([2, 4, 6]), pattern)
    assert planes.shape == [2, 2, 3, 4]
    assert unpack(planes, pattern).shape == [2, 4, 6]


def test_padding_copies_the_row_before_last():
    mosaic = numbered(5, 7)
    padded = pad_to_cells(mosaic)
    assert padded.shape == (6, 8)
    np.testing.assert_array_equal(padded[5, :7], mosaic[3])
    np.testing.assert_array_equal(padded[:5, 7], mosaic[:, 5])
    np.testing.assert_array_equal(padded[:5, :7], mosaic)
    even = numbered(4, 6)
    np.testing.assert_array_equal(pad_to_cells(even), even)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("target", PATTERNS)
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (6, 7), (3, 4)])
@pytest.mark.parametrize("how", ["crop", "pad"])
def test_unified_mosaics_have_the_target_pattern_and_even_size(pattern, target, size, how):
    unified = unify(colour_labels(pattern, *size), pattern, target, how)
    height, width = unified.shape
    assert height % 2 == width % 2 == 0 and min(height, width) >= 2
    np.testing.assert_array_equal(unified, colour_labels(target, height, width))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("target", PATTERNS)
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_unify_by_padding_can_be_undone(pattern, target, size):
    mosaic = numbered(*size)
    padded = unify(mosaic, pattern, target, how="pad")
    np.testing.assert_array_equal(undo_unify(padded, pattern, size, target), mosaic)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_unify_by_cropping_is_a_window_of_the_mosaic(pattern):
    mosaic = numbered(6, 8)
    top, left = bayer.phase_shift(pattern)
    cropped = unify(mosaic, pattern)
    height, width = cropped.shape
    assert height >= 4 and width >= 6
    np.testing.assert_array_equal(cropped, mosaic[top : top + height, left : left + width])
    for how in ("crop", "pad"):
        result = in_dataset(lambda m: unify(m, pattern, how=how), mosaic)  # noqa: B023
        np.testing.assert_array_equal(result, unify(mosaic, pattern, how=how))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("flags", FLAGS)
def test_augmentation_keeps_the_pattern_and_the_size(pattern, flags):
    augmented = augment(colour_labels(pattern, 8, 8), *flags, pattern)
    np.testing.assert_array_equal(augmented, colour_labels(pattern, 6, 6))
    assert augment(numbered(6, 8), *flags, pattern).shape == ((6, 4) if flags[2] else (4, 6))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_eight_augmentations_are_windows_of_the_eight_symmetries(pattern):
    mosaic, seen = numbered(8, 8), set()
    for rows, cols, transpose in FLAGS:
        turned = mosaic.T if transpose else mosaic
        turned = turned[:: -1 if rows else 1, :: -1 if cols else 1]
        result = augment(mosaic, rows, cols, transpose, pattern)
        top, left = (int(line[0]) for line in np.nonzero(turned == result[0, 0]))
        np.testing.assert_array_equal(result, turned[top : top + 6, left : left + 6])
        seen.add(result.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize("pattern", PATTERNS)
def test_augmentation_of_tensors_equals_that_of_arrays(pattern):
    mosaic = numbered(6, 8)
    dataset = tf.data.Dataset.from_tensor_slices(np.array(FLAGS))
    results = dataset.map(lambda flags: augment(tf.constant(mosaic), *tf.unstack(flags), pattern))
    for flags, result in zip(FLAGS, results, strict=True):
        np.testing.assert_array_equal(result, augment(mosaic, *flags, pattern))


def test_random_augmentation_draws_all_eight_and_depends_on_its_seed_alone():
    mosaic = numbered(8, 8)
    choices = {augment(mosaic, *flags).tobytes() for flags in FLAGS}
    seeds = tf.data.Dataset.range(100).map(lambda index: tf.stack([7, index]))
    drawn = seeds.map(lambda seed: bayer.random_augment(mosaic, seed), num_parallel_calls=2).batch(
        100
    )
    first, second = (next(iter(drawn)).numpy() for _ in range(2))
    assert first.shape == (100, 6, 6)
    np.testing.assert_array_equal(first, second)
    assert {image.tobytes() for image in first} == choices


@pytest.mark.parametrize(
    "call",
    [
        lambda: pack(numbered(4, 4), "RGBG"),
        lambda: unpack(np.zeros((2, 2, 4)), "rggb"),
        lambda: unify(numbered(4, 4), "RGGB", "XTRANS"),
        lambda: augment(numbered(4, 4), False, False, False, "BGRG"),
    ],
)
def test_unknown_patterns_are_refused_by_name(call):
    with pytest.raises(ValueError, match=r"must be one of RGGB, BGGR, GRBG, GBRG\. Received: '"):
        call()


def test_odd_sizes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"complete the cells with `pad_to_cells`.*5 x 8"):
        pack(numbered(5, 8), "RGGB")
    with pytest.raises(tf.errors.InvalidArgumentError, match="pad_to_cells"):
        in_dataset(lambda m: pack(m, "RGGB"), numbered(5, 8))
    with pytest.raises(ValueError, match=r"at least 2 x 2\. Received: 1 x 8"):
        pad_to_cells(numbered(1, 8))
    with pytest.raises(ValueError, match='`how` must be "crop" or "pad"'):
        unify(numbered(4, 4), "RGGB", how="shift")


def test_importing_bayer_loads_neither_rawpy_nor_tensorflow():
    code = (
        "import sys, numpy as np; from n2n_tf.pipelines.raw import bayer\n"
        "bayer.unpack(bayer.pack(np.zeros((4, 4)), 'RGGB'), 'RGGB')\n"
        "print(sorted({'rawpy', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
