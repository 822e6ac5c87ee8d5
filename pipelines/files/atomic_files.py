"""Files that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

_BUSY = threading.RLock()  # held while a file begins, or gets its name
_UNFINISHED: set[pathlib.Path] = set()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path` that replaces it when the block ends well.

    The finished file is on the disk before it gets its name. A block that raises leaves nothing.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false, also if it came to exist while
            the block ran.
        OSError: if the folder of `path` is missing or cannot be written to.
    """
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise _exists(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}.")
    temporary = path.with_name(f".{secrets.token_hex(6)}{''.join(path.suffixes)}")
    try:
        with _BUSY:
            temporary.touch(exist_ok=False)  # with the rights of any new file: the umask's
            _UNFINISHED.add(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        with _BUSY:
            _rename(temporary, path, overwrite)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _UNFINISHED.discard(temporary)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Gives the path of a folder that is removed when the block ends, or by `remove_unfinished`."""
    with tempfile.TemporaryDirectory() as folder:
        _UNFINISHED.add(pathlib.Path(folder))
        try:
            yield folder
        finally:
            _UNFINISHED.discard(pathlib.Path(folder))


def remove_unfinished() -> None:
    """Removes what other threads are writing; they begin and finish nothing more.

    For a process that ends at once: if one of them had a file in hand, it waits for ever.
    """
    _BUSY.acquire()
    for path in list(_UNFINISHED):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes the temporary files that a killed process left in a folder; nobody may write there.

    Raises:
        OSError: if one cannot be removed.
    """
    for path in pathlib.Path(folder).iterdir():
        if re.fullmatch(r"\.[0-9a-f]{12}(\..*)?", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _rename(temporary, path, overwrite):
    if not overwrite:
        try:
            os.link(temporary, path)  # unlike a rename, a link never replaces a file
            return
        except FileExistsError:
            raise _exists(path) from None
        except OSError:  # a file system without hard links: nearly as good
            if path.exists():
                raise _exists(path) from None
    os.replace(temporary, path)


def _sync_folder(folder):
    """Puts a new name on the disk too; where folders cannot be synced, the system does it later."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path):
    return FileExistsError(f"{path} exists already; give another name or --overwrite.")


def write_json(path: str | os.PathLike, value: Any, overwrite: bool = True) -> None:
    """Writes a JSON file, whole or not at all.

    Raises:
        FileExistsError: if there is one and `overwrite` is false.
        OSError: if it cannot be written.
    """
    with atomic_file(path, overwrite) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")
