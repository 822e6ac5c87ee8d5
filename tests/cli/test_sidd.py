"""n2n-sidd: sub-images, scores and submissions from small files of SIDD's structure."""

import base64
import csv
import json
import pathlib

import h5py
import keras
import numpy as np
import programs
import pytest
import scipy.io
from sidd_samples import COLOURS, S6_SCENE, mosaic_of, write_scene

from n2n_tf.pipelines.raw.frame import RawFileError
from n2n_tf.pipelines.sidd import files as sidd_files
from n2n_tf.pipelines.sidd import scenes as sidd_scenes
from n2n_tf.pipelines.training.sources import MosaicFolder, PairedMosaics

SHAPE = (40, 2, 16, 16)
PATTERNS = [sidd_scenes.parse_scene(name).pattern for name in sidd_scenes.HELD_OUT_SCENES]
GAINS = {"R": 0.5, "G1": 0.75, "G2": 1.0, "B": 1.25}  # what the network does to each plane
PHONE_SCENE = "0001_001_IP_00100_00060_3200_L"
FILES = ("ValidationNoisyBlocksRaw", "ValidationGtBlocksRaw", "BenchmarkNoisyBlocksRaw")


def save_model(folder, gains):
    """A model_dir whose network multiplies every channel by its own number."""
    folder.mkdir(parents=True)
    x = keras.Input((None, None, len(gains)))
    layer = keras.layers.DepthwiseConv2D(1, use_bias=False)
    network = keras.Model(x, layer(x), name="gains")
    layer.set_weights([np.float32(gains).reshape(1, 1, -1, 1)])
    network.save(folder / "network.keras")
    info = {"channels": len(gains), "size_multiple": 1, "halo": 0}
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("runs") / "sidd", list(GAINS.values()))


@pytest.fixture
def program(capsys, monkeypatch, tmp_path):
    """Runs the program in `tmp_path`; files of blocks have `SHAPE` instead of SIDD's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sidd_files, "BLOCKS_SHAPE", SHAPE)

    def run(*arguments):
        ended = programs.run(capsys, monkeypatch, "sidd", *arguments)
        assert "Traceback" not in ended.err + ended.out
        return ended

    return run


@pytest.fixture
def blocks(tmp_path):
    """Writes the three files of blocks into data/ and returns the noisy and the clean blocks."""
    mosaics = [mosaic_of(pattern, *SHAPE[2:]) for pattern in PATTERNS]
    clean = np.repeat(np.float32(mosaics)[:, None], SHAPE[1], axis=1)
    noise = np.random.default_rng(3).normal(0, 0.1, SHAPE)
    noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
    (tmp_path / "data").mkdir()
    for name, values in zip(FILES, (noisy, clean, noisy), strict=True):
        scipy.io.savemat(tmp_path / "data" / f"{name}.mat", {name: values})
    return noisy, clean


def scaled(noisy, patterns=PATTERNS):
    """What the network should make of the blocks, by a formula of its own."""
    gains = np.empty(SHAPE, np.float32)
    for scene, pattern in enumerate(patterns):
        colours = mosaic_of(pattern, *SHAPE[2:])
        for colour, value in COLOURS.items():
            gains[scene, :, colours == value] = GAINS[colour]
    return np.clip(noisy * gains, 0, 1)


def psnr(clean, other):
    squares = (clean.astype(np.float64) - other) ** 2
    return np.mean([-10 * np.log10(block.mean()) for scene in squares for block in scene])


def ssim(clean, other):
    """Wang et al. 2004, the 11 x 11 window laid on every place where it fits."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    views = [
        np.lib.stride_tricks.sliding_window_view(np.float64(x), (11, 11), axis=(2, 3))
        for x in (clean, other)
    ]

    def mean(values):
        return np.einsum("...ij,ij", values, window)

    a, b = map(mean, views)
    aa, bb, ab = (mean(views[i] * views[j]) for i, j in ((0, 0), (1, 1), (0, 1)))
    score = (2 * a * b + 1e-4) * (2 * (ab - a * b) + 9e-4)
    return np.mean(score / ((a**2 + b**2 + 1e-4) * (aa - a**2 + bb - b**2 + 9e-4)))


# prepare


def prepare(program, *arguments):
    return program("prepare", "--data_dir=Data", "--output=sub", "--size=6", "--step=6", *arguments)


