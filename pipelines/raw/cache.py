"""A folder of camera raws, decoded once, ready for random crops during training.

Each raw is decoded to a memory-mapped uint16 `.npy` and a `.json` with its levels, both named by
the SHA-256 of the file's content, so that a renamed or copied raw is found again and a changed
one is decoded anew. The cache folder may be shared by several data sets and processes.
"""

import json
import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock

from n2n_tf.pipelines.files.atomic_files import atomic_file, remove_leftovers, write_json
from n2n_tf.pipelines.files.checksums import file_checksum
from n2n_tf.pipelines.files.listing import files_below, why_none
from n2n_tf.pipelines.raw import RAW_SUFFIXES
from n2n_tf.pipelines.raw.bayer import pack, phase_shift
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame, normalise_mosaic

VERSION = 1  # raise when the meaning of a cached file changes
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedRaw:
    """What is known of one raw without its pixels.

    Attributes:
        path: the raw file.
        shape: (H, W) of its visible mosaic.
        pattern, black, white, iso, noise_profile: as in `RawFrame`.
        npy: the cached mosaic, "" if it is decoded on demand.
    """

    path: str
    shape: tuple[int, int]
    pattern: str
    black: tuple[float, ...]
    white: int
    iso: float | None
    noise_profile: tuple[tuple[float, float], ...] | None
    npy: str


class RawCache:
    """The raws of a folder as a sequence of frames to crop from.

    Opening decodes what the cache lacks. Once it holds `max_bytes`, further raws are not stored
    but decoded each time they are needed (the latest one is kept in memory): far slower, never
    wrong. Nothing is evicted; delete the cache folder to start again.

    The object can be pickled and holds no open file. LibRaw must not run in forked processes:
    start workers with "spawn" if any raw is decoded on demand.

    Attributes:
        skipped: path to reason, for the raws that cannot be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        cache_dir: str | os.PathLike,
        max_bytes: int = 100 * 2**30,
    ) -> None:
        """Reads the folder and its subfolders.

        Args:
            folder: raw files; others (by `RAW_SUFFIXES`) and hidden ones are not looked at.
            cache_dir: made if missing.
            max_bytes: bound on the `.npy` bytes in `cache_dir`, of all data sets together.

        Raises:
            RawFileError: no raw files in the folder, or none that can be read.
        """
        paths = _raw_paths(Path(folder))
        cache_dir = Path(cache_dir)
        cache_dir.mkdir(parents=True, exist_ok=True)
        self.skipped: dict[str, str] = {}
        self._frames: list[CachedRaw] = []
        for path in paths:
            try:
                self._frames.append(_open_or_store(path, cache_dir, max_bytes))
            except RawFileError as error:
                self.skipped[str(path)] = str(error)
                _log.warning("Skipped a raw: %s", error)
        if not self._frames:
            raise RawFileError(
                f"{folder}: none of its {len(paths)} raw files can be read. The first: "
                f"{self.skipped[str(paths[0])]}"
            )
        uncached = sum(not frame.npy for frame in self._frames)
        if uncached:
            _log.warning(
                "%d of %d raws do not fit into the cache and are decoded on demand, which is "
                "slow. Raise max_bytes (%d) or empty %s.",
                uncached, len(self._frames), max_bytes, cache_dir,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> CachedRaw:
        """Levels, pattern, size and noise profile of one raw."""
        return self._frames[index]

    def size(self, index: int) -> tuple[int, int]:
        """(H, W), both even, of the area that `crop` cuts from: the whole cells of RGGB phase."""
        frame = self._frames[index]
        top, left = phase_shift(frame.pattern)
        return (frame.shape[0] - top) // 2 * 2, (frame.shape[1] - left) // 2 * 2

    def crop(self, index: int, y: int, x: int, size: int, packed: bool = True) -> np.ndarray:
        """Cuts a normalised square; always of pattern RGGB, whatever the camera's.

        Args:
            index: which raw.
            y: first row, even, counted from the first red row (see `size`).
            x: first column, even, counted likewise.
            size: side in mosaic pixels, even.
            packed: planes R, G1, G2, B, else a mosaic.

        Returns:
            float32 `[size/2, size/2, 4]`, or `[size, size]` if not packed; black is 0, white 1,
            not clipped.

        Raises:
            ValueError: odd numbers, or a square that leaves the area.
        """
        height, width = self.size(index)
        inside = 0 <= y <= height - size and 0 <= x <= width - size and size > 0
        if y % 2 or x % 2 or size % 2 or not inside:
            raise ValueError(
                "`y`, `x` and `size` must be even and the square must lie inside "
                f"{height} x {width}. Received: y={y}, x={x}, size={size}."
            )
        mosaic = self._window(index, y, x, size, size)
        return pack(mosaic, "RGGB") if packed else mosaic

    def planes(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Cuts a window of any shape, counted in cells: float32 `[height, width, 4]`, as `crop`."""
        return pack(self._window(index, 2 * top, 2 * left, 2 * height, 2 * width), "RGGB")

    def _window(self, index, y, x, height, width):
        """Normalised mosaic `[height, width]` that begins on a red pixel."""
        frame = self._frames[index]
        top, left = phase_shift(frame.pattern)
        pixels = _mosaic_of(frame)[top + y : top + y + height, left + x : left + x + width]
        black = np.roll(np.reshape(frame.black, (2, 2)), (-top, -left), axis=(0, 1)).ravel()
        return normalise_mosaic(pixels, black, frame.white)


