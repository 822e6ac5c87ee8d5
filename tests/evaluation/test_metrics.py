"""PSNR and SSIM against closed forms, an independent implementation, and TensorFlow's own."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.evaluation.metrics import psnr, ssim


def official_ssim(reference, image, data_range):
    """The paper's SSIM, window by window, in float64: nothing shared with the code under test."""
    axis = np.arange(-5, 6, dtype=np.float64)
    line = np.exp(-(axis**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    means = []
    for channel in range(reference.shape[2]):
        x, y = (a[..., channel].astype(np.float64) for a in (reference, image))
        values = []
        for top, left in itertools.product(range(x.shape[0] - 10), range(x.shape[1] - 10)):
            u, v = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_u, mean_v = (window * u).sum(), (window * v).sum()
            var_u = (window * u * u).sum() - mean_u**2
            var_v = (window * v * v).sum() - mean_v**2
            covariance = (window * u * v).sum() - mean_u * mean_v
            values.append(
                (2 * mean_u * mean_v + c1)
                * (2 * covariance + c2)
                / ((mean_u**2 + mean_v**2 + c1) * (var_u + var_v + c2))
            )
        means.append(np.mean(values))
    return np.mean(means)


@pytest.mark.parametrize("data_range, step", [(255, 1), (255, 25.5), (1.0, 0.1), (65535, 257)])
def test_psnr_of_a_constant_difference(data_range, step):
    clean = np.zeros((7, 5, 3))
    assert psnr(clean, clean + step, data_range) == pytest.approx(
        20 * math.log10(data_range / step)
    )


def test_psnr_is_over_all_pixels_and_channels():
    clean, noisy = np.zeros((10, 10, 3)), np.zeros((10, 10, 3))
    noisy[3, 4, 1] = 255.0  # one value of 300 wrong by the whole range
    assert psnr(clean, noisy, 255) == pytest.approx(10 * math.log10(300))


def test_psnr_of_integers_does_not_wrap_around():
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert psnr(black, white, 255) == psnr(white, black, 255) == 0.0
    assert psnr(black, white, np.uint8(255)) == 0.0
    deep = np.full((4, 4), 65535, np.uint16)
    assert psnr(np.zeros_like(deep), deep, np.iinfo(np.uint16).max) == 0.0


def test_psnr_limits():
    image = np.full((3, 3), 0.25)
    assert psnr(image, image, 1.0) == math.inf
    broken = image.copy()
    broken[0, 0] = np.nan
    assert math.isnan(psnr(image, broken, 1.0)), "a NaN pixel must not look like a perfect result"


def test_psnr_agrees_with_tensorflow(rng):
    clean, noisy = rng.random((2, 23, 31, 3), np.float32)
    expected = float(tf.image.psnr(clean, noisy, max_val=1.0))
    assert psnr(clean, noisy, 1.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "shape, dtype, peak",
    [
        ((11, 11, 3), np.uint8, 255),  # a single window
        ((11, 30, 1), np.uint8, 255),
        ((26, 19, 3), np.uint16, 65535),
        ((26, 19, 3), np.float32, 1),
    ],
)
def test_ssim_is_the_official_formula(rng, shape, dtype, peak):
    clean = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None] / sum(shape)
    clean = np.broadcast_to(clean, shape)
    noisy = np.clip(clean + rng.normal(0, 0.1, shape), 0, 1)
    clean, noisy = (clean * peak).astype(dtype), (noisy * peak).astype(dtype)
    expected = official_ssim(clean, noisy, peak)
    assert 0.05 < expected < 0.95  # else the comparison would say little
    assert ssim(clean, noisy, peak) == pytest.approx(expected, abs=1e-12)
    if shape[2] == 1:
        assert ssim(clean[..., 0], noisy[..., 0], peak) == pytest.approx(expected, abs=1e-12)


def test_ssim_agrees_with_tensorflow(rng):
    clean = rng.random((40, 33, 3), np.float32)
    noisy = clean + rng.normal(0, 0.2, clean.shape).astype(np.float32)
    expected = float(tf.image.ssim(clean, noisy, max_val=1.0))
    assert ssim(clean, noisy, 1.0) == pytest.approx(expected, abs=2e-5)


def test_ssim_limits(rng):
    image = rng.integers(0, 256, (16, 16, 3), np.uint8)
    assert ssim(image, image, 255) == 1.0
    assert ssim(image, 255 - image, 255) < 0
    assert ssim(image, image // 2, np.uint8(255)) == ssim(image, image // 2, 255)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_errors_say_what_came(metric):
    image = np.zeros((16, 16, 3))
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) and \(16, 16, 1\)"):
        metric(image, image[..., :1], 1.0)
    with pytest.raises(ValueError, match=r"at least one pixel. Received: \(0, 4\) and \(0, 4\)"):
        metric(np.zeros((0, 4)), np.zeros((0, 4)), 1.0)
    for peak in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"`data_range` must be positive. Received: {peak}"):
            metric(image, image, peak)


@pytest.mark.parametrize("shape", [(10, 64, 3), (64, 10), (11,), (2, 16, 16, 3)])
def test_ssim_refuses_what_has_no_window(shape):
    with pytest.raises(ValueError, match="11 pixels wide"):
        ssim(np.zeros(shape), np.zeros(shape), 1.0)
