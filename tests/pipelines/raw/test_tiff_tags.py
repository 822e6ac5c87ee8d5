"""Tags survive being laid out and read again, and damaged files never raise."""

import io
import struct

import numpy as np
import pytest
import tifffile
from dng_samples import random_mosaic, write_sample

from n2n_tf.pipelines.raw import tiff_tags
from n2n_tf.pipelines.raw.tiff_tags import (
    ASCII,
    BYTE,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
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
