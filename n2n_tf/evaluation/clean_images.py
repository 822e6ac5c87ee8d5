"""Clean images to evaluate on: files, or photographs that scikit-image ships."""

import pathlib

import numpy as np

from n2n_tf.evaluation.metrics import SSIM_WINDOW
from n2n_tf.evaluation.protocol import SEED
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import (
    ImageFileError,
    list_images,
    read_image,
    to_channels,
    to_float,
)
from n2n_tf.pipelines.raw.unprocess import raw_planes_of_photo
from n2n_tf.pipelines.training.batches import frozen_seed


def load_clean(folder, channels, most=None):
    """Reads the images of a folder as [(name, clean image)], sorted by path.

    Args:
        folder: folder, searched recursively.
        channels: 1 or 3: uint8 or uint16 [H, W, channels]; gray and RGB are converted into each
            other. 4: float32 [H / 2, W / 2, 4], the photographs unprocessed to packed camera raw,
            each by a camera of its own that its name decides.
        most: int, how many are read, the first by path; None: all.

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
    named = [(p.relative_to(root).as_posix(), p) for p in list_images(root)[:most]]
    if channels == 4:
        return [(name, _read_as_raw(path, name)) for name, path in named]
    return [(name, _read(path, channels)) for name, path in named]


def embedded_clean(channels):
    """The same of photographs that scikit-image ships and that nothing here is trained on."""
    photos = [(name, embedded_photo(name)) for name in SECOND_SET]
    if channels == 4:
        return [(name, _as_raw(photo, name)) for name, photo in photos]
    return [(name, to_channels(photo, channels)) for name, photo in photos]


def _read_as_raw(path, name):
    return _as_raw(_read(path, 3, 2 * SSIM_WINDOW), name)


def _as_raw(photo, name):
    """A photograph as clean packed raw, unprocessed by the camera that belongs to its name."""
    rgb = to_float(photo)
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    return np.asarray(raw_planes_of_photo(rgb[:height, :width], frozen_seed(SEED, name)))


def _read(path, channels, least=SSIM_WINDOW):
    pixels = read_image(path).pixels
    if pixels.dtype.kind != "u":
        raise ImageFileError(f"{path}: {pixels.dtype} pixels; only 8- and 16-bit files are scored.")
    if min(pixels.shape[:2]) < least:
        raise ImageFileError(
            f"{path}: {pixels.shape[1]} x {pixels.shape[0]} pixels; SSIM needs {least}."
        )
    return to_channels(pixels, channels)
