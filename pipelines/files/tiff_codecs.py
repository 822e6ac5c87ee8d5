"""The codecs of pictures that TIFF files may use too: JPEG 2000, WebP, JPEG XL and LERC.

The sides that a stream states are read before it is decoded: it could state any.
Source: ISO 15444-1 annex A; ISO 18181-1, section 9.2; RFC 9649; Esri's LERC, Lerc2.h.
"""

import struct
from typing import Any

import numpy as np

from n2n_tf.pipelines.files import codecs
from n2n_tf.pipelines.files.image_limits import TIFF_PICTURE_CODECS, ImageFileError, name_of

_LERC_PARAMETERS = 50674


def check_stream(data: bytes, page: Any) -> None:
    """Raises ImageFileError for a compressed strip or tile that would decode to more than one.

    Args:
        data: bytes of the segment.
        page: `tifffile.TiffPage` that it is of.
    """
    size = _SIZES.get(TIFF_PICTURE_CODECS.get(name_of(page.compression)))
    if size is None:
        return
    try:
        width, height = size(data, page)
    except (struct.error, IndexError) as error:
        raise ImageFileError("damaged or truncated TIFF (a tile has no size).") from error
    room = page.tilewidth or page.imagewidth, page.tilelength or page.rowsperstrip
    if width > room[0] or height > room[1]:
        raise ImageFileError("damaged TIFF (it holds a picture that is larger than its tile).")


def encode_picture(part: np.ndarray, page: Any, source: bytes) -> bytes:
    """A segment in the codec of its page, without loss but for a WebP that replaces one with loss.

    Args:
        part: [rows, columns, samples] of the page's type.
        page: `tifffile.TiffPage`.
        source: bytes of the segment that is replaced.
    """
    import imagecodecs

    codec = TIFF_PICTURE_CODECS[name_of(page.compression)]
    part = part if part.shape[2] > 1 else part[..., 0]
    if codec == "WebP":
        without_loss = codecs.webp_without_loss(source)
        return imagecodecs.webp_encode(part, level=95, lossless=without_loss)
    if codec == "JPEG XL":
        return imagecodecs.jpegxl_encode(part, lossless=True, bitspersample=page.bitspersample)
    if codec == "LERC":
        data = imagecodecs.lerc_encode(part, level=0)
        packed = _lerc_packing(page)
        return bytes({1: imagecodecs.zlib_encode, 2: imagecodecs.zstd_encode}[packed](data)
                     if packed else data)  # fmt: skip
    return imagecodecs.jpeg2k_encode(
        part, level=0, codecformat="j2k", reversible=True, bitspersample=page.bitspersample
    )


def _jpeg2000_size(data, page):
    return codecs.jpeg2000_size(data)


def _webp_size(data, page):
    """Of a simple file, or of the canvas of an extended one."""
    name = data[12:16]
    if name == b"VP8X":
        return tuple(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 16383) + 1, (bits >> 14 & 16383) + 1
    return tuple(side & 16383 for side in struct.unpack_from("<HH", data, 26))


def _lerc_size(data, page):
    if _lerc_packing(page):  # as any Deflate: it is decoded into no more than the tile
        return 0, 0
    version = struct.unpack_from("<i", data, 6)[0]
    rows, columns = struct.unpack_from("<ii", data, 10 + 4 * (version >= 3))
    return columns, rows


def _lerc_packing(page):
    """What is around LERC: 0 nothing, 1 Deflate, 2 Zstandard."""
    tag = page.tags.get(_LERC_PARAMETERS)
    packed = tag.value[1] if tag is not None and len(tag.value) > 1 else 0
    if packed not in (0, 1, 2):
        raise ImageFileError(f"TIFF compression is LERC in {packed}; save it with Deflate or none.")
    return packed


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def _jpegxl_size(data, page):
    """Width and height of a JPEG XL, whose bits begin with the lowest of each byte."""
    start = data.find(b"\xff\x0a")
    if start < 0 or start + 12 > len(data):
        raise struct.error
    bits, at = int.from_bytes(data[start + 2 : start + 14], "little"), 0

    def take(count):
        nonlocal at
        value, at = bits >> at & ((1 << count) - 1), at + count
        return value

    small = take(1)

    def side():
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if not ratio:
        return side(), height
    over, under = _RATIOS[ratio]
    return height * over // under, height


_SIZES = {
    "JPEG 2000": _jpeg2000_size,
    "WebP": _webp_size,
    "LERC": _lerc_size,
    "JPEG XL": _jpegxl_size,
}
