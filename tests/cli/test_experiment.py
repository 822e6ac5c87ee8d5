"""n2n-experiment: what it refuses, in one line; a whole one is in tests/experiments."""

import json
import signal

import numpy as np
import pytest
import scipy.io
from programs import run
from sidd_samples import write_scene

from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.sidd import files

CASES = {
    "no experiment": ([], "No experiment: name one of table1, table2, table3"),
    "unknown": (["table9"], "Unknown experiment 'table9': name one of table1, table2"),
    "two": (["table1", "table3"], "One experiment at a time: name one of"),
    "budget": (
        ["table1", "--budget=huge"],
        "--budget=huge: there are smoke, minutes, hours, paper",
    ),
    "noise": (["table1", "--noise=gauss3"], "--noise=gauss3: there are gauss25, gauss5_50"),
    "row": (["table1", "--only=n3n"], "--only=n3n: there are noisy, supervised, noise2noise"),
    "model": (["table3", "--model=unet"], "--model=unet: must be KEY=MODEL; keys are gamma 0"),
    "no images": (["table3"], "--data_dir: must name a folder to score on. Kodak: r0k.us"),
    "no folder": (
        ["table3", "--data_dir=x/Kodak"],
        "--data_dir=x/Kodak: no such folder. Kodak: r0",
    ),
    "no sidd": (["table2"], "--sidd_dir: must name the folder of ValidationNoisyBlocksRaw.mat"),
    "no blocks": (["table2", "--sidd_dir=x"], "Raw.mat, from www.eecs.yorku.ca/~kamel/sidd."),
    "steps": (["table1", "--steps=3"], "--steps=3"),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals_are_one_line(case, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, expected = CASES[case]
    ended = run(capsys, monkeypatch, "experiment", *arguments)
    assert ended.status == 1
    assert expected in ended.err and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_stopped_training_is_told_and_gives_its_exit_status(capsys, monkeypatch, tmp_path):
    from n2n_tf.experiments import run as experiments
    from n2n_tf.training.errors import TrainingStopped

    def stopped(*arguments, **more):
        raise TrainingStopped(signal.SIGINT, 7)

    monkeypatch.setattr(experiments, "denoiser_of", stopped)
    folder = tmp_path / "Kodak"
    folder.mkdir()
    write_image(folder / "a.png", np.zeros((64, 64, 3), np.uint8))
    arguments = [f"--data_dir={folder}", f"--train_dir={folder}", f"--output={tmp_path / 'out'}"]
    ended = run(capsys, monkeypatch, "experiment", "k", "--budget=smoke", *arguments)
    assert ended.status == 130
    assert ended.err.startswith("n2n-experiment: ") and "Traceback" not in ended.err


def test_rows_without_training_are_measured_and_absent_sets_are_named(
    capsys, monkeypatch, tmp_path
):
    folder = tmp_path / "Kodak"
    folder.mkdir()
    write_image(folder / "a.png", np.full((64, 64, 3), 120, np.uint8))
    arguments = ["table1", "--noise=gauss25", "--only=noisy", "--repeats=1", "--images=1"]
    arguments += [f"--data_dir={folder}", f"--output={tmp_path / 'out'}"]
    ended = run(capsys, monkeypatch, "experiment", *arguments)
    assert ended.status == 0, ended.err
    assert "Not scored on Set14: no --data_dir has this name. It is at github.com" in ended.out
    assert "Not scored on Kodak" not in ended.out
    record = json.loads((tmp_path / "out/table1/rows.json").read_text())
    psnr = record["rows"][0]["sets"]["Kodak"]["psnr"]
    assert psnr == pytest.approx(20 * np.log10(255 / 25), abs=0.2)  # noise of sigma 25 alone


def test_nothing_to_train_on_is_told_before_anything_begins(capsys, monkeypatch, tmp_path):
    (tmp_path / "Kodak").mkdir()
    monkeypatch.chdir(tmp_path)
    ended = run(capsys, monkeypatch, "experiment", "table3", "--data_dir=Kodak")
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "--train_dir: must name a folder of clean photographs" in ended.err
    ended = run(capsys, monkeypatch, "experiment", "table3", "--data_dir=Kodak", "--train_dir=x")
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "--train_dir=x: no such folder. It is a folder of clean photographs" in ended.err
    for name in ("Noisy", "Gt"):
        (tmp_path / f"Validation{name}BlocksRaw.mat").touch()
    ended = run(capsys, monkeypatch, "experiment", "table2", "--sidd_dir=.")
    assert "--train_dir: must name the folder that 'n2n-sidd prepare' writes" in ended.err


@pytest.mark.slow
def test_table_2_from_sidds_files_to_its_rows(capsys, monkeypatch, tmp_path):
    """Miniatures of SIDD's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "BLOCKS_SHAPE", (40, 1, 32, 32))
    write_scene(tmp_path / "Data", size=(64, 64))
    prepared = run(
        capsys, monkeypatch, "sidd", "prepare", "--data_dir=Data", "--output=sub", "--size=60",
        "--clean",
    )  # fmt: skip
    assert prepared.status == 0, prepared.err
    rng = np.random.default_rng(2)
    clean = rng.uniform(0.1, 0.5, (40, 1, 1, 1)) * np.ones((1, 1, 32, 32))
    (tmp_path / "blocks").mkdir()
    for name, blocks in (("Noisy", clean + rng.normal(0, 0.02, clean.shape)), ("Gt", clean)):
        file = tmp_path / f"blocks/Validation{name}BlocksRaw.mat"
        scipy.io.savemat(file, {f"Validation{name}BlocksRaw": np.float32(blocks)})
    arguments = ["table2", "--budget=smoke", "--steps=10", "--train_dir=sub", "--sidd_dir=blocks"]
    rows = "noisy,supervised,noise2noise"
    ended = run(capsys, monkeypatch, "experiment", *arguments, f"--only={rows}")
    assert ended.status == 0, ended.err
    record = json.loads((tmp_path / "experiments/table2/rows.json").read_text())
    assert [row["key"] for row in record["rows"]] == rows.split(",")
    for row in record["rows"]:
        assert "missing" not in row and np.isfinite(row["sets"]["SIDD validation"]["psnr"]), row
    assert "| Baseline, N2C, U-Net |" in ended.out and "| 51.19 / 0.991 |" in ended.out
    assert record["rows"][2]["recipe"]["method"] == "noise2noise"
