"""n2n-denoise: which file becomes which, what is kept, what is refused, how it ends."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import sysconfig
import time

import cv2
import keras
import numpy as np
import programs
import pytest
import tifffile

from n2n_tf.cli import program
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.networks.unet import unet
from n2n_tf.pipelines.files.image_files import read_image, write_image

ROOT = pathlib.Path(__file__).resolve().parents[2]


def halving_model(folder, channels=3):
    """A model_dir whose network halves every pixel: a result shows that it was denoised, once."""
    x = keras.Input((None, None, channels))
    network = keras.Model(x, keras.layers.Conv2D(channels, 1)(x), name="halving")
    kernel = 0.5 * np.eye(channels).reshape(1, 1, channels, channels)
    network.set_weights([kernel, np.zeros(channels)])
    folder.mkdir()
    network.save(folder / "network.keras")
    info = {"channels": channels, "size_multiple": 4, "halo": 4}
    (folder / "model.json").write_text(json.dumps(info))
    return folder


def halved(pixels):
    return ((pixels.astype(np.uint32) + 1) // 2).astype(pixels.dtype)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return halving_model(tmp_path_factory.mktemp("model") / "colour")


@pytest.fixture(scope="module")
def gray_model(tmp_path_factory):
    return halving_model(tmp_path_factory.mktemp("model") / "gray", channels=1)


@pytest.fixture
def denoise(capsys, monkeypatch, tmp_path):
    """Runs the program in `tmp_path`, in this process; networks do what they want to pixels."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        ended = programs.run(capsys, monkeypatch, "denoise", "--noise=none", *arguments)
        assert "Traceback" not in ended.err + ended.out
        return ended

    return run


def image(seed=0, shape=(37, 50, 3), dtype=np.uint8):
    generator = np.random.default_rng(seed)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def pixels_of(path):
    return read_image(path).pixels


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


# Which file becomes which


def test_a_file_into_a_file(denoise, model, tmp_path):
    write_image(tmp_path / "noisy.png", image())
    ended = denoise("--model", model, "noisy.png", "-o", "new/folder/clean.tif")
    assert (ended.status, ended.out) == (0, "1 of 1 image denoised into new/folder/clean.tif\n")
    np.testing.assert_array_equal(pixels_of("new/folder/clean.tif"), halved(image()))
    assert files(tmp_path) == {"noisy.png", "new/folder/clean.tif"}


def test_adapting_trains_on_the_pictures_given_and_says_what_came_of_it(denoise, gray_model, rng):
    write_image("a.png", np.uint8(rng.normal(100, 9, (256, 390, 1)).round()))
    ended = denoise(f"--model={gray_model}", "--adapt=2", "a.png", "-o", "b.png")
    told = r"Adapted in 2 steps on 6 squares: held-out loss (.*) -> (.*), by .* errors, kept\."
    before, after = map(float, re.search(told, ended.out).groups())
    halves = (100 / 255 / 2) ** 2 + (9 / 255) ** 2 * (0.5**2 + 2.25**2)  # n / 2 less 2.25 z
    assert ended.status == 0 and after < before == pytest.approx(halves, rel=0.02)


@pytest.mark.parametrize("output, made", [("out", "out/a.png"), ("run.v2/", "run.v2/a.png")])
def test_a_file_into_a_folder(denoise, model, tmp_path, output, made):
    write_image(tmp_path / "a.png", image())
    assert denoise("a.png", f"--model={model}", f"--output={output}").status == 0
    assert files(tmp_path) == {"a.png", made}
    # An existing folder stays one, whatever its name.
    (tmp_path / "x.png").mkdir()
    assert denoise("a.png", f"--model={model}", "--output=x.png").status == 0
    np.testing.assert_array_equal(pixels_of("x.png/a.png"), halved(image()))


