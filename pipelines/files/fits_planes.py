"""FITS files, through astropy, as sequences of planes: all their images, headers left alone.

Pixels are denoised as they are stored, so that scales and offsets of the header hold for the result
too; integers that the header moves by half their range are unsigned ones.
Source: FITS standard 4.0, sections 4.4 and 5.2; Seaman et al., "Checksum Keyword Convention".
"""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import numpy as np

from n2n_tf.pipelines.files.array_planes import Layout, check_levels
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, errors_named, needs
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, white_of

START = b"SIMPLE  ="
_AXES = "VWQZYX"  # FITS names axes after what they measure; the last two are the picture's


class _Image(NamedTuple):
    """One image of a file: which of its units, where its pixels begin, and what they are."""

    unit: int
    start: int
    stored: np.dtype
    dtype: np.dtype
    layout: Layout
    blank: float | None
    summed: bool

    def pixels(self, path: str | os.PathLike, mode: str) -> np.memmap:
        """The stored pixels, in the file itself."""
        return np.memmap(path, self.stored, mode, self.start, self.layout.shape)


class FitsPlanes:
    """The planes of all images of a FITS file.

    Args:
        path: of the file.
        axes: None, or one letter an axis for images of so many axes, in NumPy's order: the last
            is the first of FITS. S: samples that are RGB.

    Attributes: as `n2n_tf.pipelines.files.tiff_planes.TiffPlanes`.

    Raises:
        ImageFileError: without astropy, for a file without a picture, and one that is cut short.
    """

    suffixes, recoloured = (".fits", ".fit", ".fts"), False
    surroundings, orientation = Surroundings(), 1

    def __init__(self, path: str | os.PathLike, axes: str | None = None) -> None:
        self.path, self.notes = path, []
        fits = needs("astropy.io.fits", path, "a FITS file", "fits")
        with errors_named(path, "FITS file"):
            with fits.open(path, do_not_scale_image_data=True, lazy_load_hdus=False) as file:
                found = [_image(n, unit, axes) for n, unit in enumerate(file) if unit.is_image]
            self._images = [image for image in found if image]
            if not self._images:
                raise ImageFileError("holds no picture of two axes or more.")
            self._check_axes(axes)
            first = self._images[0]
            self.dtype, self.axes, self.shape = first.dtype, first.layout.axes, first.layout.shape
            length = os.path.getsize(path)
            if any(i.start + i.stored.itemsize * math.prod(i.layout.shape) > length
                   for i in self._images):  # fmt: skip
                raise ImageFileError("damaged or truncated FITS file (its pixels end early).")

    def _check_axes(self, axes):
        if axes and not any(axes.upper() == image.layout.axes for image in self._images):
            shapes = ", ".join(" x ".join(map(str, i.layout.shape)) for i in self._images)
            raise ImageFileError(f"--axes={axes} does not fit any of its images: {shapes}.")

    def __len__(self) -> int:
        return sum(len(image.layout) for image in self._images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _place(self, index):
        """The image that holds plane `index` of all, and which of its own planes that is."""
        for image in self._images:
            if index < len(image.layout):
                return image, index
            index -= len(image.layout)
        raise IndexError(index)

    def read(self, index: int) -> Plane:
        """Reads plane `index` of all."""
        image, index = self._place(index)
        with errors_named(self.path, "FITS file"):
            stored = image.layout.plane_of(image.pixels(self.path, "r"), index)
            pixels = _shifted(stored.astype(stored.dtype.newbyteorder("=")), image)
        colours = image.layout.colours(pixels.shape[2])
        return Plane(pixels, colours, white_of(image.dtype), image.blank)

    @contextlib.contextmanager
    def rewriting(
        self, target: str | os.PathLike, overwrite: bool = False
    ) -> Iterator[Callable[[int, np.ndarray], None]]:
        """As `n2n_tf.pipelines.files.tiff_planes.TiffPlanes.rewriting`."""
        with atomic_file(target, overwrite) as temporary:
            shutil.copyfile(self.path, temporary)
            changed = []

            def write(index, pixels):
                image, index = self._place(index)
                array = image.pixels(temporary, "r+")
                shifted = _shifted(pixels, image).view(image.stored.newbyteorder("="))
                plane = image.layout.plane_of(array, index)
                if not np.array_equal(plane, shifted, equal_nan=image.stored.kind == "f"):
                    changed.append(index)
                    plane[...] = shifted
                    array.flush()

            yield write
            if changed:  # a new checksum has the date of today
                self._sum_up(temporary)

    def _sum_up(self, path):
        """Writes the checksums anew, of images that had them."""
        from astropy.io import fits

        if not any(image.summed for image in self._images):
            return
        with fits.open(path, mode="update", do_not_scale_image_data=True) as file:
            for image in self._images:
                if image.summed:
                    file[image.unit].add_checksum()


def _image(number, unit, axes):
    """`_Image` of a unit; None for one without a picture."""
    header = unit.header
    if type(unit).__name__ == "CompImageHDU":
        raise ImageFileError("holds a compressed image; unpack it, for instance with funpack.")
    shape = [header[f"NAXIS{n}"] for n in range(header["NAXIS"], 0, -1)]
    if len(shape) < 2 or 0 in shape:
        return None
    if "BAYERPAT" in header and len(shape) == 2:
        raise ImageFileError(
            f"holds a Bayer mosaic ({header['BAYERPAT']}), not a picture; save its four colours as "
            "planes of their own, each of every second row and column."
        )
    bits = header["BITPIX"]
    stored = np.dtype(f">{'f' if bits < 0 else 'u' if bits == 8 else 'i'}{abs(bits) // 8}")
    check_levels(stored)
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    unsigned = stored.kind == "i" and (scale, zero) == (1, 2 ** (bits - 1))
    dtype = np.dtype(f"u{bits // 8}") if unsigned else stored.newbyteorder("=")
    blank = header.get("BLANK") if stored.kind != "f" else None
    if blank is not None:
        blank += zero * unsigned
    fits = axes is not None and len(axes) == len(shape)
    layout = Layout(axes if fits else _AXES[-len(shape) :], shape)
    start, summed = unit.fileinfo()["datLoc"], "CHECKSUM" in header or "DATASUM" in header
    return _Image(number, start, stored, dtype, layout, blank, summed)


def _shifted(pixels, image):
    """Signed integers from -2^15 <-> unsigned ones from 0, if the image has such, else the same."""
    if image.dtype.kind != "u" or image.stored.kind == "u":
        return pixels
    return pixels.view(image.dtype) ^ image.dtype.type(1 << (8 * image.dtype.itemsize - 1))
