"""The raw cache: each raw decoded once, whoever asks; crops in RGGB phase with the right levels."""

import multiprocessing
import pickle

import numpy as np
import pytest
from dng_samples import random_mosaic, write_sample

from n2n_tf.pipelines.raw import cache
from n2n_tf.pipelines.raw.bayer import PATTERNS, pack, unify
from n2n_tf.pipelines.raw.cache import RawCache
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.frame import RawFileError, normalise

BLACK = (60, 62, 64, 66)
SIZE = (37, 43)
BYTES = SIZE[0] * SIZE[1] * 2 + 128  # of one mosaic as .npy


@pytest.fixture
def folder(tmp_path):
    """Four raws of the four patterns, one of them in a subfolder."""
    (tmp_path / "raws" / "day2").mkdir(parents=True)
    for index, pattern in enumerate(PATTERNS):
        path = tmp_path / "raws" / ("day2" if index == 3 else "") / f"{index}.DNG"
        write_sample(path, random_mosaic(*SIZE, seed=index), pattern=pattern, black=BLACK)
    return tmp_path / "raws"


@pytest.fixture
def decodes(monkeypatch):
    """The paths decoded so far."""
    paths = []

    def counting(path):
        paths.append(path)
        return read_raw(path)

    monkeypatch.setattr(cache, "read_raw", counting)
    cache._decoded.cache_clear()
    return paths


def test_every_raw_is_decoded_once_even_under_another_name(folder, tmp_path, decodes):
    assert len(RawCache(folder, tmp_path / "cache")) == 4
    assert len(decodes) == 4
    (folder / "0.DNG").rename(folder / "renamed.dng")
    assert len(RawCache(folder, tmp_path / "cache")) == 4
    assert len(decodes) == 4
    write_sample(folder / "1.DNG", random_mosaic(*SIZE, seed=9), pattern="RGGB")
    RawCache(folder, tmp_path / "cache")
    assert len(decodes) == 5


def test_frames_carry_the_levels(folder, tmp_path):
    tag = (51041, "d", 2, (1e-3, 1e-6), True)
    write_sample(folder / "a.dng", random_mosaic(*SIZE), black=BLACK, more=[tag])
    for _ in range(2):  # decoded, then from the cache
        cache = RawCache(folder, tmp_path / "cache")
        frames = [cache.frame(index) for index in range(len(cache))]
        assert [frame.pattern for frame in frames] == ["RGGB", "BGGR", "GRBG", "RGGB", "GBRG"]
        assert all(f.black == BLACK and f.white == 4095 and f.shape == SIZE for f in frames)
        assert frames[3].noise_profile == ((1e-3, 1e-6),) * 3
        assert frames[0].noise_profile is None and frames[0].iso == 3200


@pytest.mark.parametrize("max_bytes", [2**30, 0])
def test_crops_equal_those_of_the_whole_frame(folder, tmp_path, max_bytes):
    cache = RawCache(folder, tmp_path / "cache", max_bytes)
    for index in range(4):
        frame = read_raw(cache.frame(index).path)
        whole = unify(normalise(frame), frame.pattern)
        assert cache.size(index) == whole.shape
        mosaic = cache.crop(index, 2, 4, 16, packed=False)
        np.testing.assert_array_equal(mosaic, whole[2:18, 4:20])
        planes = cache.crop(index, 2, 4, 16)
        assert planes.dtype == np.float32 and planes.shape == (8, 8, 4)
        np.testing.assert_array_equal(planes, pack(whole, "RGGB")[1:9, 2:10])
        height, width = cache.size(index)
        assert cache.crop(index, height - 16, width - 16, 16).shape == (8, 8, 4)


def test_odd_and_outlying_crops_are_refused(folder, tmp_path):
    cache = RawCache(folder, tmp_path / "cache")
    for y, x, size in ((1, 0, 16), (0, 3, 16), (0, 0, 15), (22, 0, 16), (-2, 0, 16), (0, 0, 0)):
        with pytest.raises(ValueError, match=r"must be even and .* inside 36 x 42. Received: y="):
            cache.crop(0, y, x, size)


