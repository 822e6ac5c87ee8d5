"""NumPy's .npy files as sequences of planes; an array does not say which axis is which."""

import contextlib
import math
import shutil

import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, check_size, errors_named
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, channels, white_of

START = b"\x93NUMPY"


class ArrayPlanes:
    """The planes of an array: its Y and X axes, and S, the samples of RGB; all others are stepped.

    Args:
        path: of the file.
        axes: one letter an axis, e.g. "TCYX", "YXS"; may be left out for two axes.

    Attributes: as `n2n_tf.pipelines.files.tiff_planes.TiffPlanes`.

    Raises:
        ImageFileError: for axes that do not fit, and for elements that are no levels.
    """

    suffixes, recoloured = (".npy",), False
    surroundings, orientation = Surroundings(), 1

    def __init__(self, path, axes=None):
        self.path, self.notes = path, []
        with errors_named(path, ".npy file"):
            self._open(axes)

    def _open(self, axes):
        self._array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        self.shape, self.dtype = self._array.shape, self._array.dtype.newbyteorder("=")
        if self.dtype.kind not in "uif" or (self.dtype.kind != "f" and self.dtype.itemsize == 8):
            raise ImageFileError(f"elements of type {self.dtype}; convert to 32 bits or floats.")
        self.axes = _checked_axes(axes, self.shape)
        by_name = {axis: at for at, axis in enumerate(self.axes)}
        inner = [by_name["Y"], by_name["X"]] + ([by_name["S"]] if "S" in by_name else [])
        self._order = [i for i in range(len(self.shape)) if i not in inner] + inner
        self._outer = [self.shape[i] for i in self._order[: -len(inner)]]
        check_size(self.shape[by_name["X"]], self.shape[by_name["Y"]])

    def __len__(self):
        return math.prod(self._outer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._array = None

    def _plane_of(self, array, index):
        """A view of plane `index`: [height, width, samples]."""
        plane = array.transpose(self._order)[np.unravel_index(index, self._outer)]
        return plane if "S" in self.axes else plane[..., None]

    def read(self, index):
        """-> `Plane`."""
        pixels = np.array(self._plane_of(self._array, index), self.dtype)
        samples = pixels.shape[2]
        colours = (slice(0, 3),) if "S" in self.axes else channels(0, samples)
        return Plane(pixels, colours, white_of(self.dtype))

    @contextlib.contextmanager
    def rewriting(self, target, overwrite=False):
        """As `n2n_tf.pipelines.files.tiff_planes.TiffPlanes.rewriting`."""
        with atomic_file(target, overwrite) as temporary:
            shutil.copyfile(self.path, temporary)
            array = np.load(temporary, mmap_mode="r+", allow_pickle=False)

            def write(index, pixels):
                self._plane_of(array, index)[...] = pixels

            yield write
            array.flush()


def _checked_axes(axes, shape):
    sides = " x ".join(map(str, shape))
    if axes is None:
        if len(shape) == 2:
            return "YX"
        raise ImageFileError(
            f"an array of {sides} does not say which axis is which; name them, e.g. --axes=ZYX "
            "(planes), --axes=YXS (RGB)."
        )
    axes = axes.upper()
    fits = len(axes) == len(shape) == len(set(axes)) and {"Y", "X"} <= set(axes) and axes.isalpha()
    if not fits or math.prod(shape) == 0:
        raise ImageFileError(f"--axes={axes} does not fit an array of {sides}.")
    if "S" in axes and shape[axes.index("S")] not in (3, 4):
        raise ImageFileError(f"--axes={axes}: S is for RGB, of 3 or 4 samples, not of {sides}.")
    return axes
