"""What surrounds the pixels of PNG, JPEG and JPEG 2000 files: taken from one, put into another.

Between files of one format everything that does not describe the compressed pixels is copied as it
is, whatever it means. Between formats go those parts that all of them know: `Surroundings`.
Source: PNG specification, third edition; ITU T.81; JFIF 1.02; ICC.1:2010 annex B.4; EXIF 2.32;
ISO 15444-1 annex I.
"""

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator

from n2n_tf.pipelines.files import captions
from n2n_tf.pipelines.files.image_limits import jpeg_frame

PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START, ICC_START, JFIF_START = b"Exif\0\0", b"ICC_PROFILE\0", b"JFIF\0"
XMP_START, XMP_TEXT = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0"
LARGEST_PROFILE = 1 << 26  # bytes; a compressed one may claim any size
_OF_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"hIST")
_ORIENTATION = 0x0112
_PNG_OWN = {b"gAMA": "gamma", b"cHRM": "primaries", b"cICP": "colour coding",
            b"mDCV": "light levels", b"cLLI": "light levels"}  # fmt: skip
LARGEST_SEGMENT = 65490  # bytes of EXIF, XMP, IPTC or a comment that a JPEG holds


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What all formats know.

    Attributes:
        icc: None or the bytes of a colour profile.
        exif: None or EXIF as a TIFF file, without the "Exif" in front.
        per_metre: None or pixels per metre, (horizontal, vertical).
        xmp: None or XMP, text in XML.
        iptc: None or IPTC, entries of IIM.
        comment: None or a text.
        own: what else is there, in words: no other format gets it.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    per_metre: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: str | None = None
    own: tuple[str, ...] = ()


def exif_orientation(exif: bytes) -> int:
    """The orientation 1..8 in EXIF bytes, 1 if there is none."""
    at = _orientation_place(exif)
    value = struct.unpack_from(_order(exif) + "H", exif, at)[0] if at else 1
    return value if 1 <= value <= 8 else 1


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF for pixels that have been turned upright.

    Example:
        >>> exif = bytes.fromhex("4d4d002a 00000008 0001 0112 0003 00000001 00060000 00000000")
        >>> exif_orientation(exif), exif_orientation(upright_exif(exif))
        (6, 1)
    """
    at = _orientation_place(exif)
    if not at:
        return exif
    return exif[:at] + struct.pack(_order(exif) + "H", 1) + exif[at + 2 :]


def _order(exif):
    return ">" if exif[:2] == b"MM" else "<"


def _orientation_place(exif):
    """Offset of the orientation's value; None without one."""
    try:
        order = _order(exif)
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, first)
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            if struct.unpack_from(order + "HH", exif, entry) == (_ORIENTATION, 3):
                struct.unpack_from(order + "H", exif, entry + 8)
                return entry + 8
    except struct.error:
        pass
    return None


