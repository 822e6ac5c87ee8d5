"""TIFF directories: reads the tags of camera raws and EXIF blocks, and lays out new directories.

Nearly every camera raw is a TIFF file or carries one. Tags are kept as typed bytes, so that what
a camera wrote can be written again unchanged, whatever it means.
Source: TIFF 6.0; Exif 2.32; Adobe DNG specification 1.7.
"""

import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from n2n_tf.pipelines.files.tiff_directories import TiffDirectories

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
SRATIONAL, DOUBLE, IFD = 10, 12, 13

MAKE, MODEL, ORIENTATION, SUB_IFDS, EXIF_IFD, GPS_IFD = 271, 272, 274, 330, 34665, 34853
IMAGE_WIDTH, PHOTOMETRIC, SAMPLE_FORMAT, NEW_SUBFILE_TYPE = 256, 262, 339, 254
CFA, LINEAR_RAW = 32803, 34892
EXPOSURE_TIME, F_NUMBER, ISO, FOCAL_LENGTH = 33434, 33437, 34855, 37386
SOFTWARE, DNG_VERSION, NOISE_PROFILE = 305, 50706, 51041

_NUMPY_TYPES = {
    1: "u1", 2: "S1", 3: "u2", 4: "u4", 5: "u4", 6: "i1", 7: "u1",
    8: "i2", 9: "i4", 10: "i4", 11: "f4", 12: "f8", 13: "u4",
}  # fmt: skip
_PER_VALUE = {5: 2, 10: 2}  # a rational is two integers
_TIFF_HEADERS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # Olympus, Panasonic
# Pointers into the old file, and the maker note, whose inner offsets would be wrong in a new one.
_NOT_COPIED = {37500, 40965, 330, 34665, 34853}
_MOST_DIRECTORIES = 64


class Tag(NamedTuple):
    """One tag: TIFF type number, number of values, and the values as little-endian bytes."""

    type: int
    count: int
    data: bytes


Directory = dict[int, Tag]


@dataclass
class Metadata:
    """All tags found in a file: image directories (main one first), EXIF and GPS."""

    directories: list[Directory] = field(default_factory=list)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)

    def pixels(self) -> Directory | None:
        """The directory of the raw pixels: the largest mosaic, else the largest linear raw."""
        for kind in (CFA, LINEAR_RAW):
            found = [
                tags for tags in self.directories if first_number(tags.get(PHOTOMETRIC)) == kind
            ]
            if found:
                return max(found, key=lambda tags: first_number(tags.get(IMAGE_WIDTH), 0))
        return None

    def find(self, code: int) -> Tag | None:
        """A tag by its code: from the main directory, the pixels' one, any other, or EXIF."""
        for directory in (*self.directories[:1], self.pixels(), *self.directories, self.exif):
            if directory and code in directory:
                return directory[code]
        return None


def make_tag(kind: int, values: str | bytes | float | Sequence[float]) -> Tag:
    """Builds a tag from Python values.

    Args:
        kind: TIFF type, for example `SHORT` or `RATIONAL`.
        values: a str for ASCII, bytes for UNDEFINED, else a number or a sequence of numbers;
            rationals are rounded to millionths (to a relative 1e-6 below one).

    >>> make_tag(SHORT, [1, 258])
    Tag(type=3, count=2, data=b'\\x01\\x00\\x02\\x01')
    """
    if kind == ASCII:
        data = values.encode("ascii", "replace").rstrip(b"\0") + b"\0"
        return Tag(kind, len(data), data)
    if kind == UNDEFINED:
        return Tag(kind, len(values), bytes(values))
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if kind in _PER_VALUE:
        numbers = [part for value in values for part in _ratio(float(value))]
    else:
        numbers = list(values)
    return Tag(kind, len(values), np.asarray(numbers).astype("<" + _NUMPY_TYPES[kind]).tobytes())


def tag_values(tag: Tag | None) -> tuple:
    """The values of a tag: numbers (rationals as floats), or one str for ASCII; () for None.

    >>> tag_values(make_tag(RATIONAL, [0.5, 2]))
    (0.5, 2.0)
    """
    if tag is None:
        return ()
    if tag.type == ASCII:
        return (tag.data.split(b"\0")[0].decode("utf-8", "replace").strip(),)
    numbers = np.frombuffer(tag.data, "<" + _NUMPY_TYPES[tag.type])
    if tag.type in _PER_VALUE:
        top, bottom = numbers[0::2].astype(np.float64), numbers[1::2].astype(np.float64)
        return tuple(np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0).tolist())
    return tuple(numbers.tolist())


def first_text(tag: Tag | None) -> str:
    """The text of a tag; "" if it is absent or holds something else."""
    return tag_values(tag)[0] if tag is not None and tag.type == ASCII else ""


