"""EXIF and XMP: from the tags of a TIFF to the one piece of other formats and back, by Pillow.

Source: EXIF 2.32; TIFF 6.0; XMP specification, part 3.
"""

import io
import os
import re
import struct
from typing import Any, BinaryIO

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
                made[code] = found[code]
        for code in _BELOW:
            if inner := found.get_ifd(code):
                made[code] = dict(inner)
        return made.tobytes().removeprefix(_START) if len(made) else None
    except Exception:  # damaged tags are no reason to lose the picture
        return None


def tiff_tags(exif: bytes | None, xmp: bytes | None) -> list[tuple]:
    """Tags for `tifffile`: the words of EXIF, XMP, and places for `add_directories`."""
    tags = [(XMP_TAG, _BYTES, len(xmp), xmp, True)] if xmp else []
    if exif:
        loaded = _loaded(exif)
        words = {code: str(loaded[code]).encode() for code in WORDS if code in loaded}
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
                    directory[code] = value
            place = (file.seek(0, io.SEEK_END) + 1) // 2 * 2
            file.seek(place)
            file.write(directory.tobytes(place))
            file.seek(entry.start - 8)
            file.write(struct.pack("<HHII", name, _OFFSET, 1, place))


def _loaded(exif):
    import PIL.Image

    loaded = PIL.Image.Exif()
    loaded.load(_START + exif)
    return loaded
