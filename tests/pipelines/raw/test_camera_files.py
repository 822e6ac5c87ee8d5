"""Reading camera raws and sensor dumps; everything that is no Bayer raw is refused by name."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rawpy
import tifffile
from dng_samples import COLOR_MATRIX, NEUTRAL, dng_tags, random_mosaic, write_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.pipelines.raw import bayer, camera_files
from n2n_tf.pipelines.raw.bayer import PATTERNS
from n2n_tf.pipelines.raw.camera_files import read_raw, read_sensor_dump
from n2n_tf.pipelines.raw.dng import write_dng
from n2n_tf.pipelines.raw.frame import (
    RawFileError,
    RawFrame,
    denormalise,
    denormalised_planes,
    normalise,
    normalised_planes,
)

BLACK = (60, 62, 64, 66)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [(24, 30), (25, 31), (33, 24)])
@pytest.mark.parametrize("byteorder", "<>")
def test_reads_pixels_pattern_and_levels_by_position(tmp_path, pattern, size, byteorder):
    mosaic = random_mosaic(*size)
    path = write_sample(
        tmp_path / "a.dng", mosaic, pattern=pattern, black=BLACK, byteorder=byteorder
    )
    frame = read_raw(path)
    assert frame.mosaic.dtype == np.uint16 and frame.mosaic.flags.owndata
    np.testing.assert_array_equal(frame.mosaic, mosaic)
    assert frame.pattern == pattern
    assert frame.black == BLACK
    assert frame.white == 4095


def test_reads_colours_and_camera_data(tmp_path):
    path = write_sample(tmp_path / "a.dng", random_mosaic(24, 30))
    frame = read_raw(path)
    np.testing.assert_allclose(frame.color_matrix, COLOR_MATRIX)
    np.testing.assert_allclose(frame.neutral, NEUTRAL, rtol=1e-6)
    assert (frame.make, frame.model, frame.iso) == ("Acme", "Test 1", 3200)
    assert frame.exposure_time == pytest.approx(1 / 60)
    assert frame.noise_profile is None
    assert frame.path == str(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reads_every_orientation_without_rotating(tmp_path, orientation):
    mosaic = random_mosaic(24, 30)
    path = write_sample(tmp_path / "a.dng", mosaic, orientation=orientation)
    frame = read_raw(path)
    assert frame.orientation == orientation
    np.testing.assert_array_equal(frame.mosaic, mosaic)


@pytest.mark.parametrize(
    "stored,expected",
    [
        ((1, 2), ((1, 2), (1, 2), (1, 2))),
        ((1, 2, 3, 4, 5, 6), ((1, 2), (3, 4), (5, 6))),
        ((1, 2, 3, 4, 5, 6, 7, 8), ((1, 2), (4, 5), (7, 8))),
        ((1, 2, 3), None),
    ],
)
def test_reads_noise_profiles(tmp_path, stored, expected):
    tag = (51041, "d", len(stored), stored, True)
    frame = read_raw(write_sample(tmp_path / "a.dng", random_mosaic(24, 30), more=[tag]))
    assert frame.noise_profile == expected


def test_the_visible_area_decides_pattern_and_size(tmp_path):
    mosaic = random_mosaic(32, 40)
    area = (50829, "I", 4, (2, 4, 30, 38), True)
    frame = read_raw(write_sample(tmp_path / "a.dng", mosaic, pattern="GRBG", more=[area]))
    np.testing.assert_array_equal(frame.mosaic, mosaic[2:30, 4:38])
    assert frame.pattern == "GRBG"


def test_the_lowest_clip_level_of_the_channels_counts():
    def clip_level(channels):
        raw = SimpleNamespace(white_level=16383, camera_white_level_per_channel=channels)
        return camera_files._clip_level(raw, black=512)

    assert clip_level(None) == 16383
    assert clip_level([15800, 15600, 15900, 15600]) == 15600
    assert clip_level([0, 0, 0, 0]) == 16383


def test_a_measured_colour_matrix_equals_the_known_one(tmp_path):
    path = write_sample(tmp_path / "a.dng", random_mosaic(40, 64, 64), black=BLACK)
    with rawpy.imread(str(path)) as raw:
        measured = camera_files._measured_color_matrix(raw)
    np.testing.assert_allclose(
        measured / np.linalg.norm(measured), COLOR_MATRIX / np.linalg.norm(COLOR_MATRIX), atol=2e-3
    )


@given(st.tuples(*[st.integers(0, 2000)] * 4), st.integers(2001, 65535), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_denormalise_inverts_normalise_exactly(black, white, seed):
    mosaic = np.random.default_rng(seed).integers(0, white + 1, (5, 7), dtype=np.uint16)
    frame = RawFrame(mosaic, "GBRG", black, white)
    values = normalise(frame)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(denormalise(values, frame), mosaic)


@given(st.sampled_from(PATTERNS), st.integers(2, 70), st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_normalised_planes_are_those_of_the_normalised_mosaic(pattern, height, width, seed):
    mosaic = np.random.default_rng(seed).integers(0, 5000, (height, width), dtype=np.uint16)
    frame = RawFrame(mosaic, pattern, (60, 62.5, 64, 66), 4000)
    expected = bayer.pack(bayer.unify(normalise(frame), pattern, how="pad"), "RGGB")
    planes = normalised_planes(frame)
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes, expected)


@given(st.sampled_from(PATTERNS), st.integers(2, 70), st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_denormalised_planes_are_those_of_the_denormalised_mosaic(pattern, height, width, seed):
    mosaic = np.random.default_rng(seed).integers(0, 5000, (height, width), dtype=np.uint16)
    frame = RawFrame(mosaic, pattern, (60, 62.5, 64, 66), 4000)
    planes = normalised_planes(frame) * np.float32(0.8)
    values = bayer.undo_unify(bayer.unpack(planes, "RGGB"), pattern, mosaic.shape)
    result = denormalised_planes(planes, frame)
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, denormalise(values, frame))
    planes[0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        denormalised_planes(planes, frame)


def test_normalise_maps_black_to_zero_and_white_to_one_and_keeps_negatives():
    mosaic = np.tile(np.array([[60, 62], [64, 66]], np.uint16), (3, 3))
    frame = RawFrame(mosaic, "RGGB", BLACK, 1000)
    assert not normalise(frame).any()
    assert normalise(RawFrame(mosaic - 10, "RGGB", BLACK, 1000)).max() < 0
    assert (normalise(RawFrame(np.full((4, 4), 1000, np.uint16), "RGGB", BLACK, 1000)) == 1).all()


def test_normalise_knows_nothing_of_the_other_pixels():
    mosaic = random_mosaic(40, 30, 64)
    masked = mosaic.copy()
    masked[:12] = 3  # optical-black rows inside the visible area
    whole, part = (normalise(RawFrame(m, "RGGB", BLACK, 4095)) for m in (mosaic, masked))
    np.testing.assert_array_equal(part[12:], whole[12:])


def test_clipped_pixels_stay_clipped_and_nothing_leaves_the_range():
    mosaic = random_mosaic(6, 8, 100, 900)
    mosaic[2:4, 2:6] = 1000
    mosaic[0, 0] = 1010  # above the clip level
    frame = RawFrame(mosaic, "RGGB", BLACK, 1000)
    denoised = normalise(frame) * 0.8
    denoised[5, 5], denoised[5, 6] = -3, 7
    result = denormalise(denoised, frame)
    assert (result[2:4, 2:6] == 1000).all() and result[0, 0] == 1000
    assert result[5, 5] == 0 and result[5, 6] == 1000
    assert result.max() == 1000


def test_denormalise_refuses_another_size_and_nan():
    frame = RawFrame(random_mosaic(6, 8), "RGGB", BLACK, 4095)
    with pytest.raises(ValueError, match=r"size of the frame, \[6, 8\]. Received: \[4, 8\]"):
        denormalise(np.zeros((4, 8)), frame)
    with pytest.raises(ValueError, match="must be finite"):
        denormalise(np.full((6, 8), np.nan), frame)


def test_refuses_levels_that_cannot_be():
    with pytest.raises(RawFileError, match="white level must lie above every black level"):
        RawFrame(random_mosaic(4, 4), "RGGB", BLACK, 64)
    with pytest.raises(RawFileError, match="must be uint16"):
        RawFrame(np.zeros((4, 4), np.float32), "RGGB", BLACK, 4095)


def refuse(path, *phrases):
    with pytest.raises(RawFileError) as caught:
        read_raw(path)
    for phrase in (str(path), *phrases):
        assert phrase in str(caught.value)


def test_refuses_what_is_no_raw(tmp_path):
    empty = tmp_path / "empty.nef"
    empty.touch()
    refuse(empty, "is empty", "Copy it again")
    text = tmp_path / "text.nef"
    text.write_text("not a raw " * 1000)
    refuse(text, "not a camera raw", "shape and type")
    refuse(tmp_path, "is a folder")
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "tif"):
        cv2.imwrite(str(tmp_path / f"photo.{suffix}"), photo)
        refuse(tmp_path / f"photo.{suffix}", "not a camera raw")
    with pytest.raises(FileNotFoundError, match=r"absent\.nef"):
        read_raw(tmp_path / "absent.nef")


@pytest.mark.parametrize("keep", [4, 40, 400])
def test_refuses_files_that_end_within_their_tags(tmp_path, keep):
    path = write_sample(tmp_path / "a.dng", random_mosaic(64, 64))
    path.write_bytes(path.read_bytes()[:keep])
    refuse(path)


@pytest.mark.parametrize("lost", [1, 100, 8000])
def test_refuses_files_that_end_within_their_pixels(tmp_path, lost):
    path = write_sample(tmp_path / "a.dng", random_mosaic(64, 64))
    path.write_bytes(path.read_bytes()[:-lost])
    refuse(path, "truncated: the pixels end at byte", "Copy it again")


def test_refuses_other_sensors_by_name(tmp_path):
    mosaic = random_mosaic(48, 48)
    xtrans = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
    refuse(write_sample(tmp_path / "x.dng", mosaic, pattern=xtrans), "X-Trans", "16-bit TIFF")
    refuse(write_sample(tmp_path / "o.dng", mosaic, pattern="RRGB"), "RRGB", "RGGB, BGGR")
    refuse(
        write_sample(tmp_path / "f.dng", mosaic.astype(np.float32) / 4095, white=1),
        "floating-point",
    )
    monochrome = write_sample(tmp_path / "m.dng", mosaic)
    with tifffile.TiffFile(monochrome, mode="r+b") as tiff:
        tiff.pages[0].tags[262].overwrite(34892)
    refuse(monochrome, "monochrome")
    cfa = (33421, 33422, 50710, 50711, 50713, 50714)
    linear = write_sample(
        tmp_path / "l.dng", np.dstack([mosaic] * 3), photometric=34892, without=cfa
    )
    refuse(linear, "LinearRaw", "RGB model")


def test_exif_and_gps_of_a_raw_below_a_preview_are_found(tmp_path):
    path, mosaic = tmp_path / "a.dng", random_mosaic(40, 50)
    beside = [
        t for t in dng_tags(black=BLACK) if t[0] in (33421, 33422, 50711, 50713, 50714, 50717)
    ]
    camera = [tag for tag in dng_tags() if tag not in beside]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            np.zeros((10, 12, 3), np.uint8), photometric="rgb", subifds=1, subfiletype=1,
            metadata=None, extratags=camera,
        )  # fmt: skip
        tiff.write(mosaic, photometric=32803, subfiletype=0, metadata=None, extratags=beside)
    frame = read_raw(path)
    np.testing.assert_array_equal(frame.mosaic, mosaic)
    assert (frame.black, frame.iso, frame.make) == (BLACK, 3200, "Acme")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
def test_sensor_dumps(tmp_path, dtype):
    mosaic = random_mosaic(24, 31, 0, 255)
    path = tmp_path / "sensor.bin"
    mosaic.astype(dtype).tofile(path)
    frame = read_sensor_dump(path, (24, 31), dtype, "GBRG", 16, 255)
    np.testing.assert_array_equal(frame.mosaic, mosaic)
    assert (frame.pattern, frame.black, frame.white) == ("GBRG", (16, 16, 16, 16), 255)


def test_sensor_dumps_of_another_size_or_type_are_refused(tmp_path):
    path = tmp_path / "sensor.bin"
    path.write_bytes(bytes(100))
    with pytest.raises(RawFileError, match="24 x 31 of uint16 is 1488 bytes, but the file has 100"):
        read_sensor_dump(path, (24, 31), "uint16", "RGGB", 0, 1023)
    with pytest.raises(RawFileError, match=r"must be uint8 or uint16\. Received: float32"):
        read_sensor_dump(path, (5, 5), "float32", "RGGB", 0, 1023)
    with pytest.raises(ValueError, match="must be one of RGGB"):
        read_sensor_dump(path, (10, 10), "uint8", "RGBG", 0, 255)
    with pytest.raises(RawFileError, match="white level must lie above"):
        read_sensor_dump(path, (10, 10), "uint8", "RGGB", 64, 64)


def test_a_colour_filter_that_rawpy_cannot_name_is_refused(tmp_path, monkeypatch):
    path = write_sample(tmp_path / "x.dng", random_mosaic(24, 30))

    def unknown(path, raw):
        raise NotImplementedError("filters: 148")

    monkeypatch.setattr(camera_files, "_refuse_by_sensor", unknown)
    with pytest.raises(RawFileError, match=r"x\.dng: corrupt or truncated.*filters: 148"):
        read_raw(path)


def test_a_jpeg_larger_than_its_tile_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "x.dng"
    mosaic = random_mosaic(64, 80)
    write_dng(path, RawFrame(mosaic, "RGGB", BLACK, 4095), mosaic)
    data = path.read_bytes()
    assert read_raw(path).mosaic.shape == (64, 80)
    frame = data.index(b"\xff\xc3")
    path.write_bytes(data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :])
    with pytest.raises(RawFileError, match="damaged or larger than its tile"):
        read_raw(path)


def test_bare_values_are_refused_even_if_their_number_is_that_of_some_camera(tmp_path):
    """LibRaw takes 787456 bytes for a Creative PC-CAM 600."""
    path = tmp_path / "dump.raw"
    path.write_bytes(bytes(range(256)) * 3076)
    with pytest.raises(RawFileError, match=r"holds no header.*--raw_shape=HEIGHT,WIDTH"):
        read_raw(path)
