"""Who may import whom, read from the source itself."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("n2n_tf/**/*.py"), *ROOT.glob("pipelines/**/*.py")])

# Libraries that only the named files may import.
HOMES = {
    "rawpy": {"pipelines/raw_files.py", "pipelines/raw_develop.py"},
    "h5py": {"pipelines/sidd.py"},
    "scipy": {"pipelines/sidd.py"},
    "ai_edge_litert": {"n2n_tf/denoiser.py", "n2n_tf/litert_probe.py"},
    "torch": set(),
    "tensorflow_addons": set(),
}
# Within n2n_tf: a module imports only from levels below its own.
LEVELS = {
    "__init__": 0,
    "subsamplers": 0,
    "losses": 0,
    "schedules": 0,
    "metrics": 0,
    "tiling": 0,
    "networks": 0,
    "torch_checkpoint": 1,
    "torch_pickle": 0,
    "torch_weights": 2,
    "model": 1,
    "model_info": 0,
    "model_files": 2,
    "npz_weights": 3,
    "presets": 1,
    "run_record": 0,
    "checkpoints": 1,
    "guards": 2,
    "final_network": 3,
    "strategies": 0,
    "shipped": 3,
    "detail": 0,
    "denoiser": 4,
    "raw": 5,
    "evaluation": 6,
    "litert_probe": 0,
    "tflite_inputs": 3,
    "tflite": 7,
    "tflite_report": 8,
    "export": 9,
    "model_cards": 7,
    "validation": 7,
    "training_log": 7,
    "training": 8,
    "cli": 10,
}


def imports(path):
    """All modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    """n2n_tf.networks.unet -> networks"""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVELS else "__init__"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_plan(path):
    name = path.relative_to(ROOT).as_posix()
    here = room(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    for module in imports(path):
        top = module.split(".")[0]
        assert name in HOMES.get(top, {name}), f"{name} imports {top}"
        if name.startswith("pipelines/"):
            assert top != "n2n_tf", f"{name}: pipelines know files, never models"
        elif top == "n2n_tf" and here == "cli":
            assert not module.startswith("n2n_tf.cli."), f"{name} imports another program"
        elif top == "n2n_tf" and room(module) != here:
            assert LEVELS[room(module)] < LEVELS[here] or room(module) == "__init__", (
                f"{name} imports {module}"
            )


def test_every_module_has_a_level():
    rooms = {
        p.relative_to(ROOT / "n2n_tf").parts[0].removesuffix(".py")
        for p in SOURCES
        if p.is_relative_to(ROOT / "n2n_tf")
    }
    assert rooms == set(LEVELS)


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
