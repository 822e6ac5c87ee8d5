"""What a user waits for: starting, a photo, a raw, the network and a training step beside rivals.

  python benchmarks/bench.py [--repeats 5] [--output bench.json]      (make bench)

Rows of one table are run in turns, so that whatever else the machine does meets all of them.
Medians, in seconds of wall clock and of processor time (user and system, all threads together);
ratios are to the first row. On a busy machine believe the processor time. PyTorch and onnxruntime
are left out unless they are installed (requirements-benchmarks.txt), or --rivals_python names the
Python of an environment that holds them.
"""

import contextlib
import functools
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

REPEATS = flags.DEFINE_integer("repeats", 5, "Runs of each row.", 1)
MODEL = flags.DEFINE_string("model", "unet_rgb_gauss5_50", "Name of a shipped model.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")
TABLES = flags.DEFINE_list(
    "tables", ["programs", "raw", "networks", "steps", "host", "input"], "Which tables to make."
)
RIVALS_PYTHON = flags.DEFINE_string("rivals_python", sys.executable, "Python that runs rivals.")

HEIGHT, WIDTH = 512, 768
RAW = 4000, 6000
DENOISE = [sys.executable, "-m", "n2n_tf.cli.denoise"]


def timed(work):
    """Seconds of wall clock and of processor time that a call takes, its child processes' too."""
    wall, before = time.perf_counter(), _processor_seconds()
    told = work()
    return told or (time.perf_counter() - wall, _processor_seconds() - before)


def _processor_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def table(title, rows, repeats):
    """Runs all rows in turns and prints their medians.

    Args:
        title: heading.
        rows: dict of a row's name to a callable without arguments; one that returns numbers
            returns (wall clock, processor time) itself.
        repeats: how often each is run, after once that does not count.

    Returns:
        dict of name to {"wall", "processor", "wall_ratio", "processor_ratio"}.
    """
    for work in rows.values():
        work()
    taken = {name: [] for name in rows}
    for _ in range(repeats):
        for name, work in rows.items():
            taken[name].append(timed(work))
    print(f"\n{title:34} {'wall':>9} {'processor':>10} {'ratios':>14}")
    figures, first = {}, None
    for name, times in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
        first = first or (wall, processor)
        ratios = wall / first[0], processor / max(first[1], 1e-6)
        print(f"{name:34} {wall:8.3f}s {processor:9.3f}s {ratios[0]:7.2f}{ratios[1]:7.2f}")
        keys = "wall", "processor", "wall_ratio", "processor_ratio"
        figures[name] = dict(zip(keys, (wall, processor, *ratios), strict=True))
    return figures


@contextlib.contextmanager
def apart(names):
    """Rows of `benchmarks/rivals.py`, each in a process of its own: dict of name to callable."""
    rows = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            ours = not name.endswith(("PyTorch", "onnxruntime"))
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
    from n2n_tf.pipelines.raw.dng import write_dng
    from n2n_tf.pipelines.raw.frame import RawFrame

    rng = np.random.default_rng(0)
    signal = np.linspace(0.02, 0.6, RAW[1], dtype=np.float32)[None]
    noisy = signal + np.sqrt(2e-4 * signal + 1e-6) * rng.standard_normal(RAW, np.float32)
    mosaic = np.uint16(np.clip(512 + 15871 * noisy, 0, 16383))
    raw = write_dng(folder / "raw.dng", RawFrame(mosaic, "RGGB", (512.0,) * 4, 16383), mosaic)
    planes = rng.random((RAW[0] // 2, RAW[1] // 2, 4), np.float32)
    network = Denoiser.load(DEFAULTS["raw"])
    multiple = network.tiling.size_multiple
    tiles = plan_tiles(*(round_up(side, multiple) for side in planes.shape[:2]), network.tiling)
    covered = sum(tile.height * tile.width for tile in tiles) * 4 / planes.size
    print(f"\n{len(tiles)} windows cover the planes of a raw {covered:.2f} times")
    command = [*DENOISE, raw, "-o", folder / "out.dng", "--overwrite"]
    return {
        "24 megapixels, the network alone": lambda: network.bare(planes) is None,
        "24 megapixels, raw to DNG": lambda: _run(command),
    }


def _run(command):
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def machine():
    """What the figures were taken on."""
    from n2n_tf.pipelines.processors import available_processors

    info = pathlib.Path("/proc/cpuinfo")
    names = (
        [line for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "processors": available_processors(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def main(_):
    """Prints the tables."""
    import host_time
    import input_rate

    told = machine()
    print(", ".join(f"{key} {value}" for key, value in told.items()))
    figures, wanted = {"machine": told}, TABLES.value
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if "programs" in wanted:
            rows = whole_programs(folder)
            figures["programs"] = table("n2n-denoise", rows, REPEATS.value)
        if "raw" in wanted:
            figures["raw"] = table("a camera raw", whole_raw(folder), min(2, REPEATS.value))
    for name in {"networks", "steps"} & set(wanted):
        rows = [row for row in ROWS if row.startswith(name.removesuffix("s"))]
        with apart(rows) as works:
            figures[name] = table(f"the paper's U-Net: {name}", works, REPEATS.value)
    if "host" in wanted:
        figures["host"] = host_time.table(100)
        figures["optimizer"] = host_time.optimizers(30)
    if "input" in wanted:
        figures["input"] = input_rate.table()
    if OUTPUT.value:
        pathlib.Path(OUTPUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
