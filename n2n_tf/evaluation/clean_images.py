"""Clean images to evaluate on: files, or photographs that scikit-image ships."""

import itertools
import os
import pathlib

import numpy as np

from n2n_tf.evaluation.metrics import SSIM_WINDOW
from n2n_tf.evaluation.protocol import SEED
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import list_images, picture_of, to_channels, to_float
from n2n_tf.pipelines.files.image_limits import ImageFileError, errors_named
from n2n_tf.pipelines.files.stacks import open_planes
from n2n_tf.pipelines.raw.unprocess import raw_planes_of_photo
from n2n_tf.pipelines.training.batches import frozen_seed


def load_clean(
    folder: str | os.PathLike, channels: int, most: int | None = None, axes: str | None = None
) -> list[tuple[str, np.ndarray]]:
    """Reads the images of a folder as [(name, clean image)], sorted by path.

    Args:
        folder: folder, searched recursively.
        channels: 1 or 3: uint8 or uint16 [H, W, channels]; gray and RGB are converted into each
            other. 4: float32 [H / 2, W / 2, 4], the photographs unprocessed to packed camera raw,
            each by a camera of its own that its name decides.
        most: int, how many are read, the first by path; None: all. Planes of a stack are images.
        axes: None, or the axes of all files, see `open_planes`.

    Raises:
        ImageFileError: for a missing or empty folder, or any image that cannot be read or scored: a
            figure over fewer images than there are would be a wrong figure.
        ValueError: for another number of channels.
    """
    if channels not in (1, 3, 4):
        raise ValueError(
            f"Images are evaluated as gray, RGB or raw. Received: channels={channels}."
        )
    root = pathlib.Path(folder)
    least = 2 * SSIM_WINDOW if channels == 4 else SSIM_WINDOW
    found = itertools.islice(_images_below(root, least, axes), most)
    if channels == 4:
        return [(name, _as_raw(to_channels(pixels, 3), name)) for name, pixels in found]
    return [(name, to_channels(pixels, channels)) for name, pixels in found]


def embedded_clean(channels: int) -> list[tuple[str, np.ndarray]]:
    """The same of photographs that scikit-image ships and that nothing here is trained on."""
    photos = [(name, embedded_photo(name)) for name in SECOND_SET]
    if channels == 4:
        return [(name, _as_raw(photo, name)) for name, photo in photos]
    return [(name, to_channels(photo, channels)) for name, photo in photos]


def _as_raw(photo, name):
    """A photograph as clean packed raw, unprocessed by the camera that belongs to its name."""
    rgb = to_float(photo)
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    return np.asarray(raw_planes_of_photo(rgb[:height, :width], frozen_seed(SEED, name)))


def _images_below(root, least, axes):
    """Yields (name, pixels) of every image; of a stack each plane, "[number]" behind its name."""
    for path in list_images(root):
        name = path.relative_to(root).as_posix()
        with open_planes(path, axes) as planes:
            parts = len(planes.read(0).colours)
            for index in range(len(planes)):
                plane = planes.read(index)
                for part in range(len(plane.colours)):
                    with errors_named(path, "file"):
                        pixels = picture_of(plane, part, planes.orientation).pixels
                        _check_scored(pixels, least)
                    several = len(planes) * parts > 1
                    yield f"{name}[{index * parts + part}]" if several else name, pixels


def _check_scored(pixels, least):
    if pixels.dtype.kind != "u":
        raise ImageFileError(f"{pixels.dtype} pixels; only 8- and 16-bit files are scored.")
    if min(pixels.shape[:2]) < least:
        raise ImageFileError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels; SSIM needs {least}.")
