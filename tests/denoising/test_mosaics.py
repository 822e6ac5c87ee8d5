"""Bayer mosaics that were saved as gray pictures: known as such, and denoised phase by phase."""

import numpy as np
import pytest
from skimage import data

from n2n_tf.denoising import mosaics
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.mosaics import every_second_pixel_differs
from n2n_tf.denoising.self_ensemble import SelfEnsemble
from n2n_tf.model_files.shipped import DEFAULTS


def mosaic_of(image):
    """RGGB; red and blue of sensors are weaker."""
    made = np.float64(image[..., 1])
    made[::2, ::2], made[1::2, 1::2] = 0.5 * image[::2, ::2, 0], 0.6 * image[1::2, 1::2, 2]
    return made


PHOTOS = [data.astronaut, data.coffee, data.chelsea, data.rocket]


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("sigma", [0, 2, 20])
def test_mosaics_are_told_from_photographs(rng, photo, sigma):
    image = photo()
    noisy = mosaic_of(image) + sigma * rng.normal(size=image.shape[:2])
    assert every_second_pixel_differs(noisy)
    assert not every_second_pixel_differs(image[..., 1] + sigma * rng.normal(size=noisy.shape))


def test_slopes_rows_and_edges_are_no_mosaic(rng):
    y, x = np.mgrid[:128, :128]
    assert not every_second_pixel_differs(3 * x + y)
    assert not every_second_pixel_differs(rng.normal(size=(128, 1)) + 0.01 * x)
    assert not every_second_pixel_differs(np.where(x < 50, 10, 200))
    assert not every_second_pixel_differs(np.full((128, 128), np.nan))
    assert not every_second_pixel_differs(data.checkerboard()[:31, :31])
    assert every_second_pixel_differs((x + y) % 2 + 0.01 * rng.normal(size=x.shape))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_mosaic_is_denoised_as_four_pictures_aloud(rng, dtype):
    clean = 100 * mosaic_of(data.coffee()[100:291, 100:357])
    noisy = (clean + rng.normal(0, 800, clean.shape)).clip(0, 65535).round().astype(dtype)
    denoise, told, steps = Denoiser.load(DEFAULTS["gray"]), [], []
    result = denoise(noisy, None, lambda *s: steps.append(s), tell=lambda *t: told.append(t))
    assert result.dtype == dtype
    before, after = (np.square(image - clean).mean() for image in (noisy, result))
    assert after < before / 2
    assert [mosaics.TOLD in law.assumed for law, _ in told] == [True] * 4
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    averaged = SelfEnsemble(denoise)(noisy[..., None])[..., 0]
    assert np.square(averaged - clean).mean() < after
    phase = np.ascontiguousarray(noisy[1::2, ::2])
    np.testing.assert_array_equal(result[1::2, ::2], denoise(phase))
