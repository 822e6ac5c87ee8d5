"""Training batches: one noise per pixel for ever, every image once, exact continuation.

The images of `Coordinates` hold the row, the column and the number of the image at each pixel, so
what a crop shows can be read off its pixels.
"""

import functools
import itertools
import time

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.noise.synthetic import add_noise, parse_noise
from n2n_tf.pipelines.training.batches import (
    crop_window,
    epoch_order,
    frozen_seed,
    mirror,
    random_flip,
    steps_per_epoch,
    training_batches,
)

SIZES = {
    "a.png": (13, 12),
    "b.png": (12, 17),
    "c/d.png": (15, 14),
    "e.png": (12, 12),
    "f.png": (5, 19),  # smaller than a crop
}
PATCH = 12


class Coordinates:
    """Images like those of an `ImageFolder`: (row, column, number of the image) / scale."""

    channels = 3

    def __init__(self, names=tuple(SIZES), delay=0.0, scale=1.0):
        self.names, self.delay, self.scale = list(names), delay, scale

    def __len__(self):
        return len(self.names)

    @property
    def sizes(self):
        return [SIZES[name] for name in self.names]

    def crop(self, index, top, left, height, width):
        if self.delay:  # later images are ready first
            time.sleep(self.delay * (len(self) - index))
        return self.load(index)[top : top + height, left : left + width]

    def load(self, index):
        height, width = SIZES[self.names[index]]
        image = np.empty((height, width, 3), np.float32)
        image[..., 0], image[..., 1] = np.ogrid[:height, :width]
        image[..., 2] = list(SIZES).index(self.names[index])
        return image / np.float32(self.scale)


def batches(count, images=None, noise="none", frozen=True, options=None, **settings):
    """float32 [count, batch_size, PATCH, PATCH, 3]"""
    settings = {"patch_size": PATCH, "batch_size": 2, "seed": 5} | settings
    dataset = training_batches(
        images or Coordinates(), parse_noise(noise), frozen=frozen, **settings
    )
    if options:
        dataset = dataset.with_options(options)
    return np.stack(list(dataset.take(count).as_numpy_iterator()))


@functools.cache
def clean_batches(count, **settings):
    return batches(count, **settings)


def threads(number):
    options = tf.data.Options()
    options.threading.private_threadpool_size = number
    return options


def shown(crops):
    """The number of the image on each of the noise-free crops."""
    numbers = crops.reshape(-1, PATCH * PATCH, 3)[..., 2]
    assert (numbers == numbers[:, :1]).all()
    return numbers[:, 0].astype(int)


def by_pixel(clean, noisy):
    """{(image, row, column, channel): set of the values seen there}"""
    seen = {}
    for place, values in zip(clean.reshape(-1, 3).astype(int), noisy.reshape(-1, 3), strict=True):
        for channel, value in enumerate(values):
            seen.setdefault((place[2], place[0], place[1], channel), set()).add(float(value))
    return seen


# ------------------------------------------------------------------------------- frozen noise


@pytest.mark.parametrize(
    "noise, augment",
    [("gauss5_50", True), ("poisson5_50", True), ("poisson30", False)],
)
def test_frozen_noise_gives_a_pixel_one_value_for_ever(noise, augment):
    """Across crops, symmetries and epochs; and it is the field of the whole image."""
    images = Coordinates()
    settings = {"augment": augment, "epoch_steps": 5}  # 2 rounds of the 5 images
    clean = clean_batches(80, **settings)
    noisy = batches(80, noise=noise, **settings)  # the same crops: the seed is the same
    seen = by_pixel(clean, noisy)
    assert {len(values) for values in seen.values()} == {1}
    fields = [
        add_noise(images.load(i), parse_noise(noise), frozen_seed(5, name)).numpy()
        for i, name in enumerate(images.names)
    ]
    assert len(seen) == sum(field.size for field in fields)  # every pixel was seen, corners too
    for (image, row, column, channel), values in seen.items():
        (value,) = values
        # A graph may divide by a constant level as a multiplication: the last bit.
        assert value == pytest.approx(fields[image][row, column, channel], rel=2e-7, abs=1e-9)