def test_corrupt_raws_are_named_and_skipped(folder, tmp_path, caplog):
    (folder / "bad.nef").write_bytes(b"II*\0 no raw")
    (folder / "empty.cr2").touch()
    (folder / "notes.txt").write_text("not looked at")
    (folder / "._0.DNG").write_text("nor is this")
    cache = RawCache(folder, tmp_path / "cache")
    assert len(cache) == 4
    assert set(cache.skipped) == {str(folder / "bad.nef"), str(folder / "empty.cr2")}
    assert "is empty" in cache.skipped[str(folder / "empty.cr2")]
    assert "bad.nef" in caplog.text


def test_folders_without_any_good_raw_are_refused(tmp_path):
    with pytest.raises(RawFileError, match="no such folder"):
        RawCache(tmp_path / "absent", tmp_path / "cache")
    (tmp_path / "raws").mkdir()
    with pytest.raises(RawFileError, match=r"no camera raw in this folder .*\.nef"):
        RawCache(tmp_path / "raws", tmp_path / "cache")
    for name in ("a.nef", "b.nef"):
        (tmp_path / "raws" / name).touch()
    with pytest.raises(RawFileError, match=r"none of its 2 raw files can be read.*a\.nef"):
        RawCache(tmp_path / "raws", tmp_path / "cache")


def test_the_cache_is_bounded_and_the_rest_is_decoded_on_demand(folder, tmp_path, decodes, caplog):
    cache = RawCache(folder, tmp_path / "cache", max_bytes=2 * BYTES)
    stored = list((tmp_path / "cache").glob("*.npy"))
    assert len(stored) == 2 and sum(path.stat().st_size for path in stored) <= 2 * BYTES
    assert [bool(cache.frame(index).npy) for index in range(4)] == [True, True, False, False]
    assert "2 of 4 raws do not fit" in caplog.text
    del decodes[:]
    for _ in range(3):
        cache.crop(0, 0, 0, 16)
        cache.crop(2, 0, 0, 16)
    assert len(decodes) == 1  # the latest stays in memory


def test_damaged_entries_are_made_anew_and_leftovers_removed(folder, tmp_path, decodes):
    RawCache(folder, tmp_path / "cache")
    npy = sorted((tmp_path / "cache").glob("*.npy"))
    npy[0].write_bytes(npy[0].read_bytes()[:200])
    npy[1].with_suffix(".json").write_text("{")
    leftover = tmp_path / "cache" / ".0123456789ab.npy"
    leftover.touch()
    cache = RawCache(folder, tmp_path / "cache")
    assert len(decodes) == 6 and not leftover.exists()
    for index in range(4):
        cache.crop(index, 0, 0, 16)


def test_what_is_not_of_the_cache_stays_in_its_folder(folder, tmp_path):
    """Hidden files and folders of others, and links to nowhere, are neither removed nor fatal."""
    home = tmp_path / "cache"
    (home / ".git").mkdir(parents=True)
    (home / "folder.npy").mkdir()
    for name in (".bashrc", ".0123456789ab", ".nomedia.npy", "notes.npy"):
        (home / name).write_text("mine")
    (home / "link.npy").symlink_to("nowhere")
    before = {path.name for path in home.iterdir()} - {".0123456789ab"}  # named like a leftover
    RawCache(folder, home)
    assert before <= {path.name for path in home.iterdir()}
    assert not (home / ".0123456789ab").exists()


def test_a_cache_can_be_sent_to_another_process(folder, tmp_path):
    cache = RawCache(folder, tmp_path / "cache")
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.crop(3, 0, 2, 16), cache.crop(3, 0, 2, 16))


def open_and_log(folder, cache_dir, log, barrier, answers):
    """Opens the cache at the same moment as the other process; logs every decode."""

    def logging_read(path):
        with open(log, "a") as file:
            file.write(f"{path}\n")
        return read_raw(path)

    cache.read_raw = logging_read
    barrier.wait(timeout=60)
    raws = RawCache(folder, cache_dir)
    answers.put([raws.crop(index, 0, 0, 16).sum().item() for index in range(len(raws))])


def test_two_processes_starting_at_once_decode_each_raw_once(folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    log = tmp_path / "decodes.txt"
    arguments = (folder, tmp_path / "cache", log, barrier, answers)
    processes = [context.Process(target=open_and_log, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = (answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert len(first) == 4 and first == second
    assert len(log.read_text().splitlines()) == 4
    assert not list((tmp_path / "cache").glob(".*"))
