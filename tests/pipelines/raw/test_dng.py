"""DNGs written here are read back exactly by LibRaw, and by tifffile as a second judge."""

import io
import os

import numpy as np
import pytest
import rawpy
import tifffile
from dng_samples import COLOR_MATRIX, NEUTRAL, random_mosaic, write_sample

from n2n_tf.pipelines.raw import dng, tiff_tags
from n2n_tf.pipelines.raw.bayer import PATTERNS
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.dng import encode_dng, write_dng
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame
from n2n_tf.pipelines.raw.tiff_tags import ASCII, RATIONAL, SHORT, make_tag, tag_values

BLACK = (60, 62, 64, 66)


def camera_frame(mosaic, pattern="RGGB", white=4095, **more):
    known = {"color_matrix": COLOR_MATRIX, "neutral": NEUTRAL, "make": "Acme", "model": "Test 1"}
    return RawFrame(mosaic, pattern, BLACK, white, **(known | more))


def decoded(content):
    """Mosaic, pattern letters, black by position and white, as LibRaw sees them."""
    with rawpy.imread(io.BytesIO(content)) as raw:
        letters = "".join("RGBG"[index] for index in raw.raw_pattern.ravel())
        black = np.array(raw.black_level_per_channel)[raw.raw_pattern].ravel()
        return raw.raw_image_visible.copy(), letters, tuple(black.tolist()), raw.white_level


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("size", [(24, 30), (25, 31), (64, 22), (33, 513), (515, 512), (40, 1031)])
def test_libraw_reads_exactly_what_was_written(pattern, compress, size):
    mosaic = random_mosaic(*size)
    content = encode_dng(camera_frame(mosaic, pattern), mosaic, compress=compress)
    again, letters, black, white = decoded(content)
    np.testing.assert_array_equal(again, mosaic)
    assert (letters, black, white) == (pattern, BLACK, 4095)


@pytest.mark.parametrize("model", ["Acme Test 1", "Test 1"])
def test_the_maker_is_named_once(model):
    mosaic = random_mosaic(24, 30)
    content = encode_dng(camera_frame(mosaic, model=model), mosaic)
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        tags = tiff.pages[0].tags
        assert tags["UniqueCameraModel"].value == "Acme Test 1"
        assert tags["Model"].value == model


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_bit_depth_is_exact_with_every_jump(compress, bits):
    white = 2**bits - 1
    mosaic = random_mosaic(64, 66, 0, white)
    mosaic[::3, ::5], mosaic[1::3, ::7] = 0, white  # the largest differences
    mosaic[8:12, :8], mosaic[8:12, 8:16] = 32768 & white, 0  # 2**15 has a code of its own
    content = encode_dng(camera_frame(mosaic, white=white), mosaic, compress=compress)
    again, _, _, level = decoded(content)
    np.testing.assert_array_equal(again, mosaic)
    assert level == white


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("preview", [None, np.full((20, 30, 3), 90, np.uint8)])
def test_tifffile_reads_the_same_pixels(compress, preview):
    mosaic = random_mosaic(131, 549)
    content = encode_dng(camera_frame(mosaic), mosaic, compress=compress, preview=preview)
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages[0] if preview is None else tiff.pages[0].pages[0]
        np.testing.assert_array_equal(page.asarray(), mosaic)


def test_mosaics_narrower_than_a_tile_are_exact_too():
    mosaic = random_mosaic(40, 14)
    with tifffile.TiffFile(io.BytesIO(encode_dng(camera_frame(mosaic), mosaic))) as tiff:
        np.testing.assert_array_equal(tiff.pages[0].asarray(), mosaic)


def test_compression_predicts_from_the_left_neighbour_of_the_same_colour():
    smooth = np.tile(np.arange(512, dtype=np.uint16) * 4, (512, 1))
    smooth[::2, ::2] += 1000
    noise = np.random.default_rng(0).integers(0, 8, smooth.shape, dtype=np.uint16)
    encoded = encode_dng(camera_frame(smooth), smooth + noise)
    assert len(encoded) < 0.4 * smooth.nbytes
    start_of_scan = encoded.index(b"\xff\xda")
    components = encoded[start_of_scan + 4]
    predictor = encoded[start_of_scan + 5 + 2 * components]
    assert (components, predictor) == (2, 1)


def test_camera_data_comes_back(tmp_path):
    mosaic = random_mosaic(24, 30)
    frame = camera_frame(
        mosaic,
        orientation=6,
        exif={
            33434: make_tag(RATIONAL, 1 / 125),
            34855: make_tag(SHORT, 6400),
            36867: make_tag(ASCII, "2024:01:02 03:04:05"),
            42036: make_tag(ASCII, "Acme 50 mm"),
        },
        gps={1: make_tag(ASCII, "N")},
        path="/photos/IMG_1.NEF",
    )
    profile = ((1e-4, 1e-7), (2e-4, 2e-7), (3e-4, 3e-7))
    path = write_dng(tmp_path / "a.dng", frame, mosaic, noise_profile=profile)
    again = read_raw(path)
    assert (again.make, again.model, again.orientation) == ("Acme", "Test 1", 6)
    assert (again.iso, again.exposure_time, again.noise_profile) == (6400, 1 / 125, profile)
    np.testing.assert_allclose(again.color_matrix, COLOR_MATRIX)
    np.testing.assert_allclose(again.neutral, NEUTRAL, rtol=1e-6)
    assert again.exif == frame.exif and again.gps == frame.gps
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        assert tags[34665].value["LensModel"] == "Acme 50 mm"
        assert tags[50827].value in ("IMG_1.NEF", b"IMG_1.NEF\0")
        assert 50728 in tags


