"""Shipped models: the right one for an image, whole or refused, and cards that say what is true."""

import json
import pathlib
import re
import shutil

import keras
import numpy as np
import programs
import pytest
from skimage import data

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files import run_story, shipped
from n2n_tf.model_files.info import ModelError
from n2n_tf.pipelines.files.image_files import read_image, write_image
from n2n_tf.shipping import add, cards, figures

TRAINED = shipped.shipped_models()
RECIPE = {
    "noise": "gauss25",
    "noise_realization": "fresh",
    "network": "scaling",
    "features": 1,
    "initial_model": None,
    "gamma": 2.0,
    "gamma_delay": 0.5,
    "balance": False,
    "ema_decay": 0.0,
    "epochs": 3,
    "batch_size": 4,
    "patch_size": 32,
    "crops_per_image": 2,
}
FACTS = {"data": "ten photographs", "data_license": "none", "hardware": "a CPU", "license": "MIT"}


def training(folder, channels=3, factor=0.5, **recipe):
    """The folder of a finished training whose network multiplies every pixel by a factor."""
    x = keras.Input((None, None, channels))
    network = keras.Model(x, keras.layers.Conv2D(channels, 1)(x), name="scaling")
    network.set_weights([factor * np.eye(channels)[None, None], np.zeros(channels)])
    folder.mkdir(parents=True)
    network.save(folder / "network.keras")
    recipe = RECIPE | recipe
    info = {
        "network": "scaling",
        "channels": channels,
        "size_multiple": 4,
        "halo": 4,
        "noise": recipe["noise"],
        "epochs": 3,
    }
    (folder / "model.json").write_text(json.dumps(info))
    record = {
        "recipe": recipe,
        "data": {"images": 10, "held_out": ["a.png"]},
        "command": ["/x/n2n-train", "--balance", "--data_dir", "/x/y", "--model_dir=/x/z"],
        "started": "2026-01-02T03:04:05+0000",
        "versions": {"keras": "3"},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/000000012.json").write_text(json.dumps({"seconds": 900.0}))
    return folder


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty saved_models/."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "saved_models")
    shipped.SHIPPED.mkdir()
    return shipped.SHIPPED


@pytest.fixture
def defaults(store, tmp_path):
    """A model for each kind of image: gray is halved, RGB quartered, raw zeroed."""
    for kind, channels, factor in (("gray", 1, 0.5), ("RGB", 3, 0.25), ("raw", 4, 0.0)):
        noise = "raw:0.01,0.0001" if kind == "raw" else "gauss25"
        folder = training(tmp_path / kind, channels, factor, noise=noise)
        add.add_model(shipped.DEFAULTS[kind], folder, FACTS)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: programs.run(capsys, monkeypatch, *arguments)


# The right one


def test_without_a_model_each_kind_of_image_gets_its_own(run, defaults):
    pixels = np.full((8, 8, 3), 200, np.uint8)
    pathlib.Path("in").mkdir()
    write_image("in/colour.png", pixels)
    write_image("in/gray.tif", pixels[..., :1])
    write_image("in/other.png", pixels)
    ended = run("denoise", "--noise", "none", "in", "-o", "out")
    assert ended.status == 0, ended.err
    values = [read_image(f"out/{n}").pixels.max() for n in ("colour.png", "gray.tif", "other.png")]
    assert values == [50, 100, 50]
    told = ended.out.splitlines()
    assert sorted(told[:2]) == [
        "unet_gray_gauss5_50: the shipped model for gray images, trained with noise gauss25; "
        "--model chooses another.",
        "unet_rgb_gauss5_50: the shipped model for RGB images, trained with noise gauss25; "
        "--model chooses another.",
    ]
    assert told[2:] == ["3 of 3 images denoised into out"]


def test_without_a_model_a_raw_gets_the_raw_one(run, defaults, tmp_path):
    np.full((64, 64), 500, "<u2").tofile("frame.bin")
    description = "--raw_shape 64,64 --raw_pattern RGGB --black 64 --white 1023".split()
    ended = run(
        "denoise",
        "frame.bin",
        "-o",
        "frame.dng",
        "--nokeep_levels",
        "--noise=none",
        *description,
    )
    assert ended.status == 0, ended.err
    assert ended.out.startswith(
        "unet_raw: the shipped model for raw images, trained with noise raw"
    )
    from n2n_tf.pipelines.raw.camera_files import read_raw

    assert read_raw(tmp_path / "frame.dng").mosaic.max() == 64


def test_a_model_asked_for_is_taken_for_all_and_nothing_is_said(run, defaults):
    write_image("gray.png", np.full((8, 8, 1), 200, np.uint8))
    ended = run("denoise", "--model", "unet_gray_gauss5_50", "gray.png", "-o", "out.png")
    assert (ended.status, ended.out) == (0, "1 of 1 image denoised into out.png\n")


def test_without_shipped_models_that_is_the_error(run, store):
    write_image("a.png", np.zeros((8, 8, 3), np.uint8))
    ended = run("denoise", "a.png", "-o", "b.png")
    assert ended.status == 1
    assert "a.png: unet_rgb_gauss5_50: no such file or folder, and no shipped model" in ended.err


def test_the_list_shows_every_model(run, defaults):
    for name in shipped.shipped_models():
        rows = figures.measure(name, {})
        figures.save_results(shipped.SHIPPED / name, figures.judged_by(shipped.info_of(name)), rows)
    ended = run("denoise", "--list_models")
    assert (ended.status, ended.err) == (0, "")
    head, *rows = ended.out.splitlines()
    assert head.split()[:3] == ["name", "images", "noise"]
    assert [row.split()[0] for row in rows] == shipped.shipped_models()
    rgb = next(row for row in rows if "unet_rgb" in row)
    assert re.search(r"RGB \(default\)  +gauss25  +9  +20\.\d\d -> \d+\.\d\d \(embedded\)$", rgb)


# Whole or refused


@pytest.mark.parametrize("file", ["network.keras", "model.json"])
def test_a_network_that_is_not_the_one_described_is_refused(defaults, store, file):
    other, own = "unet_rgb_gauss5_50", "unet_gray_gauss5_50"
    shutil.copy(store / other / file, store / own / file)
    with pytest.raises(ModelError, match=r"network\.keras: is damaged or not the network that"):
        Denoiser.load(own)
    assert Denoiser.load(other)


def test_one_flipped_bit_is_noticed(defaults, store):
    path = store / "unet_raw/network.keras"
    content = bytearray(path.read_bytes())
    content[-2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256"):
        Denoiser.load("unet_raw")


def test_an_exported_one_is_a_network_of_its_own(run, defaults):
    ended = run("export", "--model", "unet_rgb_gauss5_50", "-o", "out", "--formats", "keras")
    assert ended.status == 0, ended.err
    assert "sha256" not in json.loads(pathlib.Path("out/keras/model.json").read_text())
    assert Denoiser.load("out/keras").info == Denoiser.load("unet_rgb_gauss5_50").info


# Adding, measuring, telling


def test_an_added_model_is_the_training_with_its_story(store, tmp_path):
    folder = training(tmp_path / "run", noise="gauss5_50")
    add.add_model("new", folder, FACTS)
    assert (store / "new/network.keras").read_bytes() == (folder / "network.keras").read_bytes()
    info = shipped.info_of("new")
    assert (info.license, info.parameters, info.multiply_adds) == ("MIT", 12, 9)
    story = info.training
    # 9 images, 2 crops each, in batches of 4; 3 epochs
    assert (story["steps"], story["images"], story["data"]) == (12, 9, "ten photographs")
    assert story["command"] == "n2n-train --balance --data_dir PHOTOS --model_dir RUN"
    assert story["changes"] == [] and story["start"] == "random weights"
    add.add_model("other", folder, FACTS | {"start": "an older model"})
    assert shipped.info_of("other").training["start"] == "an older model"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--noise none --augment", "--noise none --augment"),
        ("--augment --noise=none --noaugment", "--augment --noise none --noaugment"),
        ("--data_dir /a/b --model_dir=/c", "--data_dir PHOTOS --model_dir RUN"),
        ("--initial_model /a/unet_raw --allow_changed_flags", "--initial_model unet_raw"),
        ("--allow_changed_flags --gamma 2", "--gamma 2"),
        ("--val_dir=/home/me/clean/ --gamma=-1.5", "--val_dir clean --gamma -1.5"),
    ],
)
def test_the_command_of_a_training_is_told_without_its_folders(typed, told):
    assert run_story._command(["/bin/n2n-train", *typed.split()]) == f"n2n-train {told}"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/bin/n2n-sidd train --sidd_dir /data/sidd", "n2n-sidd train --sidd_dir sidd"),
        ("/src/n2n_tf/cli/train.py --gamma 2", "n2n-train --gamma 2"),
        ("/home/me/benchmarks/rivals.py /home/me/photos 3", "python rivals.py photos 3"),
    ],
)
def test_the_program_that_trained_is_told(typed, told):
    assert run_story._command(typed.split()) == told


