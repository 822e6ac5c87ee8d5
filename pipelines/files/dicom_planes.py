"""DICOM files, through pydicom, as sequences of planes: frames of gray or RGB, all else kept.

Stored values are denoised, before rescale slope and windows, which hold for the result too. It is
an instance of its own, derived from the source, in a series of its own.
Source: DICOM PS3.3, C.7.6.1.1.2 (Image Type), C.7.6.3 (Image Pixel), C.12.4 (derivation).
"""

import contextlib
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from n2n_tf.pipelines.files.array_planes import Layout
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, check_size, errors_named, needs
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane

START, START_AT = b"DICM", 128
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = {**dict.fromkeys(_GRAY, 1), "RGB": 3}


class DicomPlanes:
    """The frames of a DICOM image.

    Args:
        path: of the file.

    Attributes: as `n2n_tf.pipelines.files.tiff_planes.TiffPlanes`, and
        white_is_least: whether the least value of gray is shown as white.

    Raises:
        ImageFileError: without pydicom, for a file without an image, and kinds of pixels that are
            no levels.
    """

    suffixes, recoloured = (".dcm", ".dicom", ".ima", ""), False
    surroundings, orientation = Surroundings(), 1

    def __init__(self, path: str | os.PathLike) -> None:
        self.path, self.notes = path, []
        pydicom = needs("pydicom", path, "a DICOM file", "dicom")
        with errors_named(path, "DICOM file"):
            self._data = pydicom.dcmread(path)
            _check_before(self._data)
            self._decompress()
            self._open()

    def _decompress(self):
        kind = self._data.file_meta.TransferSyntaxUID
        if not kind.is_compressed or kind.name.startswith("Deflated"):
            return
        try:
            self._data.decompress(generate_instance_uid=False)
        except (RuntimeError, NotImplementedError) as error:
            raise ImageFileError(
                f"its pixels are compressed ({kind.name}), which pydicom cannot undo without a "
                "plugin such as pylibjpeg; or unpack it, for instance with gdcmconv --raw."
            ) from error
        self.notes.append("its pixels are not compressed any more")

    def _open(self):
        data = self._data
        self._bits, signed = int(data.BitsStored), int(data.PixelRepresentation)
        order = "<" if data.original_encoding[1] is not False else ">"
        bytes_each = int(data.BitsAllocated) // 8
        self.dtype = np.dtype(f"{'i' if signed else 'u'}{bytes_each}")
        self._stored = self.dtype.newbyteorder(order)
        samples = _samples(data)
        frames, sides = int(data.get("NumberOfFrames") or 1), (int(data.Rows), int(data.Columns))
        self.white_is_least = data.PhotometricInterpretation == _GRAY[0]
        apart = samples == 3 and data.get("PlanarConfiguration") == 1
        colours = (samples,) if samples == 3 else ()
        times = (frames,) * (frames > 1)
        self.axes = "T" * len(times) + ("SYX" if apart else "YXS" if colours else "YX")
        self.shape = (*times, *colours, *sides) if apart else (*times, *sides, *colours)
        self._layout = Layout(self.axes, self.shape)
        count = int(np.prod(self.shape))
        if len(data.PixelData) < count * bytes_each:
            raise ImageFileError("damaged or truncated DICOM file (its pixels end early).")
        words = np.frombuffer(data.PixelData, self._stored, count)
        self._array = words.reshape(self.shape)

    def __len__(self) -> int:
        return len(self._layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._array = None

    @property
    def _limits(self):
        """The least and the largest value of so many bits."""
        if self.dtype.kind == "u":
            return 0, 2**self._bits - 1
        return -(2 ** (self._bits - 1)), 2 ** (self._bits - 1) - 1

    def read(self, index: int = 0) -> Plane:
        """Reads frame `index`; bits that are not the image's, such as old overlays, are masked."""
        pixels = self._layout.plane_of(self._array, index).astype(self.dtype)
        idle = 8 * self.dtype.itemsize - self._bits
        pixels = pixels << idle >> idle  # of signed numbers this repeats the sign
        colours = self._layout.colours(pixels.shape[2])
        blank = self._data.get("PixelPaddingValue")
        return Plane(pixels, colours, self._limits[1], blank)

    @contextlib.contextmanager
    def rewriting(
        self, target: str | os.PathLike, overwrite: bool = False
    ) -> Iterator[Callable[[int, np.ndarray], None]]:
        """As `n2n_tf.pipelines.files.tiff_planes.TiffPlanes.rewriting`.

        If no pixel changed, the file is copied.
        """
        lowest, highest = self._limits
        result = self._array.copy()

        def write(index, pixels):
            place = self._layout.plane_of(result, index)
            pixels = np.clip(pixels, lowest, highest)
            if self.dtype.kind == "u":
                others = np.iinfo(self.dtype).max - highest
                pixels = pixels | (place.astype(self.dtype) & self.dtype.type(others))
            place[...] = pixels

        with atomic_file(target, overwrite) as temporary:
            yield write
            if (result == self._array).all():
                self.notes.clear()
                shutil.copyfile(self.path, temporary)
                return
            file = io.BytesIO()  # pydicom's own errors of a full disk are tracebacks
            self._derived(result).save_as(file)
            temporary.write_bytes(file.getbuffer())

    def _derived(self, result):
        """The data set with other pixels, as an instance of its own."""
        from pydicom.dataset import Dataset
        from pydicom.uid import generate_uid

        data, pixels = self._data, result.tobytes()
        data["PixelData"].value = pixels + bytes(len(pixels) % 2)
        digest = hashlib.sha256(pixels).hexdigest()
        source = Dataset()
        source.ReferencedSOPClassUID = data.SOPClassUID
        source.ReferencedSOPInstanceUID = data.SOPInstanceUID
        data.SourceImageSequence = [source]
        data.SOPInstanceUID = generate_uid(entropy_srcs=[data.SOPInstanceUID, digest])
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        if series := data.get("SeriesInstanceUID"):  # one for all files of a series
            data.SeriesInstanceUID = generate_uid(entropy_srcs=[series, "denoised with n2n_tf"])
        data.ImageType = ["DERIVED", *(data.get("ImageType") or ["", "PRIMARY"])[1:]]
        data.DerivationDescription = "Denoised with n2n_tf"
        if "SmallestImagePixelValue" in data:
            data.SmallestImagePixelValue = int(result.min())
        if "LargestImagePixelValue" in data:
            data.LargestImagePixelValue = int(result.max())
        return data


def _samples(data):
    kind = data.PhotometricInterpretation
    samples = int(data.SamplesPerPixel)
    if _COLOURS.get(kind) != samples:
        raise ImageFileError(f"a DICOM image of colours {kind}; convert it to RGB or gray.")
    return samples


def _check_before(data):
    """What can be said before any pixel is decoded."""
    if "PixelData" not in data:
        raise ImageFileError("a DICOM file without an image, or of floats; save those as .npy.")
    check_size(int(data.Columns), int(data.Rows))
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    if allocated not in (8, 16, 32) or not 2 <= stored <= allocated:
        raise ImageFileError(f"a DICOM image of {stored} bits in {allocated}; convert it to 16.")
    if int(data.HighBit) != stored - 1:
        raise ImageFileError(f"a DICOM image whose highest bit is {data.HighBit}; save it anew.")
