"""Any image file as planes with axes; the one place that knows which file is of which kind."""

import math
import os
import pathlib
import struct

import numpy as np

from n2n_tf.pipelines.files import array_planes, dicom_planes, fits_planes, tiff_planes
from n2n_tf.pipelines.files.array_planes import ArrayPlanes
from n2n_tf.pipelines.files.codecs import KINDS
from n2n_tf.pipelines.files.dicom_planes import DicomPlanes
from n2n_tf.pipelines.files.fits_planes import FitsPlanes
from n2n_tf.pipelines.files.image_limits import ImageFileError, jpeg_size
from n2n_tf.pipelines.files.picture_planes import PicturePlanes
from n2n_tf.pipelines.files.tiff_planes import TiffPlanes

_CONVERT = "convert it to PNG or TIFF"
_FIJI = f"{_CONVERT}, for instance with Fiji"
# Kinds that are often met and not read: first bytes, where they stand, what to say.
_OTHERS = [
    (b"GIF8", 0, f"is a GIF; {_CONVERT}."),
    (b"ftyp", 4, f"is a HEIF, AVIF or film; {_CONVERT}."),
    (b"\0\0\0\x0cJXL ", 0, f"is a JPEG XL; {_CONVERT}."),
    (b"\xff\x0a", 0, f"is a JPEG XL; {_CONVERT}."),
    (b"II\xbc", 0, f"is a JPEG XR; {_CONVERT}."),
    (b"\x89HDF", 0, f"is an HDF5 file (Imaris, ilastik, MATLAB); {_CONVERT}."),
    (b"DCMZ", 0, f"is compressed; {_CONVERT}."),
    (b"\x1f\x8b", 0, "is packed by gzip; unpack it."),
    (b"PK\3\4", 0, "is a zip archive (or .npz); unpack it, and give its images or arrays."),
    (b"ZISRAWFILE", 0, f"is a Zeiss CZI; {_FIJI}."),
    (b"\xda\xce\xbe\x0a", 0, f"is a Nikon ND2; {_FIJI}."),
    (b"\x70\0\0\0", 0, f"is a Leica LIF; {_FIJI}."),
    (b"\xd0\xcf\x11\xe0", 0, f"is an Olympus OIB or another container of Microsoft's; {_FIJI}."),
    (b"MAP ", 208, f"is an MRC map; {_CONVERT}."),
    (b"n+1\0", 344, "is a NIfTI volume; save its array as .npy (nibabel)."),
    (b"NRRD", 0, "is an NRRD volume; save its array as .npy (pynrrd)."),
    (b"#?RADIANCE", 0, f"is a Radiance HDR; {_CONVERT}."),
    *((b"P%d" % n, 0, f"is a PBM, PGM, PPM or PAM; {_CONVERT}.") for n in range(1, 8)),
    (b"Pf", 0, f"is a PFM; {_CONVERT}."),
    (b"PF", 0, f"is a PFM; {_CONVERT}."),
    (b"8BPS", 0, f"is a Photoshop document; {_CONVERT}."),
    (b"%PDF", 0, "is a PDF; extract its pictures, for instance with pdfimages."),
    (b"v/1\x01", 0, f"is an OpenEXR file; {_CONVERT}."),
]
Planes = TiffPlanes | ArrayPlanes | FitsPlanes | DicomPlanes | PicturePlanes
_HEAD = 400  # bytes that say of which kind a file is


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the bytes of a file.

    Raises:
        ImageFileError: if it cannot be read or is empty.
    """
    return _read(path, pathlib.Path.read_bytes)


def _start(path):
    with open(path, "rb") as file:
        return file.read(_HEAD)


def _read(path, read):
    path = pathlib.Path(path)
    try:
        if not path.is_fifo() and (data := read(path)):  # a pipe would block for ever
            return data
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read ({error.strerror}).") from error
    raise ImageFileError(f"{path}: the file is empty.")


def open_planes(
    path: str | os.PathLike, axes: str | None = None, data: bytes | None = None
) -> Planes:
    """Opens an image file, recognised by its first bytes.

    Args:
        path: of the file.
        axes: None, or the user's words for its axes, see `TiffPlanes` and `ArrayPlanes`.
        data: None, or the bytes of the file, if they have been read already.

    Returns:
        `TiffPlanes` or one of its like: a context manager with `len()`,
        `read(index)` -> `Plane` and `rewriting(target)` -> callable(index, pixels).

    Raises:
        ImageFileError: if the file is missing, damaged, of another kind, or not so many planes of
            levels; the message begins with the path.
    """
    start = data[:_HEAD] if data is not None else _read(path, _start)
    if start.startswith(tiff_planes.STARTS):
        return TiffPlanes(path, axes, data)
    if start.startswith(array_planes.START):
        return ArrayPlanes(path, axes)
    if start.startswith(fits_planes.START):
        return FitsPlanes(path, axes)
    kind = next((kind for kind, (starts, _) in KINDS.items() if start.startswith(starts)), None)
    if kind == "WebP" and start[8:12] != b"WEBP":
        kind = None
    dicom = start.startswith(dicom_planes.START, dicom_planes.START_AT)
    if kind is None and not dicom:
        raise ImageFileError(f"{path}: {_what_else(start)}")
    if axes is not None:
        raise ImageFileError(
            f"{path}: --axes={axes} is for TIFF, FITS and .npy files; this is a {kind or 'DICOM'}."
        )
    if dicom:
        return DicomPlanes(path)
    return PicturePlanes(path, kind, data if data is not None else read_file(path))


def _what_else(start):
    for begins, at, text in _OTHERS:
        if start[at : at + len(begins)] == begins:
            return text
    return f"not a PNG, JPEG, BMP, WebP, JPEG 2000, TIFF, FITS, DICOM or .npy file; {_CONVERT}."


def pixels_of(path: str | os.PathLike) -> float:
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
