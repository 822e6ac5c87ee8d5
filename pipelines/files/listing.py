"""Which files lie below a folder: one rule for images, raws and all else."""

import collections
import pathlib
from collections.abc import Collection


def files_below(root: pathlib.Path | str, suffixes: Collection[str] = ()) -> list[pathlib.Path]:
    """All files below a folder whose names end as asked for.

    Hidden files and folders are left out: they are thumbnails, or unfinished files of a writer.
    A link to nowhere is listed, so that reading it tells what is missing.

    Args:
        root: the folder; what is no folder holds no files.
        suffixes: endings in lower case with their dot; files of any case match. None given: all.

    Returns:
        paths, sorted by their path relative to `root`, written with "/".
    """
    root = pathlib.Path(root)
    found = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and not path.is_dir() and (path.suffix.lower() in suffixes or not suffixes):
            found[relative.as_posix()] = path
    return [found[name] for name in sorted(found)]


def why_none(root: pathlib.Path | str, wanted: str, suffixes: Collection[str]) -> str:
    """What to tell when `files_below` found nothing.

    Args:
        root: the folder asked for.
        wanted: what was looked for, in a word or two.
        suffixes: as for `files_below`.

    Returns:
        one line that names the folder, and what it holds instead.
    """
    root = pathlib.Path(root)
    if any((root / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray")):
        return f"{root}: is a Zarr folder, which is not read; save it as OME-TIFF or .npy."
    if not root.is_dir():
        return f"{root}: {'is a file; give a folder' if root.exists() else 'no such folder'}."
    names = (path.suffix.lower() or "without a suffix" for path in files_below(root))
    counts = collections.Counter(names).most_common(3)
    held = ", ".join(f"{number} {name}" for name, number in counts)
    return (
        f"{root}: no {wanted} in this folder (looked for {', '.join(suffixes)})"
        f"{f'; it holds {held}' if held else ''}."
    )
