"""Writes the API reference from the docstrings, as HTML pages in docs/api/.

make docs      (then open docs/api/index.html)
"""

import pathlib
import sys

import pdoc

import n2n_tf

ROOT = pathlib.Path(__file__).resolve().parents[1]


def packages():
    """Names of all packages that a caller may import; a program's reference is its --help."""
    folders = {file.parent.name for file in ROOT.glob("n2n_tf/*/__init__.py")} - {"cli"}
    return [f"n2n_tf.{name}" for name in sorted(folders | {"pipelines"})]


def write(folder):
    """Writes an index and one page a module."""
    for name in n2n_tf.__all__:  # names are imported at their first use, which pdoc does not make
        setattr(n2n_tf, name, getattr(n2n_tf, name))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("n2n_tf", *packages(), output_directory=folder)


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs/api"
    write(target)
    print(f"wrote {target}/index.html")
