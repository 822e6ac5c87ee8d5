"""Writes Bayer mosaics as DNG files that raw developers open like the camera's own.

Layout: header, pixels, EXIF and GPS directories, raw directory, main directory. With a preview
the main directory (IFD 0) describes the preview and the raw lies in its SubIFD, which is what
Adobe recommends; without one the raw is IFD 0.
Source: Adobe DNG specification 1.7.
"""

import concurrent.futures
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import imagecodecs
import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.processors import available_processors
from n2n_tf.pipelines.raw import dng_tags, tiff_tags
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame
from n2n_tf.pipelines.raw.tiff_tags import (
    ASCII,
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    Directory,
    make_tag,
)

TILE = 512  # pixels
# CIE XYZ (D65) to linear sRGB, IEC 61966-2-1: stands in for a colour matrix nobody knows, so that
# a developer takes camera RGB for sRGB.
SRGB_FROM_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_D65 = 21


def write_dng(
    path: str | os.PathLike,
    frame: RawFrame,
    mosaic: np.ndarray,
    *,
    compress: bool = True,
    noise_profile: Sequence[tuple[float, float]] | None = None,
    preview: np.ndarray | Callable[[], np.ndarray] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a mosaic as a DNG with the levels, colours and camera data of a frame.

    The file appears whole or not at all: it is written beside its final place and then renamed.

    Args:
        path: the file to write.
        frame: where pattern, levels, orientation, colours and camera data come from.
        mosaic: uint16 `[H, W]`, of the size of the frame's mosaic, in the same raw units; see
            `n2n_tf.pipelines.raw.frame.denormalise`.
        compress: lossless JPEG, about half the size; False stores plain 16 bit.
        noise_profile: three (shot, read) pairs or one for all colours, for the noise still in
            `mosaic`; None leaves the tag out, since the source's own no longer fits.
        preview: uint8 `[h, w, 3]` sRGB to embed as a JPEG, or None; not rotated, for example
            `raw_develop.develop(frame, mosaic, half_size=True, rotate=False)`. Or a callable that
            returns it, called when the mosaic is encoded.
        overwrite: replace an existing file. The frame's own source is never replaced.

    Returns:
        the path.

    Raises:
        RawFileError: the path is the frame's source.
        FileExistsError: the path exists and `overwrite` is False.
        ValueError: wrong dtype or size of mosaic or preview.
    """
    path = Path(path)
    source = Path(frame.path)
    if frame.path and path.exists() and source.exists() and path.samefile(source):
        raise RawFileError(f"{path} is the source raw; write the result to another name.")
    with atomic_file(path, overwrite) as temporary:
        temporary.write_bytes(
            encode_dng(
                frame, mosaic, compress=compress, noise_profile=noise_profile, preview=preview
            )
        )
    return path


def encode_dng(
    frame: RawFrame,
    mosaic: np.ndarray,
    *,
    compress: bool = True,
    noise_profile: Sequence[tuple[float, float]] | None = None,
    preview: np.ndarray | Callable[[], np.ndarray] | None = None,
) -> bytes:
    """The bytes of the file that `write_dng` writes; same arguments, same errors."""
    if mosaic.dtype != np.uint16 or mosaic.shape != frame.mosaic.shape:
        raise ValueError(
            f"`mosaic` must be uint16 {list(frame.mosaic.shape)} like the frame's. "
            f"Received: {mosaic.dtype} {list(mosaic.shape)}."
        )
    body = bytearray(b"II*\0" + bytes(4))
    of_camera, beside_pixels = dng_tags.split_carried(dict(frame.tags), mosaic.shape)
    raw = _raw_directory(frame, beside_pixels, noise_profile)
    raw.update(_append_mosaic(body, mosaic, compress))
    main = _camera_directory(frame, of_camera)
    for code, directory in ((tiff_tags.EXIF_IFD, frame.exif), (tiff_tags.GPS_IFD, frame.gps)):
        if directory:
            main[code] = make_tag(LONG, _append_directory(body, directory))
    if preview is None:
        main.update(raw)
    else:
        main.update(_append_preview(body, preview() if callable(preview) else preview))
        main[tiff_tags.SUB_IFDS] = make_tag(LONG, _append_directory(body, raw))
    struct.pack_into("<I", body, 4, _append_directory(body, main))
    return bytes(body)


def _camera_directory(frame: RawFrame, carried: Directory) -> Directory:
    """Tags of the camera and its colours; those the source carried win over computed ones."""
    matrix = SRGB_FROM_XYZ if frame.color_matrix is None else frame.color_matrix
    twice = frame.make and frame.model.startswith(f"{frame.make} ")  # as Canon's
    name = (frame.model if twice else f"{frame.make} {frame.model}").strip() or "Unknown camera"
    tags = {
        tiff_tags.DNG_VERSION: make_tag(BYTE, [1, 4, 0, 0]),
        50707: make_tag(BYTE, [1, 3, 0, 0]),  # DNGBackwardVersion
        tiff_tags.MAKE: make_tag(ASCII, frame.make or "Unknown"),
        tiff_tags.MODEL: make_tag(ASCII, frame.model or "Unknown"),
        dng_tags.UNIQUE_CAMERA_MODEL: make_tag(ASCII, name),
    }
    if frame.neutral is not None:
        tags[dng_tags.AS_SHOT_NEUTRAL] = make_tag(RATIONAL, frame.neutral)
    silent = frame.color_matrix is None and frame.neutral is None  # as a DNG may be: so is this
    if dng_tags.COLOR_MATRIX_1 not in carried and not silent:
        tags[dng_tags.COLOR_MATRIX_1] = make_tag(SRATIONAL, np.ravel(matrix))
        tags[dng_tags.ILLUMINANT_1] = make_tag(SHORT, _D65)
    if frame.path:
        tags[dng_tags.ORIGINAL_NAME] = make_tag(ASCII, Path(frame.path).name)
    return tags | carried | {tiff_tags.ORIENTATION: make_tag(SHORT, frame.orientation)}


def _raw_directory(frame: RawFrame, carried: Directory, noise_profile) -> Directory:
    """Tags of the mosaic, without those that say where its pixels lie."""
    height, width = frame.mosaic.shape
    exact = all(float(level).is_integer() for level in frame.black)
    tags = {
        tiff_tags.NEW_SUBFILE_TYPE: make_tag(LONG, 0),
        256: make_tag(LONG, width),
        257: make_tag(LONG, height),
        258: make_tag(SHORT, 16),
        tiff_tags.PHOTOMETRIC: make_tag(SHORT, tiff_tags.CFA),
        277: make_tag(SHORT, 1),
        284: make_tag(SHORT, 1),
        33421: make_tag(SHORT, [2, 2]),  # CFARepeatPatternDim
        33422: make_tag(BYTE, ["RGB".index(colour) for colour in frame.pattern]),  # CFAPattern
        50710: make_tag(BYTE, [0, 1, 2]),  # CFAPlaneColor
        50711: make_tag(SHORT, 1),  # CFALayout: rectangular
        50713: make_tag(SHORT, [2, 2]),  # BlackLevelRepeatDim
        50714: make_tag(LONG if exact else RATIONAL, frame.black),
        50717: make_tag(LONG, frame.white),
        50829: make_tag(LONG, [0, 0, height, width]),  # ActiveArea
    }
    if frame.pixel_aspect != 1:
        tags[dng_tags.DEFAULT_SCALE] = make_tag(RATIONAL, [frame.pixel_aspect, 1])
    if noise_profile is not None:
        tags[tiff_tags.NOISE_PROFILE] = dng_tags.make_noise_profile(noise_profile)
    return tags | carried


def _append_directory(body: bytearray, tags: Directory) -> int:
    """Appends a directory at an even offset, which is returned."""
    body += b"\0" * (len(body) % 2)
    offset = len(body)
    body += tiff_tags.directory_bytes(tags, offset)
    return offset


def _append_mosaic(body: bytearray, mosaic: np.ndarray, compress: bool) -> Directory:
    """Appends the pixels; returns the tags that say where and how.

    No tile is wider than the mosaic: LibRaw and RawTherapee would shear the picture. Mosaics
    narrower than the narrowest tile (16 pixels) are therefore not compressed.
    """
    height, width = mosaic.shape
    if not compress or width < 16:
        start = len(body)
        body += np.ascontiguousarray(mosaic, "<u2").data.cast("B")
        return {
            259: make_tag(SHORT, 1),
            273: make_tag(LONG, start),
            278: make_tag(LONG, height),
            279: make_tag(LONG, len(body) - start),
        }
    tile_height, tile_width = min(TILE, -(-height // 16) * 16), min(TILE, width // 16 * 16)
    offsets, lengths = [], []
    with concurrent.futures.ThreadPoolExecutor(available_processors()) as pool:
        for encoded in pool.map(_lossless_jpeg, _tiles(mosaic, tile_height, tile_width)):
            offsets.append(len(body))
            lengths.append(len(encoded))
            body += encoded
    return {
        259: make_tag(SHORT, 7),
        322: make_tag(LONG, tile_width),
        323: make_tag(LONG, tile_height),
        324: make_tag(LONG, offsets),
        325: make_tag(LONG, lengths),
    }


def _tiles(mosaic: np.ndarray, tile_height: int, tile_width: int) -> Iterator[np.ndarray]:
    """Cuts a mosaic into whole tiles, row by row, repeating its edge in the last ones."""
    for top in range(0, mosaic.shape[0], tile_height):
        for left in range(0, mosaic.shape[1], tile_width):
            tile = mosaic[top : top + tile_height, left : left + tile_width]
            missing = tile_height - tile.shape[0], tile_width - tile.shape[1]
            yield np.pad(tile, [(0, missing[0]), (0, missing[1])], "edge") if any(missing) else tile


def _lossless_jpeg(tile: np.ndarray) -> bytes:
    """One tile as lossless JPEG (ITU-T T.81, process 14) with two components and predictor 1.

    Even and odd columns are the components, so each pixel is predicted from the nearest one of
    its own colour. Predictor 1 is the only one that darktable decodes, which rules out the
    `ljpeg` codec (predictor 6).
    """
    pairs = np.ascontiguousarray(tile).reshape(tile.shape[0], -1, 2)
    return imagecodecs.jpeg8_encode(
        pairs, lossless=True, predictor=1, bitspersample=16, colorspace=0, outcolorspace=0
    )


def _append_preview(body: bytearray, preview: np.ndarray) -> Directory:
    """Appends a JPEG of the preview; returns its tags for the main directory."""
    if preview.dtype != np.uint8 or preview.ndim != 3 or preview.shape[2] != 3:
        raise ValueError(
            f"`preview` must be uint8 [h, w, 3]. Received: {preview.dtype} {list(preview.shape)}."
        )
    encoded = imagecodecs.jpeg8_encode(np.ascontiguousarray(preview), 90, subsampling="420")
    offset = len(body)
    body += encoded
    return {
        tiff_tags.NEW_SUBFILE_TYPE: make_tag(LONG, 1),  # reduced-resolution image
        256: make_tag(LONG, preview.shape[1]),
        257: make_tag(LONG, preview.shape[0]),
        258: make_tag(SHORT, [8, 8, 8]),
        259: make_tag(SHORT, 7),
        tiff_tags.PHOTOMETRIC: make_tag(SHORT, 6),  # YCbCr
        273: make_tag(LONG, offset),
        277: make_tag(SHORT, 3),
        278: make_tag(LONG, preview.shape[0]),
        279: make_tag(LONG, len(encoded)),
        284: make_tag(SHORT, 1),
        530: make_tag(SHORT, [2, 2]),  # YCbCrSubSampling
        50970: make_tag(LONG, 2),  # PreviewColorSpace: sRGB
    }
