"""Strips and tiles of a TIFF page <-> pixels, in the compression that the page has.

tifffile reads them; nothing but their bytes is ever written, so that all else of a page stays.
Source: TIFF 6.0, sections 8, 9, 13 to 15 and 22; TIFF technical notes 2 and 3.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from n2n_tf.pipelines.files.image_limits import TIFF_PICTURE_CODECS, ImageFileError, name_of
from n2n_tf.pipelines.files.metadata import jpeg_quality, jpeg_subsampling
from n2n_tf.pipelines.files.tiff_codecs import check_stream, encode_picture


def read_page(file: BinaryIO, page: Any) -> np.ndarray:
    """Decodes one page, segment by segment.

    Args:
        file: open binary file of the page.
        page: `tifffile.TiffPage`.

    Returns:
        array [height, width, samples] of the stored type in native order; samples that are packed
        in few bits are whole integers here, the colours of JPEGs are RGB.
    """
    pixels = np.zeros((page.imagelength, page.imagewidth, page.samplesperpixel), page.dtype)
    for index in range(len(page.dataoffsets)):
        part = _read_segment(file, page, index)
        if part is not None:
            place, samples = _place(page, index)
            height, width = pixels[place].shape[:2]
            pixels[(*place, samples)] = part[:height, :width]
    return pixels


def _read_segment(file, page, index):
    """-> [rows, columns, samples]; None for one that is not stored, as GDAL leaves blank ones."""
    length = page.databytecounts[index]
    if not length:
        return None
    file.seek(page.dataoffsets[index])
    data = file.read(length)
    if len(data) < length and name_of(page.compression) in ("NONE", "JPEG"):  # others notice it
        raise ImageFileError("damaged or truncated TIFF (its pixels end early).")
    check_stream(data, page)
    part, _, _ = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    return part[0]


def _place(page, index):
    """((rows, columns), samples) as slices: where segment `index` lies in its image."""
    rows = page.tilelength if page.is_tiled else page.rowsperstrip
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
    sample, index = divmod(index, across * down)
    top, left = index // across * rows, index % across * columns
    place = slice(top, top + rows), slice(left, left + columns)
    apart = name_of(page.planarconfig) == "SEPARATE"
    return place, slice(sample, sample + 1) if apart else slice(None)


def encode_segments(file: BinaryIO, page: Any, pixels: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Yields (index, bytes) of every stored segment of a page that shall hold other pixels.

    Args:
        file: open binary file of the page, for the quality of its JPEGs.
        page: `tifffile.TiffPage`.
        pixels: [height, width, samples], the type of the page.
    """
    for index, length in enumerate(page.databytecounts):
        if not length:
            continue
        place, samples = _place(page, index)
        part = pixels[(*place, samples)]
        if page.is_tiled:
            missing = page.tilelength - part.shape[0], page.tilewidth - part.shape[1], 0
            part = np.pad(part, [(0, n) for n in missing], mode="edge")
        part = np.ascontiguousarray(part)
        if name_of(page.compression) == "JPEG":
            file.seek(page.dataoffsets[index])
            yield index, _encode_jpeg(part, page, file.read(length))
        elif name_of(page.compression) in TIFF_PICTURE_CODECS:
            file.seek(page.dataoffsets[index])
            yield index, encode_picture(part, page, file.read(length))
        else:
            yield index, _encode(part, page)


def _encode(part, page):
    """Bytes of a segment [rows, columns, samples]: predictor, byte order, packing, compression."""
    import imagecodecs

    predictor, bits = page.predictor, page.bitspersample
    order = page.parent.byteorder
    if predictor == 3:
        part = imagecodecs.floatpred_encode(part.astype(part.dtype.newbyteorder(order)), axis=-2)
        data = part.tobytes()
    elif bits not in (8, 16, 32, 64):
        data = packed_integers(part.reshape(len(part), -1), bits)
    else:
        if predictor == 2:
            part = imagecodecs.delta_encode(part, axis=-2)
        stored = part.astype(part.dtype.newbyteorder(order), copy=False)
        data = stored.reshape(-1).view(np.uint8).data  # no copy: it may be all of a large picture
    compressed = _compress(data, name_of(page.compression), len(data) // len(part))
    return imagecodecs.bitorder_encode(compressed) if page.fillorder == 2 else compressed


def packed_integers(rows: np.ndarray, bits: int) -> bytes:
    """Packs unsigned integers of a few bits; every row begins with a new byte.

    imagecodecs does it too, but only in versions newer than requirements.txt demands.

    Args:
        rows: uint8 or uint16 [rows, numbers], each below 2**bits.
        bits: of each number, 1 to 16; the highest comes first.

    >>> packed_integers(np.array([[1, 2, 3]], np.uint8), 4).hex()
    '1230'
    """
    places = np.arange(bits - 1, -1, -1, dtype=rows.dtype)
    return np.packbits((rows[..., None] >> places & 1).reshape(len(rows), -1), axis=1).tobytes()


def _compress(data, compression, row):
    """`row`: bytes of one row of pixels; PackBits never runs over the end of one."""
    import imagecodecs

    if compression == "NONE":
        return data
    if compression == "PACKBITS":
        rows = (data[at : at + row] for at in range(0, len(data), row))
        return b"".join(imagecodecs.packbits_encode(r) for r in rows)
    encode = {
        "LZW": imagecodecs.lzw_encode,
        "LZMA": imagecodecs.lzma_encode,
        "ZSTD": imagecodecs.zstd_encode,
    }.get(compression, imagecodecs.zlib_encode)
    return bytes(encode(data))


def _encode_jpeg(part, page, source):
    """A JPEG of the quality and chroma sampling of the one that it replaces."""
    import imagecodecs

    tables = page.jpegtables or b""
    colours = name_of(page.photometric)
    stored = {"YCBCR": "YCBCR", "RGB": "RGB"}.get(colours, "GRAYSCALE")
    given = "RGB" if part.shape[2] == 3 else "GRAYSCALE"
    return imagecodecs.jpeg8_encode(
        part if part.shape[2] > 1 else part[..., 0],
        max(90, jpeg_quality(source) or jpeg_quality(tables) or 90),
        colorspace=given,
        outcolorspace=stored if part.shape[2] == 3 else "GRAYSCALE",
        subsampling=jpeg_subsampling(source) if stored == "YCBCR" else None,
    )
