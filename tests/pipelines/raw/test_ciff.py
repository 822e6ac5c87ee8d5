"""Canon's CRW heaps: what they say of camera and lens, in files made here, whole and damaged."""

import struct

import pytest

from n2n_tf.pipelines.raw import tiff_tags
from n2n_tf.pipelines.raw.camera_files import _metadata_of
from n2n_tf.pipelines.raw.ciff import read_ciff
from n2n_tf.pipelines.raw.tiff_tags import first_text


def heap(records):
    """A heap of (code, bytes or list of records): values, the directory, where that begins."""
    values, entries = b"", b""
    for code, data in records:
        if code & 0x4000:
            entries += struct.pack("<H", code) + data.ljust(8, b"\0")
            continue
        data = heap(data) if isinstance(data, list) else data
        entries += struct.pack("<HII", code, len(data), len(values))
        values += data
    directory = struct.pack("<H", len(records)) + entries
    return values + directory + struct.pack("<I", len(values))


def crw(model="Canon EOS D60", serial=123456, short=28, long=135, units=1):
    settings = struct.pack("<26H", *range(23), long, short, units)
    camera = [
        (0x080A, f"Canon\0{model}\0\xff".encode("latin-1")),
        (0x0810, b"A. Owner\0\xfe"),
        (0x3004, [(0x580B, struct.pack("<I", serial)), (0x080B, b"Firmware Version 1.03\0")]),
    ]
    body = heap([(0x2005, bytes(range(64))), (0x300A, [(0x2807, camera), (0x102D, settings)])])
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + body


def test_camera_serial_number_and_lens_are_found(tmp_path):
    (tmp_path / "a.crw").write_bytes(crw(units=1))
    found = _metadata_of(tmp_path / "a.crw")
    codes = tiff_tags.MAKE, tiff_tags.MODEL, tiff_tags.SOFTWARE, 42032, 42033
    texts = ["Canon", "Canon EOS D60", "Firmware Version 1.03", "A. Owner", "0000123456"]
    assert [first_text(found.find(code)) for code in codes] == texts
    assert struct.unpack("<8I", found.exif[42034].data) == (28, 1, 135, 1, 0, 0, 0, 0)


def test_a_d30_has_the_number_that_is_written_on_it():
    assert first_text(read_ciff(crw("Canon EOS D30", 0x123509AA)).exif[42033]) == "123502474"


def test_what_a_camera_does_not_know_is_left_out():
    found = read_ciff(crw(serial=0, short=0))
    assert 42033 not in found.exif and 42034 not in found.exif


@pytest.mark.parametrize("step", [1, 7])
def test_damaged_files_never_raise(rng, step):
    whole = crw()
    for end in range(0, len(whole), step):
        read_ciff(whole[:end])
    for _ in range(300 // step):
        damaged = bytearray(whole)
        for at in rng.integers(14, len(whole), 5):
            damaged[at] = rng.integers(256)
        read_ciff(bytes(damaged))


def test_heaps_within_themselves_come_to_an_end():
    """Sixty records, each of which is the heap they lie in."""
    size = 2 + 600 + 4
    body = struct.pack("<H", 60) + struct.pack("<HII", 0x300A, size, 0) * 60 + bytes(4)
    read_ciff(b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + body)
