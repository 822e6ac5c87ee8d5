"""n2n-train: what is told before any training begins."""

import functools

import numpy as np
import programs
import pytest
from dng_samples import random_mosaic, write_sample

from n2n_tf.pipelines.files.image_files import write_image


@pytest.fixture
def train(capsys, monkeypatch):
    return functools.partial(programs.run, capsys, monkeypatch, "train")


def test_a_folder_of_raws_is_told_what_it_needs(train, tmp_path):
    (tmp_path / "raws").mkdir()
    write_sample(tmp_path / "raws" / "a.dng", random_mosaic(24, 30))
    command = (f"--data_dir={tmp_path / 'raws'}", f"--model_dir={tmp_path / 'model'}")
    ended = train(*command, "--noise=none")
    assert ended.status == 1 and ended.err == (
        f"n2n-train: error: --data_dir={tmp_path / 'raws'}: holds camera raws; train on "
        "them with --channels=4 --noise=none.\n"
    )
    write_image(tmp_path / "raws" / "a.png", np.zeros((8, 8, 3), np.uint8))  # pictures: those, then
    ended = train(*command, "--noise=none")
    assert ended.status == 1 and "none of its 1 images is usable" in ended.err


@pytest.mark.parametrize(
    "folder, message",
    [
        ("missing", "missing: no such folder."),
        ("a.txt", "a.txt: is a file; give a folder."),
        ("notes", "notes: no image in this folder (looked for .png, "),
        ("notes", "; it holds 2 .txt."),
    ],
)
def test_what_is_wrong_with_the_folder(train, tmp_path, monkeypatch, folder, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    for name in ("a.txt", "notes/a.txt", "notes/b.txt"):
        (tmp_path / name).touch()
    ended = train("--model_dir=m", "--noise=none", f"--data_dir={folder}")
    assert ended.status == 1 and message in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "m").exists()
