"""What a user waits for: starting, a photo, a raw, the network and a training step beside rivals.

  python benchmarks/bench.py [--repeats 3] [--output bench.json]      (make bench)

Rows under one heading are run in turns, so that whatever else the machine does meets all of them.
Medians, in seconds of wall clock and of processor time (user and system, all threads together);
ratios are to the first row. On a busy machine believe the processor time. PyTorch, onnxruntime and
BM3D are left out unless they are installed (requirements-benchmarks.txt), or --rivals_python names
the Python of an environment that holds them.

A network's share of GEMM is its multiplications and additions a second of processor time, of those
that NumPy's product of two matrices does.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags
from rivals import ROWS

REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each row.", 1)
MODEL = flags.DEFINE_string("model", "unet_rgb_gauss5_50", "Name of a shipped model.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")
TABLES = flags.DEFINE_list(
    "tables",
    ["programs", "raw", "networks", "pictures", "steps", "small steps", "host", "input"],
    "Which parts of the table to make.",
)
RIVALS_PYTHON = flags.DEFINE_string("rivals_python", sys.executable, "Python that runs rivals.")

HEIGHT, WIDTH = 512, 768
RAW = 4000, 6000
DENOISE = [sys.executable, "-m", "n2n_tf.cli.denoise"]


def timed(work):
    """Seconds of wall clock and of processor time that a call takes, its child processes' too.

    A call that returns numbers has measured itself; a third one is its peak of memory in GB.
    """
    wall, before = time.perf_counter(), _processor_seconds()
    told = work()
    return told or (time.perf_counter() - wall, _processor_seconds() - before)


def _processor_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


HEAD = f"{'':34} {'wall':>9} {'processor':>10} {'ratios':>14} {'peak':>9}"


def table(title, rows, repeats):
    """Runs all rows in turns and prints their medians.

    Args:
        title: heading.
        rows: dict of a row's name to a callable without arguments, for `timed`.
        repeats: how often each is run.

    Returns:
        dict of name to {"wall", "processor", "wall_ratio", "processor_ratio"}, and "peak_gb" of
        those that tell it.
    """
    taken = {name: [] for name in rows}
    for _ in range(repeats):
        for name, work in rows.items():
            taken[name].append(timed(work))
    print(f"\n{title}")
    figures, first = {}, None
    for name, times in taken.items():
        wall, processor, *peak = map(statistics.median, zip(*times, strict=True))
        first = first or (wall, processor)
        ratios = wall / first[0], processor / max(first[1], 1e-6)
        told = f"{peak[0]:6.2f} GB" if peak else ""
        print(f"{name:34} {wall:8.3f}s {processor:9.3f}s {ratios[0]:7.2f}{ratios[1]:7.2f} {told}")
        keys = "wall", "processor", "wall_ratio", "processor_ratio", "peak_gb"
        figures[name] = dict(zip(keys, (wall, processor, *ratios, *peak), strict=False))
    sys.stdout.flush()
    return figures


@contextlib.contextmanager
def apart(names):
    """Rows of `benchmarks/rivals.py`, each in a process of its own: dict of name to callable."""
    rows = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            ours = not name.endswith(("PyTorch", "onnxruntime", "BM3D"))
            python = sys.executable if ours else RIVALS_PYTHON.value
            process = subprocess.Popen(
                [python, pathlib.Path(__file__).with_name("rivals.py"), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(process.communicate)
            said = _answer(process)
            if said != "ready":
                print(f"{name:34} left out: {said.removeprefix('no: ') or 'it failed'}")
                continue
            rows[name] = functools.partial(_work, process)
        yield rows


def _answer(process):
    """The next line that is ours: libraries print to standard output too."""
    for line in process.stdout:
        words = line.split()
        if line.startswith(("ready", "no: ")) or (len(words) == 2 and words[0][0].isdigit()):
            return line.strip()
    return ""


def _work(process):
    process.stdin.write("work\n")
    process.stdin.flush()
    return tuple(map(float, _answer(process).split()))


def whole_programs(folder):
    """n2n-denoise from its start to its end, in processes of its own."""
    photo = folder / "photo.png"
    _write_photo(photo)

    def run(*arguments):
        return lambda: _run([*DENOISE, *arguments])

    picture = [photo, "-o", folder / "out.png", "--overwrite", "--model", MODEL.value]
    return {
        f"photo {WIDTH} x {HEIGHT}, LiteRT": run(*picture, "--engine", "litert"),
        f"photo {WIDTH} x {HEIGHT}, LiteRT dynamic": run(*picture, "--precision", "dynamic"),
        f"photo {WIDTH} x {HEIGHT}, LiteRT int8": run(*picture, "--precision", "int8"),
        f"photo {WIDTH} x {HEIGHT}, Keras": run(*picture, "--engine", "keras"),
        "--estimate": run(photo, "--estimate"),
        "--list_models": run("--list_models"),
        "--help": run("--help"),
    }


def _write_photo(path):
    import numpy as np

    from n2n_tf.pipelines.files.image_files import write_image

    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, WIDTH)[None, :, None] + rng.normal(0, 25, (HEIGHT, WIDTH, 3))
    write_image(path, np.uint8(np.clip(ramp, 0, 255)))


def whole_raw(folder):
    """A raw of 24 megapixels to a DNG, and the network alone on its planes."""
    import numpy as np

    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.denoising.tiling import plan_tiles
    from n2n_tf.model_files.shipped import DEFAULTS
    from n2n_tf.pipelines.padding import round_up

    planes = np.random.default_rng(0).random((RAW[0] // 2, RAW[1] // 2, 4), np.float32)
    network = Denoiser.load(DEFAULTS["raw"])
    multiple = network.tiling.size_multiple
    tiles = plan_tiles(*(round_up(side, multiple) for side in planes.shape[:2]), network.tiling)
    covered = sum(tile.height * tile.width for tile in tiles) * 4 / planes.size
    print(f"\n{len(tiles)} windows cover the planes of a raw {covered:.2f} times")

    def run(name, shot):
        raw = _write_raw(folder / f"{name}.dng", shot)
        command = [*DENOISE, raw, "-o", folder / "out.dng", "--overwrite"]
        return lambda: _run(command)

    return {
        "24 megapixels, the network alone": lambda: network.bare(planes) is None,
        "raw to DNG": run("noisy", 3e-3),
        "weak noise: the network twice": run("weak", 2e-4),
    }


def _write_raw(path, shot):
    """A mosaic of a ramp with noise of this variance at white."""
    import numpy as np

    from n2n_tf.pipelines.raw.dng import write_dng
    from n2n_tf.pipelines.raw.frame import RawFrame

    signal = np.linspace(0.02, 0.6, RAW[1], dtype=np.float32)[None]
    deviation = np.sqrt(shot * signal + 1e-6)
    noisy = signal + deviation * np.random.default_rng(0).standard_normal(RAW, np.float32)
    mosaic = np.uint16(np.clip(512 + 15871 * noisy, 0, 16383))
    return write_dng(path, RawFrame(mosaic, "RGGB", (512.0,) * 4, 16383), mosaic)


# A process of its own: what one had at most counts for the program that it becomes, too.
_TIMED = """
import os, subprocess, sys, time
begun, quiet = time.perf_counter(), subprocess.DEVNULL
process = subprocess.Popen(sys.argv[1:], stdout=quiet, stderr=quiet)
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss, status)
"""


def _run(command):
    """Runs a program -> seconds of wall clock and of processor time, peak of its memory in GB."""
    command = list(map(str, command))
    timed = subprocess.run(
        [sys.executable, "-c", _TIMED, *command], stdout=subprocess.PIPE, check=True
    )
    wall, processor, peak, status = map(float, timed.stdout.split())
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return wall, processor, peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def share_of_gemm(figures):
    """Prints and returns how near the network of each row comes to a product of matrices."""
    import numpy as np

    from n2n_tf.networks.cost import multiply_adds
    from n2n_tf.networks.unet import unet

    side, factor = 2048, np.ones((2048, 2048), np.float32)
    product = statistics.median(timed(lambda: (factor @ factor) is None)[1] for _ in range(5))
    gemm = 2 * side**3 / product
    work = 2 * multiply_adds(unet(channels=3)) * HEIGHT * WIDTH
    shares = {name: work / row["processor"] / gemm for name, row in figures.items()}
    told = ", ".join(f"{name.split(', ')[1]} {share:.2f}" for name, share in shares.items())
    print(f"share of GEMM ({gemm / 1e9:.0f} GFLOP a processor second): {told}")
    return {"gemm_gflop_per_processor_second": gemm / 1e9, "shares": shares}


def machine():
    """What the figures were taken on."""
    from n2n_tf.pipelines.processors import available_processors

    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = {line.split(":")[0].strip(): line.split(":")[-1].strip() for line in lines}
    kinds = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(told.get("flags", "").split())
    return {
        "processor": told.get("model name") or platform.processor(),
        "kinds": " ".join(sorted(kinds)),
        "processors": available_processors(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in ("tensorflow", "ai-edge-litert", "numpy")},
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def tables(wanted):
    """Prints the wanted parts of the table -> dict of their figures."""
    import host_time
    import input_rate

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if "programs" in wanted:
            figures["programs"] = table("n2n-denoise", whole_programs(folder), REPEATS.value)
        if "raw" in wanted:
            figures["raw"] = table("a camera raw", whole_raw(folder), 1)
    for name in TITLES:
        if name in wanted:
            rows = [row for row in ROWS if row.startswith(name.removesuffix("s"))]
            with apart(rows) as works:
                figures[name] = table(TITLES[name], works, REPEATS.value)
    if "networks" in wanted:
        figures["gemm"] = share_of_gemm(figures["networks"])
    if "host" in wanted:
        figures["host"] = host_time.table(60)
        figures["optimizer"] = host_time.optimizers(30)
    if "input" in wanted:
        figures["input"] = input_rate.table()
    return figures


TITLES = {
    "networks": "the paper's U-Net, 768 x 512",
    "pictures": "a picture of 192 x 128, noise known",
    "steps": "the paper's U-Net, a training step of 4 x 256 x 256",
    "small steps": "the same of 16 x 64 x 64",
}


def main(_):
    """Prints the table and writes its figures."""
    told, begun = machine(), (time.perf_counter(), _processor_seconds())
    print("\n".join(f"{key}: {value}" for key, value in told.items()))
    print(f"\n{HEAD}")
    figures = {"machine": told, **tables(TABLES.value)}
    wall, processor = time.perf_counter() - begun[0], _processor_seconds() - begun[1]
    print(f"\nall of it: {wall:.0f} s of wall clock, {processor:.0f} s of processor time")
    if OUTPUT.value:
        figures["seconds"] = {"wall": wall, "processor": processor}
        pathlib.Path(OUTPUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
