"""NumPy's .npy files as sequences of planes; an array does not say which axis is which."""

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, check_size, errors_named
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, channels, white_of

START = b"\x93NUMPY"


class Layout:
    """How an array falls into planes: its Y and X axes, and S, the samples of RGB, stay together.

    Args:
        axes: one letter an axis, e.g. "TCYX", "YXS".
        shape: of the array.

    Raises:
        ImageFileError: for axes that do not fit.

    Example:
        >>> layout = Layout("TYX", (2, 3, 4))
        >>> len(layout), layout.plane_of(np.zeros((2, 3, 4)), 1).shape
        (2, (3, 4, 1))
    """

    def __init__(self, axes: str | None, shape: tuple[int, ...]) -> None:
        self.axes, self.shape = checked_axes(axes, shape), tuple(shape)
        by_name = {axis: at for at, axis in enumerate(self.axes)}
        inner = [by_name[axis] for axis in "YXS" if axis in by_name]
        self._order = [i for i in range(len(shape)) if i not in inner] + inner
        self._outer = [shape[i] for i in self._order[: -len(inner)]]
        check_size(shape[by_name["X"]], shape[by_name["Y"]])

    def __len__(self) -> int:
        return math.prod(self._outer)

    def plane_of(self, array: np.ndarray, index: int) -> np.ndarray:
        """A view of plane `index`: [height, width, samples]."""
        plane = array.transpose(self._order)[np.unravel_index(index, self._outer)]
        return plane if "S" in self.axes else plane[..., None]

    def colours(self, samples: int) -> tuple[slice, ...]:
        """`Plane.colours` of so many samples."""
        return (slice(0, 3),) if "S" in self.axes else channels(0, samples)


class ArrayPlanes:
    """The planes of an array in a .npy file.

    Args:
        path: of the file.
        axes: one letter an axis; may be left out for two axes.

    Attributes: as `n2n_tf.pipelines.files.tiff_planes.TiffPlanes`.

    Raises:
        ImageFileError: for axes that do not fit, and for elements that are no levels.
    """

    suffixes, recoloured = (".npy",), False
    surroundings, orientation = Surroundings(), 1

    def __init__(self, path: str | os.PathLike, axes: str | None = None) -> None:
        self.path, self.notes = path, []
        with errors_named(path, ".npy file"):
            array = _mapped(path, "r")
            self.shape, self.dtype = array.shape, array.dtype.newbyteorder("=")
            check_levels(self.dtype)
            self._layout = Layout(axes, self.shape)
            self.axes = self._layout.axes

    def __len__(self) -> int:
        return len(self._layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, index: int) -> Plane:
        """-> `Plane`."""
        pixels = np.array(self._layout.plane_of(_mapped(self.path, "r"), index), self.dtype)
        return Plane(pixels, self._layout.colours(pixels.shape[2]), white_of(self.dtype))

    @contextlib.contextmanager
    def rewriting(
        self, target: str | os.PathLike, overwrite: bool = False
    ) -> Iterator[Callable[[int, np.ndarray], None]]:
        """As `n2n_tf.pipelines.files.tiff_planes.TiffPlanes.rewriting`."""
        with atomic_file(target, overwrite) as temporary:
            shutil.copyfile(self.path, temporary)

            def write(index, pixels):
                self._layout.plane_of(_mapped(temporary, "r+"), index)[...] = pixels

            yield write


def _mapped(path, mode):
    """The array in a file; one that stayed open would count as memory as far as it was used."""
    return np.load(path, mmap_mode=mode, allow_pickle=False)


def check_levels(dtype: np.dtype) -> None:
    """Raises ImageFileError for elements that are no levels, or not of at most 32 bits."""
    if dtype.kind not in "uif" or (dtype.kind != "f" and dtype.itemsize == 8):
        raise ImageFileError(f"elements of type {dtype}; convert to 32 bits or floats.")


def checked_axes(axes: str | None, shape: tuple[int, ...]) -> str:
    """The axes of an array in capitals; "YX" if there are two and none is named.

    Raises:
        ImageFileError: for axes that do not fit.
    """
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
