"""Noise of pictures whose flat places are all dark, as those of fluorescence microscopes are."""

import dataclasses

import cv2
import numpy as np
import pytest

from n2n_tf import estimate_noise
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.flat_blocks import Cut, measure
from n2n_tf.denoising.white_noise import line_for_bright, photon_counts, white_line
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.shipped import DEFAULTS

SIDE = 384


def nuclei(random):
    """Textured spots as a lens shows them, on black; 0 to 1.2."""
    scene = np.zeros((SIDE, SIDE))
    for _ in range(35):
        spot = np.zeros((SIDE, SIDE))
        place, axes = (tuple(map(int, random.integers(*of, 2))) for of in ((0, SIDE), (10, 28)))
        cv2.ellipse(spot, place, axes, random.uniform(0, 180), 0, 360, 1.0, -1)
        texture = 1 + 1.5 * cv2.GaussianBlur(random.standard_normal(spot.shape), (0, 0), 2)
        scene = np.maximum(scene, spot * texture * random.uniform(0.3, 1))
    return cv2.GaussianBlur(scene, (0, 0), 1.5).clip(0, 1.2)


def filaments(random):
    """Thin bent lines as a lens shows them, on black; 0 to 1.2."""
    scene = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(50):
        bends = 0.08 * random.normal(0, 1, (200, 2)).cumsum(0) + random.normal(0, 2.5, 2)
        points = bends.cumsum(0) + random.uniform(0, SIDE, 2)
        shade = float(random.uniform(0.3, 1))
        cv2.polylines(scene, [np.int32(16 * points)], False, shade, 1, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(scene, (0, 0), 1.0).clip(0, 1.2)


SCENES = {"nuclei": nuclei, "filaments": filaments}


def photographed(scene, photons, gain, offset, reading, random):
    """What a camera makes of it, in its units: noisy and clean, float64."""
    expected = scene * photons
    noisy = gain * (random.poisson(expected) + random.normal(0, reading, scene.shape)) + offset
    return noisy, gain * expected + offset


def blocks_of(noisy):
    cut = Cut(noisy[..., None])
    split, _ = measure(cut)
    return split[0][0].only(cut.varied[0]), cut.pixels[0][cut.varied[0]], cut.overlap


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(
    ("photons", "gain", "offset", "reading", "dtype"),
    [
        (100, 2.17, 100, 1.4, np.uint16),
        (1000, 2.17, 100, 1.4, np.uint16),
        (20, 12, 300, 0.3, np.uint16),
        (30, 6, 8, 0.4, np.uint8),
        (100, 2, 2, 0.9, np.uint8),  # clipped at black
    ],
)
def test_light_on_black_has_the_noise_of_photons(scene, photons, gain, offset, reading, dtype):
    random = np.random.default_rng(4)
    camera = photons, gain, offset, reading, random
    noisy, clean = photographed(SCENES[scene](random), *camera)
    noisy = noisy.round().clip(0, np.iinfo(dtype).max).astype(dtype)
    estimate = estimate_noise(noisy)
    bright = np.quantile(clean, (0.95, 0.995))
    true = np.sqrt(gain * (bright - offset) + (gain * reading) ** 2)
    assert estimate.deviation(bright[:, None])[:, 0] == pytest.approx(true, rel=0.15)
    assert estimate.correlation == 0 and estimate.confidence > 0.5 and not estimate.assumed
    assert estimate.deviation(offset) < 1.3 * np.hypot(gain * reading, 0.3)


@pytest.mark.parametrize("photons", [50, 200])
def test_what_absorbs_light_has_less_noise_than_the_light_around(photons):
    random = np.random.default_rng(13)
    scene = np.full((160, 160), 0.9)
    for lane in range(4):
        for place in random.uniform(10, 150, 12):
            band = np.exp(-((np.arange(160) - place) ** 2) / 18)
            scene[:, 5 + 40 * lane : 35 + 40 * lane] -= random.uniform(0.1, 0.7) * band[:, None]
    scene = cv2.GaussianBlur(scene, (0, 0), 1.0).clip(0.05)
    noisy, clean = photographed(scene, photons, 16, 160, 1.1, random)
    estimate = estimate_noise(noisy.round().astype(np.uint16))
    levels = np.quantile(clean, (0.05, 0.5, 0.95))
    true = np.sqrt(16 * (levels - 160) + (16 * 1.1) ** 2)
    assert estimate.deviation(levels[:, None])[:, 0] == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("offset", [0, 40])
def test_noise_alike_everywhere_stays_so_on_black(scene, offset):
    random = np.random.default_rng(5)
    clean = offset + 200 * SCENES[scene](random)
    noisy = (clean + random.normal(0, 5, clean.shape)).round().clip(0, 255).astype(np.uint8)
    estimate = estimate_noise(noisy)
    assert estimate.gain == (0.0,)
    assert estimate.read[0] ** 0.5 == pytest.approx(5, rel=0.08)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("scale", [1, 16, 0.25])
def test_few_photons_are_counted(scene, scale):
    random = np.random.default_rng(6)
    counts = scale * random.poisson(4 * SCENES[scene](random))
    estimate = estimate_noise(counts.astype(np.float32))
    assert estimate.gain[0] == pytest.approx(scale, rel=0.05)
    assert abs(estimate.read[0]) < 0.05 * scale**2


@pytest.mark.parametrize("levels", [3, 6, 16])
def test_drawn_levels_are_no_counts(levels):
    scene = nuclei(np.random.default_rng(7))
    drawn = np.floor(levels * np.minimum(scene, 0.999))
    assert estimate_noise(drawn.astype(np.uint8)).nothing
    blocks, pixels, overlap = blocks_of(drawn)
    assert photon_counts(blocks, pixels, overlap) is None


def test_counts_above_an_offset_or_of_parts_of_photons_are_no_counts():
    random = np.random.default_rng(8)
    counts = random.poisson(4 * nuclei(random)).astype(float)
    assert photon_counts(*blocks_of(counts)) == 1
    for other in (counts + 3, counts**1.5, counts + random.normal(0, 0.1, counts.shape)):
        assert photon_counts(*blocks_of(other)) is None


@pytest.mark.parametrize(("gain", "read"), [(0.0, 9.0), (0.2, 4.0)])
def test_the_noise_of_soft_texture_without_flat_places(gain, read):
    random = np.random.default_rng(9)
    soft = cv2.GaussianBlur(random.standard_normal((SIDE, SIDE)), (0, 0), 2.5)
    clean = 130 + (40 * soft / soft.std()).clip(-120, 120)
    noisy = clean + random.normal(0, 1, clean.shape) * np.sqrt(gain * clean + read)
    line = white_line(*blocks_of(noisy))
    assert line[0] == pytest.approx(gain, rel=0.25)
    assert line[0] * 130 + line[1] == pytest.approx(gain * 130 + read, rel=0.1)


def test_sharp_texture_is_no_white_noise():
    random = np.random.default_rng(10)
    sharp = cv2.GaussianBlur(random.standard_normal((SIDE, SIDE)), (0, 0), 0.6)
    assert white_line(*blocks_of(100 + 30 * sharp)) is None
    black = np.zeros((SIDE, SIDE))
    black[:, SIDE // 2 :] = 100 + 30 * sharp[:, SIDE // 2 :]
    blocks = blocks_of(black + random.normal(0, 2, black.shape))
    assert line_for_bright((0.0, 4.0), blocks[0], *blocks, clipped=False) is None


def test_a_line_that_is_right_for_bright_levels_is_kept():
    random = np.random.default_rng(11)
    noisy, _ = photographed(nuclei(random), 100, 2.0, 100, 1.4, random)
    blocks = blocks_of(noisy)
    true = 2.0, 2.0**2 * 1.4**2 - 200
    assert line_for_bright(true, blocks[0], *blocks, clipped=False) is None
    dark = 0.0, 2.0**2 * 1.4**2
    found = line_for_bright(dark, blocks[0], *blocks, clipped=False)
    assert found == pytest.approx(true, rel=0.1)
    shared = dataclasses.replace(blocks[0], high=np.full_like(blocks[0].high, dark[1]))
    assert line_for_bright(dark, blocks[0], shared, *blocks[1:], clipped=False) is None


def test_cells_on_black_are_denoised():
    random = np.random.default_rng(12)
    noisy, clean = photographed(nuclei(random), 100, 2.0, 100, 1.4, random)
    denoised = Denoiser.load(DEFAULTS["gray"])(noisy.round().astype(np.uint16))
    before, after = (psnr(clean, image.astype(float), np.ptp(clean)) for image in (noisy, denoised))
    assert after > before + 8
