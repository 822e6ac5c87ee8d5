"""Camera raws and sensor dumps to frames.

`read_raw` -> `RawFrame` -> `raw_frame.normalise` -> `bayer.pack` -> network -> `bayer.unpack` ->
`raw_frame.denormalise` -> `dng.write_dng`. Decoding is LibRaw's, through rawpy, which must not be
used in forked processes: start workers with "spawn".
"""

import itertools
import mmap
import os
import struct
from pathlib import Path

import numpy as np
import rawpy

from n2n_tf.pipelines.files import image_limits
from n2n_tf.pipelines.raw import ciff, dng_tags, tiff_tags
from n2n_tf.pipelines.raw.bayer import PATTERNS
from n2n_tf.pipelines.raw.dng import SRGB_FROM_XYZ
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame
from n2n_tf.pipelines.raw.tiff_tags import (
    Directory,
    Metadata,
    first_number,
    first_text,
    make_tag,
    tag_values,
)

# LibRaw's flip (1 mirrors columns, 2 mirrors rows, 4 transposes) to EXIF orientation.
_ORIENTATION_OF_FLIP = {0: 1, 1: 2, 3: 3, 2: 4, 4: 5, 6: 6, 7: 7, 5: 8}

# EXIF data that TIFF/EP cameras keep in the main directory.
_EXIF_CODES = {33434, 33437, 34850, 34855, 36867, *range(37377, 37387)}

_DATE_TAKEN, _LENS_MAKE, _LENS_MODEL = 36867, 42035, 42036

# What raws begin with that keep no TIFF directories: Canon, Fujifilm, Foveon, Minolta, QuickTake,
# Phantom, Arri, Nokia, JPEGs with a raw at their end.
_HEADERS = (b"II\x1a\0\0\0HEAP", b"FUJIFILM", b"FOVb", b"\0MRM", b"qktk", b"qktn", b"CI", b"ARRI",
            b"NOKIA", b"\xff\xd8", b"PXN", b"DSC-Image", b"PWAD", b"RAWA", b"XPDS")  # fmt: skip

# Lossless JPEG stores at most 8 pixels in a byte. LibRaw fills up what a file claims and has not,
# for minutes.
_MAX_PIXELS_PER_BYTE = 64

_NO_MOSAIC = (
    "no Bayer mosaic (LinearRaw DNG, sRaw, Foveon or a monochrome sensor). Give the camera's "
    "full-size raw, or develop the file to a 16-bit TIFF and denoise that with an RGB model."
)


def read_raw(path: str | os.PathLike) -> RawFrame:
    """Decodes a camera raw with a Bayer sensor: any such file that LibRaw reads.

    Args:
        path: DNG, NEF, CR2, CR3, ARW, RAF, ORF, RW2, PEF, KDC, ...

    Returns:
        the visible area as a frame; for files with several images, the first.

    Raises:
        FileNotFoundError: no such file.
        RawFileError: empty, truncated, corrupt, too large or not a raw; or a raw without a 2 x 2
            Bayer mosaic of integers (X-Trans, LinearRaw, sRaw, Foveon, monochrome, floating
            point).
    """
    path = Path(path)
    metadata = _metadata_of(path)
    _refuse_by_tags(path, metadata)
    _refuse_without_header(path, metadata)
    try:
        with rawpy.imread(str(path)) as raw:
            _refuse_by_size(path, raw)
            _refuse_by_sensor(path, raw)
            return _frame_of(path, raw, _with_thumbnail_tags(raw, metadata))
    except rawpy.LibRawFileUnsupportedError as error:
        raise RawFileError(
            f"{path}: not a camera raw that LibRaw {'.'.join(map(str, rawpy.libraw_version))} "
            "reads. Give the camera's own file or convert it to an uncompressed or lossless "
            "DNG; for a bare sensor dump give its shape and type."
        ) from error
    # NotImplementedError: rawpy's, for colour filters that no camera has.
    except (rawpy.LibRawError, rawpy.NotSupportedError, NotImplementedError) as error:
        raise RawFileError(
            f"{path}: corrupt or truncated: LibRaw says {_text(error)!r}. Copy the file again "
            "from the card or leave it out."
        ) from error


