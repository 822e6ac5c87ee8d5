"""Any image file as planes with axes; the one place that knows which file is of which kind."""

import math
import pathlib
import struct

import numpy as np

from n2n_tf.pipelines.files import array_planes, tiff_planes
from n2n_tf.pipelines.files.array_planes import ArrayPlanes
from n2n_tf.pipelines.files.codecs import KINDS
from n2n_tf.pipelines.files.image_limits import ImageFileError, jpeg_size
from n2n_tf.pipelines.files.picture_planes import PicturePlanes
from n2n_tf.pipelines.files.tiff_planes import TiffPlanes

_CONVERT = "convert it to PNG or TIFF"
# Kinds that are often met and not read: first bytes, where they stand, what to say.
_OTHERS = [
    (b"GIF8", 0, f"is a GIF; {_CONVERT}."),
    (b"ftyp", 4, f"is a HEIF, AVIF or film; {_CONVERT}."),
    (b"SIMPLE  =", 0, "is a FITS file; save its array as .npy (astropy.io.fits) or TIFF."),
    (b"DICM", 128, "is a DICOM file; save its pixel_array as .npy (pydicom) or TIFF."),
    (b"\x89HDF", 0, f"is an HDF5 file (Imaris, ilastik, MATLAB); {_CONVERT}."),
    (b"DCMZ", 0, f"is compressed; {_CONVERT}."),
    (b"ZISRAWFILE", 0, f"is a Zeiss CZI; {_CONVERT}, for instance with Fiji."),
    (b"\xda\xce\xbe\x0a", 0, f"is a Nikon ND2; {_CONVERT}, for instance with Fiji."),
    (b"P5", 0, f"is a PGM; {_CONVERT}."),
    (b"P6", 0, f"is a PPM; {_CONVERT}."),
    (b"8BPS", 0, f"is a Photoshop document; {_CONVERT}."),
    (b"v/1\x01", 0, f"is an OpenEXR file; {_CONVERT}."),
]


def read_file(path):
    """Returns the bytes of a file.

    Raises:
        ImageFileError: if it cannot be read or is empty.
    """
    return _read(path, pathlib.Path.read_bytes)


def _start(path):
    with open(path, "rb") as file:
        return file.read(200)


def _read(path, read):
    path = pathlib.Path(path)
    try:
        if not path.is_fifo() and (data := read(path)):  # a pipe would block for ever
            return data
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    raise ImageFileError(f"{path}: the file is empty.")


def open_planes(path, axes=None, data=None):
    """Opens an image file, recognised by its first bytes.

    Args:
        path: of the file.
        axes: None, or the user's words for its axes, see `TiffPlanes` and `ArrayPlanes`.
        data: None, or the bytes of the file, if they have been read already.

    Returns:
        `TiffPlanes`, `ArrayPlanes` or `PicturePlanes`: a context manager with `len()`,
        `read(index)` -> `Plane` and `rewriting(target)` -> callable(index, pixels).

    Raises:
        ImageFileError: if the file is missing, damaged, of another kind, or not so many planes of
            levels; the message begins with the path.
    """
    start = data[:200] if data is not None else _read(path, _start)
    if start.startswith(tiff_planes.STARTS):
        return TiffPlanes(path, axes, data)
    if start.startswith(array_planes.START):
        return ArrayPlanes(path, axes)
    kind = next((kind for kind, (starts, _) in KINDS.items() if start.startswith(starts)), None)
    if kind == "WebP" and start[8:12] != b"WEBP":
        kind = None
    if kind is None:
        raise ImageFileError(f"{path}: {_what_else(start)}")
    if axes is not None:
        raise ImageFileError(f"{path}: --axes={axes} is for TIFF and .npy files; this is a {kind}.")
    return PicturePlanes(path, kind, data if data is not None else read_file(path))


def _what_else(start):
    for begins, at, text in _OTHERS:
        if start[at : at + len(begins)] == begins:
            return text
    return "not a PNG, JPEG, BMP, WebP, JPEG 2000, TIFF or .npy file."


def pixels_of(path):
    """About how many pixels a file has, from its header: for progress, never for a decision."""
    start = _start(path)
    try:
        if start.startswith(tiff_planes.STARTS):
            import tifffile

            with tifffile.TiffFile(path, _multifile=False) as tiff:
                return sum(math.prod(series.shape) for series in tiff.series)
        if start.startswith(array_planes.START):
            return np.load(path, mmap_mode="r", allow_pickle=False).size
        if start.startswith(KINDS["PNG"][0]):
            return math.prod(struct.unpack_from(">II", start, 16))
        if start.startswith(KINDS["JPEG"][0]):
            return math.prod(jpeg_size(read_file(path))[:2])
    except Exception:  # damaged: told when it is read
        pass
    return pathlib.Path(path).stat().st_size / 2
