"""Packed-raw networks on camera frames, and the sources that raw training takes."""

import numpy as np
import pytest
import tensorflow as tf
from dng_samples import random_mosaic, write_sample
from skimage import data

from n2n_tf.denoising import known_noise, large
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.raw_frames import LEVEL_REACH, denoise_frame, denoise_mosaic, remaining_noise
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.noise.synthetic import Noise, add_noise, parse_noise
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame, normalise
from n2n_tf.pipelines.raw.unprocess import draw_noise_level, raw_planes_of_photo
from n2n_tf.pipelines.training.batches import random_bayer_flip, training_batches
from n2n_tf.pipelines.training.holdout import Subset
from n2n_tf.pipelines.training.sources import (
    MosaicFolder,
    PhotosAsRaw,
    RawFolder,
    holds_raws,
    preparation,
)
from n2n_tf.training.data import batches_of
from n2n_tf.training.recipes import Recipe

BLACK, WHITE = (60, 62, 64, 66), 1023


def frame(pattern="RGGB", size=(37, 43), **more):
    mosaic = random_mosaic(*size, seed=1) % (WHITE + 1)
    return RawFrame(mosaic.astype(np.uint16), pattern, BLACK, WHITE, **more)


def denoiser(run, channels=4):
    return Denoiser(run, ModelInfo(channels, 8, 8), tile=64)


@pytest.mark.parametrize("pattern", bayer.PATTERNS)
@pytest.mark.parametrize("size", [(36, 42), (37, 43), (36, 43), (2, 2), (150, 201)])
def test_a_network_that_changes_nothing_gives_back_the_sensors_integers(pattern, size):
    source = frame(pattern, size)
    result = denoise_frame(denoiser(lambda x: x), source)
    np.testing.assert_array_equal(result, source.mosaic)


@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_the_network_sees_the_colours_in_the_order_it_was_trained_on(pattern):
    # Each plane is multiplied by its own factor: the mosaic's colours must be, and no others.
    factors = np.float32([1.0, 0.5, 0.25, 0.125])
    source = frame(pattern, (40, 42))
    network = denoiser(lambda x: x * factors)
    values = denoise_mosaic(network, normalise(source), pattern, keep_levels=False, noise="none")
    by_place = dict(zip(bayer.plane_positions(pattern), factors, strict=True))
    for (row, column), factor in by_place.items():
        expected = normalise(source)[row::2, column::2] * factor
        np.testing.assert_allclose(values[row::2, column::2], expected, rtol=1e-6)


def test_planes_begin_on_red_whatever_the_pattern():
    # A gradient along the columns: planes of RGGB geometry have G1 right of R and B right of G2.
    ramp = np.tile(np.arange(42, dtype=np.float32), (40, 1))
    for pattern in bayer.PATTERNS:
        seen = []
        denoise_mosaic(
            denoiser(lambda x, seen=seen: seen.append(x) or x), ramp, pattern, noise="none"
        )
        red, green1, green2, blue = np.moveaxis(seen[0][0, 4:12, 4:12], -1, 0)
        np.testing.assert_array_equal(green1 - red, 1)
        np.testing.assert_array_equal(blue - green2, 1)


def test_clipped_pixels_stay_clipped_and_means_stay():
    mosaic = np.full((64, 64), 400, np.uint16)
    mosaic[20:30, 20:30] = WHITE
    source = RawFrame(mosaic, "RGGB", BLACK, WHITE)
    result = denoise_frame(denoiser(lambda x: x * 0.999), source)
    assert (result[20:30, 20:30] == WHITE).all()
    flat = result[40:, 40:].astype(float)
    for row, column in np.ndindex(2, 2):
        mean = flat[row::2, column::2].mean() - BLACK[2 * row + column]
        assert mean == pytest.approx(400 - BLACK[2 * row + column], rel=2e-3)


