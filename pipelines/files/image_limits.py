"""What image files say of themselves, checked before any pixel is decoded.

A few bytes can claim pixels that no memory holds, or ask for hours of decoding: so sizes are held
against a limit, and what is stored against what the header says.
Source: PNG specification, second edition; ITU T.81; TIFF 6.0.
"""

import contextlib
import importlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from n2n_tf.pipelines.files.tiff_directories import TiffDirectories

# Beyond this a file is taken for a mistake or an attack: no camera has as many pixels, and as
# float32 RGB they are 4.8 GB. `n2n-denoise --max_megapixels` and its like set it.
MAX_PIXELS = 400_000_000
MAX_PAGES = 100_000  # of a TIFF
MAX_SCANS = 10  # of a JPEG of MAX_PIXELS, as a progressive one has; a smaller one may have more


class ImageFileError(ValueError):
    """A file that is not a usable image; the message names the file and the reason."""


@contextlib.contextmanager
def errors_named(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """What goes wrong with a file's bytes inside becomes an ImageFileError with the path in front.

    The codecs raise many types on damaged files.
    """
    try:
        yield
    except ImageFileError as error:
        raise ImageFileError(f"{path}: " + str(error).removeprefix(f"{path}: ")) from error
    except MemoryError as error:
        raise ImageFileError(f"{path}: its pixels do not fit into memory.") from error
    except Exception as error:
        raise ImageFileError(f"{path}: damaged or truncated {kind} ({error}).") from error


def needs(module: str, path: str | os.PathLike, kind: str, extra: str) -> ModuleType:
    """Imports a package that only some installations have.

    Args:
        module: its name.
        path: of the file that needs it.
        kind: of file, in words.
        extra: of n2n_tf, with which it is installed.

    Raises:
        ImageFileError: if it is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImageFileError(
            f"{path}: is {kind}, which needs {module.split('.')[0]}: install n2n_tf[{extra}], or "
            "convert it to TIFF or .npy."
        ) from error


def check_size(width: int, height: int) -> None:
    """Raises ImageFileError for no pixels, or more than `MAX_PIXELS` of them.

    Example:
        >>> check_size(20_000, 20_000)
    """
    if width < 1 or height < 1:
        raise ImageFileError(f"damaged (an image of {width} x {height} pixels).")
    if width * height > MAX_PIXELS:
        raise ImageFileError(
            f"{width} x {height} pixels, more than the {MAX_PIXELS / 1e6:g} megapixels allowed "
            "(--max_megapixels)."
        )


def check_png(data: bytes) -> bytes:
    """Checks a PNG and returns it without text, profiles and whatever else is no pixel.

    Such chunks are compressed too: a megabyte of them takes longer to read than a large photo.
    """
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        if name[:1].isupper() or name == b"tRNS":  # critical chunks begin with a capital letter
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    if len(kept) == 1 or kept[1][4:8] != b"IHDR":
        raise ImageFileError("damaged PNG (it does not begin with its header).")
    width, height, depth, colour = struct.unpack_from(">IIBB", kept[1], 8)
    check_size(width, height)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 4)
    _check_inflated(kept, height * (1 + math.ceil(width * samples * depth / 8)))
    return b"".join(kept)


def _check_inflated(chunks, expected):
    """Refuses a PNG whose compressed pixels are far more than the `expected` bytes."""
    packed = b"".join(chunk[8:-4] for chunk in chunks if chunk[4:8] == b"IDAT")
    most = 2 * expected + 65536  # interlaced ones have a few more, sloppy ones a rest at the end
    if len(zlib.decompressobj().decompress(packed, most)) >= most:
        raise ImageFileError("damaged PNG (it holds far more pixels than its header says).")


# Processes of JPEG, by marker, beside the common ones, which all decoders know.
JPEG_KINDS = dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "a lossless")
JPEG_KINDS |= dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "a hierarchical")
JPEG_KINDS |= dict.fromkeys((0xC9, 0xCA), "an arithmetic-coded")


def check_jpeg(data: bytes) -> int:
    """Checks a JPEG before it is decoded; returns its process, the marker of its frame.

    Raises:
        ImageFileError: for one that is too large, truncated, of endlessly many scans, or of other
            than 8 bits.
    """
    frame = jpeg_frame(data)
    process, bits = data[frame + 1], data[frame + 4]
    if bits != 8 and 2 <= bits <= 16:
        raise ImageFileError(
            f"a JPEG of {bits} bits per sample, and only 8 are read; save it as a PNG or TIFF of "
            "16 bits."
        )
    if process == 0xF7:
        raise ImageFileError("a JPEG-LS file, which is not read; save it as a PNG.")
    width, height, scans = jpeg_size(data)
    check_size(width, height)
    if not data.find(b"\xff\xd9", jpeg_frame(data)) > 0:  # OpenCV 4 would fill up with gray
        raise ImageFileError("truncated JPEG (it has no end).")
    if width * height * scans > MAX_SCANS * MAX_PIXELS:
        raise ImageFileError(f"a JPEG of {scans} scans, which would take minutes to decode.")
    return process


def jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of scans of a JPEG."""
    frame = jpeg_frame(data)
    height, width = struct.unpack_from(">HH", data, frame + 5)
    return width, height, data.count(b"\xff\xda", frame)


def jpeg_frame(data: bytes) -> int:
    """Offset of the marker of a JPEG's frame header. Source: ITU T.81, B.1.1 and B.2.2."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return at
        if marker == 0xFF:  # padding
            at += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # these have no length
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise ImageFileError("damaged or truncated JPEG (it has no frame).")


def bmp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a BMP."""
    old = struct.unpack_from("<I", data, 14)[0] == 12  # the header of OS/2
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return width, abs(height)


_BELOW = (34665, 34853, 40965)  # tags that lead to a directory: EXIF, GPS, interoperability


def check_tiff_tags(data: bytes) -> None:
    """Raises ImageFileError if the tags of a TIFF claim far more bytes than the file has."""
    tiff = TiffDirectories(data, 4 * len(data))  # a few may be shared
    following = tiff.first
    for _ in range(MAX_PAGES):
        entries, following = tiff.read(following)
        below = [entry for entry in entries if entry.code in _BELOW]
        while below:
            entry = below.pop()
            place = data[entry.start : entry.start + min(entry.length, 8)]
            start = int.from_bytes(place, "little" if tiff.order == "<" else "big")
            below += [inner for inner in tiff.read(start)[0] if inner.code in _BELOW]
        if tiff.overdrawn:
            raise ImageFileError("damaged TIFF (its tags are larger than the file).")
        if not following:
            return


_TIFF_COLOURS = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "SEPARATED", "YCBCR")
# Compressions of bytes, whose result has a known length. The others, JPEG apart, are whole image
# files within the TIFF, with sizes of their own.
_TIFF_COMPRESSIONS = (
    "NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "LZMA", "ZSTD", "JPEG",
)  # fmt: skip
TIFF_PICTURE_CODECS = {
    "JPEG2000": "JPEG 2000", "JPEG_2000_LOSSY": "JPEG 2000", "WEBP": "WebP", "JPEGXL": "JPEG XL",
    "LERC": "LERC",
}  # fmt: skip


