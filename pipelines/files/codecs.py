"""PNG, JPEG, BMP, WebP and JPEG 2000: bytes <-> pixels as they are stored, by libraries."""

import io
import logging
import struct
from types import ModuleType

import numpy as np

from n2n_tf.pipelines.files.image_limits import (
    JPEG_KINDS,
    ImageFileError,
    bmp_size,
    check_jpeg,
    check_png,
    check_size,
    jpeg_frame,
)
from n2n_tf.pipelines.files.metadata import (
    PNG_START,
    Surroundings,
    jpeg_quality,
    jpeg_subsampling,
    png_chunks,
)

LEAST_QUALITY = 90  # of a JPEG or WebP that is written anew: noise has gone, and room with it


def decode_png(data: bytes) -> np.ndarray:
    """-> [H, W] or [H, W, 2, 3 or 4]; palettes, few bits and transparent colours are expanded."""
    import imagecodecs  # OpenCV loses which files are gray with alpha

    logging.getLogger("imagecodecs").setLevel(logging.CRITICAL)  # of warnings beside our errors

    if any(name == b"acTL" for name, _ in _chunks_before_pixels(data)):
        raise ImageFileError("is an animated PNG; save its frames as single images.")
    pixels = imagecodecs.png_decode(check_png(data))
    return _gray_if_palette_is(pixels, data)


def _chunks_before_pixels(data):
    for name, body in png_chunks(data):
        if name == b"IDAT":
            return
        yield name, body


def _gray_if_palette_is(pixels, data):
    """A palette of grays makes a gray picture."""
    palette = dict(_chunks_before_pixels(data)).get(b"PLTE")
    if palette is None or data[25] != 3 or len(palette) % 3:
        return pixels
    entries = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    if (entries != entries[:, :1]).any():
        return pixels
    return pixels[..., 0] if pixels.shape[2] == 3 else pixels[..., [0, 3]]


def decode_jpeg(data: bytes) -> np.ndarray:
    """-> [H, W] or [H, W, 3], as stored, whatever its EXIF says of up and down."""
    kind = check_jpeg(data)
    cv2 = opencv()
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return _decode_opencv(data, flags)
    except ImageFileError as error:  # which kinds it reads, depends on how OpenCV was built
        if kind in JPEG_KINDS:
            kind = f"damaged, or {JPEG_KINDS[kind]} JPEG, which is not read; save it as a PNG."
            raise ImageFileError(kind) from error
        raise


def decode_bmp(data: bytes) -> np.ndarray:
    """-> [H, W] or [H, W, 3 or 4]."""
    check_size(*bmp_size(data))
    if data[14] == 12:  # OpenCV takes its palette for gray
        return _decode_old_bmp(data)
    header, _, _, _, bits, compression = struct.unpack_from("<IiiHHI", data.ljust(64, b"\0"), 14)
    if header >= 40 and compression in (3, 6) and bits in (16, 32):
        return _decode_bit_fields(data, header, bits)
    pixels = _decode_opencv(data, opencv().IMREAD_UNCHANGED)
    # Without bit fields the fourth byte of a pixel means nothing.
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def _decode_old_bmp(data):
    """A BMP of OS/2."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as image:
        pixels = np.array(image.convert("RGB"))
    return pixels[..., 0] if (pixels == pixels[..., :1]).all() else pixels


def _decode_bit_fields(data, header, bits):
    """A BMP whose colours are any bits of its pixels. Source: BITMAPV4HEADER, Windows SDK."""
    (start,) = struct.unpack_from("<I", data, 10)
    width, stored_height = struct.unpack_from("<ii", data, 18)
    masks = list(struct.unpack_from("<4I", data.ljust(70, b"\0"), 54))
    if header < 56:  # the masks behind an old header are three
        masks[3] = 0
    height, row = abs(stored_height), (width * bits // 8 + 3) // 4 * 4
    if start + row * height > len(data) or width <= 0:
        raise ImageFileError("damaged or truncated BMP (its pixels end early).")
    rows = np.frombuffer(data, np.uint8, row * height, start).reshape(height, row)
    words = rows[:, : width * bits // 8].copy().view(f"<u{bits // 8}").astype(np.uint32)
    planes = [_field(words, mask) for mask in masks if mask]
    if len(planes) < 3:
        raise ImageFileError("a BMP whose bit fields are not three colours.")
    pixels = np.stack(planes, axis=-1)
    return pixels if stored_height < 0 else pixels[::-1]


def _field(words, mask):
    """The bits of a mask, stretched to 0..255."""
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    if largest & (largest + 1):
        raise ImageFileError(f"a BMP whose bits of one colour are not adjacent ({mask:#x}).")
    values = ((words & np.uint32(mask)) >> np.uint32(shift)).astype(np.uint64)
    return ((2 * 255 * values + largest) // (2 * largest)).astype(np.uint8)


def decode_webp(data: bytes) -> np.ndarray:
    """-> [H, W, 3 or 4]."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as image:
        check_size(*image.size)
        if getattr(image, "n_frames", 1) > 1:
            raise ImageFileError("is an animation; save its frames as single images.")
        return np.array(image.convert("RGBA" if "A" in image.mode else "RGB"))