def read_sensor_dump(
    path: str | os.PathLike,
    shape: tuple[int, int],
    dtype: str | np.dtype,
    pattern: str,
    black: float | tuple[float, float, float, float],
    white: int,
) -> RawFrame:
    """Reads a headerless file of sensor values.

    Args:
        path: a file of exactly H * W values, row by row.
        shape: (H, W).
        dtype: "uint8" or "uint16"; ">u2" for big-endian.
        pattern: one of `n2n_tf.pipelines.raw.bayer.PATTERNS`.
        black: black level, or four for the cell positions (0,0), (0,1), (1,0), (1,1).
        white: clip level, for example 1023 for 10 bit.

    Raises:
        FileNotFoundError: no such file.
        RawFileError: another file size, an unusable dtype or levels.
        ValueError: unknown pattern.
    """
    path, dtype = Path(path), np.dtype(dtype)
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise RawFileError(f"{path}: `dtype` must be uint8 or uint16. Received: {dtype.name}.")
    height, width = shape
    expected, actual = height * width * dtype.itemsize, path.stat().st_size
    if actual != expected:
        raise RawFileError(
            f"{path}: {height} x {width} of {dtype.name} is {expected} bytes, but the file has "
            f"{actual}. Check shape and dtype, and strip any header or padding."
        )
    mosaic = np.fromfile(path, dtype).reshape(height, width).astype(np.uint16)
    black = tuple(np.broadcast_to(np.asarray(black, np.float64), 4).tolist())
    return RawFrame(mosaic, pattern, black, int(white), path=str(path))


def _metadata_of(path: Path) -> Metadata:
    """Tags of a file, after refusing folders and empty files."""
    if path.is_dir():
        raise RawFileError(f"{path} is a folder; give a raw file.")
    if path.stat().st_size == 0:
        raise RawFileError(f"{path}: the file is empty. Copy it again from the card.")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
        if blob[ciff.START_AT : ciff.START_AT + len(ciff.START)] == ciff.START:
            return ciff.read_ciff(blob)
        return tiff_tags.read_metadata(blob)


_COMPRESSION, _JPEG = 259, 7
_SIDES = (322, 256), (323, 257)  # of a tile, or of the image if it has none


def _refuse_by_tags(path: Path, metadata: Metadata) -> None:
    """Refuses DNGs that are truncated, or whose pixels are not an integer mosaic."""
    directory = metadata.pixels()
    if directory is None or metadata.find(tiff_tags.DNG_VERSION) is None:
        return
    end, size = _last_byte(directory), path.stat().st_size
    if end > size:
        raise RawFileError(
            f"{path}: truncated: the pixels end at byte {end:.0f}, the file at {size}. Copy it "
            "again from the card."
        )
    if first_number(directory.get(_COMPRESSION)) == _JPEG:
        _refuse_larger_jpegs(path, directory)
    if first_number(directory.get(tiff_tags.SAMPLE_FORMAT)) == 3:
        raise RawFileError(
            f"{path}: floating-point DNG, which holds no sensor integers. Denoise the integer "
            "raws it was made from, before merging."
        )
    if first_number(directory.get(tiff_tags.PHOTOMETRIC)) == tiff_tags.LINEAR_RAW:
        raise RawFileError(f"{path}: {_NO_MOSAIC}")


def _refuse_without_header(path: Path, metadata: Metadata) -> None:
    """Refuses bare sensor values, of which LibRaw would guess the camera by their number."""
    if path.suffix.lower() != ".raw" or metadata.directories:
        return
    with open(path, "rb") as file:
        start = file.read(16)
    if not start.startswith(_HEADERS) and start[4:8] != b"ftyp":
        raise RawFileError(
            f"{path}: holds no header, only values that any camera may have written. Describe "
            "them: --raw_shape=HEIGHT,WIDTH --raw_dtype --raw_pattern --black --white."
        )


def _refuse_larger_jpegs(path: Path, directory: Directory) -> None:
    """Refuses JPEGs larger than their tile, which LibRaw would decode for minutes."""
    sides = [first_number(directory.get(tile) or directory.get(all_), 0) for tile, all_ in _SIDES]
    tiled = 324 in directory
    offsets, lengths = (tag_values(directory.get(t)) for t in ((324, 325) if tiled else (273, 279)))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        room = len(data)  # for all of them together: offsets may all lead to one large piece
        for offset, length in itertools.zip_longest(offsets, lengths):
            try:
                piece = data[int(offset) : None if length is None else int(offset) + int(length)]
                room -= len(piece)
                width, height, _ = image_limits.jpeg_size(piece if room >= 0 else b"")
                sound = width * height <= sides[0] * sides[1]
            except (ValueError, TypeError, IndexError, struct.error):  # a tag may hold text
                sound = False
            if not sound:
                raise RawFileError(
                    f"{path}: corrupt or truncated: a JPEG in it is damaged or larger than its "
                    "tile. Copy the file again from the card or leave it out."
                )


def _last_byte(directory: Directory) -> float:
    """Where the last strip or tile of a directory ends, in bytes from the start of the file."""
    end = 0
    for codes in ((273, 279), (324, 325)):
        offsets, lengths = (tag_values(directory.get(code)) for code in codes)
        for offset, length in zip(offsets, lengths, strict=False):
            if isinstance(offset, int | float) and isinstance(length, int | float):  # not a text
                end = max(end, offset + length)
    return end


