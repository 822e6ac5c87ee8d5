"""Documents must not drift: their commands parse against real flags, their Python runs."""

import ast
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags
from programs import imported, run

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "BUILD.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("n2n_tf/cli/*.py")),
]


def commands():
    """(document, program, arguments) of every n2n-... command line in the documents."""
    for document in DOCUMENTS:
        text = document.read_text()
        if document.suffix == ".py":
            text = ast.get_docstring(ast.parse(text))
        text = text.replace("\\\n", " ")
        for match in re.finditer(r"^\s*(?:\.venv/bin/)?(n2n-[a-z]+) (.*)$", text, re.MULTILINE):
            line = re.sub(r"\s{2,}\(.*\)$|\s+#.*$", "", match[2])
            yield document.name, match[1].removeprefix("n2n-"), shlex.split(line)


COMMANDS = sorted({(d, p, tuple(a)) for d, p, a in commands()})


def test_there_are_commands():
    assert {program for _, program, _ in COMMANDS} == {
        "train",
        "evaluate",
        "denoise",
        "export",
        "models",
        "sidd",
    }


@pytest.mark.parametrize(("document", "program", "arguments"), COMMANDS)
def test_commands_parse_against_the_real_flags(document, program, arguments):
    with imported(program):
        if not {"--help"} & set(arguments):
            flags.FLAGS([program, *arguments])


def test_an_invented_flag_would_be_noticed():
    with imported("train"), pytest.raises(flags.UnrecognizedFlagError):
        flags.FLAGS(["train", "--data_folder=x"])


@pytest.mark.parametrize("program", ["denoise", "evaluate"])
def test_whom_to_trust_with_a_saved_model_is_said(program, capsys, monkeypatch):
    """A SavedModel's graph can write files when it is called; nothing else that is loaded can."""
    assert "SavedModels only from people you trust" in (ROOT / "README.md").read_text()
    told = " ".join(run(capsys, monkeypatch, program, "--help").out.split())
    assert "SavedModel" in told and "take one only from people you trust" in told


def test_files_named_in_the_readme_exist():
    for name in re.findall(r"\]\(([A-Za-z./_]+\.md)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).exists(), name


def test_make_targets_named_in_the_documents_exist():
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"^make ([a-z-]+)", document.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document.name}: {target}"


@pytest.mark.slow
def test_the_readmes_python_example_runs_as_printed(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", code + "\nprint(image.shape, image.dtype)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("(64, 64, 3) float32")
    noisy = 20.0  # dB: noise of standard deviation 0.1
    assert float(re.search(r"'psnr': ([\d.]+)", done.stdout)[1]) > noisy + 3
