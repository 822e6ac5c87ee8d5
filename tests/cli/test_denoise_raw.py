"""n2n-denoise and n2n-train on camera raws, in this process, with a network that halves."""

import json

import keras
import numpy as np
import pytest
from dng_samples import random_mosaic, write_sample
from programs import run

from n2n_tf import networks
from n2n_tf.pipelines.files.image_files import read_image, write_image
from n2n_tf.pipelines.raw.camera_files import read_raw

BLACK = (64, 64, 64, 64)


@pytest.fixture
def model(tmp_path):
    """A shipped-like folder whose network returns half of what it gets."""
    noisy = keras.Input((None, None, 4))
    half = keras.layers.Conv2D(4, 1, use_bias=False)
    network = keras.Model(noisy, half(noisy), name="half")
    half.set_weights([np.eye(4, dtype=np.float32)[None, None] / 2])
    folder = tmp_path / "model"
    folder.mkdir()
    network.save(folder / "network.keras")
    info = {"network": "half", "channels": 4, "size_multiple": 2, "halo": 2}
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def denoise(capsys, monkeypatch):
    return lambda *arguments: run(
        capsys, monkeypatch, "denoise", "--nokeep_levels", "--noise=none", *arguments
    )


def assert_halved(result, mosaic, white=1023):
    """The distance to black is half, to the nearest integer; what was clipped is white."""
    expected = np.clip(64 + (mosaic.astype(np.float64) - 64) / 2, 0, white)
    expected[mosaic >= white] = white
    assert np.abs(result - expected).max() < 0.501


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG"])
def test_a_raw_becomes_a_dng_of_the_same_frame(pattern, model, denoise, tmp_path):
    source, target = tmp_path / "a.dng", tmp_path / "out" / "a_denoised.dng"
    write_sample(source, random_mosaic(65, 71) % 1024, pattern=pattern, black=BLACK, white=1023)
    before = read_raw(source)
    ended = denoise("--model", model, source, "-o", target, "--preview", tmp_path / "pair.png")
    assert ended.status == 0, ended.err
    assert "1 of 1 image denoised" in ended.out
    after = read_raw(target)
    assert_halved(after.mosaic, before.mosaic)
    assert (after.pattern, after.black, after.white) == (pattern, before.black, 1023)
    assert read_image(tmp_path / "pair.png").pixels.shape[1] == 2 * 71 + 8
    again = denoise("--model", model, source, "-o", target)
    assert again.status == 1 and "--overwrite" in again.err


def test_a_folder_of_raws_and_pictures_says_what_it_leaves_out(model, denoise, tmp_path):
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "d.png").write_bytes(b"of another kind than the model")
    for name in ("a.dng", "b.DNG"):
        write_sample(folder / name, random_mosaic(40, 40) % 1024, black=BLACK, white=1023)
    (folder / "c.nef").write_bytes(b"broken")
    (folder / "a.jpg").write_bytes(b"the camera's own picture")
    summary = f"--summary={tmp_path / 'run.json'}"
    ended = denoise("--model", model, folder, "-o", tmp_path / "out", "--nocompress", summary)
    assert ended.status == 1 and "Traceback" not in ended.err
    assert "c.nef" in ended.err and "2 of 3 images denoised" in ended.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.dng", "b.dng"]
    assert "1 left out, beside a raw of the same name; name them to have them" in ended.err
    assert "them denoised too: a.jpg.\n" in ended.err
    assert "1 left out, not of the kind that --model denoises: d.png.\n" in ended.err
    run = json.loads((tmp_path / "run.json").read_text())
    assert [f["source"][-5:] for f in run["files"] if f["status"] == "left out"] == [
        "a.jpg",
        "d.png",
    ]


