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

from n2n_tf.denoising.denoiser import Denoiser

ROOT = pathlib.Path(__file__).resolve().parents[2]
TFLITE = "model_dynamic_float32.tflite"
MADE = {"saved_model", TFLITE, f"{TFLITE}.json", "report.md"}


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
    first, second, _, *table, cost = done.stdout.splitlines()
    assert cost == "one: 84 parameters"
    assert first.startswith("exported/here/saved_model: ") and "differs from the network" in first
    assert second.startswith(f"exported/here/{TFLITE}: ") and " kB, differs" in second
    assert table[2].startswith(f"| {TFLITE} ") and len(table) == 3
    assert (tmp_path / "exported/here/report.md").read_text().startswith("\n".join(table))
    folder = tmp_path / "exported/here"
    assert {p.name for p in folder.iterdir()} == MADE
    image = np.random.default_rng(0).random((21, 30, 3), np.float32)
    expected = Denoiser.load(model)(image)
    for name in ("saved_model", TFLITE):
        loaded = Denoiser.load(folder / name)
        assert (
            loaded.info.to_json().items() >= json.loads((model / "model.json").read_text()).items()
        )
        np.testing.assert_allclose(loaded(image), expected, rtol=0, atol=1e-5)


def test_weights_from_elsewhere_become_a_keras_network(export, tmp_path):
    data = pathlib.Path(__file__).parents[1] / "data"
    ended = export("--model", data / "unet_zip.pth", "-o", "out", "--formats=keras")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("out/keras: ") and "unet: 9,215 parameters" in ended.out
    network = keras.models.load_model(tmp_path / "out/keras/network.keras")
    assert network.count_params() == 9215
    again = export("--model", data / "unet_zip.pth", "-o", "out", "--formats=keras")
    refused(again, "out/keras/network.keras exists already", "--overwrite")
    moved = export("--model", "out/keras", "-o", "moved", "--formats=keras")
    assert moved.status == 0
    picture = np.random.default_rng(0).random((33, 40, 3), np.float32)
    answers = [
        Denoiser.load(path)(picture)
        for path in (data / "unet_zip.pth", tmp_path / "out/keras", tmp_path / "moved/keras")
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


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
    (tmp_path / f"out/{TFLITE}").write_text("mine")
    refused(
        export(f"--model={model}", "-o", "out"), "out/model_dynamic_float32.tflite exists already"
    )
    assert [p.name for p in (tmp_path / "out").iterdir()] == [TFLITE]
    (tmp_path / "out/saved_model").mkdir()
    (tmp_path / "out/saved_model/photo.png").write_text("a photo")
    ended = export(f"--model={model}", "-o", "out", "--overwrite")
    refused(ended, "out/saved_model: is a folder but no SavedModel")
    assert (tmp_path / "out/saved_model/photo.png").read_text() == "a photo"
    assert (tmp_path / f"out/{TFLITE}").read_text() == "mine"
    command = (f"--model={model}", "-o", "out", "--overwrite", "--formats=tflite")
    assert export(*command).status == 0
    assert (tmp_path / f"out/{TFLITE}").read_bytes()[4:8] == b"TFL3"
    # And what came of it is no source of further exports.
    ended = export(f"--model=out/{TFLITE}", "-o", "other")
    refused(ended, f"out/{TFLITE}: is already an export; give the trained network")
    assert not (tmp_path / "other").exists()


def test_errors_are_one_line(export, model, tmp_path):
    refused(export("--model=nothing", "-o", "out"), "nothing: no such file or folder")
    refused(export(f"--model={model}"), "--output must be given")
    refused(export("-o", "out"), "--model must be given")
    refused(export(f"--model={model}", "-o", "out", "more"), "Unexpected argument 'more'")
    wrong = {
        "--formats=onnx": ["--formats=onnx: 'onnx' is unknown", "saved_model, tflite, keras"],
        "--formats=": ["--formats=", "unknown"],
        "--precisions=float32,int4": ["'int4' is unknown", "int16x8"],
        "--sizes=64": ["--sizes=64: write HEIGHTxWIDTH"],
        "--sizes=64x0": ["--sizes=64x0: write HEIGHTxWIDTH"],
        "--sizes=64x66": ["66 pixels is not a multiple of 4", "64 and 68 are"],
        "--sizes=2x4": ["2 pixels is not a multiple of 4", "; 4 are"],
        "--input=bayer_mosaic": ["3 channels cannot take a mosaic", "--channels 4"],
        "--black_level=64": ["need --input=bayer_mosaic"],
    }
    for flag, words in wrong.items():
        refused(export(f"--model={model}", "-o", "out", flag), *words)
    mosaic = (f"--model={model}", "-o", "out", "--input=bayer_mosaic")
    levels = {
        ("--black_level=64",): ["belong together"],
        ("--black_level=64,64", "--white_level=1023"): ["give one level or four"],
        ("--black_level=x", "--white_level=1023"): ["--black_level=x: could not convert"],
        ("--black_level=64", "--white_level=64"): ["below --white_level=64"],
        ("--black_level=64", "--white_level=70000"): ["beyond 16 bits"],
    }
    for given, words in levels.items():
        refused(export(*mosaic, *given), *words)
    calibrated = (f"--model={model}", "-o", "out", "--precisions=int8", "--formats=tflite")
    refused(export(*calibrated, "--calibration_dir=nothing"), "nothing: no such folder")
    (tmp_path / "out").rmdir()
    refused(export(f"--model={model}", "-o", "out", "--format=tflite"), "Did you mean: formats")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_loses_too_much_is_not_written_but_the_others_are(export, model, tmp_path):
    ended = export(
        f"--model={model}", "-o", "out", "--formats=tflite", "--precisions=float16,int8,float32",
        "--sizes=64x64", "--max_psnr_drop=0.003",
    )  # fmt: skip
    assert ended.status == 1
    assert "model_64x64_int8.tflite: loses 0." in ended.err and "not written" in ended.err
    assert ended.err.count("\n") == 1
    written = {f"model_64x64_{precision}.tflite" for precision in ("float16", "float32")}
    beside = {f"{name}.json" for name in written}
    assert {p.name for p in (tmp_path / "out").iterdir()} == written | beside | {"report.md"}
    assert "| model_64x64_int8.tflite: refused |" in (tmp_path / "out/report.md").read_text()


def test_an_export_that_differs_is_reported(export, model, tmp_path, monkeypatch):
    monkeypatch.setattr("n2n_tf.export.saved_model.TOLERANCE", -1.0)
    ended = export(f"--model={model}", "-o", "out", "--formats=saved_model")
    refused(ended, "out/saved_model: the exported model differs from the network by", "not written")
    assert list((tmp_path / "out").iterdir()) == []


def test_help_lists_every_flag(export):
    ended = export("--help")
    assert ended.status == 0 and ended.err == ""
    for name in ("model", "output, -o", "formats", "overwrite", "debug"):
        assert f"\n  --{name}: " in ended.out
    assert "[saved_model, tflite]" in " ".join(ended.out.split())