def _refuse_by_size(path: Path, raw: rawpy.RawPy) -> None:
    """Refuses, before decoding, more pixels than are admitted or than the file can hold."""
    height, width = raw.sizes.raw_height, raw.sizes.raw_width
    try:
        image_limits.check_size(width, height)
    except image_limits.ImageFileError as error:
        raise RawFileError(f"{path}: {error}") from error
    size = path.stat().st_size
    if height * width > _MAX_PIXELS_PER_BYTE * size:
        raise RawFileError(
            f"{path}: corrupt or truncated: {width} x {height} pixels are not in {size} bytes. "
            "Copy the file again from the card or leave it out."
        )


def _refuse_by_sensor(path: Path, raw: rawpy.RawPy) -> None:
    """Refuses what LibRaw opens but is no 2 x 2 mosaic of red, green and blue."""
    pattern = raw.raw_pattern
    if raw.raw_type != rawpy.RawType.Flat or pattern is None or raw.num_colors == 1:
        raise RawFileError(f"{path}: {_NO_MOSAIC}")
    if pattern.shape == (6, 6):
        raise RawFileError(
            f"{path}: Fujifilm X-Trans sensor (6 x 6 pattern); only 2 x 2 Bayer sensors are "
            "supported. Develop the file to a 16-bit TIFF and denoise that with an RGB model."
        )
    name = _pattern_name(raw)
    if name not in PATTERNS:
        raise RawFileError(
            f"{path}: colour filter {name} of {'x'.join(map(str, pattern.shape))} cells; only "
            f"{', '.join(PATTERNS)} are supported. Develop the file to a 16-bit TIFF and denoise "
            "that with an RGB model."
        )


def _pattern_name(raw: rawpy.RawPy) -> str:
    """The cell's colours row by row; LibRaw numbers them, the second green being 3."""
    letters = raw.color_desc.decode()
    return "".join(letters[index] for index in raw.raw_pattern.ravel())


def _frame_of(path: Path, raw: rawpy.RawPy, metadata: Metadata) -> RawFrame:
    """Builds the frame from what LibRaw decoded and the tags of the file."""
    black = np.asarray(raw.black_level_per_channel, np.float64)[raw.raw_pattern].ravel()
    exif = _exif_of(raw, metadata)
    mosaic = np.array(raw.raw_image_visible, np.uint16)  # a copy, before colours are measured
    return RawFrame(
        mosaic=mosaic,
        pattern=_pattern_name(raw),
        black=tuple(black.tolist()),
        white=_clip_level(raw, black.max()),
        orientation=_ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1),
        color_matrix=_color_matrix(raw, metadata),
        neutral=_neutral(path, raw, metadata),
        make=first_text(metadata.find(tiff_tags.MAKE)),
        model=first_text(metadata.find(tiff_tags.MODEL)),
        iso=_positive(first_number(exif.get(tiff_tags.ISO))),
        exposure_time=_positive(first_number(exif.get(tiff_tags.EXPOSURE_TIME))),
        noise_profile=dng_tags.read_noise_profile(metadata.find(tiff_tags.NOISE_PROFILE)),
        pixel_aspect=float(raw.sizes.pixel_aspect) or 1.0,
        tags=dng_tags.tags_to_carry(metadata),
        exif=exif,
        gps=metadata.gps,
        path=str(path),
    )


def _clip_level(raw: rawpy.RawPy, black: float) -> int:
    """The lowest level at which a channel clips; LibRaw's one white level may lie above it."""
    channels = [level for level in raw.camera_white_level_per_channel or () if level > black]
    return int(min([raw.white_level, *channels]))


def _color_matrix(raw: rawpy.RawPy, metadata: Metadata) -> np.ndarray | None:
    """XYZ to camera RGB for daylight: a DNG's own or None, else LibRaw's, else a measured one."""
    both = dng_tags.COLOR_MATRIX_2, dng_tags.COLOR_MATRIX_1  # the second, if any, is for daylight
    for values in (tag_values(metadata.find(code)) for code in both):
        if len(values) == 9:
            return np.reshape(values, (3, 3))
    if metadata.find(tiff_tags.DNG_VERSION) is not None:
        return None
    matrix = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    return matrix if np.abs(matrix).sum(axis=1).min() > 0 else _measured_color_matrix(raw)


