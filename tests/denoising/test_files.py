"""Whole files denoised: every plane and channel once, types exactly, what must stay stays."""

import numpy as np
import pytest
import tifffile

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.files import denoise_file, denoise_pixels
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.pipelines.files.image_limits import ImageFileError


class Recorder:
    """A denoiser that takes one step away, and remembers what it was given."""

    def __init__(self, channels, step=1.0):
        self.channels, self.step, self.given = channels, step, []

    def __call__(self, image, white_level=None, progress=None, **how):
        self.given.append(image.copy())
        if progress:
            progress(0, 1)
            progress(1, 1)
        return (image.astype(np.float64) - self.step).astype(image.dtype)


@pytest.fixture
def models():
    return {"gray": Recorder(1), "RGB": Recorder(3)}


def denoised(source, target, models, **how):
    denoise_file(source, target, models.__getitem__, **how)
    return tifffile.imread(target)


def test_only_rgb_is_denoised_as_colours(tmp_path, rng, models):
    pixels = rng.integers(2, 60000, (20, 21, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[0, 2])
    result = denoised(tmp_path / "a.tif", tmp_path / "b.tif", models)
    np.testing.assert_array_equal(result[..., :4], pixels[..., :4] - 1)
    np.testing.assert_array_equal(result[..., 4], pixels[..., 4])  # transparency
    np.testing.assert_array_equal(models["RGB"].given, [pixels[..., :3]])
    np.testing.assert_array_equal(models["gray"].given, [pixels[..., 3:4]])


def test_planes_are_read_and_written_one_at_a_time(tmp_path, rng, models):
    planes = rng.integers(2, 60000, (6, 20, 21)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True)
    steps = []
    megapixels, notes = denoise_file(
        tmp_path / "a.tif",
        tmp_path / "b.tif",
        models.__getitem__,
        progress=lambda *step: steps.append(step),
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), planes - 1)
    assert [g.shape for g in models["gray"].given] == [(20, 21, 1)] * 6
    assert megapixels == pytest.approx(planes.size / 1e6) and notes == []
    assert steps[0] == (0, 6) and steps[-1] == (6, 6) and sorted(steps) == steps


def test_a_place_without_data_stays_one(tmp_path, rng, models):
    pixels = rng.integers(2, 60000, (20, 21)).astype(np.uint16)
    pixels[3:9, 4:8], pixels[0] = 777, 778
    tags = [(42113, "s", 0, "777", True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=tags)
    result = denoised(tmp_path / "a.tif", tmp_path / "b.tif", models)
    kept = (pixels == 777) | (pixels == 778)  # what would become 777 stays too
    np.testing.assert_array_equal(result, np.where(kept, pixels, pixels - 1))


@pytest.mark.parametrize("number, told", [(-9999.0, True), (-3.4028234663852886e38, False)])
def test_numbers_that_are_no_measurement_are_not_seen_as_levels(
    tmp_path, rng, models, number, told
):
    pixels = rng.normal(100, 5, (20, 21)).astype(np.float32)
    pixels[3:9, 4:8] = number
    tags = [(42113, "s", 0, str(number), True)] if told else []
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=tags)
    result = denoised(tmp_path / "a.tif", tmp_path / "b.tif", models)
    blank = pixels == np.float32(number)
    np.testing.assert_array_equal(result[blank], pixels[blank])
    np.testing.assert_array_equal(np.isnan(models["gray"].given[0][..., 0]), blank)
    denoised(tmp_path / "a.tif", tmp_path / "c.tif", models, noise="none")  # which takes no NaN
    assert np.isfinite(models["gray"].given[-1]).all()


def test_colours_multiplied_by_alpha_are_denoised_straight(tmp_path, rng, models):
    alpha = rng.integers(0, 256, (20, 21)).astype(np.uint8)
    alpha[0] = 255
    colour = rng.integers(0, 256, (20, 21, 3)) * (alpha[..., None] / 255)
    pixels = np.dstack([np.uint8(colour + 0.5), alpha])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[1])
    for step in (0.0, 1.0):
        models["RGB"].step = step
        target = tmp_path / f"b{step}.tif"
        result = denoised(tmp_path / "a.tif", target, models)
        np.testing.assert_array_equal(result[..., 3], alpha)
        if not step:
            np.testing.assert_array_equal(result, pixels)
    opaque = models["RGB"].given[-1][0]
    np.testing.assert_array_equal(opaque, pixels[0, :, :3])


