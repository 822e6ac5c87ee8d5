"""Image files <-> arrays, and floats in [0, 1] <-> the integers of files."""

import dataclasses
import os
import pathlib

import numpy as np
import numpy.typing as npt

from n2n_tf.pipelines.files import codecs, metadata
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, errors_named
from n2n_tf.pipelines.files.listing import files_below, why_none
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, straight
from n2n_tf.pipelines.files.stacks import open_planes, read_file

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".jp2", ".j2k", ".j2c", ".jpc",
    ".tif", ".tiff", ".stk", ".lsm", ".npy", ".fits", ".fit", ".fts", ".dcm", ".dicom", ".ima",
)  # fmt: skip
WRITTEN = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".jp2", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        pixels: [height, width, channels], channels 1 or 3 (RGB), uint8, uint16 or float32.
        alpha: None or [height, width], dtype of `pixels`.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


def list_images(root: str | os.PathLike) -> list[pathlib.Path]:
    """All image files below a folder, by the rule and in the order of `files_below`.

    Raises:
        ImageFileError: if there is no such folder, or no file in it with an image's name.
    """
    files = files_below(root, SUFFIXES)
    if not files:
        raise ImageFileError(why_none(root, "image", SUFFIXES))
    return files


def read_image(path: str | os.PathLike) -> Picture:
    """Reads an image file; JPEGs and TIFFs are turned upright as their orientation tag says.

    Returns:
        `Picture`. Palette files become RGB, 16 and 64-bit floats 32-bit ones.

    Raises:
        ImageFileError: if the file is missing, truncated, of another kind, or holds several planes
            or channels.
    """
    return decode_image(read_file(path), path)


def decode_image(data: bytes, path: str | os.PathLike) -> Picture:
    """Decodes the bytes of an image file, known by its first bytes; `path` is for the messages.

    Returns, raises: as `read_image`.
    """
    with open_planes(path, data=data) as planes, errors_named(path, "file"):
        if len(planes) > 1:
            raise ImageFileError(f"holds {len(planes)} planes, not one image.")
        plane = planes.read(0)
        if len(plane.colours) > 1:
            raise ImageFileError(f"holds {len(plane.colours)} channels, not one gray or RGB image.")
        return picture_of(plane, 0, planes.orientation)


def picture_of(plane: Plane, number: int, orientation: int = 1, in_units: bool = False) -> Picture:
    """One colour image or channel of a plane.

    Args:
        plane: `Plane`.
        number: int, which of `plane.colours`.
        orientation: 1..8, that is undone.
        in_units: bool, types other than uint8, uint16 and float32 keep their numbers as floats.
            Otherwise their white becomes 1.

    Returns:
        `Picture`.

    Raises:
        ImageFileError: for NaN or infinite pixels.
    """
    pixels = straight(plane.pixels) if plane.premultiplied else plane.pixels
    if pixels.dtype not in (np.uint8, np.uint16, np.float32) or plane.white not in (255, 65535, 1):
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite: see below
            pixels = np.float32(pixels / np.float64(1 if in_units else plane.white))
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ImageFileError("holds NaN or infinite pixels.")
    pixels, opaque = upright(pixels, orientation), plane.colours[-1].stop
    alpha = pixels[..., -1] if pixels.shape[2] > opaque else None
    return Picture(pixels[..., plane.colours[number]], alpha)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the orientation 1..8 of TIFF and EXIF. Source: TIFF 6.0, section 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def to_float(pixels: np.ndarray, white_level: float | None = None) -> np.ndarray:
    """Integer pixels -> float32 in [0, 1]; float pixels are only divided by `white_level`.

    Args:
        pixels: array of uint8, uint16 or float.
        white_level: number that becomes 1.0. Default: 255, 65535, or 1 for floats.
    """
    if white_level is None:
        white_level = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    return np.asarray(pixels, np.float32) / np.float32(white_level)


def to_integer(
    image: np.ndarray, dtype: npt.DTypeLike, white_level: float | None = None
) -> np.ndarray:
    """Float image in nominal [0, 1] -> integers, clipped and rounded half up.

    Args:
        image: float array.
        dtype: np.uint8 or np.uint16.
        white_level: number that 1.0 becomes. Default: the dtype's largest.

    Source: the official evaluation, `uint8(clip(255 * p + 0.5, 0, 255))`.
    """
    largest = np.iinfo(dtype).max
    white_level = largest if white_level is None else white_level
    scaled = np.asarray(image, np.float32) * np.float32(white_level) + np.float32(0.5)
    return np.clip(scaled, 0, largest).astype(dtype)


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Gray <-> RGB: [H, W, 1 or 3] -> [H, W, channels]; luma weights 0.299, 0.587, 0.114."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.dtype.kind == "f":
        return (pixels @ np.array([0.299, 0.587, 0.114], pixels.dtype))[..., None]
    luma = (pixels @ np.array([299, 587, 114], np.uint32) + 500) // 1000  # exact, halves up
    return luma.astype(pixels.dtype)[..., None]