def test_dark_rows_change_nothing_elsewhere():
    source = frame(size=(128, 64))
    dark = source.mosaic.copy()
    dark[:4] = 60  # optical-black rows inside the visible area
    smooth = denoiser(lambda x: (x + np.roll(x, 1, axis=2)) / 2)
    one, other = (
        [
            denoise_frame(smooth, RawFrame(m, "RGGB", BLACK, WHITE), None, keep, "none")
            for keep in (0, 1)
        ]
        for m in (source.mosaic, dark)
    )
    np.testing.assert_array_equal(one[0][4:], other[0][4:])
    # Keeping the levels is local: nothing beyond its reach, next to nothing within.
    reach = 4 + 2 * LEVEL_REACH
    np.testing.assert_array_equal(one[1][reach:], other[1][reach:])
    within = one[1][4:reach].astype(float) - other[1][4:reach]
    assert np.abs(within).mean() < 0.005 * (WHITE - 60)


@pytest.mark.parametrize("level", [0.02, 0.2, 0.8])
def test_a_network_that_shifts_colours_is_set_right_in_flat_areas(level, rng):
    black, white = (512,) * 4, 15512
    clean = level * np.tile([[0.6, 1.0], [1.0, 0.7]], (96, 96))
    noisy = clean + rng.normal(size=clean.shape) * np.sqrt(3e-3 * clean + 1e-5)
    values = np.clip(np.rint(512 + noisy * 15000), 0, white).astype(np.uint16)
    source = RawFrame(values, "RGGB", black, white)
    tint = np.float32([1.1, 0.95, 1.0, 0.9])

    def tinted(x):  # denoises, and shifts every colour
        return tf.nn.avg_pool2d(x * tint, 5, 1, "SAME").numpy()

    result = (denoise_frame(denoiser(tinted), source).astype(float) - 512) / 15000
    given = normalise(source)
    for row, column in np.ndindex(2, 2):
        mean = result[row::2, column::2].mean()
        assert mean == pytest.approx(given[row::2, column::2].mean(), rel=2e-3)
    assert np.std(result - clean) < 0.3 * np.std(given - clean)


def test_the_files_own_noise_profile_tells_noise_from_detail(rng):
    """Detail everywhere, which without a profile passes for noise."""
    clean = 0.4 + 0.05 * rng.normal(size=(192, 192))
    shot, read = 1e-4, 1e-6
    noise = np.sqrt(shot * clean + read) * rng.normal(size=clean.shape)
    mosaic = np.rint(512 + 15000 * (clean + noise)).astype(np.uint16)
    blurring = denoiser(lambda x: np.full_like(x, 0.4))
    errors = []
    for profile in (None, ((shot, read),) * 3):
        source = RawFrame(mosaic, "RGGB", (512,) * 4, 15512, noise_profile=profile)
        result = (denoise_frame(blurring, source).astype(float) - 512) / 15000
        errors.append(np.mean(np.square(result - clean)))
    assert errors[0] > 10 * errors[1]
    assert errors[1] < 1.2 * np.mean(np.square(noise))


@pytest.mark.parametrize("keep_levels", [True, False])
@pytest.mark.parametrize("size", [(820, 402), (815, 403)])
def test_a_large_raw_in_bands_is_the_whole_raw(monkeypatch, rng, keep_levels, size):
    y, x = np.mgrid[: size[0], : size[1]]
    clean = 400 + 150 * np.sin(x / 40) * np.cos(y / 50)
    mosaic = np.rint(np.clip(clean + 8 * rng.normal(size=size), 0, WHITE)).astype(np.uint16)
    mosaic[100, 100], mosaic[300:340, 200:260] = WHITE, WHITE  # hot, and clipped
    source = RawFrame(mosaic, "GRBG", BLACK, WHITE)

    def tinted(x):  # denoises, and shifts every colour
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
        height, width = x.shape[1:3]
        parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        return sum(parts) / np.float32(9) * np.float32([1.1, 0.95, 1.0, 0.9])

    monkeypatch.setattr(known_noise, "WEAK", 0)  # asked twice, it is so with other nudges
    steps, shares = [], []
    how = {"keep_levels": keep_levels, "tell": lambda law, share: shares.append(share)}
    whole = denoise_frame(denoiser(tinted), source, **how)
    monkeypatch.setattr(large, "SAMPLES", 1000)  # the scale is still that of all rows
    parts = denoise_frame(denoiser(tinted), source, lambda *step: steps.append(step), **how)
    assert np.abs(np.int32(parts) - whole).max() <= 1 and np.mean(parts != whole) < 1e-3
    assert shares[1] == pytest.approx(shares[0], abs=1e-5)
    assert [done for done, _ in steps] == list(range(steps[0][1] + 1))
    assert np.mean(whole != mosaic) > 0.5


