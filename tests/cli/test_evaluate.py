"""n2n-evaluate: the table, the JSON file, the saved pictures, and what is refused."""

import json
import os
import pathlib
import subprocess
import sys

import cv2
import keras
import numpy as np
import programs
import pytest

from n2n_tf.evaluation.clean_images import load_clean
from n2n_tf.evaluation.protocol import average, evaluate
from n2n_tf.pipelines.files.image_files import read_image, write_image
from n2n_tf.pipelines.noise.synthetic import parse_noise

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model_dir whose network is a 3 x 3 mean: a denoiser that helps."""
    folder = tmp_path_factory.mktemp("model")
    x = keras.Input((None, None, 3))
    y = keras.layers.AveragePooling2D(3, strides=1, padding="same")(x)
    keras.Model(x, y, name="mean").save(folder / "network.keras")
    info = {"channels": 3, "size_multiple": 1, "halo": 1}
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def evaluation(capsys, monkeypatch, tmp_path):
    """Runs the program in `tmp_path`, where Set14/ has two images and mine/ one, deeper."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("Set14/a.png", "Set14/b.png", "mine/deep/c.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, picture(number))

    def run(*arguments):
        ended = programs.run(capsys, monkeypatch, "evaluate", *arguments)
        assert "Traceback" not in ended.err + ended.out
        return ended

    return run