def test_frozen_noise_does_not_depend_on_parallelism_or_on_who_is_ready_first(monkeypatch):
    settings = {"noise": "gauss5_50", "augment": True}
    module = "n2n_tf.pipelines.training.batches"
    monkeypatch.setattr(f"{module}.available_processors", lambda: 1)
    reference = batches(12, options=threads(1), **settings)
    monkeypatch.setattr(f"{module}.available_processors", lambda: 8)
    parallel = batches(12, Coordinates(delay=0.02), options=threads(8), **settings)
    np.testing.assert_array_equal(parallel, reference)


def test_other_files_in_the_folder_change_no_image_s_noise():
    everything = list(SIZES)
    few = ["c/d.png", "a.png"]  # other numbers, another order, other neighbours
    first, second = (
        by_pixel(
            batches(30, Coordinates(names)),
            batches(30, Coordinates(names), noise="gauss5_50"),
        )
        for names in (everything, few)
    )
    assert {place[0] for place in second} == {0, 2}
    shared = first.keys() & second.keys()
    assert len(shared) > 0.98 * 3 * (13 * 12 + 15 * 14)  # nearly every pixel was seen by both
    assert all(first[place] == second[place] for place in shared)


def test_frozen_fields_of_different_images_and_seeds_are_unrelated():
    names = ["a.png", "b.png", "a/b.png", "A.png", "ä.png", "caf\udce9.png"]
    fields = {
        (seed, name): add_noise(
            tf.zeros((40, 40, 3)), parse_noise("gauss25"), frozen_seed(seed, name)
        )
        for seed, name in itertools.product((0, 1, -1, 10), names)
    }
    z = np.stack([f.numpy().ravel() / (25 / 255) for f in fields.values()]).astype(np.float64)
    correlation = z @ z.T / z.shape[1]
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5 / np.sqrt(z.shape[1])


def test_frozen_seeds_are_fixed_for_ever():
    """Written down: another release must not give the images of a running project other noise."""
    digest = bytes.fromhex("a63e191b0c0bad14747839fa99b66cde")  # printf 7/c/ä.png | sha256sum
    np.testing.assert_array_equal(frozen_seed(7, "c/ä.png"), np.frombuffer(digest, "<i8"))
    assert frozen_seed(1, "2/a.png").tolist() != frozen_seed(12, "a.png").tolist()


# -------------------------------------------------------------------------------- fresh noise


def test_fresh_noise_is_another_each_time():
    """The 12 x 12 image has one crop only: whatever differs between its samples is noise."""
    images = Coordinates(["e.png"], scale=20)
    clean = batches(60, images)
    noisy = batches(60, images, noise="poisson30", frozen=False)
    assert (clean == clean[0, 0]).all()
    z = (noisy - clean).reshape(120, -1)[:, clean[0, 0].ravel() > 0]  # darkness has no photons
    z = z.astype(np.float64) / z.std(axis=0)
    correlation = z @ z.T / z.shape[1]
    assert abs(correlation[~np.eye(120, dtype=bool)]).max() < 6 / np.sqrt(z.shape[1])
    assert len(np.unique(noisy.reshape(120, -1), axis=0)) == 120


def test_fresh_noise_has_the_crops_of_the_noise_free_batches():
    settings = {"augment": True, "epoch_steps": 5}
    clean = clean_batches(80, **settings)[:10]
    noisy = batches(10, noise="gauss10", frozen=False, **settings)
    np.testing.assert_array_equal(np.rint(noisy), clean)  # sigma is 0.04 of a coordinate
    assert 0.03 < (noisy - clean).std() < 0.05


# ------------------------------------------------------------------------- order of the images


@pytest.mark.parametrize(
    "batch, crops, expected", [(1, 1, 5), (2, 1, 2), (5, 1, 1), (8, 1, 1), (2, 3, 7), (4, 10, 12)]
)
def test_steps_per_epoch_drop_what_is_left_over(batch, crops, expected):
    assert steps_per_epoch(5, batch, crops) == expected


