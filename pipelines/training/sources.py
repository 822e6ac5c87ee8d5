"""Where training gets packed raw from: camera files, stored mosaics, or ordinary photographs.

All three look like an `ImageFolder` to `training_batches`: `names`, `sizes` in cells of 2 x 2
pixels, `crop(index, top, left, height, width)` in cells. Planes are R, G1, G2, B, in RGGB phase.
"""

import hashlib
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from n2n_tf.pipelines.files.image_folder import ImageFolder, Skipped
from n2n_tf.pipelines.files.listing import files_below, why_none
from n2n_tf.pipelines.raw.bayer import pack
from n2n_tf.pipelines.raw.cache import RawCache, list_raws
from n2n_tf.pipelines.raw.frame import RawFileError
from n2n_tf.pipelines.raw.unprocess import raw_planes_of_photo, rooted_planes_of_photo

# Sub-images of SIDD are 0013_NOISY_RAW_010_s001.npy, 0013_GT_RAW_010_s001.npy.
_CLEAN = re.compile(r"(^|_)GT_RAW_\d{3}_s\d+\.npy$")
_FRAME = re.compile(r"(NOISY_RAW_)(\d{3})(_s\d+\.npy)$")
_NO_COMPANION = {
    "clean": "has no clean sub-image beside it; cut them with 'n2n-sidd prepare --clean'.",
    "noisy": "is of the only exposure of its scene; two noisy images of each are needed.",
}
COMPANIONS = {"supervised": "clean", "noise2noise": "noisy"}  # of methods that learn from pairs


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

    Arguments and attributes are those of `RawFolder`; files are mapped, not read. SIDD's clean
    sub-images, by their names, are left alone.

    Raises:
        RawFileError: if the folder holds none, or one of another kind.
    """

    channels = 4

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = pathlib.Path(root)
        self._paths = [p for p in files_below(root, [".npy"]) if not _CLEAN.search(p.name)]
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
        return self._mapped(self._paths[index])

    @staticmethod
    def _mapped(path):
        try:
            mosaic = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RawFileError(f"{path}: cannot be read as .npy ({error}).") from error
        if mosaic.ndim != 2 or mosaic.dtype.kind != "f" or min(mosaic.shape) < 2:
            raise RawFileError(f"{path}: must be float [H, W], is {mosaic.dtype} {mosaic.shape}.")
        return mosaic

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, 4]."""
        return _cut(self._mosaic(index), top, left, height, width)


class PairedMosaics(MosaicFolder):
    """Noisy sub-images of SIDD with what is learned from them: crops hold both, 8 planes.

    Args:
        root: folder that `n2n-sidd prepare` wrote.
        companion: "clean", `0013_GT_RAW_010_s001.npy` of `0013_NOISY_RAW_010_s001.npy`; or
            "noisy", the same place in the scene's other exposure, `0013_NOISY_RAW_011_s001.npy`.

    Raises:
        RawFileError: as `MosaicFolder`; and naming the first sub-image without a companion.
    """

    paired = True

    def __init__(self, root: str | os.PathLike, companion: str) -> None:
        super().__init__(root)
        find = _clean_of if companion == "clean" else self._other_exposure
        self._companions = [find(path) for path in self._paths]
        for path, other in zip(self._paths, self._companions, strict=True):
            if other is None or not other.exists():
                raise RawFileError(f"{path}: {_NO_COMPANION[companion]}")

    def _other_exposure(self, path):
        frames = sorted(path.parent.glob(_FRAME.sub(r"\g<1>*\3", path.name)))
        return frames[(frames.index(path) + 1) % len(frames)] if len(frames) > 1 else None

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, 8]: the noisy planes, then the companion's."""
        own, path = super().crop(index, top, left, height, width), self._companions[index]
        mosaic = self._mapped(path)
        if mosaic.shape != self._mosaic(index).shape:
            raise RawFileError(f"{path}: is {mosaic.shape}, not as large as {self._paths[index]}.")
        return np.concatenate([own, _cut(mosaic, top, left, height, width)], axis=-1)


def _cut(mosaic, top, left, height, width):
    """A window of a mosaic, in cells, as planes."""
    window = mosaic[2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
    return pack(np.asarray(window, np.float32), "RGGB")


def _clean_of(path):
    return path.with_name(path.name.replace("NOISY_RAW", "GT_RAW"))


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


def preparation(images: Any, gaussian: bool = False) -> Callable | None:
    """What makes packed raw of crops of these training images; None if they need nothing.

    Args:
        images: a folder of training images.
        gaussian: whether the network is one for Gaussian noise. It will see raws through Anscombe's
            transform, which but for a constant is the square root.
    """
    if not isinstance(images, PhotosAsRaw):
        return None
    return rooted_planes_of_photo if gaussian else raw_planes_of_photo
