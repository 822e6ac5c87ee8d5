"""n2n-export: both exports from one command, each usable at once; nothing replaced unasked."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import programs
import pytest

from n2n_tf.denoiser import Denoiser

ROOT = pathlib.Path(__file__).resolve().parents[1]
MADE = {"saved_model", "model.tflite", "model.tflite.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model_dir with a network of one convolution."""
    folder = tmp_path_factory.mktemp("model")
    keras.utils.set_random_seed(0)
    x = keras.Input((None, None, 3))
    network = keras.Model(x, keras.layers.Conv2D(3, 3, padding="same")(x), name="one")
    network.save(folder / "network.keras")
    info = {"channels": 3, "size_multiple": 4, "halo": 4, "noise": "gauss25", "epochs": 3}
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def export(capsys, monkeypatch, tmp_path):
    """Runs the program in `tmp_path`, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        ended = programs.run(capsys, monkeypatch, "export", *arguments)
        assert "Traceback" not in ended.err + ended.out
        return ended

    return run


def test_a_real_process_writes_both_and_the_denoiser_takes_them(model, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "n2n_tf.cli.export", "--model", model, "-o", "exported/here"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("exported/here/saved_model: ") and "differs from the network" in first
    assert second.startswith("exported/here/model.tflite: ") and " kB, differs" in second
    folder = tmp_path / "exported/here"
    assert {p.name for p in folder.iterdir()} == MADE
    image = np.random.default_rng(0).random((21, 30, 3), np.float32)
    expected = Denoiser.load(model)(image)
    for name in ("saved_model", "model.tflite"):
        loaded = Denoiser.load(folder / name)
        assert loaded.info == json.loads((model / "model.json").read_text())
        np.testing.assert_allclose(loaded(image), expected, rtol=0, atol=1e-5)


def test_one_format_alone(export, model, tmp_path):
    assert export(f"--model={model}", "-o", "out", "--formats=tflite").status == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == MADE - {"saved_model"}


def test_exporting_into_the_model_dir_leaves_its_files_alone(export, model, tmp_path):
    for name in ("network.keras", "model.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    before = (tmp_path / "model.json").read_bytes()
    assert export("--model=.", "-o", ".", "--formats=tflite").status == 0
    assert (tmp_path / "model.json").read_bytes() == before
    assert Denoiser.load(tmp_path).network is not None


def refused(ended, *words):
    """Exit status 1, one line on standard error, nothing on standard output."""
    assert ended.status == 1 and ended.out == ""
    assert ended.err.startswith("n2n-export: error: ") and ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err


def test_what_exists_is_told_before_anything_is_written(export, model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.tflite").write_text("mine")
    refused(export(f"--model={model}", "-o", "out"), "out/model.tflite exists already")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.tflite"]
    (tmp_path / "out/saved_model").mkdir()
    (tmp_path / "out/saved_model/photo.png").write_text("a photo")
    ended = export(f"--model={model}", "-o", "out", "--overwrite")
    refused(ended, "out/saved_model: is a folder but no SavedModel")
    assert (tmp_path / "out/saved_model/photo.png").read_text() == "a photo"
    assert (tmp_path / "out/model.tflite").read_text() == "mine"
    command = (f"--model={model}", "-o", "out", "--overwrite", "--formats=tflite")
    assert export(*command).status == 0
    assert (tmp_path / "out/model.tflite").read_bytes()[4:8] == b"TFL3"
    # And what came of it is no source of further exports.
    ended = export("--model=out/model.tflite", "-o", "other")
    refused(ended, "out/model.tflite: is an export already; give the trained network")
    assert not (tmp_path / "other").exists()


def test_errors_are_one_line(export, model, tmp_path):
    refused(export("--model=nothing", "-o", "out"), "nothing: no such file or folder")
    refused(export(f"--model={model}"), "--output must be given")
    refused(export("-o", "out"), "--model must be given")
    refused(export(f"--model={model}", "-o", "out", "more"), "Unexpected argument 'more'")
    refused(export(f"--model={model}", "-o", "out", "--formats=onnx"), "--formats=onnx")
    refused(export(f"--model={model}", "-o", "out", "--format=tflite"), "Did you mean: formats")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_differs_is_reported(export, model, tmp_path, monkeypatch):
    monkeypatch.setattr("n2n_tf.export.TOLERANCE", -1.0)
    ended = export(f"--model={model}", "-o", "out", "--formats=saved_model")
    refused(ended, "out/saved_model: the exported model differs from the network by", "not written")
    assert list((tmp_path / "out").iterdir()) == []


def test_help_lists_every_flag(export):
    ended = export("--help")
    assert ended.status == 0 and ended.err == ""
    for name in ("model", "output, -o", "formats", "overwrite", "debug"):
        assert f"\n  --{name}: " in ended.out
    assert "[saved_model, tflite]" in " ".join(ended.out.split())