def test_a_folder_into_a_folder_keeps_its_structure(denoise, model, tmp_path):
    inputs = {
        "photos/one.png": image(1),
        "photos/deep/er/two.TIFF": image(2, dtype=np.uint16),
        "photos/deep/three.bmp": image(3),
        "more/four.png": image(4),
    }
    for name, pixels in inputs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, pixels)
    (tmp_path / "photos/notes.txt").write_text("no image")
    ended = denoise(f"--model={model}", "photos", "more/four.png", "-o", "out")
    assert (ended.status, ended.out) == (0, "4 of 4 images denoised into out\n")
    expected = {
        "one.png": inputs["photos/one.png"],
        "deep/er/two.TIFF": inputs["photos/deep/er/two.TIFF"],
        "deep/three.bmp": inputs["photos/deep/three.bmp"],
        "four.png": inputs["more/four.png"],
    }
    assert files(tmp_path / "out") == set(expected)
    for name, pixels in expected.items():
        result = pixels_of(tmp_path / "out" / name)
        assert result.dtype == pixels.dtype
        np.testing.assert_array_equal(result, halved(pixels))
    for name, pixels in inputs.items():
        np.testing.assert_array_equal(pixels_of(name), pixels)


def test_a_jpeg_stays_one_unless_another_format_is_asked_for(denoise, model, tmp_path):
    cv2.imwrite(str(tmp_path / "a.JPG"), image()[..., ::-1])
    decoded = pixels_of("a.JPG")
    assert denoise(f"--model={model}", "a.JPG", "-o", "out").status == 0
    assert (tmp_path / "out/a.JPG").read_bytes()[:2] == b"\xff\xd8"
    command = (f"--model={model}", "a.JPG", "-o", "out", "--output_format=png", "--suffix=_clean")
    assert denoise(*command).status == 0
    assert files(tmp_path / "out") == {"a.JPG", "a_clean.png"}
    np.testing.assert_array_equal(pixels_of("out/a_clean.png"), halved(decoded))


def test_pictures_of_one_name_and_two_formats_stay_two(denoise, model, tmp_path):
    for name in ("a.jpg", "a.png"):
        write_image(tmp_path / name, image())
    assert denoise(f"--model={model}", "a.jpg", "a.png", "-o", "out").status == 0
    assert files(tmp_path / "out") == {"a.jpg", "a.png"}


def test_a_batch_goes_on_where_it_was_and_says_what_became_of_each(denoise, model, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, image())
    assert denoise(f"--model={model}", "in/a.png", "-o", "out/").status == 0
    before = (tmp_path / "out/a.png").stat().st_mtime_ns
    (tmp_path / "in/bad.png").write_bytes(b"bad")
    command = (f"--model={model}", "in", "-o", "out", "--skip_existing", "--summary=run.json")
    ended = denoise(*command)
    assert (ended.status, ended.out) == (
        1,
        "1 of 2 images denoised into out; 1 skipped, whose results exist\n",
    )
    assert (tmp_path / "out/a.png").stat().st_mtime_ns == before
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["done"], run["failed"], run["skipped"]) == (1, 1, 1)
    status = {file["source"]: file["status"] for file in run["files"]}
    assert status == {"in/a.png": "skipped", "in/b.png": "done", "in/bad.png": "failed"}
    assert run["megapixels"] == pytest.approx(37 * 50 / 1e6)


# What is kept


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparency_and_depth_are_kept(denoise, model, tmp_path, dtype, suffix):
    pixels, alpha = image(1, dtype=dtype), image(2, (37, 50), dtype)
    write_image(tmp_path / f"a{suffix}", pixels, alpha)
    assert denoise(f"--model={model}", f"a{suffix}", "-o", f"b{suffix}").status == 0
    result = read_image(f"b{suffix}")
    assert result.pixels.dtype == dtype
    np.testing.assert_array_equal(result.pixels, halved(pixels))
    np.testing.assert_array_equal(result.alpha, alpha)


def test_a_gray_model_takes_gray_and_colour(denoise, gray_model, tmp_path):
    write_image(tmp_path / "gray.png", image(1, (37, 50, 1), np.uint16))
    write_image(tmp_path / "colour.png", image(2))
    ended = denoise(f"--model={gray_model}", "gray.png", "colour.png", "-o", "out")
    assert ended.status == 0
    np.testing.assert_array_equal(pixels_of("out/gray.png"), halved(pixels_of("gray.png")))
    np.testing.assert_array_equal(pixels_of("out/colour.png"), halved(image(2)))


