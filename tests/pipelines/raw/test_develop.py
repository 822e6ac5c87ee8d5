"""Developed pictures: a photo turned into a raw and back, and comparisons side by side."""

import dataclasses

import numpy as np
import pytest
import rawpy
import tifffile
from dng_samples import COLOR_MATRIX, random_mosaic, write_sample
from skimage import data

from n2n_tf.pipelines.raw import camera_files
from n2n_tf.pipelines.raw.bayer import PATTERNS
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.develop import develop, develop_side_by_side
from n2n_tf.pipelines.raw.dng import SRGB_FROM_XYZ, write_dng
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame, denormalise, normalise
from n2n_tf.pipelines.raw.tiff_tags import Metadata

CAMERA_FROM_SRGB = COLOR_MATRIX @ np.linalg.inv(SRGB_FROM_XYZ)
BLACK, WHITE = (510, 512, 514, 516), 16383


def photographed(photo, pattern, black=BLACK, white=WHITE, **more):
    """An sRGB photo as our camera would have seen it: a frame without noise.

    Args:
        photo: uint8 [H, W, 3].
    """
    srgb = photo / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    neutral = CAMERA_FROM_SRGB.sum(axis=1) / CAMERA_FROM_SRGB.sum(axis=1)[1]
    camera = linear @ CAMERA_FROM_SRGB.T / CAMERA_FROM_SRGB.sum(axis=1)[1]
    values = np.zeros(photo.shape[:2])
    for index, letter in enumerate(pattern):
        cell = np.s_[index // 2 :: 2, index % 2 :: 2]
        seen = camera[cell][..., "RGB".index(letter)]
        values[cell] = black[index] + (white - black[index]) * seen
    mosaic = np.clip(np.rint(values), 0, white).astype(np.uint16)
    return RawFrame(
        mosaic, pattern, black, white, color_matrix=COLOR_MATRIX, neutral=tuple(neutral), **more
    )


def psnr(first, second):
    return -10 * np.log10(np.mean((first / 255.0 - second / 255.0) ** 2))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_photo_survives_mosaic_dng_and_development(tmp_path, pattern):
    photo = data.astronaut()[:255, 100:355]
    frame = photographed(photo, pattern)
    path = write_dng(tmp_path / "a.dng", frame, denormalise(normalise(frame), frame))
    developed = develop(path)[8:-8, 8:-8].astype(float)
    expected = photo[8:-8, 8:-8].astype(float)
    assert psnr(developed, expected) > 25
    np.testing.assert_allclose(developed.mean((0, 1)), expected.mean((0, 1)), atol=3)


def test_a_frame_develops_like_its_file(tmp_path):
    frame = photographed(data.astronaut()[:128, :128], "GRBG", orientation=6)
    path = write_dng(tmp_path / "a.dng", frame, frame.mosaic)
    np.testing.assert_array_equal(develop(frame), develop(path))
    with rawpy.imread(str(path)) as raw:  # the levels that LibRaw itself takes from the file
        plain = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0, gamma=(2.4, 12.92)
        )
    np.testing.assert_array_equal(develop(path), plain)
    assert develop(frame, half_size=True).shape == (64, 64, 3)


def test_previews_need_not_be_turned(tmp_path):
    frame = photographed(data.astronaut()[:64, :96], "RGGB", orientation=6)
    assert develop(frame).shape == (96, 64, 3)
    assert develop(frame, rotate=False).shape == (64, 96, 3)


