"""Tags survive being laid out and read again, and damaged files never raise."""

import io
import struct
import time

import numpy as np
import pytest
import tifffile
from dng_samples import random_mosaic, write_sample
from hypothesis import given
from hypothesis import strategies as st

from n2n_tf.pipelines.files.tiff_directories import TYPE_BYTES
from n2n_tf.pipelines.raw import dng_tags, tiff_tags
from n2n_tf.pipelines.raw.tiff_tags import (
    ASCII,
    BYTE,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    SUB_IFDS,
    UNDEFINED,
    Tag,
    directory_bytes,
    make_tag,
    read_metadata,
    tag_values,
)

TAGS = {
    271: make_tag(ASCII, "Acme"),
    700: make_tag(BYTE, [1, 2, 3]),
    274: make_tag(SHORT, 6),
    256: make_tag(LONG, 70000),
    33434: make_tag(RATIONAL, 1 / 8000),
    50721: make_tag(SRATIONAL, [-0.1384, 1.5]),
    51041: make_tag(DOUBLE, [4.79e-4, 1e-7]),
    37121: make_tag(UNDEFINED, b"\1\2\3\0\0"),
}


def as_file(tags):
    return b"II*\0" + struct.pack("<I", 8) + directory_bytes(tags, 8)


def test_a_directory_is_read_back_as_it_was_laid_out():
    assert read_metadata(as_file(TAGS)).directories == [TAGS]


def test_values_come_back_as_numbers_and_text():
    assert tag_values(TAGS[271]) == ("Acme",)
    assert tag_values(TAGS[33434]) == (1 / 8000,)
    assert tag_values(TAGS[50721]) == (-0.1384, 1.5)
    assert tag_values(TAGS[51041]) == (4.79e-4, 1e-7)
    assert tag_values(TAGS[37121]) == (1, 2, 3, 0, 0)
    assert tag_values(None) == ()


def test_a_rational_with_denominator_zero_is_zero():
    assert tag_values(tiff_tags.Tag(RATIONAL, 1, struct.pack("<II", 5, 0))) == (0.0,)


@pytest.mark.parametrize("byteorder", "<>")
def test_reads_what_tifffile_writes_in_both_byte_orders(tmp_path, byteorder):
    path = write_sample(tmp_path / "a.dng", random_mosaic(24, 30), byteorder=byteorder)
    found = read_metadata(path.read_bytes())
    assert tag_values(found.find(271)) == ("Acme",)
    assert tag_values(found.find(50714)) == (64, 64, 64, 64)
    assert tag_values(found.find(50721))[:2] == (0.6988, -0.1384)
    assert tag_values(found.find(33434)) == (1 / 60,)


def test_finds_exif_of_a_jpeg_and_of_a_canon_cr3():
    tiff = as_file({271: make_tag(ASCII, "Canon"), 272: make_tag(ASCII, "EOS Test")})
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    assert tag_values(read_metadata(jpeg).find(272)) == ("EOS Test",)
    exif = as_file({34855: make_tag(SHORT, 800)})
    cr3 = struct.pack(">I", 24) + b"ftypcrx " + bytes(40) + b"CMT1" + tiff + b"CMT2" + exif
    assert tag_values(read_metadata(cr3).find(272)) == ("EOS Test",)
    assert tag_values(read_metadata(cr3).exif[34855]) == (800,)


def test_pixels_are_the_largest_mosaic_not_the_preview():
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as tiff:
        tiff.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subifds=2, metadata=None)
        tiff.write(np.zeros((16, 16), np.uint16), photometric=32803, metadata=None)
        tiff.write(np.zeros((32, 32), np.uint16), photometric=32803, metadata=None)
    assert tag_values(read_metadata(stream.getvalue()).pixels()[256]) == (32,)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_never_raise(tmp_path, seed):
    path = write_sample(tmp_path / "a.dng", random_mosaic(24, 30))
    rng = np.random.default_rng(seed)
    blob = bytearray(path.read_bytes())
    for place in rng.integers(4, len(blob), 200):
        blob[place] = rng.integers(256)
    read_metadata(bytes(blob))
    read_metadata(bytes(blob[: rng.integers(len(blob))]))


