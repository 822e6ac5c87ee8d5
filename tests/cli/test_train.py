"""n2n-train: what is told before any training begins."""

import functools
import os
import types

import numpy as np
import programs
import pytest
from dng_samples import random_mosaic, write_sample

from n2n_tf.evaluation.clean_images import load_clean
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.training.holdout import choose_held_out
from n2n_tf.training.recipes import Recipe


@pytest.fixture
def train(capsys, monkeypatch):
    return functools.partial(programs.run, capsys, monkeypatch, "train")


@pytest.fixture
def train_program():
    with programs.imported("train") as module:
        yield module


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


def test_gaussian_noise_of_raws_is_for_photographs(train, tmp_path):
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos/a.png", np.zeros((96, 96, 3), np.uint8))
    rest = (f"--model_dir={tmp_path / 'model'}", "--noise=gauss5_50", "--channels=4")
    ended = train(f"--data_dir={tmp_path / 'photos'}", "--val_dir=photos", *rest)
    assert ended.status == 1 and "by n2n-evaluate --estimate" in ended.err
    write_sample(tmp_path / "photos/b.dng", random_mosaic(24, 30))
    ended = train(f"--data_dir={tmp_path / 'photos'}", *rest)
    assert ended.status == 1 and "is added to photographs" in ended.err


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


def test_stacks_are_read_by_axes_that_the_user_names(train_program, tmp_path, rng):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.uint16(65535 * rng.random((11, 40, 41))))
    flags = train_program.flags.FLAGS
    flags.data_dir, flags.axes = str(tmp_path), "ZYX"
    images = train_program.open_images(Recipe("gauss25", channels=1, patch_size=32))
    assert images.sizes == [(40, 41)] * 22
    held_out = choose_held_out(images.names, None, seed=0)
    assert held_out == sorted(n for n in images.names if n.startswith(held_out[0][0]))
    clean = load_clean(tmp_path, 1, axes="ZYX")
    assert [name for name, _ in clean] == images.names
    with pytest.raises(ValueError, match="--axes=ZYX: is for pictures"):
        train_program.open_images(Recipe("none", channels=4))


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("0", "0")])
def test_onednn_is_on_unless_the_user_says_otherwise(train_program, given, used, monkeypatch):
    monkeypatch.setattr(train_program.flags, "mark_flags_as_required", lambda names: None)
    seen = []
    start = lambda *_: seen.append(os.environ["TF_ENABLE_ONEDNN_OPTS"])  # noqa: E731
    monkeypatch.setattr(train_program.program, "start", start)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given or "")
    if not given:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    train_program.run()
    assert seen == [used]


def test_a_faster_precision_is_told_once(train_program, tmp_path, monkeypatch):
    monkeypatch.setattr(train_program, "MODEL_DIR", types.SimpleNamespace(value=str(tmp_path)))
    plain, fast = Recipe("none"), Recipe("none", precision="mixed_bfloat16")
    for knows in (True, False):
        monkeypatch.setattr(train_program, "computes_in_bfloat16", lambda knows=knows: knows)
        told = train_program._faster_precision(plain)
        assert bool(told and "--precision=mixed_bfloat16" in told) == knows
        assert train_program._faster_precision(fast) is None
    monkeypatch.setattr(train_program, "computes_in_bfloat16", lambda: True)
    (tmp_path / "run.json").write_text("{}")  # a run that continues keeps its precision
    assert train_program._faster_precision(plain) is None
