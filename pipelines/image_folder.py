"""A folder of training images: checked once at the start, decoded again on demand, cached."""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import zlib

import numpy as np

from pipelines.image_files import (
    ImageFileError,
    list_images,
    read_image,
    to_channels,
    to_float,
)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """An image that is not used, and why."""

    path: pathlib.Path
    reason: str


class ImageFolder:
    """The usable images below a folder, sorted by relative path, with a bounded pixel cache.

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

    Attributes:
        paths: usable files. names: the same relative to `root`, with forward slashes.
        skipped: list of `Skipped`.
        fingerprint: hexadecimal digest of names and contents of the usable files.

    Raises:
        ImageFileError: if no image is usable.
    """

    def __init__(
        self,
        root,
        channels=3,
        min_side=1,
        max_side=None,
        white_level=None,
        cache_bytes=2 << 30,
        progress=None,
    ):
        self.root, self.channels = pathlib.Path(root), channels
        self.min_side, self.max_side, self.white_level = min_side, max_side, white_level
        self._room, self._cache = cache_bytes, {}
        self.paths, self.skipped = [], []
        self._scan(list_images(root), progress or (lambda items, total: items))
        self.names = [p.relative_to(self.root).as_posix() for p in self.paths]
        if not self.paths:
            first = self.skipped[0]
            raise ImageFileError(
                f"{root}: none of its {len(self.skipped)} images is usable; "
                f"the first: {first.path.name}: {first.reason}"
            )

    def _scan(self, files, progress):
        digest = hashlib.sha256()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = progress(pool.map(self._check, files), len(files))
            for path, result in zip(files, results, strict=True):
                if isinstance(result, str):
                    self.skipped.append(Skipped(path, result))
                    continue
                pixels, checksum = result
                self._keep(len(self.paths), pixels)
                self.paths.append(path)
                digest.update(f"{path.relative_to(self.root).as_posix()}\0{checksum}\n".encode())
        self.fingerprint = digest.hexdigest()[:16]

    def _check(self, path):
        """Returns (pixels, checksum of the file), or the reason for skipping it."""
        try:
            pixels = self._decode(path)
        except ImageFileError as error:
            return str(error).removeprefix(f"{path}: ")
        height, width = pixels.shape[:2]
        if min(height, width) < self.min_side:
            return f"{width} x {height} pixels, below {self.min_side}."
        if self.max_side and max(height, width) > self.max_side:
            return f"{width} x {height} pixels, above {self.max_side}."
        return pixels, zlib.crc32(path.read_bytes())

    def _decode(self, path):
        return np.ascontiguousarray(to_channels(read_image(path).pixels, self.channels))

    def _keep(self, index, pixels):
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._cache[index] = pixels

    def __len__(self):
        return len(self.paths)

    def load(self, index):
        """Returns image `index` as float32 [height, width, channels] in nominal range [0, 1].

        Raises:
            ImageFileError: if the file has vanished or was damaged since the folder was opened.
        """
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = self._decode(self.paths[index])
        return to_float(pixels, self.white_level)