def write_data(tmp_path):
    """Two scenes for training and a held-out one."""
    held_out = next(name for name in sidd_scenes.HELD_OUT_SCENES if "_S6_" in name)
    write_scene(tmp_path / "Data", held_out)
    write_scene(tmp_path / "Data", PHONE_SCENE, "RGGB")
    return write_scene(tmp_path / "Data")


def test_prepare_cuts_what_the_training_reads(program, tmp_path):
    write_data(tmp_path)
    ended = prepare(program)
    assert ended.status == 0, ended.err
    # 12 x 16 in RGGB gives 2 x 3 cuts, 12 x 14 of the cropped GRBG 2 x 3 too; two frames each.
    assert "24 sub-images of 6 x 6 pixels from 4 noisy raws in sub" in ended.out
    assert "1 scenes held out" in ended.out
    assert "n2n-train --preset paper_sidd --data_dir sub --model_dir runs/sidd\n" in ended.out
    folder = MosaicFolder("sub")
    assert len(folder) == 24 and folder.names[0] == "0001_NOISY_RAW_010_s001.npy"
    expected = np.float32([COLOURS[name] for name in ("R", "G1", "G2", "B")]) + np.float32(0.01)
    for index in range(24):
        planes = folder.crop(index, 0, 0, 3, 3)
        np.testing.assert_array_equal(planes, np.broadcast_to(expected, (3, 3, 4)))


def test_prepare_cuts_the_clean_raws_too_and_both_exposures_are_pairs(program, tmp_path):
    write_data(tmp_path)
    assert prepare(program, "--clean").status == 0
    assert len(list((tmp_path / "sub").glob("*.npy"))) == 48
    assert len(MosaicFolder("sub")) == 24  # the noisy ones
    expected = np.float32([COLOURS[name] for name in ("R", "G1", "G2", "B")])
    for companion, noise in (("clean", 0.0), ("noisy", 0.01)):
        pairs = PairedMosaics("sub", companion)
        both = pairs.crop(7, 1, 0, 2, 3)
        np.testing.assert_array_equal(both[1, 2, :4], expected + np.float32(0.01))
        np.testing.assert_array_equal(both[1, 2, 4:], expected + np.float32(noise))
    other = pathlib.Path(pairs._companions[0]).name  # of the scene's other exposure, one place
    assert (pairs.names[0], other) == ("0001_NOISY_RAW_010_s001.npy", "0001_NOISY_RAW_011_s001.npy")
    assert "--size=6 --step=6 --clean" in prepare(program).err
    (tmp_path / "sub" / "0001_GT_RAW_011_s002.npy").unlink()
    with pytest.raises(RawFileError, match=r"_011_s002\.npy: has no clean sub-image.*--clean"):
        PairedMosaics("sub", "clean")
    for path in (tmp_path / "sub").glob("0013_NOISY_RAW_011*"):
        path.unlink()
    with pytest.raises(RawFileError, match=r"0013_.*_010_s001\.npy: is of the only exposure"):
        PairedMosaics("sub", "noisy")


def test_prepare_continues_and_never_cuts_a_scene_twice(program, tmp_path):
    raw = write_data(tmp_path)
    whole = raw.read_bytes()
    raw.write_bytes(whole[:700])
    first = tmp_path / "Data" / PHONE_SCENE / "0001_NOISY_RAW_011.MAT"
    first.write_bytes(whole[:700])
    ended = prepare(program)
    assert ended.status == 1
    assert f"error: Data/{PHONE_SCENE}/{first.name}: not a whole MATLAB v7.3 file" in ended.err
    first.write_bytes(first.with_name("0001_NOISY_RAW_010.MAT").read_bytes())
    assert f"error: Data/{S6_SCENE}/{raw.name}: not a whole" in prepare(program).err
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "sub").glob("0001*.npy")}
    assert len(done) == 12
    raw.write_bytes(whole)
    ended = prepare(program)
    assert ended.status == 0 and "24 sub-images" in ended.out
    assert done == {path: path.stat().st_mtime_ns for path in done}
    assert len(list((tmp_path / "sub").glob("*.npy"))) == 24
    assert "24 sub-images" in prepare(program).out


