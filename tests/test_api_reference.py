"""The API reference is made from the docstrings, and nothing public is missing from it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def public_names(path):
    """Functions and classes of a module whose names do not begin with an underscore."""
    kinds = ast.FunctionDef | ast.ClassDef
    nodes = [n for n in ast.parse(path.read_text()).body if isinstance(n, kinds)]
    return {node.name for node in nodes if not node.name.startswith("_")}


def documented(page):
    """Names that an HTML page of the reference has a heading for."""
    return {part.split('"')[0] for part in page.read_text(encoding="utf-8").split('id="')[1:]}


@pytest.mark.slow
def test_every_public_name_has_its_place(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:pdoc", ROOT / "docs/api_reference.py", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sources = [*ROOT.glob("n2n_tf/*/*.py"), *ROOT.glob("pipelines/**/*.py")]
    for source in sources:
        module = source.relative_to(ROOT).as_posix().removeprefix("n2n_tf/").removesuffix(".py")
        if module.startswith("cli/") or module.endswith("__init__"):
            continue
        missing = public_names(source) - documented(tmp_path / f"n2n_tf/{module}.html")
        assert not missing, f"{module}: {missing}"

    import n2n_tf

    assert set(n2n_tf.__all__) <= documented(tmp_path / "n2n_tf.html")
