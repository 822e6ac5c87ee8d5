"""The noise of a picture: right for known noise in any units, and zero where there is none."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage import data

from n2n_tf import estimate_noise
from n2n_tf.denoising import noise_level
from n2n_tf.denoising.flat_blocks import (
    MOST_BLOCKS,
    Blocks,
    Cut,
    before_clipping,
    block_pixels,
    measure,
)
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.white_noise import white_variance


@pytest.fixture(scope="module")
def photo():
    """A photograph with detail, dark and bright places, float64 [512, 512] in 0..255."""
    return data.astronaut() @ np.array([0.299, 0.587, 0.114])


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.mark.parametrize("sigma", [2, 5, 10, 25, 50])
def test_gaussian_noise_is_one_number(photo, random, sigma):
    estimate = estimate_noise(photo + random.normal(0, sigma, photo.shape))
    assert estimate.deviation(128.0) == pytest.approx(sigma, rel=0.05, abs=0.5)
    if sigma >= 5:  # beside less, the photograph's own noise is seen, which differs by level
        assert estimate.gain == (0.0,)
    assert estimate.correlation == 0 and estimate.confidence > 0.5 and not estimate.assumed


@pytest.mark.parametrize("sigma", [5, 25, 50])
def test_clipping_and_rounding_do_not_deceive(photo, random, sigma):
    noisy = (photo + random.normal(0, sigma, photo.shape)).clip(0, 255).round().astype(np.uint8)
    estimate = estimate_noise(noisy)
    assert estimate.gain == (0.0,)
    assert estimate.read[0] ** 0.5 == pytest.approx(sigma, rel=0.05, abs=0.5)


@pytest.mark.parametrize("sigma", [0.5, 1, 2, 5])
def test_detail_that_the_colours_share_is_no_noise(random, sigma):
    fur = data.chelsea()[:192, :192]
    estimate = estimate_noise(fur + random.normal(0, sigma, fur.shape))
    deviation = estimate.deviation(np.median(fur, axis=(0, 1)))
    assert deviation == pytest.approx([sigma] * 3, rel=0.15, abs=0.4)
    assert estimate.correlation == 0 and not estimate.assumed


def test_gray_in_three_channels_is_gray(photo, random):
    noisy = photo + random.normal(0, 8, photo.shape)
    estimate, one = estimate_noise(np.stack([noisy] * 3, -1)), estimate_noise(noisy)
    assert estimate.read == one.read * 3 and estimate.gain == one.gain * 3


def test_noise_in_false_colours_is_noise(photo, random):
    noisy = photo + random.normal(0, 8, photo.shape)
    estimate = estimate_noise(np.stack([noisy, 300 - 0.5 * noisy, 0.8 * noisy], -1))
    assert estimate.deviation(128.0) == pytest.approx([8, 4, 6.4], rel=0.1)


def test_noise_that_a_colour_matrix_mixed_is_noise(random):
    photo = data.astronaut().astype(float)
    matrix = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]])
    noisy = (photo + random.normal(0, 15, photo.shape)) @ matrix.T
    expected = 15 * np.sqrt(np.square(matrix).sum(1))
    assert estimate_noise(noisy).deviation(100.0) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("photons", [5, 30, 100, 300])
def test_photon_noise_has_the_gain_of_a_photon(photo, random, photons):
    estimate = estimate_noise(random.poisson(photo / 255 * photons) / photons)
    assert estimate.gain[0] == pytest.approx(1 / photons, rel=0.1)


@pytest.mark.parametrize("corner", [(200, 40), (20, 400)])
def test_photon_noise_is_known_in_crops_of_a_few_blocks(photo, random, corner):
    crop = photo[corner[0] :, corner[1] :][:64, :64] / 4
    gains = [estimate_noise(random.poisson(crop)).gain[0] for _ in range(4)]
    assert np.mean(gains) == pytest.approx(1, rel=0.25)
    alike = [estimate_noise(crop + random.normal(0, 6, crop.shape)).gain for _ in range(4)]
    assert alike == [(0.0,)] * 4


def test_photon_noise_is_told_apart_within_few_levels(photo, random):
    narrow = 100 + photo / 5  # 100 to 150: deviations that differ by a fifth
    photons = [random.poisson(narrow * 4) / 4 for _ in range(4)]
    gains = [estimate_noise(each).gain[0] for each in photons]
    assert np.mean(gains) == pytest.approx(0.25, rel=0.1)
    alike = narrow + random.normal(0, photons[0].std(), narrow.shape)
    assert estimate_noise(alike).gain == (0.0,)


def test_no_more_noise_is_found_than_the_smoothest_places_hold(random):
    texture = random.normal(0, 6, (512, 512))
    texture[200:260, 200:260] *= 0.05  # 1.4 per cent of the picture
    shaded = texture + 100 + 50 * np.sin(np.arange(512) / 3)  # nowhere flat
    assert 0.25 < estimate_noise(shaded).deviation(100.0)[0] < 0.6


def test_a_cameras_counts_with_an_offset(photo, random):
    counts = 500 + 2 * random.poisson(photo / 255 * 300) + random.normal(0, 3, photo.shape)
    estimate = estimate_noise(counts.round().astype(np.uint16))
    levels = np.array([[550], [700], [1000]])
    expected = np.sqrt(2 * (levels - 500) + 9)
    assert estimate.deviation(levels) == pytest.approx(expected, rel=0.1)


def test_channels_are_independent(photo, random):
    clean = np.stack([photo, photo, 255 - photo], -1)
    noisy = clean + random.normal(0, 1, clean.shape) * (5, 10, 20)
    deviation = estimate_noise(noisy).deviation(128.0)
    assert deviation == pytest.approx([5, 10, 20], rel=0.05)


@pytest.mark.parametrize("amplitude", [2, 10])
def test_a_channel_of_few_levels_has_the_law_of_the_others_unless_it_speaks_against_it(
    random, amplitude
):
    y, x = np.mgrid[:384, :512]
    ramp, narrow = 40 + 180 * x / 512, 151 + amplitude * np.sin(y / 40)
    noisy = random.poisson(np.stack([narrow, ramp, 0.7 * ramp], -1) / 255 * 1000) / 1000 * 255
    estimate = estimate_noise(noisy)
    assert estimate.gain == pytest.approx([0.255] * 3, rel=0.25)
    assert estimate.deviation([151, 130, 90]) == pytest.approx(
        np.sqrt(0.255 * np.array([151, 130, 90])), rel=0.05
    )
    noisy[..., 0] = ramp + random.normal(0, 6, ramp.shape)
    estimate = estimate_noise(noisy)
    assert estimate.gain == (0, pytest.approx(0.255, rel=0.1), pytest.approx(0.255, rel=0.1))
    assert estimate.read[0] == pytest.approx(36, rel=0.05)


@pytest.mark.parametrize("offsets", [(100, 400), (0, 1500)])
def test_channels_of_two_detectors_have_offsets_of_their_own(photo, random, offsets):
    other = data.camera().astype(float)
    counts = random.poisson(np.stack([photo, other], -1) / 255 * 30)
    estimate = estimate_noise(offsets + 2 * counts)
    assert estimate.gain == pytest.approx([2, 2], rel=0.05)
    assert -np.divide(estimate.read, estimate.gain) == pytest.approx(offsets, abs=3)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.0), (1e4, -3e4), (3.0, 77.0)])
@pytest.mark.parametrize("law", ["gauss", "poisson"])
def test_units_do_not_matter(photo, random, scale, offset, law):
    noisy = photo + random.normal(0, 8, photo.shape) if law == "gauss" else random.poisson(photo)
    (gain,), (read,) = estimate_noise(noisy).gain, estimate_noise(noisy).read
    other = estimate_noise(scale * noisy + offset)
    assert other.gain[0] == pytest.approx(scale * gain, rel=1e-6)
    expected = scale**2 * read - scale * gain * offset
    assert other.read[0] == pytest.approx(expected, rel=1e-6, abs=1e-6 * scale**2)


def test_what_is_not_finite_masked_saturated_or_hot_plays_no_part(photo, random):
    noisy = photo + random.normal(0, 10, photo.shape)
    noisy[:100] = np.nan
    noisy[150:160, :99] = np.inf
    noisy[400:, 400:] = -1024.0
    noisy[300:340, 10:90] = 4095.0
    noisy.flat[random.choice(noisy.size, 60, replace=False)] = 60_000.0
    estimate = estimate_noise(noisy)
    assert estimate.gain == (0.0,)
    assert estimate.read[0] ** 0.5 == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 100.0, 137.25])
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_a_round_mask_of_a_value_within_the_range_plays_no_part(photo, random, value, kind):
    """As in an MRI without its skull, or a picture that was turned: most blocks at its edge."""
    noisy = photo + random.normal(0, 20, photo.shape)
    rows, columns = (np.arange(n) - n / 2 for n in photo.shape)
    noisy[np.hypot(rows[:, None], columns) > 0.4 * min(photo.shape)] = value
    estimate = estimate_noise(noisy.astype(kind))
    assert estimate.gain == (0.0,)
    assert estimate.read[0] ** 0.5 == pytest.approx(20, rel=0.06)


@pytest.mark.parametrize(("gain", "read", "dark"), [(4, 1, 0), (40, 1, 100), (40, 5, 100)])
def test_photons_that_count_for_far_more_than_reading_are_seen(photo, random, gain, read, dark):
    """As of an EMCCD: the flattest places are dark ones where no photon fell."""
    photons = random.poisson(np.clip(photo - 30, 0, None) * 0.25)
    noisy = gain * photons + dark + random.normal(0, read, photo.shape)
    estimate = estimate_noise(np.uint16(np.clip(noisy, 0, None).round()))
    assert estimate.gain[0] == pytest.approx(gain, rel=0.1)


@pytest.mark.parametrize("shape", ["gray", "RGB"])
def test_few_counts_in_textured_pictures_are_photons_not_clipped_noise(random, shape):
    """Of 0.2 to 3 photons a pixel, where zero is the commonest count."""
    photo, place = {"gray": (data.brick(), 144), "RGB": (data.retina(), 593)}[shape]
    clean = photo[place : place + 224, place : place + 224] / 255
    estimate = estimate_noise(np.float32(random.poisson(3 * clean)))
    assert estimate.gain == pytest.approx((1.0,) * (3 if shape == "RGB" else 1), rel=0.06)


def test_noise_that_black_cut_off_is_not_taken_for_photons():
    """In 8 bits, where 3 to 6 % of the pixels are 0: judged by the same blocks for both laws."""
    photo = data.astronaut()[30:222, 120:376]
    noisy = photo + np.random.default_rng(4).normal(0, 12, photo.shape)
    estimate = estimate_noise(np.uint8(np.clip(noisy, 0, 255).round()))
    assert estimate.gain == (0.0, 0.0, 0.0)
    np.testing.assert_allclose(np.sqrt(estimate.read), 12, rtol=0.06)


def test_noise_alike_everywhere_is_not_taken_for_photons_because_white_was_clipped(random):
    photo = np.clip(1.8 * data.coins()[:256, :256], 0, 255)  # 30 % of it white
    noisy = np.clip(photo + random.normal(0, 15, photo.shape), 0, 255).round().astype(np.uint8)
    estimate = estimate_noise(noisy)
    assert estimate.gain == (0.0,)
    assert estimate.read[0] ** 0.5 == pytest.approx(15, rel=0.06)


def drawings():
    rows, columns = np.mgrid[:400, :400]
    return {
        "constant": np.full((300, 300), 7, np.uint8),
        "constant float": np.full((300, 300, 3), 0.1, np.float32),
        "three grey values": (100 * np.digitize(data.camera(), [80, 160])).astype(np.uint8),
        "disc": (np.hypot(rows - 200, columns - 200) < 150).astype(np.uint8) * 200,
        "checks": (rows // 16 + columns // 16) % 2 * 200.0,
        "ramp": ((rows + columns) / 800).astype(np.float32),
        "ramp of integers": ((rows + columns) / 800 * 255).astype(np.uint8),
        "one pixel": np.ones((1, 1)),
        "nothing finite": np.full((50, 50), np.nan),
    }


@pytest.mark.parametrize("name", drawings())
def test_pictures_without_noise_have_none(name):
    assert estimate_noise(drawings()[name]).nothing


def test_dark_frames_of_few_counts_are_noise(random):
    for photons in (0.05, 0.3):
        estimate = estimate_noise(random.poisson(photons, (400, 400)).astype(np.uint16))
        assert estimate.deviation(photons) == pytest.approx(photons**0.5, rel=0.1)


def test_correlated_noise_is_told_and_all_of_it_counted(photo, random):
    field = random.normal(0, 10, (514, 514))
    smooth = sum(w * field[i : 512 + i] for i, w in enumerate((0.5, 1, 0.5)))
    smooth = sum(w * smooth[:, i : 512 + i] for i, w in enumerate((0.5, 1, 0.5)))
    deviation = smooth.std()
    estimate = estimate_noise(photo + smooth)
    assert estimate.correlation == pytest.approx(2 / 3, abs=0.1)
    assert estimate.deviation(128.0) == pytest.approx(deviation, rel=0.25)


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (5, 300), (5, 5)])
def test_small_pictures_get_a_guess_that_says_so(random, shape):
    estimate = estimate_noise(random.normal(100, 5, shape))
    assert 2 < estimate.read[0] ** 0.5 < 9
    assert estimate.confidence < 0.2


def test_a_picture_full_of_detail_says_that_there_may_be_less_noise(photo):
    estimate = estimate_noise(photo[100:164, 200:264])  # of one channel
    assert estimate.confidence < 0.5
    assert "may be less" in estimate.assumed[0]


def test_strength_scales_deviations():
    estimate = NoiseEstimate((2.0,), (-3.0,)).scaled(1.5)
    assert estimate.deviation(10.0) == pytest.approx(1.5 * 17**0.5)
    assert estimate.deviation(1.0) == 0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"Received: shape=\(4,\)"):
        estimate_noise(np.zeros(4))


def test_no_tensorflow_is_imported():
    code = (
        "import sys, n2n_tf; n2n_tf.estimate_noise; print({'tensorflow', 'keras'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


@pytest.mark.parametrize("sigma", [0.5, 1, 2, 5])
@pytest.mark.parametrize("contrast", [0, 40])
def test_of_texture_only_what_is_white_is_noise(random, sigma, contrast):
    texture = contrast * cv2.GaussianBlur(random.normal(0, 1, (256, 256)), (0, 0), 0.8)
    noisy = 120 + texture + random.normal(0, sigma, texture.shape)
    cut = Cut(noisy[..., None])
    blocks = measure(cut)[0][0][0]
    chosen, white = white_variance(blocks, cut.pixels[0])
    assert 0 <= white < 1.15 * sigma**2
    if contrast:
        assert blocks.high[chosen].mean() > sigma**2
    else:
        assert white > 0.85 * sigma**2


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.float16])
def test_the_type_of_the_pixels_plays_no_part(dtype):
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 100, 256)[:, None, None] + np.zeros((256, 256, 3))
    noisy = np.clip(np.rint(ramp + random.normal(0, 9, ramp.shape)), 0, 127)
    if np.dtype(dtype).kind != "u":
        noisy[0, 0] = -128
    assert estimate_noise(noisy.astype(dtype)) == estimate_noise(noisy)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_energies_are_those_of_the_cosine_transform_in_float64(random, dtype):
    image = random.normal(100, 20, (200, 120, 2)).astype(dtype)
    image[:40], image[100, 100] = 7, np.nan if np.dtype(dtype).kind == "f" else 7
    cut = Cut(image)
    order = np.add.outer(np.arange(8), np.arange(8))
    for c, (blocks, _) in enumerate(measure(cut)[0]):
        pixels = np.float64(cut.pixels[c])
        varied = np.isfinite(pixels).all(1) & (pixels != pixels[:, :1]).any(1)
        assert np.array_equal(cut.varied[c], varied)
        pixels[~varied] = 0
        assert np.array_equal(blocks.level, pixels.mean(1))
        energy = np.square([cv2.dct(block) for block in pixels.reshape(-1, 8, 8)])
        for found, first, last in (blocks.low, 1, 4), (blocks.middle, 5, 7), (blocks.high, 9, 14):
            band = energy[:, (order >= first) & (order <= last)]
            assert np.allclose(found, band.mean(1), rtol=1e-4, atol=1e-4)


def test_clipping_is_looked_up_for_levels_in_any_order(random):
    level = random.uniform(-3, 60, 500)
    blocks = Blocks(level, level, level, level)
    line, ends = (0.2, 9.0), (0.0, 50.0)
    order = np.argsort(level)
    rising = before_clipping(blocks.only(order), line, ends)
    for found, sorted_ones in zip(before_clipping(blocks, line, ends), rising, strict=True):
        np.testing.assert_array_equal(found[order], sorted_ones)
    inside = (level > 30) & (level < 31)  # far from both ends
    assert np.allclose(before_clipping(blocks, line, ends)[0][inside], level[inside])
    same, factor = before_clipping(blocks, line, (None, None))
    assert same is level and (factor == 1).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32, np.float64])
def test_the_darkest_level_is_that_of_pixels_in_float64(random, dtype):
    for size in (1, 2, 7, 4000):
        plane = random.normal(50, 20, (size, 1, 1)).astype(dtype)
        assert noise_level._darkest(plane) == np.quantile(np.float64(plane), 0.001)
    if np.dtype(dtype).kind == "f":
        plane[::3], plane[1] = np.nan, -np.inf
        finite = np.float64(plane[np.isfinite(plane)])
        assert noise_level._darkest(plane) == np.quantile(finite, 0.001)


@pytest.mark.parametrize("shape", [(200, 300), (512, 768), (700, 500), (1800, 2500)])
def test_blocks_lie_evenly_on_every_grid_of_8_pixels(shape):
    rows, columns = np.indices(shape)
    pixels, overlap = block_pixels(np.stack([rows, columns], -1).astype(np.int32))
    first = pixels[..., 0]
    phases = np.bincount(8 * (first[0] % 8) + first[1] % 8, minlength=64)
    assert phases.min() > 0.75 * phases.mean()
    assert 10_000 < pixels.shape[1] <= 1.1 * MOST_BLOCKS
    assert overlap == pytest.approx(pixels.shape[1] * 64 / np.prod(shape), rel=0.1)


def test_a_crop_of_a_jpeg_has_the_noise_of_the_jpeg(random):
    photo = np.add.outer(np.linspace(60, 190, 512), 20 * np.sin(np.arange(768) / 90))
    noisy = np.uint8(np.clip(photo + random.normal(0, 15, photo.shape), 0, 255))
    jpeg = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0)
    found = [estimate_noise(jpeg[at:, at:]).deviation(120.0)[0] for at in range(8)]
    assert min(found) > 0.9 * max(found) > 5
