"""PNG, JPEG, BMP and TIFF files <-> arrays; the only place where floats become integers."""

import dataclasses
import pathlib

import numpy as np

from pipelines.atomic_files import atomic_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 400_000_000  # beyond this a file is taken for a mistake or an attack


class ImageFileError(ValueError):
    """A file that is not a usable image; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        pixels: [height, width, channels], channels 1 or 3 (RGB), uint8, uint16 or float32.
        alpha: None or [height, width], dtype of `pixels`.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None


def list_images(root):
    """Returns all image files below a folder, sorted by their path relative to it.

    Raises:
        ImageFileError: if the folder does not exist or holds no file with an image's name.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise ImageFileError(f"{root}: no such folder.")
    files = [p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not files:
        raise ImageFileError(f"{root}: no image in this folder (looked for {', '.join(SUFFIXES)}).")
    return sorted(files, key=lambda p: p.relative_to(root).as_posix())


def read_image(path):
    """Reads an image file; JPEGs are turned upright as their EXIF orientation says.

    Returns:
        `Picture`. Palette files become RGB.

    Raises:
        ImageFileError: if the file is missing, truncated, of another kind or has several pages.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    if not data:
        raise ImageFileError(f"{path}: the file is empty.")
    tiff = data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pixels = _decode_tiff(path) if tiff else _decode(data, path)
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageFileError(f"{path}: pixels of type {pixels.dtype} (uint8, uint16, float32 go).")
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise ImageFileError(f"{path}: holds NaN or infinite pixels.")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        return Picture(pixels[..., :-1], pixels[..., -1])
    return Picture(pixels)


def _decode(data, path):
    """PNG, JPEG or BMP bytes -> [H, W] or [H, W, 3 or 4] in RGB order."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # we report ourselves
    # Only the colour flags turn a JPEG upright; only UNCHANGED keeps alpha, which JPEG lacks.
    jpeg = data[:2] == b"\xff\xd8"
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR if jpeg else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageFileError(f"{path}: cannot be decoded ({error.err or error}).") from error
    if pixels is None:
        raise ImageFileError(f"{path}: damaged, truncated or no image at all.")
    if pixels.ndim == 2:
        return pixels
    order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(pixels, order)


def _decode_tiff(path):
    """A TIFF of one page -> [H, W] or [H, W, samples]."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            if len(tiff.pages) > 1 or page.imagedepth > 1:
                raise ImageFileError(
                    f"{path}: has {len(tiff.pages)} pages; split it into single images first."
                )
            if page.imagewidth * page.imagelength > MAX_PIXELS:
                raise ImageFileError(
                    f"{path}: {page.imagewidth} x {page.imagelength} pixels are more than the "
                    f"{MAX_PIXELS} allowed."
                )
            if page.photometric.name not in ("MINISBLACK", "MINISWHITE", "RGB"):
                raise ImageFileError(
                    f"{path}: TIFF colours are {page.photometric.name}; convert to RGB or gray."
                )
            pixels = page.asarray()
            if page.planarconfig.name == "SEPARATE" and pixels.ndim == 3:
                pixels = np.moveaxis(pixels, 0, -1)
            if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4)):
                raise ImageFileError(f"{path}: its shape {pixels.shape} is no gray or RGB image.")
            if page.photometric.name == "MINISWHITE":
                pixels = np.iinfo(pixels.dtype).max - pixels
            return pixels
    except ImageFileError:
        raise
    except Exception as error:  # tifffile and its codecs raise many types on damaged files
        raise ImageFileError(f"{path}: cannot be decoded as TIFF ({error}).") from error


def to_float(pixels, white_level=None):
    """Integer pixels -> float32 in [0, 1]; float pixels are only divided by `white_level`.

    Args:
        pixels: array of uint8, uint16 or float.
        white_level: number that becomes 1.0. Default: 255, 65535, or 1 for floats.
    """
    if white_level is None:
        white_level = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    return np.asarray(pixels, np.float32) / np.float32(white_level)


def to_integer(image, dtype, white_level=None):
    """Float image in nominal [0, 1] -> integers, clipped and rounded half up.

    Args:
        image: float array.
        dtype: np.uint8 or np.uint16.
        white_level: number that 1.0 becomes, and the largest written. Default: the dtype's largest.

    Source: the official evaluation, `uint8(clip(255 * p + 0.5, 0, 255))`.
    """
    white_level = np.iinfo(dtype).max if white_level is None else white_level
    scaled = np.asarray(image, np.float32) * np.float32(white_level) + np.float32(0.5)
    return np.clip(scaled, 0, white_level).astype(dtype)


def to_channels(pixels, channels):
    """Gray <-> RGB: [H, W, 1 or 3] -> [H, W, channels]; luma weights 0.299, 0.587, 0.114."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    luma = pixels @ np.float32([0.299, 0.587, 0.114])
    luma = luma if pixels.dtype == np.float32 else np.floor(luma + 0.5)
    return luma.astype(pixels.dtype)[..., None]


def write_image(path, pixels, alpha=None, overwrite=False):
    """Writes [H, W, 1 or 3] pixels, with or without alpha, whole or not at all.

    The suffix decides the format. PNG holds uint8 and uint16, TIFF also float32, JPEG and BMP uint8
    without alpha.

    Raises:
        ImageFileError: if the format cannot hold the pixels.
        FileExistsError: if the file exists and `overwrite` is false.
        OSError: if it cannot be written.
    """
    path = pathlib.Path(path)
    check_format(path, pixels.dtype, alpha is not None)
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=-1)
    with atomic_file(path, overwrite) as temporary:
        if path.suffix.lower() in (".tif", ".tiff"):
            _encode_tiff(temporary, pixels)
        else:
            temporary.write_bytes(_encode(path.suffix, pixels))


def check_format(path, dtype, has_alpha=False):
    """Raises ImageFileError if the format of `path` cannot hold such pixels."""
    suffix, dtype = pathlib.Path(path).suffix.lower(), np.dtype(dtype)
    if suffix not in SUFFIXES:
        raise ImageFileError(f"{path}: cannot write {suffix!r} files; use one of {SUFFIXES}.")
    if suffix in (".jpg", ".jpeg", ".bmp") and (dtype != np.uint8 or has_alpha):
        what = "transparency" if dtype == np.uint8 else f"{dtype} pixels"
        raise ImageFileError(f"{path}: {suffix} holds no {what}; write a .png or .tiff.")
    if suffix == ".png" and dtype not in (np.uint8, np.uint16):
        raise ImageFileError(f"{path}: .png holds no {dtype} pixels; write a .tiff.")


def _encode(suffix, pixels):
    import cv2

    if pixels.shape[2] == 2:  # OpenCV knows no gray with alpha
        pixels = np.concatenate([np.repeat(pixels[..., :1], 3, 2), pixels[..., 1:]], 2)
    if pixels.shape[2] > 1:
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, order)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98] if suffix.lower() in (".jpg", ".jpeg") else []
    return cv2.imencode(suffix.lower(), pixels, quality)[1].tobytes()


def _encode_tiff(path, pixels):
    import tifffile

    colour = pixels.shape[2] >= 3
    tifffile.imwrite(
        path,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="rgb" if colour else "minisblack",
        extrasamples=["unassalpha"] if pixels.shape[2] in (2, 4) else None,
        compression="deflate",
        predictor=True,
        metadata=None,
    )