def decode_jpeg2000(data: bytes) -> np.ndarray:
    """-> [H, W] or [H, W, samples], uint8 or uint16."""
    import imagecodecs

    check_size(*_jpeg2000_header(data)[:2])
    return imagecodecs.jpeg2k_decode(data)


def _jpeg2000_header(data):
    """Width, height and bits of a JPEG 2000. Source: ISO 15444-1, A.5.1."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 43 > len(data):
        raise ImageFileError("damaged or truncated JPEG 2000 (it has no size).")
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    return right - left, bottom - top, (data[at + 42] & 127) + 1


def jpeg2000_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels; raises ImageFileError if it has none."""
    return _jpeg2000_header(data)[:2]


def jpeg2000_bits(data: bytes) -> int:
    """Bits of a sample."""
    return _jpeg2000_header(data)[2]


def opencv() -> ModuleType:
    """OpenCV, told not to print warnings beside our errors; the switch moved in version 5."""
    import cv2

    if hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _decode_opencv(data, flags):
    cv2 = opencv()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ImageFileError("damaged, truncated or not an image at all.")
    if pixels.ndim == 2:
        return pixels
    order = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(pixels, order)


def encode_png(pixels: np.ndarray) -> bytes:
    """Bytes of a PNG; `pixels` [H, W, 1 to 4] of uint8 or uint16."""
    import imagecodecs

    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    # 6, the default: twice the time, 5 % less
    return imagecodecs.png_encode(np.ascontiguousarray(pixels), level=3)


def encode_jpeg(pixels: np.ndarray, source: bytes | None = None, quality: int = 98) -> bytes:
    """Bytes of a JPEG; `source`: one whose quality, chroma sampling and order of scans it takes."""
    cv2 = opencv()
    sampling, progressive = (1, 1), False
    if source is not None:
        quality = max(LEAST_QUALITY, jpeg_quality(source) or quality)
        sampling = jpeg_subsampling(source)
        progressive = source[jpeg_frame(source) + 1] == 0xC2
    factor = {(2, 2): 0x221111, (2, 1): 0x211111, (1, 2): 0x121111}.get(sampling, 0x111111)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return _encode_opencv(".jpg", pixels, options)


def encode_bmp(pixels: np.ndarray, source: bytes | None = None) -> bytes:
    """Bytes of a BMP; `source`: one whose resolution it takes."""
    data = _encode_opencv(".bmp", pixels, [])
    if source is None or struct.unpack_from("<I", source, 14)[0] < 40:
        return data
    return data[:38] + source[38:46] + data[46:]


def _encode_opencv(suffix, pixels, options):
    cv2, pixels = opencv(), np.ascontiguousarray(pixels)
    if pixels.shape[2] >= 3:
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, order)
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ImageFileError(f"{suffix} cannot hold {pixels.shape[:2]} pixels.")
    return data.tobytes()


def encode_webp(
    pixels: np.ndarray,
    lossless: bool = True,
    around: Surroundings | None = None,
) -> bytes:
    """Bytes of a WebP with the profile, EXIF and XMP of `around`."""
    import PIL.Image

    around = around or Surroundings()
    kept = {"icc_profile": around.icc, "exif": around.exif, "xmp": around.xmp}
    file = io.BytesIO()
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    kept = {name: value for name, value in kept.items() if value}
    PIL.Image.fromarray(pixels).save(
        file, "WEBP", lossless=lossless, quality=95, exact=True, **kept
    )  # exact: what is transparent keeps its colours
    return file.getvalue()


def webp_without_loss(data: bytes) -> bool:
    """Whether a WebP holds its pixels without loss. Source: the container's specification."""
    at, names = 12, set()
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        names.add(name)
        at += 8 + length + length % 2
    return b"VP8L" in names


def encode_jpeg2000(pixels: np.ndarray, bits: int | None = None, codestream: bool = True) -> bytes:
    """Bytes of a JPEG 2000 without loss: a codestream, or a JP2 file."""
    import imagecodecs

    return imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(pixels if pixels.shape[2] > 1 else pixels[..., 0]),
        level=0,
        codecformat="j2k" if codestream else "jp2",
        reversible=True,
        bitspersample=bits,
    )


KINDS = {  # name: (first bytes, decoder)
    "PNG": (PNG_START, decode_png),
    "JPEG": (b"\xff\xd8", decode_jpeg),
    "BMP": (b"BM", decode_bmp),
    "WebP": (b"RIFF", decode_webp),
    "JPEG 2000": ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), decode_jpeg2000),
}
