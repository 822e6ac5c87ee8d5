"""The examples in docstrings say what really comes out."""

import doctest
import importlib
import io
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("n2n_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")])
WITH_EXAMPLES = [path for path in SOURCES if ">>> " in path.read_text()]


def module_of(path):
    """The installed module of a source file: `pipelines/` is a part of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "n2n_tf" else ("n2n_tf", *parts)
    return importlib.import_module(".".join(parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_are_true(path):
    module, told = module_of(path), io.StringIO()
    assert path.samefile(module.__file__)
    runner = doctest.DocTestRunner()
    examples = [found for found in doctest.DocTestFinder().find(module) if found.examples]
    for example in examples:
        runner.run(example, out=told.write)
    assert examples and not runner.failures, told.getvalue()