def _measured_color_matrix(raw: rawpy.RawPy) -> np.ndarray:
    """XYZ to camera RGB from what LibRaw makes of known colours; overwrites the decoded pixels.

    LibRaw develops some old cameras (Kodak's DC series) with a matrix that it keeps to itself.
    Four patches, grey and grey with more red, green or blue, are put in place of the picture and
    developed linearly: the differences are the columns of the matrix camera RGB to sRGB. Without
    any matrix LibRaw takes camera RGB for sRGB, and so does the result.
    """
    mosaic, colours = raw.raw_image_visible, raw.raw_colors_visible
    black = np.asarray(raw.black_level_per_channel)[colours]
    scale = raw.white_level - black
    mosaic[:] = black + 0.4 * scale
    patch = mosaic.shape[1] // 8 * 2  # pixels, even
    for index in range(3):
        lit = np.isin(colours, (1, 3) if index == 1 else index)
        lit[:, : (index + 1) * patch] = lit[:, (index + 2) * patch :] = False
        mosaic[lit] = (black + 0.6 * scale)[lit]
    row = raw.postprocess(
        half_size=True, gamma=(1, 1), no_auto_bright=True, output_bps=16, user_flip=0,
        user_wb=[1, 1, 1, 1], adjust_maximum_thr=0.0,
    )[mosaic.shape[0] // 4].astype(np.float64)  # fmt: skip
    grey, *lit = (row[index * patch // 2 + patch // 4] for index in range(4))
    to_srgb = np.stack([colour - grey for colour in lit], axis=1) / (0.2 * 65535)
    daylight = np.asarray(raw.daylight_whitebalance, np.float64)[:3]
    if abs(np.linalg.det(to_srgb)) < 1e-3 or daylight.min() <= 0:
        return SRGB_FROM_XYZ
    return np.linalg.inv(to_srgb) @ SRGB_FROM_XYZ * (daylight[1] / daylight)[:, None]


def _neutral(path: Path, raw: rawpy.RawPy, metadata: Metadata) -> tuple[float, float, float] | None:
    """Camera RGB of a neutral object: the inverse of the multipliers with which LibRaw opens it.

    A camera's automatic white balance that its file does not hold is then the one that LibRaw
    makes of the picture. None for a DNG without AsShotNeutral: its result has none either.
    """
    dng = metadata.find(tiff_tags.DNG_VERSION) is not None
    if dng and metadata.find(dng_tags.AS_SHOT_NEUTRAL) is None:
        return None
    neutral = _inverse(raw.camera_whitebalance)
    if neutral is None:
        with rawpy.imread(str(path)) as another:  # development changes what is asked of `raw`
            another.postprocess(use_camera_wb=True, half_size=True)
            neutral = _inverse(another.auto_whitebalance)
    return neutral or (1.0, 1.0, 1.0)


def _inverse(gains) -> tuple[float, float, float] | None:
    """Multipliers of R, G, B to the colour that they make neutral; None for unusable ones."""
    gains = np.asarray(gains if gains is not None else (), np.float64)[:3]
    if len(gains) < 3 or not np.isfinite(gains).all() or gains.min() <= 0:
        return None
    return tuple((gains[1] / gains).tolist())


def _exif_of(raw: rawpy.RawPy, metadata: Metadata) -> Directory:
    """The file's EXIF tags, completed from its main directory and from what LibRaw understood."""
    exif = tiff_tags.copyable(metadata.exif)
    for code in _EXIF_CODES:
        tag = metadata.find(code)
        if tag is not None:
            exif.setdefault(code, tag)
    shot = raw.other
    if shot.timestamp and shot.timestamp.year > 1970:
        taken = shot.timestamp.strftime("%Y:%m:%d %H:%M:%S")
        exif.setdefault(_DATE_TAKEN, make_tag(tiff_tags.ASCII, taken))
    for code, kind, value in (
        (tiff_tags.ISO, tiff_tags.SHORT, min(shot.iso_speed, 65535)),
        (tiff_tags.EXPOSURE_TIME, tiff_tags.RATIONAL, shot.shutter_speed),
        (tiff_tags.F_NUMBER, tiff_tags.RATIONAL, shot.aperture),
        (tiff_tags.FOCAL_LENGTH, tiff_tags.RATIONAL, shot.focal_length),
    ):
        if _positive(value):
            exif.setdefault(code, make_tag(kind, value))
    for code, text in ((_LENS_MAKE, raw.lens.make), (_LENS_MODEL, raw.lens.model)):
        if text:  # of cameras that name it in notes of their own
            exif.setdefault(code, make_tag(tiff_tags.ASCII, text))
    return exif


def _with_thumbnail_tags(raw: rawpy.RawPy, metadata: Metadata) -> Metadata:
    """Takes the tags of the embedded JPEG where the raw itself has none, as in Fujifilm's RAF."""
    if metadata.directories:
        return metadata
    try:
        thumbnail = raw.extract_thumb()
    except rawpy.LibRawError:
        return metadata
    is_jpeg = thumbnail.format == rawpy.ThumbFormat.JPEG
    return tiff_tags.read_metadata(thumbnail.data) if is_jpeg else metadata


def _positive(value) -> float | None:
    return float(value) if value is not None and np.isfinite(value) and value > 0 else None


def _text(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