def test_floats_stay_floats_and_white_level_counts(denoise, model, tmp_path):
    floats = image().astype(np.float32) / 100  # up to 2.55
    write_image(tmp_path / "a.tif", floats)
    assert denoise(f"--model={model}", "a.tif", "-o", "b.tif").status == 0
    np.testing.assert_allclose(pixels_of("b.tif"), floats / 2, rtol=1e-6)

    write_image(tmp_path / "twelve.png", np.full((5, 5, 3), 60000, np.uint16))
    command = (f"--model={model}", "twelve.png", "--white_level=4095", "-o", "c.png")
    assert denoise(*command).status == 0
    assert (pixels_of("c.png") == 30000).all()  # above white, and not cut


def test_large_images_are_tiled_without_seams(denoise, model, tmp_path):
    pixels = image(shape=(150, 201, 3))
    write_image(tmp_path / "a.png", pixels)
    assert denoise(f"--model={model}", "--tile=64", "a.png", "-o", "b.png").status == 0
    np.testing.assert_array_equal(pixels_of("b.png"), halved(pixels))


def test_stacks_come_back_whole_and_a_page_shows_them(denoise, gray_model, tmp_path):
    stack = image(3, (5, 24, 31), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TYX", "fps": 5})
    command = (f"--model={gray_model}", "a.tif", "-o", "out/", "--report=look", "--self_ensemble")
    assert denoise(*command).status == 0
    with tifffile.TiffFile("out/a.tif") as tiff:
        assert tiff.series[0].axes == "TYX" and tiff.imagej_metadata["fps"] == 5
        np.testing.assert_array_equal(tiff.asarray(), halved(stack))
    page = (tmp_path / "look/report.html").read_text()
    assert "a.tif, plane 3 of 5" in page and page.count("data:image/jpeg") == 3
    np.save(tmp_path / "a.npy", stack)
    refused_files = denoise(f"--model={gray_model}", "a.npy", "-o", "b.npy")
    assert refused_files.status == 1 and "name them, e.g. --axes=ZYX" in refused_files.err
    assert denoise(f"--model={gray_model}", "a.npy", "-o", "b.npy", "--axes=TYX").status == 0
    np.testing.assert_array_equal(np.load("b.npy"), halved(stack))


def test_frames_of_a_stack_help_one_another(denoise, tmp_path):
    """With the shipped model: a scene at rest, and a spot that moves through it."""
    rng, columns = np.random.default_rng(4), np.arange(96)
    clean = np.float32(np.broadcast_to(120 + 40 * np.sin(columns / 9), (3, 96, 96))).copy()
    for frame in range(3):
        clean[frame, 40:52, 20 + 12 * frame : 32 + 12 * frame] += 60
    noisy = np.uint8(np.clip(np.round(clean + rng.normal(0, 12, clean.shape)), 0, 255))
    tifffile.imwrite(tmp_path / "a.tif", noisy, imagej=True, metadata={"axes": "TYX"})
    assert denoise("a.tif", "-o", "plain.tif", "--noise=auto").status == 0
    assert denoise("a.tif", "-o", "helped.tif", "--noise=auto", "--stack_window").status == 0
    plain, helped = (tifffile.imread(f"{name}.tif") - clean for name in ("plain", "helped"))
    at_rest, moving = np.s_[:, :30], np.s_[:, 36:56, 16:60]
    assert np.square(helped[at_rest]).mean() < 0.9 * np.square(plain[at_rest]).mean()
    assert np.square(helped[moving]).mean() < 1.05 * np.square(plain[moving]).mean()
    write_image(tmp_path / "one.png", image())
    single = denoise("one.png", "-o", "b.png", "--noise=auto", "--stack_window")
    assert "one plane, which has no neighbours" in single.err
    refused(denoise("a.tif", "-o", "c.tif", "--stack_window", "--noise=none"), "--noise=none")


# What is refused


def refused(ended, *words):
    """Exit status 1, one line on standard error, nothing on standard output."""
    assert ended.status == 1 and ended.out == ""
    assert ended.err.startswith("n2n-denoise: error: ") and ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err


def test_outputs_that_exist_need_overwrite(denoise, model, tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, image())
    refused(denoise(f"--model={model}", "a.png", "-o", "b.png"), "b.png exists already")
    assert denoise(f"--model={model}", "a.png", "-o", "b.png", "--overwrite").status == 0
    np.testing.assert_array_equal(pixels_of("b.png"), halved(image()))
    # Of a folder none is written when one exists: nobody is left with half a job.
    (tmp_path / "out").mkdir()
    write_image(tmp_path / "out/b.png", image())
    refused(denoise(f"--model={model}", "a.png", "b.png", "-o", "out"), "out/b.png exists already")
    assert files(tmp_path / "out") == {"b.png"}


def test_an_input_is_never_overwritten(denoise, model, tmp_path):
    (tmp_path / "in/sub").mkdir(parents=True)
    for name in ("in/a.png", "in/sub/a.png", "in/b.jpg", "in/c.png"):
        write_image(tmp_path / name, image())
    (tmp_path / "link").symlink_to("in")
    before = {name: (tmp_path / "in" / name).read_bytes() for name in files(tmp_path / "in")}
    for arguments in (
        ("in/a.png", "-o", "in/a.png"),
        ("in/a.png", "-o", "link/a.png"),
        ("in/a.png", "-o", "in"),
        ("in", "-o", "in"),
        ("in", "-o", "in/sub"),  # in/a.png would land on in/sub/a.png, an input too
    ):
        refused(denoise(f"--model={model}", "--overwrite", *arguments), "would replace an input")
    assert before == {n: (tmp_path / "in" / n).read_bytes() for n in files(tmp_path / "in")}


def test_two_results_of_one_name_are_refused(denoise, model, tmp_path):
    for name in ("x/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, image())
    for inputs in (("x", "y"), ("x/a.png", "y/a.png"), ("x/a.png", "x/a.png")):
        ended = denoise(f"--model={model}", *inputs, "-o", "out", "--overwrite")
        refused(ended, "would both be written to out/a.png")
    assert not (tmp_path / "out").exists()


def test_wrong_arguments_are_told_before_anything_is_loaded(denoise, tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", image())
    write_image(tmp_path / "b.png", image())
    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(sys.modules, "n2n_tf.denoising.denoiser", None)  # its import would raise
    model = "--model=nothing"
    refused(denoise(model, "-o", "out"), "No input", "n2n-denoise --help")
    refused(denoise(model, "no.png", "-o", "b.png"), "no.png: no such file or folder")
    refused(denoise(model, "a.png", "no", "-o", "out"), "no: no such file or folder")
    refused(denoise(model, "empty", "-o", "out"), "empty: no image in this folder")
    refused(denoise(model, "a.png", "-o", "b.gif"), "--output=b.gif: files end in one of .png")
    several = "several images go into a folder"
    refused(denoise(model, "a.png", "b.png", "-o", "c.png"), "--output=c.png", several)
    refused(denoise(model, str(tmp_path), "-o", "c.png"), "--output=c.png", several)
    (tmp_path / "file").touch()
    refused(denoise(model, "a.png", "b.png", "-o", "file"), "--output=file", several)
    refused(denoise("a.png"), "--output must be given")
    refused(denoise(model, "a.png"), "--output must be given (see n2n-denoise --help)")
    refused(
        denoise(model, "a.png", "-o", "c.png", "--til=64"), "Unknown", "'til'. Did you mean: tile"
    )
    refused(denoise(model, "a.png", "-o", "-"), "--output=-: standard input and output are not")
    refused(denoise(model, "a.png", "-o", "c.png", "--tile=8"), "--tile=8")
    refused(denoise(model, "a.png", "-o", "c.png", "--tile=big"), "--tile=big")
    assert files(tmp_path) == {"a.png", "b.png", "file"}


def test_models_that_cannot_be_used(denoise, tmp_path):
    write_image(tmp_path / "a.png", image())
    refused(denoise("--model=nothing", "a.png", "-o", "b.png"), "nothing: no such file or folder")
    (tmp_path / "broken.keras").write_bytes(b"PK")
    refused(denoise("--model=broken.keras", "a.png", "-o", "b.png"), "broken.keras: damaged")
    refused(denoise("--model=a.png", "a.png", "-o", "b.png"), "a.png: not a model")
    assert files(tmp_path) == {"a.png", "broken.keras"}


def test_debug_shows_the_traceback(capsys, monkeypatch, tmp_path):
    write_image(tmp_path / "a.png", image())
    with pytest.raises(ValueError, match="no such file or folder"):
        programs.run(
            capsys,
            monkeypatch,
            "denoise",
            "--debug",
            "--model=nothing",
            tmp_path / "a.png",
            "--output",
            tmp_path / "b.png",
        )


def test_bad_files_among_good_ones_are_named_and_do_not_stop(denoise, model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(folder / "a.png", image(1))
    write_image(folder / "z.png", image(2))
    write_image(folder / "gray.png", image(3, (9, 9, 1)))
    (folder / "truncated.png").write_bytes((folder / "a.png").read_bytes()[:500])
    (folder / "no_image.jpg").write_text("no image at all")
    (folder / "empty.png").touch()
    ended = denoise(f"--model={model}", "in", "-o", "out")
    assert (ended.status, ended.out) == (1, "2 of 6 images denoised into out\n")
    lines = [line for line in ended.err.splitlines() if line.startswith("n2n-denoise: ")]
    named = {line.split(": ")[1] for line in lines}
    assert named == {"in/truncated.png", "in/no_image.jpg", "in/empty.png", "in/gray.png"}
    assert all(line.count("in/") == 1 for line in lines), "a file is named once in its line"
    assert files(tmp_path / "out") == {"a.png", "z.png"}
    np.testing.assert_array_equal(pixels_of("out/z.png"), halved(image(2)))


def test_a_result_that_its_format_cannot_hold(denoise, model, tmp_path):
    write_image(tmp_path / "deep.png", image(dtype=np.uint16))
    write_image(tmp_path / "clear.png", image(), image(shape=(37, 50)))
    for name, words in (("deep.png", "holds no uint16"), ("clear.png", "holds no transparency")):
        ended = denoise(f"--model={model}", name, "-o", "out.jpg")
        assert ended.status == 1 and words in ended.err and name in ended.err
        assert ended.out == "0 of 1 image denoised into out.jpg\n"
    assert files(tmp_path) == {"deep.png", "clear.png"}


def test_an_interrupted_run_says_how_far_it_came(denoise, model, tmp_path, monkeypatch):
    for name in "abc":
        write_image(tmp_path / f"{name}.png", image())
    import n2n_tf.denoising.files

    honest = n2n_tf.denoising.files.writing

    def interrupted(planes, target, *arguments):
        if target.name == "b.png":
            raise KeyboardInterrupt
        return honest(planes, target, *arguments)

    monkeypatch.setattr(n2n_tf.denoising.files, "writing", interrupted)
    ended = denoise(f"--model={model}", "a.png", "b.png", "c.png", "-o", "out")
    made = files(tmp_path / "out")
    assert ended.status == 130
    assert ended.out == f"{len(made)} of 3 images denoised into out\n"
    assert ended.err.endswith("n2n-denoise: interrupted.\n")
    assert {"a.png"} <= made <= {"a.png", "c.png"}  # c may be as good as written then


def test_too_little_memory_is_told_and_does_not_stop(denoise, model, tmp_path, monkeypatch):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", image())
    import tensorflow as tf

    from n2n_tf.denoising.denoiser import Denoiser

    def no_room(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nlong")

    monkeypatch.setattr(Denoiser, "__call__", no_room)
    ended = denoise(f"--model={model}", "a.png", "b.png", "-o", "out")
    assert ended.status == 1 and ended.out.startswith("0 of 2 images")
    assert ended.err.count("not enough memory; a smaller tile") == 2


# The help


def test_help_lists_every_flag(denoise):
    for flag in ("--help", "-h", "--helpfull"):
        ended = denoise(flag)
        assert ended.status == 0 and ended.err == ""
        for name in ("model", "output, -o", "tile", "white_level", "overwrite", "debug"):
            assert f"\n  --{name}: " in ended.out
        assert ended.out.startswith("Denoise image files or folders")
        assert max(map(len, ended.out.splitlines())) <= 100


# As a process of its own


def test_a_real_process_speaks_in_plain_lines(tmp_path):
    """A saved trainer as the model, a bad file among good ones."""
    network = unet(channels=3, features=2)
    Neighbor2Neighbor(network).save(tmp_path / "trainer.keras")
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in/good.png", image())
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    command = ["--model", "trainer.keras", "--engine", "keras", "in", "-o", "out"]
    done = start(command, tmp_path)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 1
    assert out == "Run by Keras.\n1 of 2 images denoised into out\n"
    lines = [
        line
        for line in err.replace("\r", "\n").splitlines()
        if "MP/s" not in line and "s/MP" not in line
    ]
    assert [line for line in lines if line.strip()] == lines[-1:], err
    assert lines[-1].startswith("n2n-denoise: in/bad.png: ")
    assert files(tmp_path / "out") == {"good.png"}


def test_ctrl_c_leaves_whole_files_only(tmp_path):
    (tmp_path / "in").mkdir()
    unet(channels=3, features=4).save(tmp_path / "model.keras")
    noisy = image(shape=(700, 700, 3))
    for number in range(300):
        os.link(_written(tmp_path / "one.png", noisy), tmp_path / f"in/{number:03}.png")
    done = start(["--model", "model.keras", "--engine", "keras", "in", "-o", "out"], tmp_path)
    deadline = time.monotonic() + 90
    while len(list(tmp_path.glob("out/0*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 130, err
    assert err.endswith("n2n-denoise: interrupted.\n") and "Traceback" not in err
    results = sorted((tmp_path / "out").iterdir())
    assert 2 <= len(results) < 300
    counted = re.fullmatch(r"Run by Keras\.\n(\d+) of 300 images denoised into out\n", out)
    # The signal may fall between the last file's appearing and its counting.
    assert len(results) - int(counted[1]) in (0, 1), out
    for path in results:
        assert path.name[0] != "." and pixels_of(path).shape == noisy.shape


def test_ctrl_c_does_not_wait_for_tensorflow(tmp_path):
    """It falls into the import, while a worker cannot stop and what libraries say is held back."""
    slow = tmp_path / "slow/tensorflow"
    slow.mkdir(parents=True)
    waits = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(600)"
    (slow / "__init__.py").write_text(waits)
    write_image(tmp_path / "a.png", image())
    arguments = ["--engine", "keras", "a.png", "-o", "out.png"]
    done = start(arguments, tmp_path, {"PYTHONPATH": f"{slow.parent}{os.pathsep}{ROOT}"})
    deadline = time.monotonic() + 90
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    done.send_signal(signal.SIGINT)
    _, err = done.communicate(timeout=60)  # a tenth of what it sleeps
    assert done.returncode == 130, err
    assert err.endswith("n2n-denoise: interrupted.\n") and "Traceback" not in err
    assert files(tmp_path) >= {"a.png"} and not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_told_in_words():
    full = OSError(28, "No space left on device")
    assert program.error_text(full) == "No space left on device"
    full.filename = "a.npy"
    assert program.error_text(full) == "a.npy: No space left on device"
    assert program.error_text(OSError("of its own words")) == "of its own words"


def test_a_program_that_is_ended_leaves_nothing_half_written(tmp_path):
    code = """if True:
        import sys, time
        from n2n_tf.cli import program
        from n2n_tf.pipelines.files.atomic_files import atomic_file
        def main(inputs):
            with atomic_file("result.tif") as temporary:
                temporary.write_bytes(bytes(99))
                print("begun", flush=True)
                time.sleep(60)
        program.start(main, "n2n-some", sys.modules[__name__], tensorflow=False)
    """
    done = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.readline() == "begun\n" and len(list(tmp_path.iterdir())) == 1
    done.terminate()
    assert done.communicate(timeout=60) == ("", "\nn2n-some: terminated.\n")
    assert done.returncode == 143 and not list(tmp_path.iterdir())


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    done = start(["--list_models"], tmp_path)
    done.stdout.close()
    assert done.stderr.read() == "" and done.wait(timeout=60) == 141


def _written(path, pixels):
    if not path.exists():
        write_image(path, pixels)
    return path


def start(arguments, folder, environment=None):
    return subprocess.Popen(
        [sys.executable, "-m", "n2n_tf.cli.denoise", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A parent in the background may have switched Ctrl-C off for its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("program", ["n2n-denoise", "n2n-evaluate", "n2n-export"])
def test_the_installed_programs_start_at_once(program, tmp_path):
    script = pathlib.Path(sysconfig.get_path("scripts")) / program
    for arguments, status in ((["--help"], 0), (["--modle=x"], 1)):
        begun = time.monotonic()
        done = subprocess.run([script, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == status
        assert "Traceback" not in done.stderr and "tensorflow" not in done.stderr.lower()
        if status:
            assert done.stderr.startswith(f"{program}: error: Unknown command line flag 'modle'")
            assert done.stdout == ""
        else:
            assert f"  {program} --model" in done.stdout and done.stderr == ""
        assert time.monotonic() - begun < 30


# Noise


def photo_counts(sigma=6.0, offset=7000):
    """A picture that fills a hundredth of its type, with noise: uint16 [128, 160]."""
    rows, columns = np.mgrid[:128, :160]
    clean = offset + 100 * np.sin(rows / 20) + columns
    noisy = clean + np.random.default_rng(4).normal(0, sigma, clean.shape)
    return clean, noisy.round().astype(np.uint16)[..., None]


def test_a_network_that_halves_everything_cannot_ruin_counts(denoise, gray_model):
    _, counts = photo_counts()
    write_image("a.tif", counts)
    ended = denoise(f"--model={gray_model}", "--noise=auto", "a.tif", "-o", "b.tif")
    assert ended.status == 0
    assert "% of what the network took away was more than noise" in ended.err
    removed = counts.astype(float) - pixels_of("b.tif")
    assert np.sqrt(np.mean(removed**2)) < 1.5 * 6


def test_noise_can_be_given_and_scaled(denoise, gray_model):
    _, counts = photo_counts(offset=100)
    counts = counts.astype(np.float32)
    write_image("a.tif", counts)
    removed = []
    for number, law in enumerate(["gauss:1", "gauss:6", "poisson_gaussian:0,36"]):
        ended = denoise(f"--model={gray_model}", f"--noise={law}", "a.tif", "-o", f"{number}.tif")
        assert ended.status == 0
        removed.append(np.std(counts - pixels_of(f"{number}.tif")))
    assert 0 < 10 * removed[0] < removed[1] == removed[2]
    ended = denoise(
        f"--model={gray_model}", "--noise=gauss:6", "--strength=0", "a.tif", "-o", "c.tif"
    )
    np.testing.assert_array_equal(pixels_of("c.tif"), counts)
    ended = denoise("--noise=loud", "a.tif", "-o", "d.tif")
    assert ended.status == 1 and "Unknown noise 'loud': it must be auto" in ended.err


def test_what_is_assumed_is_said_and_strict_makes_it_an_error(denoise, gray_model):
    write_image("tiny.png", image(shape=(7, 7, 1)))
    write_image("flat.png", np.full((40, 40, 1), 9, np.uint8))
    command = f"--model={gray_model}", "--noise=auto", "--strict", "--overwrite"
    ended = denoise(*command, "flat.png", "-o", "b.png")
    assert ended.status == 0 and "flat.png: seems to be without noise" in ended.err
    np.testing.assert_array_equal(pixels_of("b.png"), pixels_of("flat.png"))
    ended = denoise(*command, "tiny.png", "-o", "b.png")
    assert ended.status == 1 and "too small to tell noise from detail" in ended.err
    assert "1 of 1 image denoised" in ended.out


def test_estimates_are_printed_without_a_model(denoise):
    write_image("a.tif", photo_counts()[1])
    write_image("rgb.png", image(shape=(64, 64, 3)))
    ended = denoise("--estimate", "a.tif", "rgb.png", "missing.png")
    assert ended.status == 1 and "missing.png" in ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("a.tif") and "read" in lines[1]
    channel, gain, read, deviation = lines[2].split()[:4]
    assert (channel, gain) == ("0", "0") and float(deviation) == pytest.approx(6, rel=0.1)
    assert float(read) == pytest.approx(float(deviation) ** 2, rel=0.01)
    assert [line.split()[0] for line in lines[5:8]] == ["0", "1", "2"]
    assert not list(pathlib.Path().glob("*_*"))