def test_brightness_and_colour_of_flat_areas_do_not_shift(tmp_path):
    photo = np.full((64, 64, 3), (90, 140, 60), np.uint8)
    clean = photographed(photo, "GBRG")
    noise = np.random.default_rng(0).normal(0, 60, (64, 64))
    noisy = dataclasses.replace(clean, mosaic=(clean.mosaic + noise).round().astype(np.uint16))
    before = normalise(noisy)
    flat = np.zeros_like(before)
    for position in range(4):
        cell = np.s_[position // 2 :: 2, position % 2 :: 2]
        flat[cell] = before[cell].mean()
    path = write_dng(tmp_path / "a.dng", noisy, denormalise(flat, noisy))
    after = normalise(read_raw(path))
    np.testing.assert_allclose(after, flat, rtol=0.002)
    shift = develop_side_by_side(noisy, path).astype(float)
    left, right = shift[8:-8, 8:56].mean((0, 1)), shift[8:-8, 80:128].mean((0, 1))
    np.testing.assert_allclose(left, right, atol=0.5)


def test_clipped_highlights_stay_white_where_denoising_pulled_them_down():
    photo = data.astronaut()[:64, :64].copy()
    photo[16:48, 16:48] = 255
    frame = photographed(photo, "RGGB")
    mosaic = frame.mosaic.copy()
    mosaic[16:48, 16:48] = WHITE  # over-exposed: every colour clips
    clipped = RawFrame(mosaic, "RGGB", BLACK, WHITE, neutral=frame.neutral)
    denoised = normalise(clipped)
    denoised[16:48:2, 16:48:2] *= 0.7  # a network that lowers red only
    spot = develop(clipped, denormalise(denoised, clipped))[24:40, 24:40]
    assert spot.min() > 250


def test_side_by_side_shows_no_difference_where_there_is_none(tmp_path):
    frame = photographed(data.astronaut()[:96, 200:296], "BGGR")
    source = write_dng(tmp_path / "a.dng", frame, frame.mosaic)
    result = write_dng(tmp_path / "b.dng", frame, frame.mosaic, compress=False)
    for left in (source, frame):
        both = develop_side_by_side(left, result)
        assert both.dtype == np.uint8 and both.shape == (96, 200, 3)
        np.testing.assert_array_equal(both[:, :96], both[:, 104:])
        assert (both[:, 96:104] == 255).all()


def test_brightness_does_not_follow_the_brightest_pixel(tmp_path):
    photo = data.astronaut()[:96, 200:296].copy()
    photo[40:44, 40:44] = 255
    frame = photographed(photo, "RGGB")
    dim = np.minimum(frame.mosaic, 13000)  # as if denoising had removed the brightest speck
    assert frame.mosaic.max() > 15000 and dim.max() == 13000
    source = write_dng(tmp_path / "a.dng", frame, frame.mosaic)
    both = develop_side_by_side(source, write_dng(tmp_path / "b.dng", frame, dim))
    calm = (frame.mosaic < 6000).reshape(48, 2, 48, 2).all((1, 3))
    left, right = both[::2, :96:2].astype(int), both[::2, 104::2].astype(int)
    assert abs(left - right)[calm].mean() < 0.2


def test_results_of_another_picture_are_refused(tmp_path):
    source = write_sample(tmp_path / "a.dng", random_mosaic(24, 30))
    other = write_sample(tmp_path / "b.dng", random_mosaic(26, 30))
    with pytest.raises(RawFileError, match="the DNG that was made from this source"):
        develop_side_by_side(source, other)


def tags_of(path):
    with tifffile.TiffFile(path) as tiff:
        return {tag.code: tag.value for tag in tiff.pages.first.tags}


@pytest.mark.parametrize("without", [(50728,), (50728, 50721, 50778)])
def test_a_dng_that_does_not_say_its_white_gives_one_that_does_not(tmp_path, without):
    mosaic = photographed(data.astronaut()[:128, :128], "RGGB", (64,) * 4, 4095).mosaic
    source = write_sample(tmp_path / "a.dng", mosaic, without=without)
    frame = read_raw(source)
    assert frame.neutral is None
    path = write_dng(tmp_path / "b.dng", frame, mosaic)
    assert not {50728, *without} & set(tags_of(path))
    np.testing.assert_array_equal(develop(source), develop(path))


def test_a_white_in_xy_stays_one(tmp_path):
    mosaic = photographed(data.astronaut()[:128, :128], "RGGB", (64,) * 4, 4095).mosaic
    as_xy = (50729, 5, 2, (3457, 10000, 3585, 10000), True)
    source = write_sample(tmp_path / "a.dng", mosaic, without=(50728,), more=(as_xy,))
    path = write_dng(tmp_path / "b.dng", read_raw(source), mosaic)
    assert tags_of(path)[50729] == tags_of(source)[50729] and 50728 not in tags_of(path)
    np.testing.assert_array_equal(develop(source), develop(path))


def test_an_automatic_white_that_a_camera_did_not_store_is_the_developers(tmp_path, monkeypatch):
    """As in Canon's D30: LibRaw gives -1 for red and balances the picture itself."""

    class Camera:
        camera_whitebalance = (-1.0, 0.98, 1.0, 0.0)
        auto_whitebalance = None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def postprocess(self, **_):
            self.auto_whitebalance = (1.0, 1.25, 2.5, 1.25)

    monkeypatch.setattr(camera_files.rawpy, "imread", lambda path: Camera())
    neutral = camera_files._neutral(tmp_path, Camera(), Metadata())
    np.testing.assert_allclose(neutral, [1.25, 1.0, 0.5])


def test_time_codes_serial_number_lens_and_firmware_stay(tmp_path):
    more = [
        (305, "s", 0, "Magic Lantern", True),
        (50735, "s", 0, "S-1234", True),
        (51043, "B", 8, bytes(range(8)), True),
        (51044, 10, 1, (24000, 1001), True),
        (51105, "s", 0, "A", True),
    ]
    mosaic = random_mosaic(24, 30)
    source = write_sample(tmp_path / "a.dng", mosaic, more=more)
    path = write_dng(tmp_path / "b.dng", read_raw(source), mosaic)
    before, after = tags_of(source), tags_of(path)
    assert {code: after[code] for code, *_ in more} == {code: before[code] for code, *_ in more}