@pytest.mark.parametrize("batch_size", [2, 5])
def test_no_image_comes_twice_in_an_epoch(batch_size):
    steps = steps_per_epoch(5, batch_size)
    numbers = shown(batches(8 * steps, batch_size=batch_size)).reshape(8, -1)
    for epoch in numbers:
        assert len(set(epoch)) == steps * batch_size
    if steps * batch_size < 5:  # those left over are others each time
        assert set(numbers.ravel()) == set(range(5))


@pytest.mark.parametrize("batch_size, crops", [(2, 3), (7, 1)])
def test_with_several_crops_per_image_all_come_before_any_comes_again(batch_size, crops):
    steps = steps_per_epoch(5, batch_size, crops)
    numbers = shown(batches(4 * steps, batch_size=batch_size, epoch_steps=steps)).reshape(4, -1)
    for epoch in numbers:
        for start in range(0, len(epoch), 5):
            one_round = epoch[start : start + 5]
            assert len(set(one_round)) == len(one_round)
        counts = np.bincount(epoch, minlength=5)
        assert counts.max() - counts.min() <= 1


def orders(images, epochs, seed, epoch_samples=None):
    """int [epochs, epoch_samples]"""
    order = tf.function(lambda epoch: epoch_order(epoch, images, epoch_samples or images, seed))
    rows = tf.data.Dataset.range(epochs).map(order).batch(epochs)
    return next(rows.as_numpy_iterator())


@pytest.mark.parametrize("images", [1, 2, 4])
def test_all_orders_are_equally_likely(images):
    drawn = orders(images, 2400, seed=3)
    possible = list(itertools.permutations(range(images)))
    counts = [np.all(drawn == order, axis=1).sum() for order in possible]
    assert sum(counts) == 2400
    assert images == 1 or scipy.stats.chisquare(counts).pvalue > 1e-4


def test_every_image_is_equally_often_at_every_place_and_after_every_other():
    drawn = orders(12, 1500, seed=1)
    assert (np.sort(drawn, axis=1) == np.arange(12)).all()
    places = np.stack([np.bincount(column, minlength=12) for column in drawn.T])
    assert scipy.stats.chisquare(places.ravel()).pvalue > 1e-4
    pairs = np.bincount((12 * drawn[:, :-1] + drawn[:, 1:]).ravel(), minlength=144)
    pairs = pairs.reshape(12, 12)[~np.eye(12, dtype=bool)]
    assert scipy.stats.chisquare(pairs).pvalue > 1e-4


def test_no_order_comes_again_in_another_round_epoch_or_seed():
    """Of 40! orders. (A shuffle with a short key would repeat some.)"""
    seeds = (0, 1, -1, 2**32, 2**40)  # more than 32 bits count
    rounds = np.concatenate([orders(40, 400, seed, 80).reshape(-1, 40) for seed in seeds])
    assert len(np.unique(rounds, axis=0)) == len(seeds) * 400 * 2


# ------------------------------------------------------------------- repetition, continuation


@pytest.mark.parametrize(
    "noise, frozen, start",
    [("gauss5_50", True, 7), ("poisson5_50", False, 12)],  # within an epoch, between two
)
def test_a_start_at_any_step_continues_to_the_bit(noise, frozen, start):
    settings = {"noise": noise, "frozen": frozen, "augment": True, "epoch_steps": 4}
    whole = batches(20, **settings)
    rest = batches(20 - start, start_step=start, **settings)
    np.testing.assert_array_equal(rest, whole[start:])


def test_a_start_far_on_costs_nothing():
    """The batches left out would take some hundred thousand years."""
    assert batches(1, start_step=10**15).shape == (1, 2, PATCH, PATCH, 3)


def test_a_seed_gives_the_same_batches_in_every_pipeline_and_other_seeds_others():
    settings = {"noise": "gauss25", "frozen": False, "augment": True}
    first = batches(10, seed=1, **settings)
    tf.random.set_seed(99)  # no state of TensorFlow's or NumPy's plays a part
    np.random.seed(99)
    np.testing.assert_array_equal(batches(10, seed=1, **settings), first)
    other = batches(10, seed=2**32 + 1, **settings)  # more than 32 bits count
    assert (shown(np.rint(other)) != shown(np.rint(first))).any()
    assert (other == first).mean() < 0.01