# PNG


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (name, body) of the chunks of a PNG."""
    at = len(PNG_START)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_surrounded_like(encoded: bytes, source: bytes) -> bytes:
    """A PNG with the chunks of another that are not about its pixels."""
    before, after, pixels_seen = [], [], False
    alike = encoded[24:26] == source[24:26]  # depth and colour type, in which bKGD is said
    for name, body in png_chunks(source):
        pixels_seen |= name == b"IDAT"
        if name not in _OF_PIXELS and (alike or name != b"bKGD"):
            (after if pixels_seen else before).append(_chunk(name, body))
    return _png_with(encoded, before, after)


def _png_with(encoded, before, after=()):
    header_end, end = len(PNG_START) + 25, len(encoded) - 12
    parts = encoded[:header_end], *before, encoded[header_end:end], *after, encoded[end:]
    return b"".join(parts)


def png_surroundings(data: bytes) -> Surroundings:
    """`Surroundings` of a PNG."""
    chunks = dict(reversed([c for c in png_chunks(data) if c[0] in (b"iCCP", b"eXIf", b"pHYs")]))
    icc = None
    if profile := chunks.get(b"iCCP"):
        packed = profile[profile.find(b"\0") + 2 :]
        icc = _inflated(packed)
    across, down, unit = struct.unpack(">IIB", chunks.get(b"pHYs", bytes(9)).ljust(9, b"\0")[:9])
    per_metre = (across, down) if unit == 1 else None
    xmp, (comment, own) = _png_xmp(data), _png_texts(data)
    return Surroundings(icc, chunks.get(b"eXIf"), per_metre, xmp, comment=comment, own=own)


def _png_texts(data):
    """The comment, and what other formats do not hold, in words."""
    chunks = [chunk for chunk in png_chunks(data) if not chunk[1].startswith(XMP_TEXT)]
    comment, others = captions.png_texts(chunks, _inflated)
    names = [f"texts ({', '.join(others)})"] * bool(others)
    names += [_PNG_OWN[name] for name, _ in chunks if name in _PNG_OWN]
    return comment, tuple(dict.fromkeys(names))


def _png_xmp(data):
    for name, body in png_chunks(data):
        if name == b"iTXt" and body.startswith(XMP_TEXT):
            packed, text = body[len(XMP_TEXT)], body[len(XMP_TEXT) + 2 :]
            text = text.split(b"\0", 2)[-1]  # behind two texts of the language
            return _inflated(text) if packed else text
    return None


def _inflated(packed):
    try:
        return zlib.decompressobj().decompress(packed, LARGEST_PROFILE) or None
    except zlib.error:
        return None


def png_with(encoded: bytes, around: Surroundings) -> bytes:
    """A PNG with `Surroundings`."""
    chunks = []
    if around.icc:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(around.icc)))
    if around.per_metre:
        across, down = (round(v) for v in around.per_metre)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if around.exif:
        chunks.append(_chunk(b"eXIf", around.exif))
    if around.xmp:
        chunks.append(_chunk(b"iTXt", XMP_TEXT + bytes(4) + around.xmp))
    if around.comment:
        chunks.append(_chunk(*captions.png_comment(around.comment)))
    return _png_with(encoded, chunks)


# JPEG


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (marker, body) of the segments in front of a JPEG's frame."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xD0 <= marker <= 0xD8 or marker == 0x01:  # these have no length
            at += 2
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xDA:
            return
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + length


def _segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_surrounded_like(encoded: bytes, source: bytes, profile: bool = True) -> bytes:
    """A JPEG with the application segments and comments of another.

    Those that describe the compressed pixels (Adobe's) or places in the file (of further pictures)
    are left out, and the colour profile without `profile`.
    """
    kept = b""
    for marker, body in jpeg_segments(source):
        about_pixels = marker == 0xEE or (marker == 0xE2 and body.startswith(b"MPF\0"))
        dropped = not profile and marker == 0xE2 and body.startswith(ICC_START)
        if (0xE0 <= marker <= 0xEF or marker == 0xFE) and not about_pixels and not dropped:
            kept += _segment(marker, body)
    return _jpeg_with(encoded, kept)


def _jpeg_with(encoded, segments):
    """The segments replace the encoder's own JFIF one if they bring one."""
    at = 2
    own = next(jpeg_segments(encoded), (0, b""))
    if own[0] == 0xE0 and segments[:2] == b"\xff\xe0":
        at += 4 + len(own[1])
    elif own[0] == 0xE0:  # JFIF comes first
        segments = encoded[2 : 6 + len(own[1])] + segments
        at += 4 + len(own[1])
    return encoded[:2] + segments + encoded[at:]


def behind_jpeg(data: bytes) -> bool:
    """Whether anything but zeros follows the end of a JPEG's picture, as from many phones."""
    end = data.find(b"\xff\xd9", jpeg_frame(data))
    return end > 0 and bool(data[end + 2 :].strip(b"\0\xff\r\n"))


def jpeg_surroundings(data: bytes) -> Surroundings:
    """`Surroundings` of a JPEG."""
    exif, profile, per_metre, xmp, blocks, comments = None, [], None, None, b"", []
    for marker, body in jpeg_segments(data):
        if marker == 0xE1 and body.startswith(EXIF_START):
            exif = exif or body[6:]
        elif marker == 0xE1 and body.startswith(XMP_START):
            xmp = xmp or body[len(XMP_START) :]
        elif marker == 0xE2 and body.startswith(ICC_START):
            profile.append((body[12:13], body[14:]))
        elif marker == 0xE0 and body.startswith(JFIF_START) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            metre = {1: 1 / 0.0254, 2: 100}.get(unit)
            per_metre = (across * metre, down * metre) if metre else None
        elif marker == 0xED:
            blocks += body.removeprefix(captions.PHOTOSHOP_START)
        elif marker == 0xFE:
            comments.append(captions.text_of(body))
    icc = b"".join(part for _, part in sorted(profile)) or None
    iptc, own = captions.iptc_of(captions.resources(blocks))
    return Surroundings(icc, exif, per_metre, xmp, iptc, "\n".join(comments) or None, own)


def jpeg_with(encoded: bytes, around: Surroundings) -> bytes:
    """A JPEG with `Surroundings`."""
    segments = b""
    if around.per_metre:
        dots = (min(65535, round(v * 0.0254)) for v in around.per_metre)
        segments += _segment(0xE0, JFIF_START + struct.pack(">HBHHBB", 0x0101, 1, *dots, 0, 0))
    if around.exif and len(around.exif) < LARGEST_SEGMENT:
        segments += _segment(0xE1, EXIF_START + around.exif)
    if around.xmp and len(around.xmp) < LARGEST_SEGMENT:
        segments += _segment(0xE1, XMP_START + around.xmp)
    if around.iptc and len(around.iptc) < LARGEST_SEGMENT:
        blocks = captions.PHOTOSHOP_START + captions.iptc_resource(around.iptc)
        segments += _segment(0xED, blocks)
    if around.icc:
        size = 65519
        parts = [around.icc[at : at + size] for at in range(0, len(around.icc), size)]
        for number, part in enumerate(parts[:255], 1):
            count = struct.pack("BB", number, len(parts))
            segments += _segment(0xE2, ICC_START + count + part)
    if around.comment and len(around.comment.encode()) < LARGEST_SEGMENT:
        segments += _segment(0xFE, around.comment.encode())
    return _jpeg_with(encoded, segments)


def jpeg_quality(data: bytes) -> int | None:
    """The quality 1..100 in libjpeg's scale of a JPEG's first quantisation table; None without.

    Source: jcparam.c of libjpeg: table = base * scale / 100 with scale = 200 - 2 * quality above
    50, 5000 / quality below; by the mean of the table, since its corners are clipped.
    """
    at = data.find(b"\xff\xdb")
    if at < 0 or at + 5 + 64 > len(data) or data[at + 4] >> 4:
        return None
    mean = sum(data[at + 5 : at + 69]) / 64
    scale = 100 * mean / _MEAN_OF_TABLE
    quality = 100 - scale / 2 if scale <= 100 else 5000 / scale
    return int(min(100, max(1, math.floor(quality + 0.5))))


_MEAN_OF_TABLE = 57.625  # of the luma table of ITU T.81, annex K


def jpeg_subsampling(data: bytes) -> tuple[int, int]:
    """(horizontal, vertical) sampling of the luma in a JPEG's frame header."""
    frame = jpeg_frame(data)
    (components,) = struct.unpack_from("B", data, frame + 9)
    sampling = data[frame + 11] if components > 1 else 0x11
    return sampling >> 4, sampling & 15


# JPEG 2000


def jp2_surrounded_like(codestream: bytes, source: bytes) -> bytes:
    """The boxes of a JP2 file around another codestream of the same size, depth and channels."""
    parts, at = [], 0
    while at + 8 <= len(source):
        length, name = struct.unpack_from(">I4s", source, at)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", source, at + 8)
            header = 16
        length = length or len(source) - at
        if name == b"jp2c":
            parts.append(struct.pack(">I4s", 8 + len(codestream), name) + codestream)
        else:
            parts.append(source[at : at + length])
        at += max(header, length)
    return b"".join(parts)
