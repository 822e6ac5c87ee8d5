"""SIDD's validation protocol: right colours to the denoiser, floats to the metrics."""

import numpy as np
import pytest
import scipy.io
from scipy.ndimage import correlate1d
from sidd_samples import COLOURS, mosaic_of

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.sidd import blocks as sidd_blocks
from n2n_tf.pipelines.sidd import files as sidd_files
from n2n_tf.pipelines.sidd import scenes as sidd_scenes

PATTERNS = list(bayer.PATTERNS)


def random_blocks(shape=(4, 3, 16, 24), seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def coloured_blocks(patterns, blocks=3, height=16, width=24):
    """Blocks whose every pixel tells its colour."""
    return np.stack([[mosaic_of(pattern, height, width)] * blocks for pattern in patterns])


# Patterns


def test_patterns_come_from_names_a_text_file_or_folders(tmp_path):
    names = sidd_scenes.HELD_OUT_SCENES
    expected = [sidd_scenes.CAMERA_PATTERNS[name.split("_")[2]] for name in names]
    assert sidd_blocks.block_patterns() == expected
    assert {pattern: expected.count(pattern) for pattern in set(expected)} == {
        "GRBG": 8,
        "BGGR": 24,
        "RGGB": 8,
    }
    (tmp_path / "scenes.txt").write_text("\n".join(names[:5]) + "\n")
    assert sidd_blocks.block_patterns(tmp_path / "scenes.txt") == expected[:5]
    for name in reversed(names[:5]):
        (tmp_path / "Data" / name).mkdir(parents=True)
    assert sidd_blocks.block_patterns(tmp_path / "Data") == expected[:5]
    with pytest.raises(sidd_files.SiddError, match="no such file or folder of scene names"):
        sidd_blocks.block_patterns(tmp_path / "nothing")
    with pytest.raises(sidd_files.SiddError, match="'Data' is not a scene name"):
        sidd_blocks.block_patterns(tmp_path)


def test_blocks_of_another_pattern_are_noticed():
    clean = coloured_blocks(["GRBG", "RGGB", "BGGR", "GRBG"])
    assert sidd_blocks.unlike_pattern(clean, ["GRBG", "RGGB", "BGGR", "GRBG"]) == []
    assert sidd_blocks.unlike_pattern(clean, ["RGGB", "RGGB", "GRBG", "GRBG"]) == [0, 2]


# Denoising


def test_the_denoiser_sees_every_colour_in_its_plane():
    seen = []

    def denoise(planes):
        assert planes.dtype == np.float32 and planes.ndim == 4
        seen.append(planes)
        return planes

    sidd_blocks.denoise_blocks(denoise, coloured_blocks(PATTERNS), PATTERNS)
    expected = np.float32([COLOURS[name] for name in ("R", "G1", "G2", "B")])
    assert len(seen) == 4
    for planes in seen:
        np.testing.assert_array_equal(planes, np.broadcast_to(expected, planes.shape))


def test_pixels_keep_their_place_whatever_the_pattern():
    noisy = random_blocks()
    result = sidd_blocks.denoise_blocks(lambda planes: planes, noisy, PATTERNS)
    np.testing.assert_array_equal(result, noisy)
    darker = sidd_blocks.denoise_blocks(lambda p: p * [0.5, 1, 1, 1], noisy, PATTERNS)
    red = coloured_blocks(PATTERNS) == COLOURS["R"]
    np.testing.assert_allclose(darker[red], noisy[red] / 2, rtol=1e-6)
    np.testing.assert_array_equal(darker[~red], noisy[~red])


def test_results_are_clipped_to_the_range_of_the_clean_blocks():
    result = sidd_blocks.denoise_blocks(lambda p: 3 * p - 1, random_blocks(), PATTERNS)
    assert result.min() == 0 and result.max() == 1 and result.dtype == np.float32


def test_wrong_arguments_are_refused():
    noisy = random_blocks()
    with pytest.raises(ValueError, match=r"each of the 4 scenes\. Received: 3"):
        sidd_blocks.denoise_blocks(lambda p: p, noisy, PATTERNS[:3])
    with pytest.raises(ValueError, match=r"keep the shape \(3, 8, 12, 4\)"):
        sidd_blocks.denoise_blocks(lambda p: p[..., :3], noisy, PATTERNS)
    with pytest.raises(ValueError, match="`clean` must be"):
        sidd_blocks.evaluate_blocks(lambda p: p, noisy, noisy[:2], PATTERNS)


# Scores


def test_psnr_is_its_formula_and_a_mean_over_blocks():
    clean = np.full((4, 3, 16, 24), 0.5, np.float32)
    levels = np.array([[0.01, 0.02, 0.03]] * 4)
    noisy = clean + levels[..., None, None] * np.where(np.arange(24) % 2, 1, -1)
    scores = sidd_blocks.evaluate_blocks(lambda p: p, noisy, clean, PATTERNS)
    assert scores["psnr"] == pytest.approx(np.mean(-20 * np.log10(levels)), abs=1e-3)
    assert sidd_blocks.block_psnr(clean[0, 0], clean[0, 0]) == np.inf


def numpy_ssim(a, b):
    """Wang et al. 2004 by its formula: 11 x 11 Gaussian, sigma 1.5, valid region, range 1."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(x):
        return correlate1d(correlate1d(x, weights, 0), weights, 1)[5:-5, 5:-5]

    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2, mean(a * b) - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mu_a * mu_b + c1) * (2 * cov + c2)
    return (numerator / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))).mean()


def test_ssim_is_its_formula():
    clean, noise = random_blocks((32, 40)), random_blocks((32, 40), seed=1) - 0.5
    assert sidd_blocks.block_ssim(clean, clean) == 1
    for level in (0.01, 0.1, 0.5):
        noisy = clean + np.float32(level) * noise
        expected = numpy_ssim(clean.astype(float), noisy.astype(float))
        assert sidd_blocks.block_ssim(clean, noisy) == pytest.approx(expected, abs=1e-9)


def test_metrics_of_the_caller_get_every_block_once():
    clean, noisy = random_blocks(), random_blocks(seed=1)
    seen = []

    def first_pixel(clean_block, denoised_block):
        seen.append(clean_block[0, 0])
        return float(denoised_block[0, 0])

    scores = sidd_blocks.evaluate_blocks(
        lambda p: p, noisy, clean, PATTERNS, {"first": first_pixel}
    )
    assert scores == {"first": pytest.approx(noisy[:, :, 0, 0].mean())}
    assert seen == clean[:, :, 0, 0].ravel().tolist()


def test_rounding_the_clean_block_to_8_bits_costs_decibels():
    """Raw is dark and clean results are good: half a code value weighs as much as their error."""
    random = np.random.default_rng(0)
    clean = (0.15 * random.beta(2, 5, (256, 256))).astype(np.float32)
    sigma = 10 ** (-51.1 / 20)
    denoised = clean + sigma * random.standard_normal(clean.shape).astype(np.float32)
    on_floats = sidd_blocks.block_psnr(clean, denoised)
    assert on_floats == pytest.approx(51.1, abs=0.1)
    truncated = (clean * 255).astype(np.uint8) / 255
    rounded = np.clip(denoised * 255 + 0.5, 0, 255).astype(np.uint8) / 255
    step = 1 / 255  # truncation: offset step/2 and variance step^2/12; rounding: step^2/12
    expected = -10 * np.log10(sigma**2 + step**2 / 4 + 2 * step**2 / 12)
    in_8_bits = sidd_blocks.block_psnr(truncated, rounded)
    assert in_8_bits == pytest.approx(expected, abs=0.1)
    assert on_floats - in_8_bits > 2.4
    ceiling = sidd_blocks.block_psnr(truncated, np.round(clean * 255) / 255)
    assert 50 < ceiling < 52  # even a perfect result cannot score more


# The whole way


def test_from_files_of_blocks_to_scores_and_a_submission(tmp_path):
    patterns = sidd_blocks.block_patterns()
    shape = (40, 32, 12, 12)
    clean = 0.5 * random_blocks(shape)
    noisy = clean + np.float32(0.05) * (random_blocks(shape, seed=1) - np.float32(0.5))
    for name, blocks in (("Noisy", noisy), ("Gt", clean)):
        path = tmp_path / f"Validation{name}BlocksRaw.mat"
        scipy.io.savemat(path, {path.stem: blocks})
    noisy_read, clean_read = (
        sidd_files.read_blocks(tmp_path / f"Validation{name}BlocksRaw.mat", shape)
        for name in ("Noisy", "Gt")
    )
    before = sidd_blocks.evaluate_blocks(lambda p: p, noisy_read, clean_read, patterns)
    assert before["psnr"] == pytest.approx(-20 * np.log10(0.05 / np.sqrt(12)), abs=0.1)
    denoised = sidd_blocks.denoise_blocks(lambda p: p, noisy_read, patterns)
    sidd_files.write_submit_csv(tmp_path / "SubmitRaw.csv", denoised, shape)
    sidd_files.write_submit_mat(tmp_path / "SubmitRaw.mat", denoised, 0.1, shape=shape)
    assert (tmp_path / "SubmitRaw.csv").read_text().count("\n") == 1281