def test_a_network_for_gaussian_noise_sees_noise_alike_at_all_levels_and_units_come_back(rng):
    # Anscombe's transform by hand: 2 sqrt(counts + 3/8) has deviation 1 for 10 photons or more.
    shot, read, seen = 1 / 400, 1e-5, []
    clean = np.repeat(np.float32([0.05, 0.2, 0.8]), 256)[None].repeat(512, 0)
    noisy = shot * rng.poisson(clean / shot) + rng.normal(0, read**0.5, clean.shape)
    law = NoiseEstimate((shot,), (read,))
    info = ModelInfo(4, 8, 8, noise_level=(0.005, 0.2))
    gaussian = Denoiser(lambda x: seen.append(x) or x, info, tile=512)
    result = denoise_mosaic(gaussian, np.float32(noisy), "RGGB", noise=law)
    np.testing.assert_allclose(result, noisy, atol=1e-5)
    (window,) = seen
    parts = np.split(window[0], 3, axis=1)
    counts = np.array([0.05, 0.2, 0.8]) / shot
    roots = 2 * np.sqrt(counts + 0.375 + read / shot**2)
    spread = np.mean([part.std((0, 1)).mean() for part in parts])
    assert np.ptp([part.std((0, 1)).mean() for part in parts]) < 0.05 * spread
    steps = np.diff([part.mean() for part in parts])
    np.testing.assert_allclose(steps / spread, np.diff(roots), rtol=0.03)
    with pytest.raises(ValueError, match="must be told a raw's noise"):
        denoise_mosaic(gaussian, np.float32(noisy), "RGGB", noise="none")


def test_photographs_with_gaussian_noise_are_what_such_a_network_sees(tmp_path, rng):
    for level in (40, 200):
        write_image(tmp_path / f"{level}.png", np.full((96, 96, 3), level, np.uint8))
    photos = PhotosAsRaw(ImageFolder(tmp_path))
    recipe = Recipe("gauss25", channels=4, patch_size=32, batch_size=2, method="supervised")
    noisy, clean = next(iter(batches_of(Subset(photos, photos.names), recipe, 1)))
    assert np.std(noisy - clean, axis=(1, 2, 3)) == pytest.approx([25 / 255] * 2, rel=0.05)
    photo = rng.random((6, 8, 3), np.float32)
    linear, rooted = (preparation(photos, gaussian)(photo, (0, 1)) for gaussian in (False, True))
    np.testing.assert_allclose(np.square(rooted), linear, rtol=1e-5, atol=1e-7)


def test_a_model_of_pictures_is_refused():
    with pytest.raises(ValueError, match="needs a model trained on raw"):
        denoise_frame(denoiser(lambda x: x, channels=3), frame())


def test_the_noise_profile_shrinks_with_the_noise(rng):
    clean = np.full((128, 128), 500.0)
    noisy = clean + 40 * rng.normal(size=clean.shape)
    profile = ((1e-3, 1e-5),) * 3
    source = RawFrame(noisy.astype(np.uint16), "RGGB", BLACK, WHITE, noise_profile=profile)
    left = (clean + 10 * rng.normal(size=clean.shape)).astype(np.uint16)
    for shot, read in remaining_noise(source, left):
        assert shot == pytest.approx(1e-3 / 16, rel=0.15)
        assert read == pytest.approx(1e-5 / 16, rel=0.15)
    assert remaining_noise(frame(), frame().mosaic) is None


# ------------------------------------------------------------------------------------- noise


def test_raw_noise_has_the_variance_it_is_named_after():
    clean = tf.fill((256, 256, 4), 0.3)
    for text in ("raw:0.004,0.0001", "poisson_gaussian:0.004,1e-4"):
        noisy = add_noise(clean, parse_noise(text), [1, 2]).numpy()
        variance = 0.004 * 0.3 + 0.0001
        count = noisy.size
        assert abs(noisy.mean() - 0.3) < 5 * np.sqrt(variance / count)
        # Var of a sample variance: (m4 - v^2) / n; m4 <= 3 v^2 + v * shot^2 for photon counts.
        spread = np.sqrt((2 * variance**2 + variance * 0.004**2) / count)
        assert abs(noisy.var() - variance) < 5 * spread


