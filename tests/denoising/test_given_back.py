"""Lost detail comes back, noise does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.given_back import removed_noise, with_detail_kept
from n2n_tf.model_files.info import ModelInfo


def weakly_noisy(shot, read, rng, channels=4):
    """A smooth ramp above and fine detail below, and its noisy version."""
    clean = np.tile(np.linspace(0.05, 0.6, 256, dtype=np.float32)[:, None], (192, 1, channels))
    clean[96:] += 0.04 * rng.normal(size=(96, 256, channels)).astype(np.float32)
    clean = np.clip(clean, 0.01, 0.85)
    noise = np.sqrt(shot * clean + read) * rng.normal(size=clean.shape)
    return clean, (clean + noise).astype(np.float32)


def without_detail(clean):
    """The lower half loses its detail."""
    blurred = clean.copy()
    blurred[96:] = np.linspace(0.05, 0.6, 256)[:, None]
    return blurred


def error(image, clean):
    return np.mean(np.square(image - clean, dtype=np.float64))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("shot", "read"), [(1e-4, 1e-6), (1e-3, 0.0), (0.0, 1e-5)])
def test_noise_is_known_by_what_is_taken_away_in_the_quietest_places(shot, read, channels, rng):
    clean, noisy = weakly_noisy(shot, read, rng, channels)
    noise = removed_noise(noisy, without_detail(clean))
    at = np.array([0.2, 0.35, 0.5])
    np.testing.assert_allclose(np.interp(at, *noise), shot * at + read, rtol=0.25)


def test_detail_does_not_pass_for_noise_where_the_denoised_image_is_flat_elsewhere(rng):
    clean, noisy = weakly_noisy(1e-4, 1e-6, rng)
    denoised = clean.copy()
    denoised[96:] = 0.5 * clean[96:] + 0.5 * without_detail(clean)[96:]  # half of it is left
    at = np.array([0.1, 0.3, 0.5])
    np.testing.assert_allclose(
        np.interp(at, *removed_noise(noisy, denoised)), 1e-4 * at + 1e-6, rtol=0.25
    )


def test_dark_rows_and_clipped_areas_say_nothing_about_the_noise(rng):
    clean, noisy = weakly_noisy(1e-3, 1e-5, rng)
    at = np.array([0.1, 0.5])
    whole = np.interp(at, *removed_noise(noisy, clean))
    noisy[:24], clean[:24], noisy[-40:], clean[-40:] = 0, 0, 1, 1
    np.testing.assert_allclose(np.interp(at, *removed_noise(noisy, clean)), whole, rtol=0.15)


@pytest.mark.parametrize("shot", [1e-5, 1e-3, 1e-2])
def test_lost_detail_comes_back_and_noise_does_not(shot, rng):
    clean, noisy = weakly_noisy(shot, shot / 100, rng)
    blurred = without_detail(clean)
    kept = with_detail_kept(noisy, blurred)
    smooth, fine = np.s_[:80], np.s_[112:]
    # Where nothing but noise was taken away it stays away; to 2 % of its energy.
    assert error(kept[smooth], clean[smooth]) < 0.02 * error(noisy[smooth], clean[smooth])
    # Elsewhere the mix is better than both, as good as the formula for independent errors.
    noise, lost = error(noisy[fine], clean[fine]), error(blurred[fine], clean[fine])
    assert error(kept[fine], clean[fine]) < min(noise, lost)
    assert error(kept[fine], clean[fine]) < 1.2 * noise * lost / (noise + lost)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_result_lies_between_noisy_and_denoised(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    noisy, denoised = rng.random((2, height, width, channels), np.float32)
    kept = with_detail_kept(noisy, denoised)
    assert kept.dtype == np.float32 and kept.shape == noisy.shape
    slack = 1e-6
    assert (kept >= np.minimum(noisy, denoised) - slack).all()
    assert (kept <= np.maximum(noisy, denoised) + slack).all()


def test_bands_of_a_tall_image_do_not_show(rng):
    """1100 rows are worked on in three bands; upside down they are cut elsewhere."""
    clean = np.tile(np.linspace(0.2, 0.7, 96, dtype=np.float32)[:, None], (1104, 1, 3))
    noisy = clean + 0.02 * rng.normal(size=clean.shape).astype(np.float32)
    denoised = clean + 0.01 * rng.normal(size=clean.shape).astype(np.float32)
    turned = with_detail_kept(noisy[::-1], denoised[::-1])[::-1]
    np.testing.assert_allclose(with_detail_kept(noisy, denoised), turned, atol=1e-6)


def test_without_enough_to_judge_by_nothing_is_put_back(rng):
    noisy = rng.random((20, 20, 4), np.float32)
    denoised = noisy * np.float32(0.5)
    np.testing.assert_array_equal(with_detail_kept(noisy, denoised), denoised)
    dark = np.zeros((128, 128, 4), np.float32)
    np.testing.assert_array_equal(with_detail_kept(0.001 + dark, dark), dark)
    np.testing.assert_array_equal(with_detail_kept(noisy, noisy), noisy)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_denoiser_keeps_detail_of_pictures_of_every_type_when_told_to(kind, rng):
    clean, noisy = weakly_noisy(1e-5, 1e-6, rng, 3)
    white = 1 if kind == np.float32 else np.iinfo(kind).max
    pixels = (np.round(np.clip(noisy, 0, 1) * white) if white > 1 else noisy).astype(kind)
    denoise = Denoiser(lambda x: without_detail(clean)[None], ModelInfo(3, 32, 0))
    plain, kept = (denoise(pixels, keep_detail=keep) / np.float32(white) for keep in (False, True))
    assert error(plain[112:], clean[112:]) > 1e-3
    assert error(kept[112:], clean[112:]) < 1.5 * error(noisy[112:], clean[112:])
    assert kept.shape == clean.shape
