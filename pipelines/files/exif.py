"""EXIF and XMP: from the tags of a TIFF to the one piece of other formats and back, by Pillow.

Source: EXIF 2.32; TIFF 6.0; XMP specification, part 3.
"""

import io
import os
import re
import struct
from typing import Any, BinaryIO

from n2n_tf.pipelines.files.captions import IPTC_TAG
from n2n_tf.pipelines.files.tiff_directories import TiffDirectories

WORDS = (270, 271, 272, 305, 306, 315, 33432)  # what a picture shows, camera, time, author
_BELOW = (34665, 34853)  # tags that lead to a directory of their own: EXIF, GPS
_PLACES = {code - 1: code for code in _BELOW}  # tifffile writes no such tags; these mean nothing
XMP_TAG, _BYTES, _TEXT, _OFFSET = 700, 1, 2, 4
_START = b"Exif\0\0"


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP for pixels that have been turned upright.

    Example:
        >>> upright_xmp(b'<a tiff:Orientation="6"/> <tiff:Orientation>8</tiff:Orientation>')
        b'<a tiff:Orientation="1"/> <tiff:Orientation>1</tiff:Orientation>'
    """
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", xmp)


def exif_of_tiff(file: BinaryIO, page: Any) -> bytes | None:
    """EXIF as other formats hold it, without the "Exif" in front, or None if there is none.

    Args:
        file: a TIFF.
        page: `tifffile.TiffPage` of it.
    """
    import PIL.Image

    found, made = PIL.Image.Exif(), PIL.Image.Exif()
    found.endian, found.bigtiff = page.parent.byteorder, page.parent.is_bigtiff
    for_programs = page.is_imagej or page.is_ome or page.is_shaped  # its description
    try:
        found.load_from_fp(file, page.offset)
        for code in WORDS[1:] if for_programs else WORDS:
            if code in found:
                made[code] = _as_stored(found[code])
        for code in _BELOW:
            if inner := found.get_ifd(code):
                made[code] = {tag: _as_stored(value) for tag, value in inner.items()}
        return made.tobytes().removeprefix(_START) if len(made) else None
    except Exception:  # damaged tags are no reason to lose the picture
        return None


def readable(exif: bytes) -> bool:
    """Whether EXIF can be read.

    Example:
        >>> readable(b"something")
        False
    """
    try:
        loaded = _loaded(exif)
        return bool(len(loaded)) and all(loaded.get_ifd(code) is not None for code in _BELOW)
    except Exception:  # Pillow raises what it happens to meet
        return False


def with_description(exif: bytes | None, text: str) -> bytes | None:
    """EXIF in which a text describes the picture; None if it has another description already.

    Example:
        >>> b"a hill" in with_description(None, "a hill")
        True
    """
    import PIL.Image

    made, text = _loaded(exif) if exif else PIL.Image.Exif(), text.encode()
    if _bytes(made.get(WORDS[0], "")).strip(b" \0") not in (b"", text.strip()):
        return None
    for code, value in list(made.items()):
        made[code] = _as_stored(value)
    made[WORDS[0]] = text
    return made.tobytes().removeprefix(_START)


def tiff_tags(exif: bytes | None, xmp: bytes | None, iptc: bytes | None = None) -> list[tuple]:
    """Tags for `tifffile`: the words of EXIF, XMP, IPTC, and places for `add_directories`."""
    pieces = {XMP_TAG: xmp, IPTC_TAG: iptc}
    tags = [(code, _BYTES, len(piece), piece, True) for code, piece in pieces.items() if piece]
    if exif:
        loaded = _loaded(exif)
        words = {code: _bytes(loaded[code]) for code in WORDS if code in loaded}
        tags += [(code, _TEXT, len(text) + 1, text, True) for code, text in words.items()]
        places = (place for place, code in _PLACES.items() if loaded.get_ifd(code))
        tags += [(place, _OFFSET, 1, 0, True) for place in places]
    return tags


def add_directories(path: str | os.PathLike, exif: bytes) -> None:
    """Puts the directories of EXIF at the end of a little-endian TIFF that has places for them."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    loaded = _loaded(exif)
    with open(path, "rb+") as file:
        tiff = TiffDirectories(file.read())
        for entry in tiff.read(tiff.first)[0]:
            if entry.code not in _PLACES:
                continue
            name = _PLACES[entry.code]
            directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0", group=name)
            for code, value in loaded.get_ifd(name).items():
                if not isinstance(value, dict):
                    directory[code] = _as_stored(value)
            place = (file.seek(0, io.SEEK_END) + 1) // 2 * 2
            file.seek(place)
            file.write(directory.tobytes(place))
            file.seek(entry.start - 8)
            file.write(struct.pack("<HHII", name, _OFFSET, 1, place))


def _bytes(value):
    """What Pillow read as Latin-1, whatever it is, as it was stored."""
    return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")


def _as_stored(value):
    """Text that is not ASCII as bytes, as Pillow would write "?"."""
    return _bytes(value) if isinstance(value, str) and not value.isascii() else value


def _loaded(exif):
    import PIL.Image

    loaded = PIL.Image.Exif()
    loaded.load(_START + exif)
    return loaded
