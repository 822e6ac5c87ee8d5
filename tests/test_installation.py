"""What the installed package meets: settings of Keras and Python, folders of the same names."""

import ast
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import numpy as np
import pytest

from n2n_tf.pipelines.files.image_files import read_image, write_image

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = ("train", "evaluate", "denoise", "export", "sidd", "models", "demo")


def python(*arguments, interpreter=sys.executable, cwd=None, **settings):
    """Runs Python, or another program, with these environment variables beside the present ones."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **settings}
    command = [interpreter, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


# Keras


@pytest.fixture
def keras_home(tmp_path):
    """A keras.json that chooses everything otherwise."""
    settings = {"backend": "torch", "floatx": "float64", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings | {"epsilon": 1e-7}))
    return str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", None])
def test_programs_choose_tensorflow_themselves(tmp_path, keras_home, backend):
    write_image(tmp_path / "a.png", np.full((40, 50, 1), 90, np.uint8))
    command = ("-m", "n2n_tf.cli.denoise", tmp_path / "a.png", "-o", tmp_path / "b.png")
    settings = {"KERAS_BACKEND": backend} if backend else {"KERAS_HOME": keras_home}
    done = python(*command, **settings)
    assert done.returncode == 0, done.stderr
    assert np.abs(read_image(tmp_path / "b.png").pixels.astype(int) - 90).max() <= 4


def test_the_library_chooses_tensorflow_where_keras_is_not_loaded_yet():
    code = "import n2n_tf, keras; print(n2n_tf.unet(1, features=2).name, keras.backend.backend())"
    done = python("-c", code, KERAS_BACKEND="torch")
    assert done.stdout == "unet tensorflow\n", done.stderr


# Not `Denoiser`, which runs shipped models without Keras.
@pytest.mark.parametrize("name", ["Neighbor2Neighbor", "unet"])
def test_another_backend_that_is_loaded_already_is_told_in_one_line(name):
    code = f"import keras; keras.config.backend = lambda: 'torch'\nfrom n2n_tf import {name}"
    done = python("-c", code)
    *_, last = done.stderr.strip().splitlines()
    assert done.returncode == 1 and last == (
        "ImportError: n2n_tf runs on Keras with TensorFlow, and Keras is loaded already with the "
        "backend 'torch': import n2n_tf before keras, or set KERAS_BACKEND=tensorflow."
    )


# Python


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_there_without_docstrings(program):
    helps = {python("-m", f"n2n_tf.cli.{program}", "--help", PYTHONOPTIMIZE=level).stdout
             for level in ("0", "2")}  # fmt: skip
    (text,) = helps
    assert "\nFlags:\n" in text and len(text.splitlines()) > 5


# Dependencies


def declared():
    """Names of the distributions that users need, may want for some files, and developers need."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    extras = project["optional-dependencies"]
    kinds = [lines, extras["fits"] + extras["dicom"], extras["dev"]]
    return [{re.match(r"[a-z0-9-]*", line)[0] for line in some} - {""} for some in kinds]


def distributions_of(sources):
    """The distributions from which files import anything, anywhere in them: one set a module."""
    found, known = {}, importlib.metadata.packages_distributions()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                found[top] = {name.lower().replace("_", "-") for name in known.get(top, [])}
    return found


def test_everything_that_is_imported_is_declared():
    users, optional, developers = declared()
    ours = {"n2n_tf", *(path.stem for path in (ROOT / "tests/support").glob("*.py"))}
    ours |= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    ours |= {"torch", "jax", "onnxruntime", "bm3d"}  # fixtures, and rivals of benchmarks
    product = [*ROOT.glob("n2n_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")]
    others = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")]
    for sources, allowed in (
        (product, users | optional),
        (others, users | optional | developers),
    ):
        for module, distributions in distributions_of(sources).items():
            assert module in ours or distributions & allowed, module


# The wheel


SCRIPT = """
import pathlib, sys
import numpy as np
import n2n_tf
from n2n_tf import Denoiser
from n2n_tf.pipelines.files.image_files import read_image
import pipelines, saved_models

assert pathlib.Path(n2n_tf.__file__).is_relative_to(sys.prefix), n2n_tf.__file__
pixels = read_image("noisy.png").pixels
print(pipelines.MINE, saved_models.MINE, np.std(Denoiser.load("unet_gray_gauss5_50")(pixels)) < 10)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what git knows, so that nothing left by a build is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in names:
        if (ROOT / name).is_file() and name.split("/")[0] not in ("tests", "benchmarks"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    version = int(importlib.metadata.version("setuptools").split(".")[0])
    isolation = ["--no-build-isolation"] if version >= 77 else []  # as pyproject.toml asks for
    done = python("-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", folder, folder)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment's interpreter: the wheel, and this environment's packages below it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    done = python("-m", "pip", "--python", interpreter, "install", "-q", "--no-deps", wheel)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    below = [path for path in sys.path if path.endswith("-packages")]
    (site / "dependencies.pth").write_text("\n".join(below))
    return interpreter


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_all_of_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"n2n_tf"}
    sources = [*ROOT.glob("n2n_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")]
    sources += [path for path in ROOT.glob("saved_models/*/*") if "__pycache__" not in str(path)]
    for path in sources:
        name = path.relative_to(ROOT).as_posix()
        assert f"n2n_tf/{name.removeprefix('n2n_tf/')}" in names


@pytest.mark.slow
def test_the_installed_package_denoises_beside_folders_of_the_same_names(installed, tmp_path):
    for name in ("pipelines", "saved_models"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"MINE = {name!r}\n")
    noise = np.random.default_rng(0).normal(128, 25, (48, 64, 1))
    write_image(tmp_path / "noisy.png", np.clip(noise, 0, 255).astype(np.uint8))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = python("script.py", interpreter=installed, cwd=tmp_path)
    assert done.stdout == "pipelines saved_models True\n", done.stderr
    command = ("noisy.png", "-o", "denoised.png")
    for program in ([installed, "-m", "n2n_tf.cli.denoise"], [installed.with_name("n2n-denoise")]):
        first, *rest = program
        done = python(*rest, *command, "--overwrite", interpreter=first, cwd=tmp_path)
        assert done.stdout.endswith("1 of 1 image denoised into denoised.png\n"), done.stderr
    assert read_image(tmp_path / "denoised.png").pixels.std() < 10
