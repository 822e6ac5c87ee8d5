"""Large pictures in bands: the result of the whole at once, in little memory."""

import numpy as np
import pytest

from n2n_tf.denoising import known_noise, large, tiling
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.known_noise import Stages
from n2n_tf.denoising.large import sampled_rows
from n2n_tf.denoising.noise_level import estimate_noise
from n2n_tf.model_files.info import ModelInfo


def blurring(channels, **info):
    """A network that is the mean of 3 x 3 pixels, and sees no farther."""

    def run(x):
        padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
        height, width = x.shape[1:3]
        return sum(
            padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
        ) / np.float32(9)

    info = ModelInfo(channels=channels, size_multiple=16, halo=16, **info)
    return Denoiser(run, info, tile=96)


def in_bands(monkeypatch):
    """The smallest ones, of which pictures of a test have several."""
    for name in ("SAMPLES", "PREPARED", "FINISHED"):
        monkeypatch.setattr(large, name, 1000)


@pytest.fixture
def picture(rng):
    y, x = np.mgrid[:410, :330]
    clean = 3000 + 1500 * np.sin(x / 40) * np.cos(y / 50)
    noisy = clean + np.sqrt(3 * clean) * rng.normal(size=clean.shape)
    noisy[7, 9], noisy[200:206, 100] = 60000, 50000  # hot ones
    noisy[250:270, 60:90] = 900  # of one value
    return noisy


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [(0.02, 0.2), None])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_bands_give_what_the_whole_gives(monkeypatch, picture, channels, levels, dtype):
    image = np.stack([picture * (1 + c / 9) for c in range(channels)], -1).astype(dtype)
    if dtype == np.float32:
        image[90:95, 30:70] = np.nan
    monkeypatch.setattr(known_noise, "WEAK", 0)  # asked twice, it is so with other nudges
    denoise, told = blurring(channels, noise_level=levels), []
    whole = denoise(image, tell=lambda *what: told.append(what))
    in_bands(monkeypatch)  # the scale is still that of all rows
    steps = []
    parts = denoise(
        image,
        tell=lambda *what: told.append(what),
        progress=lambda done, tiles: steps.append((done, tiles)),
    )
    np.testing.assert_allclose(np.float64(parts), whole, rtol=1e-5, atol=dtype == np.uint16)
    assert np.mean(parts != whole) < (0.01 if dtype == np.uint16 else 1)
    assert told[0][0] == told[1][0] and told[0][1] == pytest.approx(told[1][1], abs=1e-5)
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] == len(steps) - 1 > 10


def test_weak_noise_is_asked_about_twice_in_bands_too(monkeypatch, rng):
    clean = 60 * np.float32(np.sin(np.mgrid[:410, :330][1] / 40))[..., None]
    image = clean + np.float32(rng.normal(0, 0.5, clean.shape))
    denoise = blurring(1, noise_level=(0.001, 0.2))
    stages = Stages.of(image, estimate_noise(image), (0.001, 0.2))
    assert stages.asks_twice
    whole = denoise(image)
    in_bands(monkeypatch)
    parts = denoise(image)  # the nudges are others
    error, other = (np.sqrt(np.mean((r - clean) ** 2)) for r in (whole, parts))
    assert other == pytest.approx(error, rel=0.02) and error < 0.4
    assert np.sqrt(np.mean((whole - parts) ** 2)) < 0.05


@pytest.mark.parametrize("ahead", [0, 10**9])
def test_windows_made_ahead_change_nothing(monkeypatch, picture, ahead):
    image, denoise = np.float32(picture)[..., None], blurring(1, noise_level=(0.02, 0.2))
    in_bands(monkeypatch)
    expected = denoise(image)
    monkeypatch.setattr(tiling, "AHEAD", ahead)
    np.testing.assert_array_equal(denoise(image), expected)


def test_rows_move_within_their_memory():
    rows = np.arange(40).reshape(10, 2, 2)
    for start, count in (3, 7), (1, 4), (0, 10), (5, 0):
        kept = rows.copy()
        moved = large._moved(kept, start, count, 10)
        assert moved is kept
        np.testing.assert_array_equal(moved[:count], rows[start : start + count])
        larger = large._moved(rows, start, count, 12)
        assert len(larger) >= 12 and not np.shares_memory(larger, rows)
        np.testing.assert_array_equal(larger[:count], moved[:count])


def test_a_large_picture_without_noise_comes_back(monkeypatch):
    in_bands(monkeypatch)
    image = np.full((100, 90, 1), 7, np.uint16)
    np.testing.assert_array_equal(blurring(1, noise_level=(0.02, 0.2))(image), image)


def test_sampled_rows_are_spread_evenly(monkeypatch):
    image = np.repeat(np.arange(4000)[:, None, None], 10, axis=1)
    assert sampled_rows(image) is image
    monkeypatch.setattr(large, "SAMPLES", 32_000)
    rows = sampled_rows(image)[:, 0, 0]
    assert len(rows) == 64 * len(rows[::64]) < 4000 / 3
    assert (np.diff(rows[::64]) == 64 * 5).all() and (np.diff(rows[:64]) == 1).all()


def test_the_result_may_take_the_place_of_the_picture(monkeypatch, picture):
    """Of large pictures too, whose rows are read again when others have been written."""
    in_bands(monkeypatch)
    for dtype in (np.uint16, np.float32):
        image = picture[..., None].astype(dtype)
        denoise = blurring(1, noise_level=(0.02, 0.2))
        expected, given = denoise(image), image.copy()
        result = denoise(given, in_place=True)
        assert np.shares_memory(result, given)
        np.testing.assert_array_equal(result, expected)
        given = image.copy()
        assert not np.shares_memory(denoise(given, in_place=True, noise="none"), given)
        np.testing.assert_array_equal(given, image)