def list_raws(folder: str | os.PathLike) -> list[Path]:
    """Camera raws below a folder, by the rule and in the order of `files_below`."""
    return files_below(folder, RAW_SUFFIXES)


def _raw_paths(folder: Path) -> list[Path]:
    paths = list_raws(folder)
    if not paths:
        raise RawFileError(why_none(folder, "camera raw", sorted(RAW_SUFFIXES)))
    return paths


def _open_or_store(path: Path, cache_dir: Path, max_bytes: int) -> CachedRaw:
    """One raw from the cache; decoded first, and stored if there is room, where it is missing.

    One process at a time: the second to ask for a raw finds it stored by the first.
    """
    key = f"{_content_hash(path)}_v{VERSION}"
    npy, sidecar = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    with FileLock(cache_dir / "cache.lock"):
        facts = _read_entry(npy, sidecar)
        if facts is None:
            frame = read_raw(path)
            facts = _facts_of(frame)
            remove_leftovers(cache_dir)  # nobody else is writing there: the lock is held
            if _stored_bytes(cache_dir) + frame.mosaic.nbytes > max_bytes:
                return _cached_raw(path, facts, npy="")
            with atomic_file(npy, overwrite=True) as temporary:
                np.save(temporary, frame.mosaic)
            write_json(sidecar, facts)
    return _cached_raw(path, facts, npy=str(npy))


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    try:
        return file_checksum(path)
    except OSError as error:
        raise RawFileError(f"{path}: cannot be read: {error.strerror}.") from error


def _read_entry(npy: Path, sidecar: Path) -> dict | None:
    """The facts of a complete cache entry; None where anything is missing or damaged."""
    try:
        facts = json.loads(sidecar.read_bytes())
        mosaic = np.load(npy, mmap_mode="r")
    except (OSError, ValueError):
        return None
    whole = mosaic.dtype == np.uint16 and list(mosaic.shape) == facts["shape"]
    return facts if whole else None


def _facts_of(frame: RawFrame) -> dict:
    """What the sidecar holds."""
    names = ("pattern", "black", "white", "iso", "noise_profile")
    return {"shape": list(frame.mosaic.shape)} | {name: getattr(frame, name) for name in names}


def _cached_raw(path: Path, facts: dict, npy: str) -> CachedRaw:
    profile = facts["noise_profile"]
    return CachedRaw(
        path=str(path),
        shape=tuple(facts["shape"]),
        pattern=facts["pattern"],
        black=tuple(facts["black"]),
        white=facts["white"],
        iso=facts["iso"],
        noise_profile=profile and tuple(tuple(pair) for pair in profile),
        npy=npy,
    )


def _mosaic_of(frame: CachedRaw) -> np.ndarray:
    """The uint16 mosaic, mapped from the cache or decoded."""
    return np.load(frame.npy, mmap_mode="r") if frame.npy else _decoded(frame.path)


@lru_cache(maxsize=1)
def _decoded(path: str) -> np.ndarray:
    return read_raw(path).mosaic


def _stored_bytes(cache_dir: Path) -> int:
    return sum(path.stat().st_size for path in cache_dir.glob("*.npy") if path.is_file())