def test_what_was_changed_on_the_way_is_told(store, tmp_path):
    folder = training(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    change = {"step": 1234, "changed": ["epochs was 5, is 3"]}
    change["command"] = ["/x/n2n-train", "--epochs=3"]
    (folder / "run.json").write_text(json.dumps(record | {"changes": [change]}))
    add.add_model("new", folder, FACTS)
    figures.save_results(store / "new", "gauss25", figures.measure("new", {}))
    assert shipped.info_of("new").training["command"] == "n2n-train --epochs 3"
    assert "| changed on the way | at step 1,234 epochs was 5, is 3 |" in cards.card("new")


def test_a_model_is_not_replaced_unasked_and_not_by_half_a_training(store, tmp_path):
    folder = training(tmp_path / "run")
    add.add_model("new", folder, FACTS)
    with pytest.raises(FileExistsError, match=r"new exists already; --overwrite replaces it"):
        add.add_model("new", folder, FACTS)
    half = training(tmp_path / "half", epochs=4)
    with pytest.raises(ModelError, match="3 of 4 epochs are done"):
        add.add_model("new", half, FACTS, overwrite=True)
    other = training(tmp_path / "other", factor=0.7)
    add.add_model("new", other, FACTS, overwrite=True)
    kernel, _ = Denoiser.load("new").network.get_weights()
    assert kernel.max() == np.float16(0.7)  # weights are shipped as numbers of 16 bits
    assert Denoiser.load("new").engine.startswith("LiteRT")


def test_a_model_added_half_way_leaves_the_old_one_whole(store, tmp_path):
    add.add_model("new", training(tmp_path / "run"), FACTS, measure=lambda folder: [])
    before = {p.name: p.read_bytes() for p in (store / "new").iterdir()}

    def interrupted(folder):
        assert (folder / "network.keras").exists()
        raise KeyboardInterrupt

    other = training(tmp_path / "other", factor=0.7)
    with pytest.raises(KeyboardInterrupt):
        add.add_model("new", other, FACTS, overwrite=True, measure=interrupted)
    assert {p.name: p.read_bytes() for p in (store / "new").iterdir()} == before
    assert [p.name for p in store.iterdir()] == ["new"]


def test_the_ancestors_of_a_model_are_told_with_their_commands(store, tmp_path):
    folder = training(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    old = {"name": "unet_old", "weights_sha256": "ab" * 32, "command": "n2n-train --x 1"}
    record["ancestors"] = [old | {"hours": 1.25}]
    (folder / "run.json").write_text(json.dumps(record))
    add.add_model("new", folder, FACTS, measure=lambda folder: figures.measure(folder, {}))
    card = cards.card("new")
    assert "| ancestor | `unet_old`, weights `abababababab`, 1.25 h |" in card
    assert card.index("n2n-train \\\n    --x 1") < card.index("n2n-train \\\n    --balance")
    assert "0.25 h after 1.25 h" in card


def test_figures_are_those_of_the_arithmetic(store, tmp_path):
    # 0.5 * (x + n): a known error, up to clipping and rounding, on an image in mid-range.
    photo = np.full((64, 64, 3), 128, np.uint8)
    (tmp_path / "flat").mkdir()
    write_image(tmp_path / "flat/a.png", photo)
    add.add_model("new", training(tmp_path / "run", noise="gauss10"), FACTS)
    rows = figures.measure("new", {"flat": tmp_path / "flat"})
    assert [(r["noise"], r["data"], r["images"]) for r in rows] == [
        ("gauss10", "embedded", 3),
        ("gauss10", "flat", 1),
    ]
    expected = 10 * np.log10(255**2 / (64**2 + 5**2))
    assert rows[1]["psnr"] == pytest.approx(expected, abs=0.02)
    assert rows[1]["psnr_noisy"] == pytest.approx(10 * np.log10(255**2 / 10**2), abs=0.1)


def test_a_blind_model_is_measured_at_fixed_levels_too(store, tmp_path):
    add.add_model("new", training(tmp_path / "run", factor=0.9, noise="gauss5_50"), FACTS)
    rows = {row["noise"]: row for row in figures.measure("new", {})}
    assert list(rows) == ["gauss5_50", "gauss10", "gauss25", "gauss50", "poisson30", "poisson5_50"]
    # Alone, the network darkens. With the noise estimated, all but noise is given back.
    assert not rows["gauss10"]["estimated"] and rows["poisson30"]["estimated"]
    assert rows["gauss10"]["psnr"] < rows["gauss10"]["psnr_noisy"]
    assert rows["poisson30"]["psnr"] > rows["poisson30"]["psnr_noisy"]


def test_a_raw_model_is_measured_with_laws_that_are_known(store, tmp_path):
    run = training(tmp_path / "run", 4, factor=0.9, noise="raw")
    add.add_model("new", run, FACTS, measure=lambda folder: [])
    rows = {row["noise"]: row for row in figures.measure("new", {})}
    assert [row["estimated"] for row in rows.values()] == [True, False, False, False]
    # The network darkens, and all but noise is given back: never below the noisy image.
    known = rows["raw:0.0001,6.3e-9"]
    assert known["psnr"] >= known["psnr_noisy"]


def test_a_figure_that_does_not_hold_is_named(store, tmp_path, run):
    add.add_model("new", training(tmp_path / "run"), FACTS)
    rows = figures.measure("new", {})
    figures.save_results(store / "new", "gauss25", rows)
    assert figures.disagreements("new", rows) == []
    assert run("models", "verify").status == 0

    said = shipped.results_of("new")
    said["results"][0]["psnr"] += 0.02
    (store / "new/results.json").write_text(json.dumps(said))
    (line,) = figures.disagreements("new", rows)
    assert re.match(r"new, gauss25, embedded: psnr is [\d.]+, results.json says [\d.]+\.", line)
    ended = run("models", "verify")
    assert ended.status == 1 and line in ended.err
    assert "1 models measured on embedded: 1 figures differ" in ended.out
    said["results"][0]["psnr"] -= 0.02 - 0.005  # within the tolerance
    (store / "new/results.json").write_text(json.dumps(said))
    assert figures.disagreements("new", rows) == []
    said["results"] = []
    (store / "new/results.json").write_text(json.dumps(said))
    assert figures.disagreements("new", rows) == [
        "new, gauss25, embedded: results.json has no figure."
    ]
    ended = run("models", "measure")
    assert ended.status == 0 and figures.disagreements("new", rows) == []
    (row,) = rows
    assert f"{row['psnr']:.2f}" in (store / "new/MODEL_CARD.md").read_text()


def test_figures_of_sets_that_are_not_at_hand_are_not_lost(store, tmp_path, run):
    add.add_model("new", training(tmp_path / "run"), FACTS)
    row = {"noise": "gauss25", "data": "Kodak", "images": 24, "psnr": 30.0}
    figures.save_results(store / "new", "gauss25", [row])
    ended = run("models", "measure")
    assert ended.status == 1 and "the card of new has figures of Kodak" in ended.err
    assert shipped.results_of("new")["results"] == [row]


def test_the_program_adds_measures_and_writes_the_documents(run, store, tmp_path):
    folder = training(tmp_path / "run")
    words = [f"--{name}={value}" for name, value in FACTS.items()]
    ended = run(
        "models", "add", "--name", "new", "--model", folder, "--earlier_hours", "1.5", *words
    )
    assert ended.status == 0, ended.err
    card = (store / "new/MODEL_CARD.md").read_text()
    (row,) = shipped.results_of("new")["results"]
    assert f"| {row['psnr_noisy']:.2f} / {row['ssim_noisy']:.4f} | {row['psnr']:.2f} / " in card
    for fact in (*FACTS.values(), "fresh", "12 steps", "gamma 2; 0 for the first 50 %"):
        assert fact.replace("12 steps", "12 (3 epochs)") in card
    overview = (store / "README.md").read_text()
    assert f"| {row['psnr_noisy']:.2f} → {row['psnr']:.2f} |" not in overview  # no Kodak
    assert "[new](new/MODEL_CARD.md)" in overview
    assert "; 0.25 h after 1.5 h |" in card and " 0.25 h after 1.5 h, fresh noise |" in overview


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name one action of verify, add, measure, cards"),
        (["adopt"], "Name one action of"),
        (["add", "--name=x"], "add: --model, --data, --data_license, --hardware must be given"),
        (["verify", "--data_dir=nowhere"], "--data_dir=nowhere: no such folder."),
        (
            "add --name=../x --model=m --data=d --data_license=l --hardware=h".split(),
            "--name=../x: of small letters",
        ),
    ],
)
def test_wrong_arguments_of_the_program(run, store, arguments, told):
    ended = run("models", *arguments)
    assert ended.status == 1 and told in ended.err and ended.err.count("\n") == 1


