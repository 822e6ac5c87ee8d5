"""Where training gets packed raw from: camera files, stored mosaics, or ordinary photographs.

All three look like an `ImageFolder` to `training_batches`: `names`, `sizes` in cells of 2 x 2
pixels, `crop(index, top, left, height, width)` in cells. Planes are R, G1, G2, B, in RGGB phase.
"""

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from n2n_tf.pipelines.files.image_folder import ImageFolder, Skipped
from n2n_tf.pipelines.files.listing import files_below, why_none
from n2n_tf.pipelines.raw.bayer import pack
from n2n_tf.pipelines.raw.cache import RawCache, list_raws
from n2n_tf.pipelines.raw.frame import RawFileError
from n2n_tf.pipelines.raw.unprocess import raw_planes_of_photo


def holds_raws(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a camera raw, by its suffix, in it or below."""
    return bool(list_raws(folder))


class RawFolder:
    """The camera raws below a folder, through a `RawCache`.

    Args:
        root: folder, searched recursively.
        cache_dir: folder for decoded mosaics.
        cache_bytes: bound on what is stored there.

    Attributes:
        names, sizes, channels, skipped, fingerprint, root: as those of `ImageFolder`, sizes in
            cells.

    Raises:
        RawFileError: if no raw can be read.
    """

    channels = 4

    def __init__(
        self, root: str | os.PathLike, cache_dir: str | os.PathLike, cache_bytes: int = 100 << 30
    ) -> None:
        self.root = pathlib.Path(root)
        self._cache = RawCache(root, cache_dir, cache_bytes)
        frames = [self._cache.frame(i) for i in range(len(self._cache))]
        self.names = [pathlib.Path(f.path).relative_to(self.root).as_posix() for f in frames]
        self.sizes = [tuple(n // 2 for n in self._cache.size(i)) for i in range(len(frames))]
        self.skipped = [
            Skipped(pathlib.Path(path), reason.removeprefix(f"{path}: "))
            for path, reason in self._cache.skipped.items()
        ]
        contents = [pathlib.Path(f.npy or f.path).name for f in frames]  # named by their digests
        self.fingerprint = _digest(self.names, contents)

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def noise_profiles(self) -> np.ndarray:
        """Shot and read variance of each raw's planes R, G1, G2, B: float32 [raws, 4, 2].

        Raises:
            RawFileError: naming the first raw that has none.
        """
        profiles = [self._cache.frame(i).noise_profile for i in range(len(self))]
        if None in profiles:
            name = self.root / self.names[profiles.index(None)]
            raise RawFileError(f"{name}: has no NoiseProfile; give the noise as raw:SHOT,READ.")
        return np.float32(profiles)[:, [0, 1, 1, 2]]

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, 4], black 0 and white 1, not clipped."""
        return self._cache.planes(int(index), int(top), int(left), int(height), int(width))


class MosaicFolder:
    """Mosaics stored as `.npy` files, float [H, W] in RGGB phase, as the SIDD cutter writes them.

    Arguments and attributes are those of `RawFolder`; files are mapped, not read.

    Raises:
        RawFileError: if the folder holds none, or one of another kind.
    """

    channels = 4

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = pathlib.Path(root)
        self._paths = files_below(root, [".npy"])
        if not self._paths:
            raise RawFileError(why_none(root, "camera raw and no mosaic", [".npy"]))
        self.names = [p.relative_to(self.root).as_posix() for p in self._paths]
        shapes = [self._mosaic(i).shape for i in range(len(self))]
        self.sizes = [(height // 2, width // 2) for height, width in shapes]
        self.skipped = []
        self.fingerprint = _digest(self.names, [str(p.stat().st_size) for p in self._paths])

    def __len__(self) -> int:
        return len(self._paths)

    def _mosaic(self, index):
        path = self._paths[index]
        try:
            mosaic = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RawFileError(f"{path}: cannot be read as .npy ({error}).") from error
        if mosaic.ndim != 2 or mosaic.dtype.kind != "f" or min(mosaic.shape) < 2:
            raise RawFileError(f"{path}: must be float [H, W], is {mosaic.dtype} {mosaic.shape}.")
        return mosaic

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, 4]."""
        window = self._mosaic(index)[2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
        return pack(np.asarray(window, np.float32), "RGGB")


class PhotosAsRaw:
    """Ordinary photographs for training a raw model without any raw.

    `crop` gives sRGB of twice the size; `n2n_tf.pipelines.raw.unprocess` makes raw planes of it.

    Args:
        photos: `ImageFolder` of RGB images.
    """

    channels = 3

    def __init__(self, photos: ImageFolder) -> None:
        self.photos, self.root = photos, photos.root
        self.names, self.skipped = photos.names, photos.skipped
        self.fingerprint = photos.fingerprint
        self.sizes = [(height // 2, width // 2) for height, width in photos.sizes]

    def __len__(self) -> int:
        return len(self.photos)

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [2 * height, 2 * width, 3], sRGB in [0, 1]."""
        return self.photos.crop(index, 2 * top, 2 * left, 2 * height, 2 * width)


def _digest(names, contents):
    digest = hashlib.sha256()
    for name, content in zip(names, contents, strict=True):
        digest.update(name.encode(errors="surrogatepass") + b"\0" + content.encode() + b"\0")
    return digest.hexdigest()[:16]


def preparation(images: Any) -> Callable | None:
    """What makes packed raw of crops of these training images; None if they need nothing."""
    return raw_planes_of_photo if isinstance(images, PhotosAsRaw) else None