def test_raw_noise_without_levels_is_drawn_per_image_after_brooks():
    clean = tf.zeros((96, 96, 4))
    deviations = [add_noise(clean, parse_noise("raw"), [i, 5]).numpy().std() for i in range(40)]
    # In darkness the variance is the read noise: its logarithm spreads over some 10 units.
    low, high = np.log(np.min(deviations) ** 2), np.log(np.max(deviations) ** 2)
    reads = [np.log(draw_noise_level([i, 9])[1].numpy()) for i in range(400)]
    assert min(reads) - 1 < low < high < max(reads) + 1
    assert high - low > 5


@pytest.mark.parametrize(
    "text", ["raw:", "raw:1", "raw:-1,0", "raw:0,0", "raw:2,0", "poisson_gaussian:0,1e-4", "raw1"]
)
def test_unusable_raw_noise_is_refused(text):
    with pytest.raises(ValueError, match=r"noise|variances|SHOT"):
        parse_noise(text)


# ----------------------------------------------------------------------------------- sources


@pytest.fixture
def photos(tmp_path):
    for name in ("cat", "coffee"):
        write_image(tmp_path / "photos" / f"{name}.png", getattr(data, name)()[:90, :101])
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def folders(tmp_path):
    (tmp_path / "photos").mkdir()


def test_photos_as_raw_give_the_unprocessed_photo_with_frozen_noise(photos):
    source = PhotosAsRaw(ImageFolder(photos))
    assert source.sizes == [(45, 50), (45, 50)]

    def batches(noise):
        dataset = training_batches(
            source, noise, frozen=True, patch_size=16, batch_size=2, prepare=raw_planes_of_photo
        )
        return np.concatenate(list(dataset.take(20).as_numpy_iterator()))

    clean, noisy = batches(Noise("none")), batches(parse_noise("raw:0.01,0.0001"))
    assert clean.shape == (40, 16, 16, 4) and clean.min() >= 0 and clean.max() <= 1
    # One camera per image for good: every crop is a window of one of the two whole raws.
    from n2n_tf.pipelines.training.batches import frozen_seed

    whole = [
        raw_planes_of_photo(source.crop(i, 0, 0, 45, 50), frozen_seed(0, name)).numpy()
        for i, name in enumerate(source.names)
    ]
    fields = [
        add_noise(planes, parse_noise("raw:0.01,0.0001"), frozen_seed(0, name)).numpy()
        for planes, name in zip(whole, source.names, strict=True)
    ]
    for crop, noisy_crop in zip(clean, noisy, strict=True):
        places = [
            (i, y, x)
            for i, planes in enumerate(whole)
            for y in range(30)
            for x in range(35)
            if np.allclose(planes[y, x], crop[0, 0], atol=1e-6)
            and np.allclose(planes[y : y + 16, x : x + 16], crop, atol=1e-6)
        ]
        assert len(places) == 1
        i, y, x = places[0]
        np.testing.assert_allclose(fields[i][y : y + 16, x : x + 16], noisy_crop, atol=1e-5)


def test_a_folder_of_raws_gives_windows_of_its_normalised_planes(tmp_path):
    for index, pattern in enumerate(bayer.PATTERNS):
        mosaic = random_mosaic(38, 44, seed=index)
        write_sample(tmp_path / f"{index}.dng", mosaic, pattern=pattern, black=BLACK)
    (tmp_path / "bad.nef").write_bytes(b"no raw")
    assert holds_raws(tmp_path) and not holds_raws(tmp_path / "photos")
    source = RawFolder(tmp_path, tmp_path / "cache")
    assert source.names == ["0.dng", "1.dng", "2.dng", "3.dng"]
    assert [s.path.name for s in source.skipped] == ["bad.nef"]
    from n2n_tf.pipelines.raw.camera_files import read_raw

    for index, pattern in enumerate(bayer.PATTERNS):
        rows, columns = source.sizes[index]
        whole = bayer.pack(
            bayer.unify(normalise(read_raw(tmp_path / f"{index}.dng")), pattern), "RGGB"
        )
        assert whole.shape == (rows, columns, 4)
        crop = source.crop(np.int32(index), 2, 3, 10, 7)
        np.testing.assert_array_equal(crop, whole[2:12, 3:10])
    assert RawFolder(tmp_path, tmp_path / "cache").fingerprint == source.fingerprint
    batches = training_batches(source, Noise("none"), frozen=True, patch_size=12, augment=True)
    assert next(iter(batches)).shape == (4, 12, 12, 4)