def test_the_batches_are_not_tuned_while_they_run():
    # tf.data's tuning thread wakes within a minute; until then the end of a training waits for it.
    assert (
        training_batches(Coordinates(), parse_noise("none"), frozen=True).options().autotune.enabled
        is False
    )


def test_the_batches_have_a_fixed_shape_never_end_and_begin_again():
    dataset = training_batches(
        Coordinates(), parse_noise("gauss25"), frozen=False, patch_size=PATCH, batch_size=2
    )
    assert dataset.element_spec == tf.TensorSpec((2, PATCH, PATCH, 3), tf.float32)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    first, again = (list(dataset.take(4).as_numpy_iterator()) for _ in range(2))
    np.testing.assert_array_equal(first, again)


# ------------------------------------------------------------------------------ crops, flips


def seeds_of(count, salt):
    return tf.stack(
        [tf.range(count, dtype=tf.int64), tf.fill((count,), tf.cast(salt, tf.int64))], 1
    )


def crops_of(image, size, count):
    seeds = tf.data.Dataset.from_tensor_slices(seeds_of(count, 1))

    def crop(seed):
        top, left, height, width = crop_window(tf.shape(image)[:2], size, seed)
        return mirror(image[top : top + height, left : left + width], size)

    crops = seeds.map(crop).batch(count)
    return next(crops.as_numpy_iterator())


@pytest.mark.parametrize("height, width", [(8, 8), (9, 8), (10, 12)])
def test_every_crop_comes_equally_often_the_last_one_too(height, width):
    image = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    crops = crops_of(tf.constant(image, tf.float32), 8, 2000).astype(int)
    corners = crops[:, 0, 0]
    for (top, left), crop in zip(corners, crops, strict=True):
        np.testing.assert_array_equal(crop, image[top : top + 8, left : left + 8])
    places = (height - 7) * (width - 7)
    counts = np.bincount(corners[:, 0] * (width - 7) + corners[:, 1], minlength=places)
    assert len(counts) == places
    assert places == 1 or scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (2, 3), (5, 30), (7, 8)])
def test_smaller_images_are_mirrored(rng, height, width):
    """As NumPy's reflection does: the border is not repeated, and it goes back and forth."""
    image = rng.random((height, width, 2)).astype(np.float32)
    padding = [(0, max(0, 8 - height)), (0, max(0, 8 - width)), (0, 0)]
    padded = np.pad(image, padding, mode="reflect")
    seen = set()
    for crop in crops_of(tf.constant(image), 8, 200):
        lefts = [
            left
            for left in range(padded.shape[1] - 7)
            if np.array_equal(crop, padded[:8, left : left + 8])
        ]
        assert lefts
        seen.update(lefts)
    assert seen == set(range(padded.shape[1] - 7))


def symmetries(square):
    """The 8 images of a square under rotation and mirroring, by coordinates."""
    n = len(square) - 1
    maps = [
        lambda i, j: (i, j), lambda i, j: (i, n - j), lambda i, j: (n - i, j),
        lambda i, j: (n - i, n - j), lambda i, j: (j, i), lambda i, j: (j, n - i),
        lambda i, j: (n - j, i), lambda i, j: (n - j, n - i),
    ]  # fmt: skip
    i, j = np.mgrid[: n + 1, : n + 1]
    return [square[at(i, j)] for at in maps]


def test_all_eight_symmetries_come_equally_often(rng):
    square = rng.random((5, 5, 3)).astype(np.float32)
    seeds = tf.data.Dataset.from_tensor_slices(seeds_of(1600, 2))
    flipped = seeds.map(lambda seed: random_flip(tf.constant(square), seed)).batch(1600)
    flipped = next(flipped.as_numpy_iterator())
    which = np.array([[np.array_equal(f, s) for s in symmetries(square)] for f in flipped])
    assert (which.sum(axis=1) == 1).all()
    assert scipy.stats.chisquare(which.sum(axis=0)).pvalue > 1e-4