def test_prepare_refuses_to_mix_sub_images(program, tmp_path):
    write_data(tmp_path)
    prepare(program)
    ended = prepare(program, "--step=4")
    assert ended.status == 1
    assert "--output=sub holds sub-images cut with --size=6 --step=6" in ended.err
    (tmp_path / "sub" / "sub_images.json").write_text("{")
    assert "sub_images.json: damaged; give another --output" in prepare(program).err
    (tmp_path / "sub" / "sub_images.json").unlink()
    assert "--output=sub holds .npy files already" in prepare(program).err
    assert "must be even" in prepare(program, "--size=5").err
    assert "is a file; name a folder" in prepare(program, f"--output={__file__}").err


def test_prepare_needs_raws_for_training_each_with_its_name(program, tmp_path):
    (tmp_path / "Data").mkdir()
    assert "Data: no NNNN_NOISY_RAW_010.MAT in or below it" in prepare(program).err
    name = next(name for name in sidd_scenes.HELD_OUT_SCENES if "_S6_" in name)
    write_scene(tmp_path / "Data", name)
    assert "Data: holds validation and benchmark scenes only" in prepare(program).err
    write_scene(tmp_path / "Data" / "again")
    write_scene(tmp_path / "Data")
    ended = prepare(program)
    assert ended.status == 1 and "two raws of one name" in ended.err
    assert not (tmp_path / "sub").exists()


# evaluate


def test_evaluate_agrees_with_formulas_of_its_own(program, blocks, model):
    noisy, clean = blocks
    ended = program("evaluate", f"--model={model}", "--data_dir=data", "--output=out/r.json")
    assert ended.status == 0, ended.err
    assert "warning" not in ended.err
    record = json.loads(pathlib.Path("out/r.json").read_text())
    expected = {
        "psnr_noisy": psnr(clean, noisy),
        "ssim_noisy": ssim(clean, noisy),
        "psnr": psnr(clean, scaled(noisy)),
        "ssim": ssim(clean, scaled(noisy)),
    }
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, abs=1e-6), name
    for end in ("_noisy", ""):
        assert f"{expected[f'psnr{end}']:.4f} / {expected[f'ssim{end}']:.5f}" in ended.out
    assert record["blocks"] == list(SHAPE) and record["unlike_pattern"] == []
    assert [row["pattern"] for row in record["per_scene"]] == PATTERNS
    fifth = record["per_scene"][4]
    assert fifth["number"] == 5
    assert fifth["psnr"] == pytest.approx(psnr(clean[4:5], scaled(noisy)[4:5]), abs=1e-6)
    again = program("evaluate", f"--model={model}", "--data_dir=data", "--output=out/r.json")
    assert again.status == 1
    assert "out/r.json exists already; --overwrite replaces it." in again.err


def test_evaluate_noisy_needs_no_model(program, blocks):
    noisy, clean = blocks
    ended = program("evaluate", "--model=noisy", "--data_dir=data", "--output=r.json")
    assert ended.status == 0, ended.err
    assert f"noisy    {psnr(clean, noisy):.4f} / {ssim(clean, noisy):.5f}\n" in ended.out
    assert "denoised" not in ended.out
    assert "psnr" not in json.loads(pathlib.Path("r.json").read_text())


def test_evaluate_warns_of_scenes_in_another_order(program, blocks):
    names = list(sidd_scenes.HELD_OUT_SCENES)
    names[0], names[1] = names[1], names[0]  # GRBG and BGGR
    pathlib.Path("scenes.txt").write_text("\n".join(names))
    arguments = ("evaluate", "--model=noisy", "--data_dir=data", "--scenes=scenes.txt")
    ended = program(*arguments, "--output=r.json")
    assert ended.status == 0
    assert "n2n-sidd: warning:" in ended.err and "assumed: 1 (BGGR), 2 (GRBG)." in ended.err
    assert json.loads(pathlib.Path("r.json").read_text())["unlike_pattern"] == [1, 2]
    pathlib.Path("scenes.txt").write_text("\n".join(names[:39]))
    ended = program(*arguments)
    assert ended.status == 1
    assert "--scenes=scenes.txt: must name 40 scenes. Received: 39." in ended.err


# submit