def name_of(value: Any) -> Any:
    """The name of a TIFF constant, or its number if tifffile has no name for it."""
    return getattr(value, "name", value)


def check_tiff_page(page: Any, file_bytes: int) -> None:
    """Raises ImageFileError for a page that is no image of levels, or not of an admissible size.

    Args:
        page: `tifffile.TiffPage`.
        file_bytes: int, size of its file.
    """
    if page.imagedepth > 1:
        raise ImageFileError("is a volume in one page; save it as a stack of pages.")
    check_size(page.imagewidth, page.imagelength)
    colours = name_of(page.photometric)
    # 1 is a number where the file does not say it: then it is the default.
    compression = "NONE" if page.compression == 1 else name_of(page.compression)
    if "PhotometricInterpretation" not in page.tags:
        raise ImageFileError("does not say its colours (a TIFF without PhotometricInterpretation).")
    if colours not in _TIFF_COLOURS:
        raise ImageFileError(f"TIFF colours are {colours}; convert to RGB or gray.")
    if colours == "YCBCR" and compression != "JPEG":
        raise ImageFileError("TIFF colours are YCBCR without JPEG; convert to RGB.")
    if compression not in (*_TIFF_COMPRESSIONS, *TIFF_PICTURE_CODECS):
        raise ImageFileError(f"TIFF compression is {compression}; save it with Deflate or none.")
    _check_samples(page, compression)
    _check_tiles(page, file_bytes)
    if compression == "JPEG":
        _check_jpeg_tiles(page.parent.filehandle, page)


def _check_samples(page, compression):
    """The type of the samples is one that is read and written again exactly."""
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise ImageFileError(f"samples of {bits} bits; convert to 8 or 16.")
    if page.dtype is None or page.dtype.kind not in "uif" or page.dtype.itemsize * 8 < bits:
        raise ImageFileError(f"pixels of type {page.dtype or bits} are not numbers on one scale.")
    if (page.dtype.kind in "ui" and bits == 64) or bits == 1:
        raise ImageFileError(f"{bits} bits per sample; convert to 8, 16 or 32.")
    if bits not in (8, 16, 32, 64) and (
        page.dtype.kind != "u" or bits > 16 or page.predictor > 1 or compression == "JPEG"
    ):
        raise ImageFileError(f"{bits} bits per sample; convert to 8 or 16.")
    if compression in TIFF_PICTURE_CODECS and (page.predictor > 1 or page.fillorder == 2):
        raise ImageFileError(f"TIFF with a predictor around {compression}.")
    if compression == "JPEG" and (bits != 8 or page.samplesperpixel not in (1, 3)):
        raise ImageFileError("TIFF with a JPEG that is neither gray nor RGB of 8 bits.")
    if name_of(page.photometric) == "MINISWHITE" and page.dtype.kind != "u":
        raise ImageFileError(f"{page.dtype} pixels of colours MINISWHITE have no black.")


def _check_tiles(page, file_bytes):
    """Every strip or tile is stored, and all are no larger than an image, or the file, may be."""
    if page.is_tiled:
        across = -(-page.imagewidth // page.tilewidth)
        down = -(-page.imagelength // page.tilelength)
        check_size(across * page.tilewidth, down * page.tilelength)
    if len(page.dataoffsets) < math.prod(page.chunked):  # tifffile would fill up, one by one
        raise ImageFileError("damaged or truncated TIFF (it lacks some of its strips or tiles).")
    if sum(page.databytecounts) > 4 * file_bytes:  # blank ones may be shared
        raise ImageFileError("damaged or truncated TIFF (its tiles are larger than the file).")


def _check_jpeg_tiles(file, page):
    """No JPEG within the TIFF is larger than its tile, or of endlessly many scans."""
    tile = page.tilewidth or page.imagewidth, page.tilelength or page.imagelength
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=False):
        if not length:  # blank
            continue
        file.seek(offset)
        width, height, scans = jpeg_size(file.read(length))
        if width > tile[0] or height > tile[1] or scans > MAX_SCANS:
            raise ImageFileError("damaged TIFF (it holds a JPEG that is larger than its tile).")
