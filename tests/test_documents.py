"""Documents must not drift: their commands parse against real flags, their Python runs."""

import ast
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags
from programs import imported, run

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("docs/*.ipynb")), *sorted(ROOT.glob("n2n_tf/cli/*.py"))]


def text_of(document):
    """What a reader sees of a page, of a program's --help, or of a notebook."""
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".py":
        return ast.get_docstring(ast.parse(text))
    if document.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) + "\n" for cell in json.loads(text)["cells"])
    return text


def commands():
    """(document, program, arguments) of every n2n-... command, on a line or in `backticks`."""
    for document in DOCUMENTS:
        text = text_of(document).replace("\\\n", " ")
        lines = re.findall(r"^\s*!?(?:\.venv/bin/)?(n2n-[a-z]+) (.*)$", text, re.MULTILINE)
        for program, line in lines + re.findall(r"`(n2n-[a-z]+) ([^`]*)`", text):
            line = re.sub(r"\s{2,}\(.*\)$|\s+#.*$", "", line)
            yield document.name, program.removeprefix("n2n-"), shlex.split(line)


COMMANDS = sorted({(d, p, tuple(a)) for d, p, a in commands()})


def test_there_are_commands():
    assert {program for _, program, _ in COMMANDS} == {
        "train",
        "evaluate",
        "denoise",
        "export",
        "models",
        "sidd",
        "experiment",
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
    assert "SavedModels, only from people you trust" in (ROOT / "SECURITY.md").read_text()
    told = " ".join(run(capsys, monkeypatch, program, "--help").out.split())
    assert "SavedModel" in told and "take one only from people you trust" in told


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for name, mark in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
        target = (page.parent / name) if name else page
        assert target.exists(), name
        if mark:
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert mark in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_modules_and_scripts_named_in_the_documents_exist(page):
    for name in re.findall(
        r"\b((?:benchmarks|n2n_tf|pipelines|tests|docs)/[\w/]+\.py)\b", text_of(page)
    ):
        assert (ROOT / name).exists(), name


def test_every_page_is_reached_from_the_readme():
    linked = re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text())
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES} - {"README.md"}
    assert pages <= set(linked)


def test_the_picture_is_small_enough_for_a_page():
    assert (ROOT / "docs/images/denoised.png").stat().st_size < 500_000


def test_one_version_everywhere():
    import n2n_tf

    version = n2n_tf.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_targets_named_in_the_documents_exist():
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", text_of(document), re.MULTILINE):
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
