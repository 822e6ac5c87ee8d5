"""PNG, JPEG, BMP and TIFF files <-> arrays; the only place where floats become integers."""

import dataclasses
import io
import pathlib

import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import (
    JPEG_KINDS,
    ImageFileError,
    bmp_size,
    check_jpeg,
    check_png,
    check_size,
    check_tiff,
    check_tiff_tags,
)
from n2n_tf.pipelines.files.listing import files_below, why_none

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


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
    """All image files below a folder, by the rule and in the order of `files_below`.

    Raises:
        ImageFileError: if there is no such folder, or no file in it with an image's name.
    """
    files = files_below(root, SUFFIXES)
    if not files:
        raise ImageFileError(why_none(root, "image", SUFFIXES))
    return files


def read_image(path):
    """Reads an image file; JPEGs and TIFFs are turned upright as their orientation tag says.

    Returns:
        `Picture`. Palette files become RGB, 16 and 64-bit floats 32-bit ones.

    Raises:
        ImageFileError: if the file is missing, truncated, of another kind or has several pages.
    """
    return decode_image(read_file(path), path)


def read_file(path):
    """Returns the bytes of a file.

    Raises:
        ImageFileError: if it cannot be read or is empty.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_fifo() and (data := path.read_bytes()):  # a pipe would block for ever
            return data
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    raise ImageFileError(f"{path}: the file is empty.")


def decode_image(data, path):
    """Decodes the bytes of an image file, told by its first bytes; `path` is for the messages.

    Returns, raises: as `read_image`.
    """
    kind = next((kind for kind, (starts, _) in _KINDS.items() if data.startswith(starts)), None)
    if kind is None:
        raise ImageFileError(f"{path}: no PNG, JPEG, BMP or TIFF file.")
    try:
        pixels = _KINDS[kind][1](data)
        if pixels.dtype in (np.float16, np.float64):
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite: see below
                pixels = pixels.astype(np.float32)
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise ImageFileError(f"pixels of type {pixels.dtype} (uint8, uint16 and floats go).")
        if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
            raise ImageFileError("holds NaN or infinite pixels.")
    except ImageFileError as error:
        raise ImageFileError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ImageFileError(f"{path}: its pixels do not fit into memory.") from error
    except Exception as error:  # the codecs raise many types on damaged files
        raise ImageFileError(f"{path}: damaged or truncated {kind} ({error}).") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] in (2, 4):
        return Picture(pixels[..., :-1], pixels[..., -1])
    return Picture(pixels)


def _decode_png(data):
    """-> [H, W] or [H, W, 2, 3 or 4]; palettes, few bits and transparent colours are expanded."""
    import imagecodecs  # OpenCV loses which files are gray with alpha

    return imagecodecs.png_decode(check_png(data))


def _decode_jpeg(data):
    """-> [H, W] or [H, W, 3], upright."""
    kind = check_jpeg(data)
    cv2 = _opencv()  # of its flags only the colour ones turn a JPEG upright
    try:
        return _decode_opencv(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except ImageFileError as error:  # which kinds it reads, depends on how OpenCV was built
        if kind in JPEG_KINDS:
            kind = f"damaged, or {JPEG_KINDS[kind]} JPEG, which is not read; save it as a PNG."
            raise ImageFileError(kind) from error
        raise


def _decode_bmp(data):
    """-> [H, W] or [H, W, 3 or 4]."""
    check_size(*bmp_size(data))
    return _decode_opencv(data, _opencv().IMREAD_UNCHANGED)


def _opencv():
    """OpenCV, told not to print warnings beside our errors; the switch moved in version 5."""
    import cv2

    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _decode_opencv(data, flags):
    cv2 = _opencv()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ImageFileError("damaged, truncated or no image at all.")
    if pixels.ndim == 2:
        return pixels
    order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(pixels, order)


def _decode_tiff(data):
    """A TIFF of one page -> [H, W, samples]; alpha straight, black 0, upright."""
    import tifffile

    check_tiff_tags(data)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        check_tiff(tiff)
        pixels = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            white = np.iinfo(pixels.dtype).max
            pixels = np.concatenate([white - pixels[..., :1], pixels[..., 1:]], axis=2)
        if tifffile.EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
            pixels = _straight_alpha(pixels)
        orientation = page.tags.get("Orientation")
        return _upright(pixels, orientation.value if orientation else 1)


def _straight_alpha(pixels):
    """Colours that were multiplied by alpha (the last sample) -> the colours themselves."""
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    colour, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:]
    colour = np.divide(colour * white, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if pixels.dtype.kind == "u":
        colour = np.clip(np.floor(colour + 0.5), 0, white)
    return np.concatenate([colour.astype(pixels.dtype), alpha], axis=2)


def _upright(pixels, orientation):
    """Undoes the orientation 1..8 of TIFF and EXIF. Source: TIFF 6.0, section 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[::-1] if orientation in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


_KINDS = {  # first bytes, decoder
    "PNG": (b"\x89PNG\r\n\x1a\n", _decode_png),
    "JPEG": (b"\xff\xd8", _decode_jpeg),
    "BMP": (b"BM", _decode_bmp),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _decode_tiff),
}


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
    largest = np.iinfo(dtype).max
    white_level = largest if white_level is None else white_level
    scaled = np.asarray(image, np.float32) * np.float32(white_level) + np.float32(0.5)
    return np.clip(scaled, 0, min(white_level, largest)).astype(dtype)


def to_channels(pixels, channels):
    """Gray <-> RGB: [H, W, 1 or 3] -> [H, W, channels]; luma weights 0.299, 0.587, 0.114."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    if pixels.dtype.kind == "f":
        return (pixels @ np.array([0.299, 0.587, 0.114], pixels.dtype))[..., None]
    luma = (pixels @ np.array([299, 587, 114], np.uint32) + 500) // 1000  # exact, halves up
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
            _encode_tiff(temporary, pixels)
        else:
            temporary.write_bytes(_encode(path, pixels))


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
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise ImageFileError(f"{path}: no {dtype} pixels are written; use uint8, uint16, float32.")


def _encode(path, pixels):
    """Bytes of a PNG, JPEG or BMP."""
    suffix, pixels = path.suffix.lower(), np.ascontiguousarray(pixels)
    if suffix == ".png":
        import imagecodecs

        return imagecodecs.png_encode(pixels, level=3)  # 6, the default: twice the time, 5 % less
    cv2 = _opencv()
    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # all the colour that was denoised
    done, data = cv2.imencode(suffix, pixels, [] if suffix == ".bmp" else options)
    if not done:
        raise ImageFileError(f"{path}: {suffix} cannot hold {pixels.shape[:2]} pixels.")
    return data.tobytes()


def _encode_tiff(path, pixels):
    import tifffile

    colour = pixels.shape[2] >= 3
    tifffile.imwrite(
        path,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if pixels.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if pixels.shape[2] in (2, 4) else None,
        compression="deflate",
        predictor=True,
        metadata=None,
    )