def test_directories_that_point_at_themselves_end():
    body = bytearray(as_file({271: make_tag(ASCII, "Acme")}))
    struct.pack_into("<I", body, 8 + 2 + 12, 8)
    assert len(read_metadata(bytes(body)).directories) == 1


def copied_bytes(found):
    """How much of a file its tags take."""
    every = [*found.directories, found.exif, found.gps]
    return sum(len(tag.data) for directory in every for tag in directory.values())


def claiming(entries, directories=1, kind=BYTE):
    """A TIFF, `directories` that overlap, whose tags all claim the bytes of all of it."""
    size = 8 + 12 * entries
    header = b"II*\0" + struct.pack("<I", 8)
    body = struct.pack("<H", entries)
    for code in range(entries):
        code = SUB_IFDS if code == 0 else 1000 + code
        count = directories if code == SUB_IFDS else size // TYPE_BYTES[kind]
        body += struct.pack("<HHII", code, LONG if code == SUB_IFDS else kind, count, 8)
    starts = struct.pack(f"<{directories}I", *(8 + 12 * n for n in range(directories)))
    place = len(header) + len(body) + 4
    body = body[:10] + struct.pack("<I", place) + body[14:]
    return header + body + bytes(4) + starts


@pytest.mark.parametrize("kind", [BYTE, ASCII, LONG, DOUBLE])
@pytest.mark.parametrize("wrap", ["TIFF", "JPEG", "CR3"])
def test_no_more_is_copied_than_the_file_is_long(kind, wrap):
    """Without a bound such a file of 394 kB takes 31 s and 4.6 GB."""
    tiff = claiming(3000, directories=60, kind=kind)
    file = {
        "TIFF": tiff,
        "JPEG": b"\xff\xd8\xff\xe1\xff\xffExif\0\0" + tiff,
        "CR3": bytes(4) + b"ftypcrx " + b"CMT1" + tiff + b"CMT2" + tiff,
    }[wrap]
    assert copied_bytes(read_metadata(file)) <= len(file)


def test_a_million_sub_directories_are_not_waited_for():
    tags = {SUB_IFDS: Tag(LONG, 1_000_000, bytes(4_000_000))}
    begun = time.process_time()
    assert len(read_metadata(as_file(tags)).directories) == 1
    assert time.process_time() - begun < 2  # each was taken off the front of a list: minutes


CODES = [256, 257, 259, 262, 273, 279, 324, 325, 330, 339, 34665, 34853, 50719, 50720, 51041]
VALUES = st.one_of(
    st.builds(lambda text: make_tag(ASCII, text), st.text("0129a", max_size=5)),
    st.builds(
        lambda kind, values: Tag(kind, len(values), np.array(values, "<f8").tobytes()),
        st.just(DOUBLE),
        st.lists(st.floats(width=64), max_size=4),
    ),
    st.builds(
        lambda kind, values: make_tag(kind, values),
        st.sampled_from([BYTE, SHORT, LONG, RATIONAL]),
        st.lists(st.integers(0, 255), max_size=4),
    ),
)


@given(st.dictionaries(st.sampled_from(CODES), VALUES))
def test_tags_of_the_wrong_type_never_raise(tags):
    found = read_metadata(as_file(tags))
    pixels = found.pixels() or {}
    assert isinstance(tiff_tags.first_number(pixels.get(256), 0), int | float)
    profile = dng_tags.read_noise_profile(found.find(51041))
    assert profile is None or np.isfinite(profile).all()
    _, beside = dng_tags.split_carried(found.directories[0], (100, 100))
    crop = [*tag_values(beside.get(50719)), *tag_values(beside.get(50720))]
    assert np.isfinite(crop).all()


@pytest.mark.parametrize("value", [1e30, -1e30, 1e308, float("inf"), float("nan"), 4294967295.0])
def test_numbers_beyond_a_rational_are_cut_to_it(value):
    (back,) = tag_values(make_tag(SRATIONAL, value))
    assert back == (0.0 if np.isnan(value) else np.clip(value, 1 - 2**31, 2**31 - 1))