def test_a_dngs_own_noise_profile_is_added_plane_by_plane(tmp_path):
    # A flat raw at 0.4 and a profile with another shot noise for each colour.
    pairs = (0.004, 1e-5, 0.001, 2e-5, 0.008, 4e-5)
    flat = np.full((160, 160), round(0.4 * 60000), np.uint16)
    tag = (51041, "d", 6, pairs, True)
    write_sample(tmp_path / "a.dng", flat, black=(0,) * 4, white=60000, more=[tag])
    source = RawFolder(tmp_path, tmp_path / "cache")
    expected = np.float32([pairs[0:2], pairs[2:4], pairs[2:4], pairs[4:6]])
    np.testing.assert_allclose(source.noise_profiles[0], expected)
    dataset = training_batches(
        source, parse_noise("profile"), frozen=False, patch_size=64, batch_size=8
    )
    planes = next(iter(dataset)).numpy().reshape(-1, 4).astype(np.float64)
    variance = expected[:, 0] * 0.4 + expected[:, 1]
    assert (abs(planes.mean(0) - 0.4) < 5 * np.sqrt(variance / len(planes))).all()
    np.testing.assert_allclose(planes.var(0), variance, rtol=5 * np.sqrt(3 / len(planes)))
    write_sample(tmp_path / "b.dng", flat, black=(0,) * 4, white=60000)
    with pytest.raises(RawFileError, match=r"b\.dng: has no NoiseProfile"):
        _ = RawFolder(tmp_path, tmp_path / "cache").noise_profiles


def test_stored_mosaics(tmp_path, rng):
    mosaic = rng.random((20, 24)).astype(np.float32)
    np.save(tmp_path / "a.npy", mosaic)
    source = MosaicFolder(tmp_path)
    assert source.sizes == [(10, 12)]
    np.testing.assert_array_equal(source.crop(0, 1, 2, 3, 4), bayer.pack(mosaic, "RGGB")[1:4, 2:6])
    np.save(tmp_path / "b.npy", np.zeros((3, 4, 5)))
    with pytest.raises(RawFileError, match=r"b\.npy: must be float \[H, W\]"):
        MosaicFolder(tmp_path)
    with pytest.raises(RawFileError, match="no camera raw and no"):
        MosaicFolder(tmp_path / "photos")


def test_flips_of_packed_raw_are_true_symmetries_in_rggb_phase():
    # Pixels that know their colour: a wrong phase would put a green value into the red plane.
    mosaic = np.zeros((18, 18), np.float32)
    for colour, (row, column) in enumerate(bayer.plane_positions("RGGB")):
        mosaic[row::2, column::2] = 1 if colour in (1, 2) else 2 * colour
    coordinates = np.arange(18 * 18, dtype=np.float32).reshape(18, 18)
    seen = set()
    for i in range(60):
        flipped = random_bayer_flip(bayer.pack(tf.constant(mosaic), "RGGB"), [i, 0]).numpy()
        assert flipped.shape == (8, 8, 4)
        assert (flipped[..., 0] == 0).all() and (flipped[..., 3] == 6).all()
        assert (flipped[..., 1:3] == 1).all()
        moved = random_bayer_flip(bayer.pack(tf.constant(coordinates), "RGGB"), [i, 0]).numpy()
        values = bayer.unpack(moved, "RGGB")
        steps = {tuple(np.unique(np.diff(values, axis=axis)).astype(int)) for axis in (0, 1)}
        assert steps <= {(1,), (-1,), (18,), (-18,)} and len(steps) == 2
        seen.add((values[0, 0], values[0, 1]))
        plain = bayer.random_augment(tf.constant(coordinates), [i, 0]).numpy()
        np.testing.assert_array_equal(values, plain)
    assert len(seen) == 8
