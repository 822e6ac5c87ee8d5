"""Files of a batch are worked on at once, and told of in their order."""

import contextlib
import threading

import pytest

from n2n_tf.denoising.batch import Naming, Stopped, overlapped, plan, still_working


def test_results_come_in_order_whatever_is_finished_first():
    first_may_end = threading.Event()

    def work(item, go_on):
        go_on()
        if item == 0:
            assert first_may_end.wait(60)  # the next is worked on beside it
        if item == 1:
            first_may_end.set()
        return item**2

    assert [future.result() for future in overlapped(work, range(5))] == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_than_asked_for_are_worked_on_and_all_are(at_once):
    now, most, lock = set(), [0], threading.Lock()

    def work(item, go_on):
        with lock:
            now.add(item)
            most[0] = max(most[0], len(now))
        with lock:
            now.remove(item)
        if item == 3:
            raise ValueError("three")
        return item

    futures = list(overlapped(work, range(6), at_once))
    assert [f.result() for f in futures if f.exception() is None] == [0, 1, 2, 4, 5]
    assert most[0] <= at_once
    with pytest.raises(ValueError, match="three"):
        futures[3].result()


def test_when_the_caller_ends_all_work_ends():
    begun, ended = [], []

    def work(item, go_on):
        begun.append(item)
        try:
            while item:
                go_on()
        except Stopped:
            ended.append(item)
            raise

    with contextlib.closing(overlapped(work, range(100))) as results:
        next(results).result()
        next(results)
    assert begun[0] == 0 and len(begun) <= 4
    assert sorted(ended) == sorted(begun[1:])  # and none goes on: closing has waited for them


def test_work_that_does_not_stop_is_not_waited_for():
    begun, may_end = threading.Event(), threading.Event()

    def work(item, go_on):
        begun.set()
        may_end.wait(60)

    with contextlib.closing(overlapped(work, range(9))) as results:
        waited_for = next(results)
        assert begun.wait(60)
    assert not waited_for.done() and still_working()
    may_end.set()
    waited_for.result(60)


def test_of_a_folder_all_images_are_denoised_but_copies_of_raws(tmp_path):
    for name in ("a.NEF", "a.JPG", "a b.jpg", "deep/a.jpg", "c.tif", "notes.txt", "deep/d.HEIC"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    out = tmp_path / "out"
    planned = plan([tmp_path / "in"], out)
    names = {s.relative_to(tmp_path / "in").as_posix(): t.name for s, t in planned.pairs}
    kept = {"a.NEF": "a.dng", "a b.jpg": "a b.jpg", "deep/a.jpg": "a.jpg", "c.tif": "c.tif"}
    assert names == kept
    assert planned.copies == [tmp_path / "in/a.JPG"] and not planned.there
    assert planned.unread == [tmp_path / "in/deep/d.HEIC"]
    named = plan([tmp_path / "in", tmp_path / "in/a.JPG"], out)
    assert [t.name for _, t in named.pairs].count("a.JPG") == 1 and len(named.pairs) == 5
    dumps = plan([tmp_path / "in"], out, Naming(dump=True))
    assert {t.suffix for _, t in dumps.pairs} == {".dng"} and not dumps.copies


def test_files_whose_names_differ_in_case_alone_have_results_of_their_own(tmp_path):
    for name in ("a.JPG", "a.jpg"):
        (tmp_path / name).touch()
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system knows no case")
    planned = plan([tmp_path], tmp_path / "out", Naming("png"))
    assert [target.name for _, target in planned.pairs] == ["a_JPG.png", "a_jpg.png"]


def test_dicoms_are_known_by_their_start_whatever_a_scanner_calls_them(tmp_path):
    for name in ("IM0001", "1.2.840.5", "b.dcm", "c.txt"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "README").write_bytes(bytes(100))
    planned = plan([tmp_path], tmp_path / "out")
    names = {source.name: target.name for source, target in planned.pairs}
    assert names == {"IM0001": "IM0001", "1.2.840.5": "1.2.840.5.dcm", "b.dcm": "b.dcm"}


def test_a_file_that_cannot_be_read_does_not_stop_its_folder(tmp_path, monkeypatch):
    for name in ("a.png", "LOCKED"):
        (tmp_path / name).touch()

    def refused(*_, **__):
        raise PermissionError("LOCKED")

    monkeypatch.setattr("builtins.open", refused)
    planned = plan([tmp_path], tmp_path / "out")
    assert [source.name for source, _ in planned.pairs] == ["a.png"]


def test_results_of_one_name_say_of_which_kind_their_sources_are(tmp_path):
    for name in ("a.jpg", "a.PNG", "b.png", "c.cr2", "c.dng"):
        (tmp_path / name).touch()
    planned = plan([tmp_path], tmp_path / "out", Naming("tif", "_x"))
    assert [target.name for _, target in planned.pairs] == [
        "a_PNG_x.tif",
        "a_jpg_x.tif",
        "b_x.tif",
        "c_cr2_x.dng",
        "c_dng_x.dng",
    ]
