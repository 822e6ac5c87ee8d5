"""Exports appear whole or not at all, and replace nothing but an earlier export."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from n2n_tf.model_files.info import INFO_FILE, first_line, info_path

# All that a SavedModel of ours can hold; a folder with anything else is not deleted.
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", INFO_FILE}


class ExportError(ValueError):
    """An export that failed or differs from the network; nothing was written.

    Attributes:
        figures: `n2n_tf.export.measure.Figures` of a TFLite file that was measured and refused.
    """

    figures = None


@contextlib.contextmanager
def failures_named(what: str) -> Iterator[None]:
    """TensorFlow, its converter and LiteRT raise many types: all become one ExportError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"{what} failed: {first_line(error)}.") from error


def check_free(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Checks that an export may be written to `path`, before the work is done.

    Args:
        path: a SavedModel folder, or a `.tflite` or `.keras` file, whose model.json is checked too.
        overwrite: whether an earlier export may be replaced.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        ExportError: if `path` is something else than an earlier export.
    """
    path = pathlib.Path(path)
    beside = {".tflite": info_path(path), ".keras": path.with_name(INFO_FILE)}.get(path.suffix)
    file = beside is not None
    for place in (path, beside) if file else (path,):
        if place.is_symlink() or (place.exists() and place.is_dir() == file):
            kind = "file" if file else "folder"
            raise ExportError(f"{place}: is not a plain {kind}; it will not be replaced.")
        if place.exists() and not overwrite:
            raise FileExistsError(f"{place} exists already; give another name or --overwrite.")
    if path.is_dir():
        held = {entry.name for entry in path.iterdir()}
        if "saved_model.pb" not in held or held - SAVED_MODEL_FILES:
            raise ExportError(f"{path}: is a folder but no SavedModel; it will not be replaced.")


@contextlib.contextmanager
def place_beside(
    path: str | os.PathLike, overwrite: bool, inner: str | None = None
) -> Iterator[pathlib.Path]:
    """Gives a place beside `path`; what is there gets its final name when the block ends well.

    With `inner`, the place is the file `inner` in a folder of its own, and all files of that folder
    move beside `path`.
    """
    path = pathlib.Path(path)
    check_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new = temporary / (inner or "new")
    try:
        if not inner:
            new.mkdir()
        yield new
        if inner:
            for file in sorted(temporary.iterdir()):
                os.replace(file, path.parent / file.name)
        else:
            replace_folder(new, path, temporary / "old")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: pathlib.Path, path: pathlib.Path, old: pathlib.Path) -> None:
    """Moves `new` to `path`; a folder there moves to `old`, and back if that fails."""
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