def read_csv(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ID", "BLOCK"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(80)]
    blocks = [np.frombuffer(base64.b64decode(row[1]), np.float32) for row in rows[1:]]
    return np.reshape(blocks, SHAPE)


def read_mat(path):
    with h5py.File(path) as file:
        cells = file["DenoisedBlocksRaw"][()].T
        blocks = np.empty(SHAPE, np.float32)
        for i, j in np.ndindex(cells.shape):
            blocks[i, j] = file[cells[i, j]][()].T
        return blocks, float(file["TimeMPRaw"][()].item())


def test_submissions_hold_the_denoised_blocks(program, blocks, model):
    expected = scaled(blocks[0])
    ended = program("submit", f"--model={model}", "--data_dir=data", "--output=sent/new")
    assert ended.status == 0, ended.err
    assert "wrote sent/new/SubmitRaw.csv\nwrote sent/new/SubmitRaw.mat\n" in ended.out
    np.testing.assert_allclose(read_csv("sent/new/SubmitRaw.csv"), expected, rtol=1e-6)
    in_mat, pace = read_mat("sent/new/SubmitRaw.mat")
    np.testing.assert_array_equal(in_mat, read_csv("sent/new/SubmitRaw.csv"))
    assert 0 < pace < 60 / (np.prod(SHAPE) / 1e6)
    assert f"{pace:.3g} seconds per megapixel" in ended.out
    assert sorted(path.name for path in pathlib.Path("sent/new").iterdir()) == [
        "SubmitRaw.csv",
        "SubmitRaw.mat",
    ]


def test_submit_replaces_nothing_unasked(program, blocks, model):
    folder = pathlib.Path("sent")
    folder.mkdir()
    (folder / "SubmitRaw.mat").write_text("precious")
    arguments = ("submit", f"--model={model}", "--data_dir=data", "--output=sent")
    ended = program(*arguments)
    assert ended.status == 1
    assert "sent/SubmitRaw.mat exists already; --overwrite replaces it." in ended.err
    assert not (folder / "SubmitRaw.csv").exists()
    assert program(*arguments, "--format=csv").status == 0
    assert (folder / "SubmitRaw.mat").read_text() == "precious"
    assert program(*arguments, "--format=mat", "--overwrite").status == 0
    np.testing.assert_allclose(read_mat(folder / "SubmitRaw.mat")[0], scaled(blocks[0]), rtol=1e-6)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "No action: name one of prepare, evaluate, submit"),
        (["train"], "Unknown action 'train': it must be one of prepare, evaluate, submit"),
        (["prepare", "Data"], "Unexpected argument 'Data'"),
        (["prepare", "--data_dir=x"], "prepare: --output must be given"),
        (["evaluate", "--data_dir=x"], "evaluate: --model must be given"),
        (
            ["submit", "--model=x", "--output=y"],
            "submit: --data_dir must be given",
        ),
        (
            ["prepare", "--data_dir=x", "-o", "y", "--model=z"],
            "prepare: takes no --model",
        ),
        (
            ["evaluate", "--data_dir=x", "--model=z", "--step=2"],
            "evaluate: takes no --step",
        ),
        (["submit", "--format=zip"], "--format"),
        (
            ["evaluate", "--model=noisy", "--data_dir=x"],
            "error: x/ValidationNoisyBlocksRaw.mat: no such file; download it or correct the path.",
        ),
        (
            ["submit", "--model=m", "--data_dir=x", "--output=y"],
            "error: x/BenchmarkNoisyBlocksRaw.mat: no such file",
        ),
    ],
)
def test_one_clear_line_for_what_is_missing_or_wrong(program, arguments, text):
    ended = program(*arguments)
    assert ended.status == 1 and ended.out == ""
    assert text in ended.err and ended.err.count("\n") == 1


def test_files_and_models_of_another_kind_are_refused(program, blocks, tmp_path):
    evaluation = ("evaluate", "--data_dir=data", "--model")
    gray = save_model(tmp_path / "gray", [1.0])
    ended = program(*evaluation, gray)
    assert ended.status == 1
    assert f"--model={gray}: takes images of 1 channels; SIDD's raws need a model of" in ended.err
    assert "absent: no such file or folder" in program(*evaluation, "absent").err
    target = pathlib.Path("data/ValidationGtBlocksRaw.mat")
    scipy.io.savemat(target, {target.stem: blocks[1][:, :1]})
    assert "blocks must be floating point (40, 2, 16, 16)" in program(*evaluation, "noisy").err
    target.write_bytes(b"no MATLAB file")
    ended = program(*evaluation, "noisy")
    assert ended.status == 1
    assert "data/ValidationGtBlocksRaw.mat: damaged MATLAB v5 file" in ended.err
