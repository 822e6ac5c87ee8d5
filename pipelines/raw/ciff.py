"""Canon's CRW files, which keep their data in heaps (CIFF) and no TIFF directories.

Source: Canon, "CIFF: Specification on Image Data File", 1.0 rev. 4; the numbers of records as in
exiftool's documentation of CanonRaw tags.
"""

import mmap
import struct

from n2n_tf.pipelines.raw import tiff_tags
from n2n_tf.pipelines.raw.tiff_tags import Metadata, Tag, make_tag

START, START_AT = b"HEAPCCDR", 6
_MAKE_AND_MODEL, _FIRMWARE, _OWNER = 0x080A, 0x080B, 0x0810
_SERIAL, _SETTINGS = 0x180B, 0x102D
_LONG_FOCUS, _SHORT_FOCUS, _UNITS = 23, 24, 25  # places among the settings, 16 bits each
_HEAP_KINDS = 0x2800, 0x3000
_MOST_HEAPS, _LARGEST = 64, 4096  # bytes of a record that is looked at
_OWNER_NAME, _BODY_SERIAL, _LENS_SPECIFICATION = 42032, 42033, 42034


def read_ciff(blob: bytes | mmap.mmap) -> Metadata:
    """Camera, firmware, owner, serial number and focal lengths of a CRW as tags of TIFF and EXIF.

    Never raises on damaged files, it returns what is there.
    """
    found = _records(blob) if len(blob) >= 14 and blob[:2] == b"II" else {}
    make, model = (*_texts(found.get(_MAKE_AND_MODEL, b"")), "", "")[:2]
    firmware, owner = ((*_texts(found.get(code, b"")), "")[0] for code in (_FIRMWARE, _OWNER))
    texts = {tiff_tags.MAKE: make, tiff_tags.MODEL: model, tiff_tags.SOFTWARE: firmware}
    exif = {_OWNER_NAME: owner, _BODY_SERIAL: _serial(found.get(_SERIAL, b""), model)}
    main, exif = (
        {code: make_tag(tiff_tags.ASCII, text) for code, text in part.items() if text}
        for part in (texts, exif)
    )
    if lens := _lens(found.get(_SETTINGS, b"")):
        exif[_LENS_SPECIFICATION] = lens
    return Metadata([main] if main else [], exif)


def _records(blob):
    """{code: bytes} of the short records of all heaps; each has its directory at its end."""
    found, waiting = {}, [(struct.unpack_from("<I", blob, 2)[0], len(blob))]
    for start, end in waiting:
        if start > end - 4:
            continue
        at = start + struct.unpack_from("<I", blob, end - 4)[0]
        if at + 2 > end:
            continue
        (count,) = struct.unpack_from("<H", blob, at)
        for entry in range(at + 2, min(at + 2 + 10 * count, end - 9), 10):
            code, size, offset = struct.unpack_from("<HII", blob, entry)
            place = start + offset
            if code & 0xC000:  # it lies in the directory itself
                found.setdefault(code & 0x3FFF, blob[entry + 2 : entry + 10])
            elif place + size > end:
                continue
            elif code & 0x3800 in _HEAP_KINDS and len(waiting) < _MOST_HEAPS:
                waiting.append((place, place + size))
            elif size <= _LARGEST:
                found.setdefault(code & 0x3FFF, blob[place : place + size])
    return found


def _texts(data):
    """Texts that end in zeros, the last of which may be followed by anything."""
    return [part.decode("ascii", "replace").strip() for part in bytes(data).split(b"\0")[:-1]]


def _serial(data, model):
    """As it is written on the camera: that of the EOS D30 begins with hexadecimal digits."""
    if len(data) < 4:
        return ""
    (number,) = struct.unpack_from("<I", data)
    if model == "Canon EOS D30":
        return f"{number >> 16:04x}{number & 0xFFFF:05d}"
    return f"{number:010d}" if number else ""


def _lens(data):
    """LensSpecification: focal lengths in mm; the widest apertures are unknown, which is 0 / 0."""
    values = struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])
    if len(values) <= _UNITS or not min(values[_LONG_FOCUS : _UNITS + 1]):
        return None
    long, short, units = values[_LONG_FOCUS : _UNITS + 1]
    return Tag(tiff_tags.RATIONAL, 4, struct.pack("<8I", short, units, long, units, 0, 0, 0, 0))