# Those in the repository


def test_every_default_is_there():
    assert set(shipped.DEFAULTS.values()) <= set(TRAINED)


def test_the_documents_are_those_of_the_figures():
    documents = cards.documents()
    assert len(documents) == len(TRAINED) + 2  # the tables of all, here and in README.md
    for path, text in documents.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run n2n-models cards"


def test_they_are_small_enough_for_a_clone():
    size = sum(f.stat().st_size for f in shipped.SHIPPED.rglob("*") if f.is_file())
    assert size < 60e6


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_model_does_what_its_card_says(name):
    rows = figures.measure(name, {})
    assert figures.disagreements(name, rows) == []
    own = rows[0]
    assert own["noise"] == figures.judged_by(shipped.info_of(name))
    assert own["psnr"] > own["psnr_noisy"] + 1 and own["ssim"] > own["ssim_noisy"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "keras"])
def test_units_do_not_matter_to_a_shipped_model(engine):
    clean = data.camera()[100:196, 100:196].astype(np.float64)
    noisy = clean + np.random.default_rng(2).normal(0, 8, clean.shape)
    denoise = Denoiser.load(shipped.DEFAULTS["gray"], engine=engine)
    result = denoise(noisy)
    for gain, offset in ((1e-4, 0), (1e-2, 5), (1e2, -1e4), (1e4, 1e6)):
        other = (denoise(gain * noisy + offset).astype(np.float64) - offset) / gain
        np.testing.assert_allclose(other, result, atol=0.25)
    counts = np.uint16(np.round(20 * noisy + 3000))
    np.testing.assert_allclose((denoise(counts) - 3000.0) / 20, result, atol=0.3)


@pytest.mark.parametrize(("sigma", "least_gain"), [(0.5, -0.05), (1.5, 1.0)])
def test_a_picture_with_hardly_any_noise_keeps_its_detail(run, tmp_path, rng, sigma, least_gain):
    clean = data.chelsea()[:192, :192]
    noisy = np.uint8(np.clip(np.round(clean + rng.normal(0, sigma, clean.shape)), 0, 255))
    write_image(tmp_path / "noisy.png", noisy)
    found = {}
    for name, flags in {"plain": ["--noise=none"], "kept": []}.items():
        ended = run("denoise", *flags, tmp_path / "noisy.png", "-o", tmp_path / f"{name}.png")
        assert ended.status == 0
        found[name] = psnr(clean, read_image(tmp_path / f"{name}.png").pixels, 255)
    assert found["kept"] > found["plain"]
    assert found["kept"] > psnr(clean, noisy, 255) + least_gain