def test_crop_symmetry_and_image_are_independent():
    """All combinations of 2 images x 4 offsets x 8 symmetries, equally often."""
    SIZES["g.png"], SIZES["h.png"] = (PATCH + 1, PATCH + 1), (PATCH + 1, PATCH + 1)
    try:
        images = Coordinates(["g.png", "h.png"])
        crops = batches(1, images, batch_size=3200, augment=True)[0]
    finally:
        del SIZES["g.png"], SIZES["h.png"]
    numbers = shown(crops) - 5
    tops, lefts = crops[..., 0].min(axis=(1, 2)).astype(int), crops[..., 1].min(axis=(1, 2))
    table = np.zeros((2, 4, 8), int)
    square = np.stack(np.meshgrid(np.arange(PATCH), np.arange(PATCH), indexing="ij"), -1)
    corners = [(s[0, 0].tolist(), s[0, 1].tolist()) for s in symmetries(square)]
    for crop, number, top, left in zip(crops, numbers, tops, lefts.astype(int), strict=True):
        local = (crop[0, :2, :2] - [top, left]).astype(int).tolist()
        table[number, 2 * top + left, corners.index(tuple(local))] += 1
    assert (table.sum(axis=(1, 2)) == 1600).all()  # each image once per round
    assert scipy.stats.chisquare(table.ravel()).pvalue > 1e-4


def test_without_augmentation_nothing_is_turned():
    crops = clean_batches(80, augment=False, epoch_steps=5).reshape(-1, PATCH, PATCH, 3)
    inside = crops[shown(crops) != 4]  # the others are large enough and need no mirror
    assert (np.diff(inside[..., 0], axis=1) == 1).all()
    assert (np.diff(inside[..., 1], axis=2) == 1).all()


# ------------------------------------------------------------------------------- real folders


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("a.png", "b.tif", "c.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (20, 16, 3)).astype(np.uint8))
    return tmp_path


def test_a_folder_gives_the_same_batches_cached_or_not(folder):
    channels = 1
    settings = {"noise": "gauss25", "augment": True}
    cached = batches(6, ImageFolder(folder, channels), **settings)
    assert cached.shape == (6, 2, PATCH, PATCH, channels)
    read = batches(6, ImageFolder(folder, channels, cache_bytes=0), **settings)
    np.testing.assert_array_equal(read, cached)


def test_a_file_added_to_the_folder_changes_no_noise(folder, rng):
    def means(images):
        """A frozen noisy image of one crop is always the same: its mean tells it from others."""
        crops = batches(9, images, noise="gauss25", patch_size=20, epoch_steps=3)
        return set(crops.mean(axis=(2, 3, 4)).ravel().tolist())

    before = means(ImageFolder(folder))
    assert len(before) == 3
    write_image(folder / "0.png", rng.integers(0, 256, (20, 16, 3)).astype(np.uint8))  # the first
    after = means(ImageFolder(folder))
    assert len(after) == 4 and before < after


@pytest.mark.parametrize("harm", ["vanished", "damaged"])
def test_a_file_harmed_during_the_training_is_named(folder, harm):
    images = ImageFolder(folder, cache_bytes=0)
    dataset = training_batches(images, parse_noise("gauss25"), frozen=True, patch_size=8)
    iterator = iter(dataset)
    next(iterator)
    if harm == "vanished":
        (folder / "b.tif").unlink()
        reasons = ["No such file"]
    else:  # at one go: the pipeline reads ahead
        (folder / "new").write_bytes(b"hello")
        (folder / "new").replace(folder / "b.tif")
        # By its first bytes, or, if it is exchanged after those were read, by the rest.
        reasons = ["not a PNG, JPEG, BMP, WebP", "truncated TIFF"]
    with pytest.raises(tf.errors.OpError) as caught:
        for _ in range(20):
            next(iterator)
    said = str(caught.value)
    assert f"{folder / 'b.tif'}: " in said and any(reason in said for reason in reasons)


def test_an_image_of_other_channels_is_an_error():
    class Gray(Coordinates):
        def crop(self, *window):
            return super().crop(*window)[..., :1]

    with pytest.raises(tf.errors.OpError, match="shape"):
        batches(1, Gray())