def write_image(
    path: str | os.PathLike,
    pixels: np.ndarray,
    alpha: np.ndarray | None = None,
    overwrite: bool = False,
    around: Surroundings | None = None,
) -> None:
    """Writes [H, W, 1 or 3] pixels, with or without alpha, whole or not at all.

    The suffix decides the format. PNG and JPEG 2000 hold uint8 and uint16, TIFF also float32, WebP
    uint8, JPEG and BMP uint8 without alpha.

    Args:
        path: of the file.
        pixels: array [height, width, 1 or 3].
        alpha: None or array [height, width] of the same type.
        overwrite: bool, whether an existing file is replaced.
        around: None or `Surroundings` to store too, as far as the format knows them.

    Raises:
        ImageFileError: if the format cannot hold the pixels.
        FileExistsError: if the file exists and `overwrite` is false.
        OSError: if it cannot be written.
    """
    path = pathlib.Path(path)
    check_format(path, pixels.dtype, alpha is not None)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ImageFileError(f"{path}: `pixels` must be [H, W, 1 or 3]. Received: {pixels.shape}.")
    if alpha is not None:
        if (alpha.shape, alpha.dtype) != (pixels.shape[:2], pixels.dtype):
            raise ImageFileError(
                f"{path}: `alpha` must be {pixels.dtype} {pixels.shape[:2]} like the pixels. "
                f"Received: {alpha.dtype} {alpha.shape}."
            )
        pixels = np.concatenate([pixels, alpha[..., None]], axis=-1)
    with atomic_file(path, overwrite) as temporary:
        if path.suffix.lower() in (".tif", ".tiff"):
            _encode_tiff(temporary, pixels, around or Surroundings())
        else:
            with errors_named(path, "result"):
                data = _encode(path.suffix.lower(), pixels, around or Surroundings())
            temporary.write_bytes(data)


def check_format(path: str | os.PathLike, dtype: npt.DTypeLike, has_alpha: bool = False) -> None:
    """Raises ImageFileError if the format of `path` cannot hold such pixels."""
    suffix, dtype = pathlib.Path(path).suffix.lower(), np.dtype(dtype)
    if suffix not in WRITTEN:
        raise ImageFileError(f"{path}: cannot write {suffix!r} files; use one of {WRITTEN}.")
    if suffix in (".jpg", ".jpeg", ".bmp") and (dtype != np.uint8 or has_alpha):
        what = "transparency" if dtype == np.uint8 else f"{dtype} pixels"
        raise ImageFileError(f"{path}: {suffix} holds no {what}; write a .png or .tiff.")
    if suffix == ".webp" and dtype != np.uint8:
        raise ImageFileError(f"{path}: .webp holds no {dtype} pixels; write a .png or .tiff.")
    if suffix in (".png", ".jp2") and dtype not in (np.uint8, np.uint16):
        raise ImageFileError(f"{path}: {suffix} holds no {dtype} pixels; write a .tiff.")
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageFileError(f"{path}: no {dtype} pixels are written; use uint8, uint16, float32.")


def _encode(suffix, pixels, around):
    """Bytes of a file that is no TIFF."""
    if suffix == ".png":
        return metadata.png_with(codecs.encode_png(pixels), around)
    if suffix == ".bmp":
        return codecs.encode_bmp(pixels)
    if suffix == ".webp":
        return codecs.encode_webp(pixels, around=around)
    if suffix == ".jp2":
        return codecs.encode_jpeg2000(pixels, codestream=False)
    return metadata.jpeg_with(codecs.encode_jpeg(pixels), around)


def _encode_tiff(path, pixels, around):
    import tifffile

    colour = pixels.shape[2] >= 3
    per_metre = around.per_metre
    tifffile.imwrite(
        path,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if pixels.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if pixels.shape[2] in (2, 4) else None,
        compression="deflate",
        predictor=True,
        metadata=None,
        iccprofile=around.icc,
        resolution=tuple(v / 100 for v in per_metre) if per_metre else None,
        resolutionunit="CENTIMETER" if per_metre else None,
    )