def test_a_sensor_dump_needs_its_description(model, denoise, tmp_path):
    mosaic = (random_mosaic(32, 48) % 1024).astype("<u2")
    mosaic.tofile(tmp_path / "frame.bin")
    shape = ("--raw_shape", "32,48")
    files = (tmp_path / "frame.bin", "-o", tmp_path / "frame.dng")
    missing = denoise("--model", model, *files, *shape)
    assert missing.status == 1 and "--raw_pattern and --white" in missing.err
    wrong = denoise("--model", model, *files, "--raw_shape=32", "--white=9", "--raw_pattern=RGGB")
    assert wrong.status == 1 and "HEIGHT,WIDTH" in wrong.err
    levels = ("--raw_pattern", "BGGR", "--black", "64", "--white", "1023")
    ended = denoise("--model", model, *files, *shape, *levels)
    assert ended.status == 0, ended.err
    after = read_raw(tmp_path / "frame.dng")
    assert_halved(after.mosaic, mosaic)
    assert after.pattern == "BGGR"
    short = denoise(
        "--model",
        model,
        tmp_path / "frame.bin",
        "-o",
        tmp_path / "x.dng",
        "--raw_shape=9,9",
        *levels,
    )
    assert short.status == 1 and "bytes" in short.err and not (tmp_path / "x.dng").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.dng", "-o", "a.png"), "--output=a.png: a camera raw gives a .dng"),
        (("a.png", "-o", "a2.dng"), "a.png: is not a camera raw by its name, and only raws give"),
        (("a.GPR", "-o", "b.dng"), "a.GPR: not a camera raw that LibRaw"),
        (("a.qtk", "-o", "b.dng"), "a.qtk: not a camera raw that LibRaw"),
        (("a.qtk", "-o", "b.png"), "--output=b.png: a camera raw gives a .dng"),
        (("a.png", "-o", "b.png"), "this model denoises camera raws only"),
        (("a.png", "-o", "b.png", "--preview", "p.png"), "is for one camera raw"),
    ],
)
def test_what_does_not_go_together_is_said(
    arguments, message, model, denoise, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "a.dng", random_mosaic(32, 32) % 1024, black=BLACK, white=1023)
    write_image(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    for name in ("a.GPR", "a.qtk"):
        (tmp_path / name).write_bytes(bytes(1000))
    ended = denoise("--model", model, *arguments)
    assert ended.status == 1 and message in ended.err and "Traceback" not in ended.err
    assert not (tmp_path / "b.png").exists()


def test_training_on_camera_raws_gives_a_model_of_raws(capsys, monkeypatch, denoise, tmp_path):
    def tiny(channels, features, init_scale):
        noisy = keras.Input((None, None, channels))
        return keras.Model(noisy, keras.layers.Conv2D(channels, 3, padding="same")(noisy), name="t")

    monkeypatch.setitem(networks.NETWORKS, "t", (tiny, 2, 2))
    (tmp_path / "raws").mkdir()
    for i in range(3):
        write_sample(
            tmp_path / "raws" / f"{i}.dng",
            random_mosaic(80, 70, seed=i) % 1024,
            black=BLACK,
            white=1023,
        )
    arguments = ["--data_dir", tmp_path / "raws", "--model_dir", tmp_path / "run", "--noise=none"]
    arguments += ["--channels=4", "--network=t", "--patch_size=16", "--batch_size=2", "--epochs=2"]
    ended = run(capsys, monkeypatch, "train", *arguments, "--augment", "--gamma=1")
    assert ended.status == 0, ended.err
    assert "3 images to train on" in ended.out
    done = denoise("--model", tmp_path / "run", tmp_path / "raws/0.dng", "-o", tmp_path / "0.dng")
    assert done.status == 0, done.err
    assert read_raw(tmp_path / "0.dng").mosaic.shape == (80, 70)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--noise=raw",), "which need --channels=4"),
        (("--noise=profile", "--channels=4"), "--data_dir holds no raws"),
        (("--noise=none", "--val_dir=x"), "cannot be added to any"),
        (
            ("--noise=poisson30", "--channels=4"),
            "for camera raw it must be none, raw, poisson_gaussian, or gauss",
        ),
    ],
)
def test_noise_of_another_domain_is_refused(arguments, message, capsys, monkeypatch, tmp_path):
    paths = ("--data_dir", tmp_path, "--model_dir", tmp_path / "run")
    ended = run(capsys, monkeypatch, "train", *paths, *arguments)
    assert ended.status == 1 and message in ended.err
