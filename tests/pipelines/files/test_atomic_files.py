"""Files appear whole or not at all, and nothing is replaced unasked."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from n2n_tf.pipelines.files.atomic_files import atomic_file


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_block_writes_beside_the_target_and_the_target_appears_at_its_end(tmp_path):
    path = tmp_path / "model.weights.h5"
    with atomic_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == tmp_path  # a rename across file systems would be no rename
        assert temporary.name.endswith(".weights.h5")  # writers choose the format by the suffix
        assert temporary.name.startswith(".")  # a reader of the folder passes it by
    assert path.read_bytes() == b"new" and names(tmp_path) == [path.name]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, calls = tmp_path / "a.txt", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(os.fstat(fd).st_size), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("named"), replace(a, b)))
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_bytes(b"12345")
    assert calls[:2] == [5, "named"] and len(calls) == 3  # and then the folder


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_block_that_raises_leaves_everything_as_it_was(tmp_path, error, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), atomic_file(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_an_existing_file_is_refused_before_the_block_runs(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileExistsError, match=r"a\.txt exists already"), atomic_file(path):
        pytest.fail("the block ran")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_while_the_block_runs_is_not_replaced(
    tmp_path, monkeypatch, hard_links
):
    if not hard_links:

        def link(*_):
            raise PermissionError("no hard links here")

        monkeypatch.setattr(os, "link", link)
    path = tmp_path / "a.txt"
    with pytest.raises(FileExistsError, match=r"a\.txt exists"), atomic_file(path) as temporary:
        temporary.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs" and names(tmp_path) == ["a.txt"]
    with atomic_file(tmp_path / "b.txt") as temporary:
        temporary.write_text("mine")
    assert (tmp_path / "b.txt").read_text() == "mine" and names(tmp_path) == ["a.txt", "b.txt"]


def test_of_several_writers_exactly_one_wins_and_its_file_is_whole(tmp_path):
    path, barrier = tmp_path / "a.txt", threading.Barrier(8)

    def write(writer):
        try:
            with atomic_file(path) as temporary:
                barrier.wait()  # all are past the first look at the target
                temporary.write_text(str(writer) * 10_000)
                barrier.wait()
            return writer
        except FileExistsError:
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [w for w in pool.map(write, range(8)) if w is not None]
    assert len(winners) == 1
    assert path.read_text() == str(winners[0]) * 10_000 and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_has_the_rights_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
        (tmp_path / "plain.txt").write_text("x")
        assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode
    finally:
        assert os.umask(before) == mask


def test_the_umask_which_all_threads_share_is_never_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("os.umask was called"))
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")


@pytest.mark.parametrize("folder", ["missing", "file.txt"])
def test_a_missing_folder_is_named_and_not_made(tmp_path, folder):
    (tmp_path / "file.txt").write_text("x")
    path = tmp_path / folder / "a.txt"
    with pytest.raises(OSError, match=str(path)), atomic_file(path):
        pytest.fail("the block ran")
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_an_os_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError), atomic_file(tmp_path / "a.txt"):
            pytest.fail("the block ran")
    finally:
        tmp_path.chmod(0o700)


def test_an_error_names_the_file_and_not_the_one_that_it_would_be_first(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(30, "Read-only file system", "hidden")

    monkeypatch.setattr(pathlib.Path, "touch", full)
    with pytest.raises(OSError, match="Read-only file system") as raised, atomic_file("a.png"):
        pass
    assert raised.value.filename == "a.png"


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError), atomic_file(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a").is_dir() and names(tmp_path) == ["a"]


def test_text_paths_go_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_file("a.txt") as temporary:
        temporary.write_text("x")
    assert pathlib.Path("a.txt").read_text() == "x"


def test_nothing_unfinished_stays_of_a_process_that_ends_at_once(tmp_path):
    """In a process of its own, as nothing is written in it any more."""
    script = """
import os, pathlib, threading
from n2n_tf.pipelines.files.atomic_files import atomic_file, remove_unfinished, temporary_folder

at, go = threading.Barrier(3), threading.Event()

def write():
    with atomic_file("late.txt") as temporary:
        temporary.write_text("x")
        at.wait()
        go.wait()

def make():
    with temporary_folder() as folder:
        pathlib.Path("folder").write_text(folder)
        at.wait()
        go.wait()

for work in (write, make):
    threading.Thread(target=work, daemon=True).start()
at.wait()
remove_unfinished()
go.set()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert names(tmp_path) == ["folder"]
    assert not pathlib.Path((tmp_path / "folder").read_text()).exists()