def picture(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    return cv2.resize(coarse, (45, 33), interpolation=cv2.INTER_CUBIC)


def expected(sets, noise, denoise=None, seed=101):
    """One stream over several sets, as [(folder, repeats)] -> [results of a set]."""
    stream = np.random.RandomState(seed)
    return [
        list(evaluate(denoise, load_clean(folder, 3), parse_noise(noise), stream, repeats))
        for folder, repeats in sets
    ]


def test_noisy_needs_no_model_and_counts_repeats_by_name(evaluation):
    ended = evaluation(
        "--model=noisy", "--data_dir=Set14", "--data_dir=mine", "--noise=gauss25", "--output=r.json"
    )
    assert ended.status == 0
    record = json.loads(pathlib.Path("r.json").read_text())
    assert (record["model"], record["noise"], record["seed"]) == ("noisy", "gauss25", 101)
    rows = record["results"]
    counts = [(r["data"], r["images"], r["repeats"]) for r in rows]
    assert counts == [("Set14", 2, 20), ("mine", 1, 1)]
    results = expected([("Set14", 20), ("mine", 1)], "gauss25")
    for row, wanted in zip(rows, results, strict=True):
        for name, value in average(wanted).items():
            assert row[name] == value
        assert len(row["per_image"]) == row["images"] * row["repeats"]
        for entry, result in zip(row["per_image"], wanted, strict=True):
            assert (entry["name"], entry["repeat"]) == (result.name, result.repeat)
            figures = [entry[k] for k in ("psnr_noisy", "ssim_noisy", "psnr", "ssim")]
            assert figures == result.figures()
    assert rows[1]["per_image"][0]["name"] == "deep/c.png"
    # The second set continues the stream of the first.
    alone = expected([("mine", 1)], "gauss25")
    assert rows[1]["psnr_noisy"] != average(alone[0])["psnr_noisy"]

    lines = ended.out.splitlines()
    assert lines[0] == "gauss25, seed 101, model noisy"
    assert f"{rows[0]['psnr_noisy']:.4f} / {rows[0]['ssim_noisy']:.5f}" in lines[2]
    assert lines[2].split()[:3] == ["Set14", "2", "20"] and lines[2].endswith(" -")
    assert lines[-1] == "wrote r.json"


def test_a_model_is_scored_beside_the_noisy_images(evaluation, model):
    command = (f"--model={model}", "--data_dir=Set14", "--noise=poisson30", "--output=new/r.json")
    ended = evaluation(*command, "--repeats=2", "--seed=7")
    assert ended.status == 0
    record = json.loads(pathlib.Path("new/r.json").read_text())
    (row,) = record["results"]
    assert record["seed"] == 7 and row["repeats"] == 2
    (wanted,) = expected([("Set14", 2)], "poisson30", lambda x: cv2.blur(x, (3, 3)), seed=7)
    for name in ("psnr_noisy", "ssim_noisy"):
        assert row[name] == average(wanted)[name]
    assert row["psnr"] > row["psnr_noisy"] + 3
    assert row["psnr"] == pytest.approx(average(wanted)["psnr"], abs=0.1)  # other borders
    assert f"{row['psnr']:.4f} / {row['ssim']:.5f}" in ended.out


def test_pictures_of_the_first_repeat_are_saved(evaluation, model):
    command = ("--data_dir=Set14", "--data_dir=mine", "--noise=gauss25", "--repeats=2")
    assert evaluation(f"--model={model}", *command, "--save_images=shown").status == 0
    names = {p.relative_to("shown").as_posix() for p in pathlib.Path("shown").rglob("*.png")}
    kinds = ("clean", "noisy", "denoised")
    stems = ("Set14/a", "Set14/b", "mine/deep/c")
    assert names == {f"{stem}_{kind}.png" for stem in stems for kind in kinds}
    first = expected([("Set14", 2)], "gauss25")[0][1]
    assert (first.name, first.repeat) == ("b.png", 0)
    clean, noisy, denoised = (read_image(f"shown/Set14/b_{kind}.png").pixels for kind in kinds)
    np.testing.assert_array_equal(clean, picture(1))
    np.testing.assert_array_equal(noisy, first.images[1])
    errors = [np.abs(x.astype(int) - clean).mean() for x in (noisy, denoised)]
    assert errors[1] < 0.6 * errors[0]


def refused(ended, *words):
    """Exit status 1, one line on standard error, nothing on standard output."""
    assert ended.status == 1 and ended.out == ""
    assert ended.err.startswith("n2n-evaluate: error: ") and ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err


def test_what_exists_needs_overwrite_and_is_told_before_the_work(evaluation, monkeypatch):
    command = ("--model=noisy", "--data_dir=mine", "--noise=gauss25")
    assert evaluation(*command, "--output=r.json", "--save_images=shown").status == 0

    def no_work(*arguments):
        raise AssertionError("evaluated for nothing")

    with monkeypatch.context() as patch:
        patch.setattr("n2n_tf.evaluation.protocol.evaluate", no_work)
        refused(evaluation(*command, "--output=r.json"), "--output=r.json exists already")
        refused(evaluation(*command, "--output=mine"), "--output=mine is a folder")
        refused(evaluation(*command, "--save_images=shown"), "c_clean.png exists already")
        twice = (*command, "--data_dir=mine", "--save_images=other")
        refused(evaluation(*twice), "two images would be saved as other/mine/deep/c_clean.png")
    before = pathlib.Path("r.json").read_text()
    assert evaluation(*command, "--output=r.json", "--overwrite", "--seed=5").status == 0
    assert pathlib.Path("r.json").read_text() != before
    assert evaluation(*command, "--save_images=shown", "--overwrite").status == 0


def test_errors_are_one_line(evaluation, tmp_path):
    noisy = ("--model=noisy", "--data_dir=mine")
    refused(evaluation(*noisy), "--noise must be given")
    refused(evaluation(*noisy, "--noise=gaus25"), "Unknown noise 'gaus25'")
    refused(evaluation(*noisy, "--noise=none"), "--noise=none: the evaluation adds noise")
    refused(evaluation(*noisy, "--noise=gauss25", "mine"), "Unexpected argument 'mine'")
    refused(evaluation(*noisy, "--noise=gauss25", "--repeats=0"), "--repeats=0")
    refused(evaluation(*noisy, "--noise=gauss25", "--sed=1"), "'sed'. Did you mean: seed")
    rest = ("--noise=gauss25", "--output=r.json")
    refused(evaluation("--model=noisy", "--data_dir=no", *rest), "no: no such folder")
    refused(evaluation("--model=no", "--data_dir=mine", *rest), "no: no such file or folder")
    (tmp_path / "mine/bad.png").write_bytes(b"no image")
    refused(evaluation(*noisy, *rest), "mine/bad.png: ")
    assert not (tmp_path / "r.json").exists()


def test_raw_noise_goes_with_raw_models_only(evaluation, tmp_path):
    x = keras.Input((None, None, 4))
    (tmp_path / "raw").mkdir()
    keras.Model(x, keras.layers.ReLU()(x)).save(tmp_path / "raw/network.keras")
    info = {"channels": 4, "size_multiple": 1, "halo": 0}
    (tmp_path / "raw/model.json").write_text(json.dumps(info))
    raw = ("--model=raw", "--data_dir=mine")
    refused(evaluation(*raw, "--noise=gauss25"), "this model has 4")
    assert evaluation(*raw, "--noise=raw:0.004,0.0001", "--save_images=shown").status == 0
    (tmp_path / "raw/model.json").write_text(json.dumps(info | {"noise_level": [0.01, 0.2]}))
    refused(evaluation(*raw, "--noise=raw:0.004,0.0001"), "give --estimate")
    ended = evaluation(*raw, "--noise=raw:0.004,0.0001", "--estimate")
    assert ended.status == 0 and "network alone" not in ended.out
    pictures = sorted(p.name for p in (tmp_path / "shown").rglob("*.png"))
    assert pictures == ["c_clean.png", "c_denoised.png", "c_noisy.png"]


def test_pictures_do_not_pile_up_in_memory(evaluation, monkeypatch):
    """Ten repeats of a photo set would be gigabytes."""
    import n2n_tf.evaluation.protocol

    kept = []
    honest = n2n_tf.evaluation.protocol.average
    monkeypatch.setattr(
        n2n_tf.evaluation.protocol, "average", lambda r: kept.append(list(r)) or honest(r)
    )
    command = ("--model=noisy", "--data_dir=Set14", "--noise=gauss25", "--repeats=3")
    assert evaluation(*command).status == 0
    assert [len(results) for results in kept] == [6]
    assert all(result.images is None for result in kept[0])


def test_help_lists_every_flag(evaluation):
    ended = evaluation("--help")
    assert ended.status == 0 and ended.err == ""
    flags = "model data_dir noise repeats seed output save_images overwrite debug".split()
    for name in flags:
        assert f"\n  --{name}: " in ended.out
    assert "repeat this option" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100


def test_a_real_process_prints_the_table(tmp_path):
    (tmp_path / "mine").mkdir()
    write_image(tmp_path / "mine/a.png", picture(0))
    command = "-m n2n_tf.cli.evaluate --model noisy --data_dir mine --noise gauss25"
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    (results,) = expected([(tmp_path / "mine", 1)], "gauss25")
    assert f"{average(results)['psnr_noisy']:.4f} / " in done.stdout.splitlines()[2]
    lines = done.stderr.replace("\r", "\n").splitlines()
    assert [line for line in lines if line.strip() and "img/s" not in line] == []
