"""Who may import whom, read from the source itself."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("n2n_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")])

# A package imports itself and those before it; the three in one line never import one another.
ORDER = [
    {"pipelines"},
    {"networks"},
    {"method"},
    {"model_files"},
    {"denoising"},
    {"evaluation"},
    {"training", "export", "shipping"},
    {"experiments"},
    {"cli"},
]
# Libraries that only the named files may import.
HOMES = {
    "rawpy": {"pipelines/raw/camera_files.py", "pipelines/raw/develop.py"},
    "h5py": {"pipelines/sidd/files.py"},
    "scipy": {"pipelines/sidd/files.py"},
    "ai_edge_litert": {"n2n_tf/model_files/litert.py", "n2n_tf/export/litert_probe.py"},
    "torch": set(),
    "tensorflow_addons": set(),
}


def imports(path):
    """All modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_plan(path):
    name = path.relative_to(ROOT).as_posix()
    here = name.removeprefix("n2n_tf/").split("/")[0].removesuffix(".py")
    level = next((i for i, packages in enumerate(ORDER) if here in packages), None)
    for module in imports(path):
        top, *inner = module.split(".")
        assert name in HOMES.get(top, {name}), f"{name} imports {top}"
        if level is None or top != "n2n_tf" or not inner:
            continue
        if here == "cli" and inner[0] == "cli":
            assert inner[1] == "program", f"{name} imports another program"
        assert inner[0] in {here}.union(*ORDER[:level]), f"{name} imports {module}"


def unhinted(body):
    """Names of the public functions and methods of which an argument or the result has no hint."""
    for node in body:
        public = not node.name.startswith("_") if hasattr(node, "name") else False
        if public and isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in unhinted(node.body))
        elif isinstance(node, ast.FunctionDef) and (public or node.name.startswith("__")):
            args = node.args
            every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
            hints = [arg.annotation for arg in every if arg and arg.arg not in ("self", "cls")]
            if None in (*hints, node.returns):
                yield node.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_have_hints(path):
    found = list(unhinted(ast.parse(path.read_text()).body))
    assert not found, f"{path.relative_to(ROOT).as_posix()} lacks hints on {found}"


def test_every_package_has_its_place():
    packages = {p.parent.name for p in ROOT.glob("n2n_tf/*/__init__.py")} | {"pipelines"}
    assert packages == set().union(*ORDER)


def test_importing_the_package_is_light():
    code = (
        "import sys, n2n_tf; heavy = {'tensorflow', 'keras', 'rawpy', 'cv2', 'ai_edge_litert'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_map_leads_to_every_public_name():
    import n2n_tf

    for name in n2n_tf.__all__:
        assert getattr(n2n_tf, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Neighbour2Neighbour'"):
        _ = n2n_tf.Neighbour2Neighbour
