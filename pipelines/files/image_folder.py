"""A folder of training images: checked once at the start, decoded again on demand, cached."""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterable

import numpy as np

from n2n_tf.pipelines.files.image_files import (
    list_images,
    picture_of,
    to_channels,
    to_float,
)
from n2n_tf.pipelines.files.image_limits import ImageFileError, errors_named
from n2n_tf.pipelines.files.stacks import open_planes, read_file
from n2n_tf.pipelines.processors import available_processors


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An image that is not used, and why."""

    path: pathlib.Path
    reason: str


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where an image is: a file, which of its planes, and which colours or channel of the plane."""

    path: pathlib.Path
    plane: int = 0
    colours: int = 0


class ImageFolder:
    """The usable images below a folder, sorted by relative path, with a bounded pixel cache.

    Every plane of a stack, and every channel that is no part of RGB, is an image of its own.

    Every file is decoded once when the folder is opened, so that an unreadable file is known
    before training begins. Decoded pixels stay in memory while they fit into `cache_bytes`; images
    beyond it are decoded again at each use. (Under shuffled access keeping the first ones is as
    good as evicting: each image is needed once per epoch.)

    Args:
        root: folder, searched recursively.
        channels: 1 or 3; gray and RGB are converted into each other, alpha is dropped.
        min_side: images with a shorter side in pixels are skipped.
        max_side: None, or images with a longer side in pixels are skipped. The paper's filter is
            `min_side=256, max_side=512`.
        white_level: number that becomes 1.0. Default: 255 or 65535 by the file's type.
        cache_bytes: bound on the decoded pixels kept in memory.
        progress: callable(iterable, total) -> iterable, e.g. tqdm.
        axes: None, or the axes of all files, see `open_planes`.

    Attributes:
        paths: the file of each image. names: the same relative to `root`, with forward slashes;
            of images that share a file with others "[number]" follows.
        sizes: (height, width) of each in pixels.
        skipped: list of `Skipped`.
        fingerprint: hexadecimal digest of names and contents of the usable files, and of `axes`.

    Raises:
        ImageFileError: if no image is usable.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        channels: int = 3,
        min_side: int = 1,
        max_side: int | None = None,
        white_level: float | None = None,
        cache_bytes: int = 2 << 30,
        progress: Callable[[Iterable, int], Iterable] | None = None,
        axes: str | None = None,
    ) -> None:
        self.root, self.channels, self._axes = pathlib.Path(root), channels, axes
        self.min_side, self.max_side, self.white_level = min_side, max_side, white_level
        self._room, self._room_lock, self._cache = cache_bytes, threading.Lock(), {}
        self.paths, self.sizes, self.skipped = [], [], []
        self._places, self.names = [], []
        self._scan(list_images(root), progress or (lambda items, total: items))
        self.paths = [place.path for place in self._places]
        if not self.paths:
            first = self.skipped[0]
            raise ImageFileError(
                f"{root}: none of its {len(self.skipped)} images is usable; "
                f"the first: {first.path.name}: {first.reason}"
            )

    def _scan(self, files, progress):
        digest = hashlib.sha256((self._axes or "").encode())
        with concurrent.futures.ThreadPoolExecutor(available_processors()) as pool:
            results = progress(pool.map(self._check, files), len(files))
            for path, result in zip(files, results, strict=True):
                if isinstance(result, str):
                    self.skipped.append(Skipped(path, result))
                    continue
                found, checksum = result
                name = path.relative_to(self.root).as_posix()
                for number, (place, pixels, size) in enumerate(found):
                    if pixels is not None:
                        self._cache[len(self._places)] = pixels
                    self._places.append(place)
                    self.sizes.append(size)
                    self.names.append(name if len(found) == 1 else f"{name}[{number}]")
                digest.update(name.encode(errors="surrogatepass") + b"\0" + checksum)
        self.fingerprint = digest.hexdigest()[:16]

    def _check(self, path):
        """Returns what the file holds and its checksum, or the reason for skipping it.

        What it holds: list of (place; pixels, or None without room; size).
        """
        found = []
        try:
            data = read_file(path)
            with open_planes(path, self._axes, data) as planes:
                for index in range(len(planes)):
                    plane = planes.read(index)
                    reason = self._size_reason(plane.pixels.shape)
                    if reason:
                        return reason
                    for number in range(len(plane.colours)):
                        pixels = self._pixels(path, plane, number, planes.orientation)
                        place = _Place(path, index, number)
                        found.append((place, self._kept(pixels), pixels.shape[:2]))
        except ImageFileError as error:
            return str(error).removeprefix(f"{path}: ")
        return found, hashlib.sha256(data).digest()

    def _size_reason(self, shape):
        height, width = shape[:2]
        if min(height, width) < self.min_side:
            return f"{width} x {height} pixels, below {self.min_side}."
        if self.max_side and max(height, width) > self.max_side:
            return f"{width} x {height} pixels, above {self.max_side}."
        return None

    def _kept(self, pixels):
        """The pixels if there is room for them in the cache: what does not fit is freed at once."""
        with self._room_lock:
            fits = pixels.nbytes <= self._room
            self._room -= pixels.nbytes * fits
        return pixels if fits else None

    def _pixels(self, path, plane, number, orientation):
        with errors_named(path, "file"):
            picture = picture_of(plane, number, orientation, self.white_level is not None)
        pixels = to_channels(picture.pixels, self.channels)
        return np.array(pixels, order="C")  # a copy: a view would keep the alpha in memory too

    def __len__(self) -> int:
        return len(self._places)

    def load(self, index: int) -> np.ndarray:
        """Returns image `index` as float32 [height, width, channels] in nominal range [0, 1].

        Raises:
            ImageFileError: if the file has vanished or was damaged since the folder was opened.
        """
        return self.crop(index, 0, 0, *self.sizes[index])

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The same of a part of the image, which costs no more than the part if it is cached.

        Raises:
            ImageFileError: also if the file has another size now.
        """
        pixels = self._cache.get(index)
        if pixels is None:
            place = self._places[index]
            path = place.path
            with open_planes(path, self._axes) as planes:
                if place.plane >= len(planes):
                    raise ImageFileError(f"{path}: has fewer planes than when the training began.")
                plane = planes.read(place.plane)
                if place.colours >= len(plane.colours):
                    raise ImageFileError(f"{path}: has fewer channels than when training began.")
                pixels = self._pixels(path, plane, place.colours, planes.orientation)
            if pixels.shape[:2] != self.sizes[index]:
                raise ImageFileError(f"{path}: has changed its size since the training began.")
        return to_float(pixels[top : top + height, left : left + width], self.white_level)