def first_number(tag: Tag | None, default: float | None = None) -> float | None:
    """The first value of a tag, or the default if there is no finite number.

    >>> first_number(make_tag(SHORT, [6, 7])), first_number(make_tag(ASCII, "six"), 1)
    (6, 1)
    """
    if tag is None or tag.type == ASCII:
        return default
    size = np.dtype(_NUMPY_TYPES[tag.type]).itemsize * _PER_VALUE.get(tag.type, 1)
    values = tag_values(tag._replace(data=tag.data[:size]))
    return values[0] if values and math.isfinite(values[0]) else default


def read_metadata(blob: bytes | mmap.mmap) -> Metadata:
    """Finds the tags of a camera raw; never raises on damaged files, it returns what is there.

    Args:
        blob: bytes or mmap of a TIFF-like raw (DNG, NEF, CR2, ARW, PEF, ORF, RW2, ...), of a
            Canon CR3, or of a JPEG with an EXIF block.
    """
    if blob[:4] in _TIFF_HEADERS:
        return _read_tiff(blob)
    if blob[:2] == b"\xff\xd8":
        start = blob[:65536].find(b"Exif\0\0")
        return _read_tiff(blob[start + 6 : start + 6 + 65536]) if start >= 0 else Metadata()
    if blob[4:11] == b"ftypcrx":
        return _read_cr3(blob[:262144])
    return Metadata()


def copyable(directory: Mapping[int, Tag]) -> Directory:
    """A directory without the tags that mean something only inside their own file."""
    return {code: tag for code, tag in directory.items() if code not in _NOT_COPIED}


def directory_bytes(tags: Mapping[int, Tag], offset: int) -> bytes:
    """Lays out one little-endian TIFF directory, its long values right behind it.

    Args:
        tags: code to tag.
        offset: where in the file the directory will start, bytes, even.

    Returns:
        bytes of even length, with no next directory.
    """
    entries, values = [], bytearray()
    values_start = offset + 2 + 12 * len(tags) + 4
    for code, tag in sorted(tags.items()):
        if len(tag.data) <= 4:
            place = tag.data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", values_start + len(values))
            values += tag.data + b"\0" * (len(tag.data) % 2)
        entries.append(struct.pack("<HHI", code, tag.type, tag.count) + place)
    return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + bytes(values)


def _ratio(value: float) -> Sequence[int]:
    """Numerator and denominator of a number, each below 2**31 in size; beyond, the nearest."""
    value = 0.0 if math.isnan(value) else min(max(value, 1.0 - 2**31), 2.0**31 - 1)
    limit = 1_000_000 if abs(value) < 2000 else 1
    near = Fraction(value).limit_denominator(limit)
    return near.numerator, near.denominator


def _read_tiff(blob) -> Metadata:
    """Reads the main directories, those below them, EXIF and GPS of a TIFF.

    All that is copied is together no larger than the file: of one that claims more, the rest is
    left out.
    """
    tiff, found, seen = TiffDirectories(blob), Metadata(), set()
    waiting = [tiff.first]
    while waiting and len(seen) < _MOST_DIRECTORIES:
        start = waiting.pop(0)
        if start in seen or not 0 < start < len(blob):
            continue
        seen.add(start)
        directory, following = _read_directory(blob, tiff, start)
        found.directories.append(directory)
        waiting += [following, *_places(directory.get(SUB_IFDS))]
    for name, code in (("exif", EXIF_IFD), ("gps", GPS_IFD)):
        for start in _places(found.find(code))[:1]:
            setattr(found, name, _read_directory(blob, tiff, start)[0])
    return found


def _read_directory(blob, tiff: TiffDirectories, start: int) -> tuple[Directory, int]:
    """One directory and the place of the next one (0: none)."""
    entries, following = tiff.read(start)
    directory = {
        code: Tag(kind, count, _little_endian(blob[at : at + length], kind, tiff.order))
        for code, kind, count, at, length in entries
        if kind in _NUMPY_TYPES
    }
    return directory, following


def _places(tag: Tag | None) -> list[int]:
    """Places of directories in a file, the first ones; none if the tag holds no whole numbers."""
    if tag is None or tag.type not in (SHORT, LONG, IFD):
        return []
    first = tag.data[: _MOST_DIRECTORIES * np.dtype(_NUMPY_TYPES[tag.type]).itemsize]
    return [int(place) for place in tag_values(tag._replace(data=first))]


def _little_endian(data: bytes, kind: int, order: str) -> bytes:
    """Values of one TIFF type, swapped if the file is big-endian."""
    return data if order == "<" else np.frombuffer(data, _NUMPY_TYPES[kind]).byteswap().tobytes()


def _read_cr3(blob) -> Metadata:
    """Canon CR3: box CMT1 holds the main directory, CMT2 the EXIF one, each a small TIFF."""
    found = Metadata()
    for box in (b"CMT1", b"CMT2"):
        start = blob.find(box)
        inner = _read_tiff(blob[start + 4 :]).directories if start >= 0 else []
        if inner and box == b"CMT1":
            found.directories = inner[:1]
        elif inner:
            found.exif = inner[0]
    return found