TYPES = ["i1", "i2", "i4", "u4", "f2", "f4", "f8", "u1", "u2"]


@pytest.mark.parametrize("dtype", TYPES)
def test_a_picture_from_which_nothing_is_taken_comes_back_to_the_bit(rng, dtype):
    if np.dtype(dtype).kind == "f":
        pixels = (rng.normal(size=(30, 20, 1)) * 1e4).astype(dtype)
        white = 1.0
    else:
        limits = np.iinfo(dtype)
        pixels = rng.integers(limits.min, limits.max, (30, 20, 1), dtype, endpoint=True)
        white = limits.max
    identity = Denoiser(lambda x: x, ModelInfo(channels=1, size_multiple=1, halo=0))
    for how in ({}, {"white_level": None}):
        result = denoise_pixels(identity, pixels, white, **how)
        assert result.dtype == pixels.dtype
        np.testing.assert_array_equal(result, pixels)


def test_large_numbers_lose_nothing_but_the_noise():
    """Counts beyond what 32-bit floats tell apart, with little noise on them."""
    pixels = 2_000_000_000 + np.arange(100, dtype=np.int32).reshape(10, 10, 1)
    np.testing.assert_array_equal(denoise_pixels(Recorder(1), pixels, 2**31 - 1), pixels - 1)
    times = 1.7e9 + np.arange(100).reshape(10, 10, 1) / 8
    np.testing.assert_array_equal(denoise_pixels(Recorder(1), times, 1.0), times - 1)


def test_results_are_clipped_to_what_the_type_or_its_bits_hold():
    pixels = np.uint16([[[0], [4095]]])
    np.testing.assert_array_equal(denoise_pixels(Recorder(1, -9), pixels, 4095), [[[9], [4095]]])
    np.testing.assert_array_equal(denoise_pixels(Recorder(1, 9), pixels, 4095), [[[0], [4086]]])
    signed = np.int16([[[-32768], [32767]]])
    np.testing.assert_array_equal(denoise_pixels(Recorder(1, 9), signed, 32767)[0, 0], -32768)


def test_counts_too_low_for_whole_numbers_are_told(tmp_path, rng, models):
    for name, mean, dtype in (("few", 0.5, "u1"), ("more", 9, "u1"), ("floats", 0.5, "f4")):
        tifffile.imwrite(tmp_path / "a.tif", rng.poisson(mean, (60, 61)).astype(dtype))
        target = tmp_path / f"{name}.tif"
        _, notes = denoise_file(tmp_path / "a.tif", target, models.__getitem__)
        assert any("give it as floats" in note for note in notes) == (name == "few")


def test_what_a_format_cannot_hold_is_said_before_any_work(tmp_path, rng, models):
    tifffile.imwrite(tmp_path / "a.tif", rng.normal(size=(20, 21)).astype(np.float32))
    with pytest.raises(ImageFileError, match=r"\.png holds no float32 pixels"):
        denoise_file(tmp_path / "a.tif", tmp_path / "b.png", models.__getitem__)
    assert not models["gray"].given and not (tmp_path / "b.png").exists()


def test_a_model_of_other_channels_is_refused(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 9, (20, 21)).astype(np.uint8))
    for channels, text in ((3, "denoises images of 3 channels"), (4, "camera raws only")):
        with pytest.raises(ValueError, match=text):
            denoise_file(tmp_path / "a.tif", tmp_path / "b.tif", lambda kind: Recorder(channels))  # noqa: B023
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_who_watches_sees_pictures_upright(tmp_path, rng, models):
    pixels = rng.integers(2, 200, (5, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(274, "H", 1, 6, True)])
    seen = []
    denoised(tmp_path / "a.tif", tmp_path / "b.tif", models, watch=lambda *what: seen.append(what))
    ((_, before, after),) = seen
    np.testing.assert_array_equal(before[..., 0], np.rot90(pixels, -1))
    np.testing.assert_array_equal(after[..., 0], np.rot90(pixels, -1) - 1)