def test_a_frame_without_colours_still_gets_a_white_balance_and_a_matrix():
    mosaic = random_mosaic(24, 30)
    frame = RawFrame(mosaic, "RGGB", (0, 0, 0, 0), 4095)
    found = tiff_tags.read_metadata(encode_dng(frame, mosaic))
    assert tag_values(found.find(50728)) == (1, 1, 1)
    np.testing.assert_allclose(tag_values(found.find(50721)), dng.SRGB_FROM_XYZ.ravel())
    assert found.find(51041) is None


def test_fractional_black_levels_are_written_as_such():
    mosaic = random_mosaic(24, 30)
    frame = RawFrame(mosaic, "RGGB", (63.5, 64, 64, 64.25), 4095)
    found = tiff_tags.read_metadata(encode_dng(frame, mosaic))
    assert tag_values(found.find(50714)) == (63.5, 64, 64, 64.25)


def test_tags_of_a_source_dng_are_carried_but_not_its_noise_profile(tmp_path):
    carried = [
        (50722, 10, 9, (1, 2) * 9, True),  # ColorMatrix2
        (50964, 10, 9, (1, 3) * 9, True),  # ForwardMatrix1
        (50730, 10, 1, (1, 4), True),  # BaselineExposure
        (50719, "I", 2, (2, 4), True),  # DefaultCropOrigin
        (50720, "I", 2, (20, 16), True),  # DefaultCropSize
        (51022, 7, 4, b"\0\0\0\0", True),  # OpcodeList3, empty
    ]
    noise = [(51041, "d", 2, (1e-3, 1e-6), True)]
    mosaic = random_mosaic(24, 30)
    source = read_raw(write_sample(tmp_path / "a.dng", mosaic, more=carried + noise))
    result = read_raw(write_dng(tmp_path / "b.dng", source, mosaic))
    assert set(source.tags) >= {code for code, *_ in carried}
    assert result.tags == source.tags
    assert result.noise_profile is None
    np.testing.assert_array_equal(result.mosaic, mosaic)


def test_a_default_crop_beyond_the_mosaic_is_left_out(tmp_path):
    crop = [(50719, "I", 2, (8, 8), True), (50720, "I", 2, (30, 24), True)]
    mosaic = random_mosaic(24, 30)
    source = read_raw(write_sample(tmp_path / "a.dng", mosaic, more=crop))
    found = tiff_tags.read_metadata(encode_dng(source, mosaic))
    assert found.find(50719) is None and found.find(50720) is None


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("compress", [True, False])
def test_an_embedded_preview_is_found_and_disturbs_nothing(pattern, compress):
    mosaic = random_mosaic(65, 77)
    preview = np.zeros((33, 39, 3), np.uint8)
    preview[..., 0] = 200
    frame = camera_frame(mosaic, pattern)
    content = encode_dng(frame, mosaic, compress=compress, preview=preview)
    later = encode_dng(frame, mosaic, compress=compress, preview=lambda: preview)
    assert later == content
    again, letters, black, white = decoded(content)
    np.testing.assert_array_equal(again, mosaic)
    assert (letters, black, white) == (pattern, BLACK, 4095)
    with rawpy.imread(io.BytesIO(content)) as raw:
        assert raw.extract_thumb().format == rawpy.ThumbFormat.JPEG
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        shown = tiff.pages[0].asarray()
    assert shown.shape == preview.shape
    assert abs(shown.astype(int) - preview).max() < 6


def test_existing_files_and_the_source_are_not_overwritten(tmp_path):
    mosaic = random_mosaic(24, 30)
    source = write_sample(tmp_path / "a.dng", mosaic)
    frame, before = read_raw(source), source.read_bytes()
    with pytest.raises(RawFileError, match="is the source raw"):
        write_dng(source, frame, mosaic, overwrite=True)
    result = write_dng(tmp_path / "b.dng", frame, mosaic)
    with pytest.raises(FileExistsError, match=r"b\.dng exists already; give another name"):
        write_dng(result, frame, mosaic)
    gone = camera_frame(mosaic, path=str(tmp_path / "gone.nef"))
    write_dng(result, gone, mosaic, overwrite=True)
    write_dng(result, frame, mosaic + 1, overwrite=True)
    np.testing.assert_array_equal(read_raw(result).mosaic, mosaic + 1)
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.dng", "b.dng"]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    mosaic = random_mosaic(24, 30)
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dng(tmp_path / "a.dng", camera_frame(mosaic), mosaic)
    assert os.listdir(tmp_path) == []


def test_refuses_wrong_pixels_profiles_and_previews():
    mosaic = random_mosaic(24, 30)
    frame = camera_frame(mosaic)
    with pytest.raises(ValueError, match=r"must be uint16 \[24, 30\].*float32"):
        encode_dng(frame, mosaic.astype(np.float32))
    with pytest.raises(ValueError, match=r"must be uint16 \[24, 30\].*\[12, 30\]"):
        encode_dng(frame, mosaic[:12])
    with pytest.raises(ValueError, match="one \\(shot, read\\) pair or three"):
        encode_dng(frame, mosaic, noise_profile=(1, 2, 3))
    with pytest.raises(ValueError, match=r"`preview` must be uint8 \[h, w, 3\]"):
        encode_dng(frame, mosaic, preview=np.zeros((4, 4), np.uint8))
