"""What a user waits for: starting, a small photo, the network in each engine, a training's input.

  python benchmarks/bench.py [--repeats 5] [--output bench.json]      (make bench)

Rows of one table are run in turns, so that whatever else the machine does meets all of them.
Medians, in seconds of wall clock and of processor time (user and system, all threads together); a
ratio is to the row above that has none. On a busy machine believe the processor time.
"""

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

REPEATS = flags.DEFINE_integer("repeats", 5, "Runs of each row.", 1)
MODEL = flags.DEFINE_string("model", "unet_rgb_gauss5_50", "Name of a shipped model.")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")

HEIGHT, WIDTH = 512, 768
DENOISE = [sys.executable, "-m", "n2n_tf.cli.denoise"]


def timed(work):
    """Seconds of wall clock and of processor time that a call takes, its child processes' too."""
    wall, before = time.perf_counter(), _processor_seconds()
    work()
    return time.perf_counter() - wall, _processor_seconds() - before


def _processor_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def table(title, rows, repeats):
    """Runs all rows in turns and prints their medians.

    Args:
        title: heading.
        rows: dict of a row's name to a callable without arguments.
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
        figures[name] = dict(
            zip(
                ("wall", "processor", "wall_ratio", "processor_ratio"),
                (wall, processor, *ratios),
                strict=True,
            )
        )
    return figures


def whole_programs(folder):
    """n2n-denoise from its start to its end, in processes of its own."""
    photo = folder / "photo.png"
    _write_photo(photo)

    def run(*arguments):
        return lambda: subprocess.run(
            [*DENOISE, *map(str, arguments)], check=True, capture_output=True
        )

    picture = [photo, "-o", folder / "out.png", "--overwrite", "--model", MODEL.value]
    return {
        f"photo {WIDTH} x {HEIGHT}, LiteRT": run(*picture, "--engine", "litert"),
        f"photo {WIDTH} x {HEIGHT}, Keras": run(*picture, "--engine", "keras"),
        "--list_models": run("--list_models"),
        "--help": run("--help"),
    }


def _write_photo(path):
    import numpy as np

    from n2n_tf.pipelines.files.image_files import write_image

    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, WIDTH)[None, :, None] + rng.normal(0, 25, (HEIGHT, WIDTH, 3))
    write_image(path, np.uint8(np.clip(ramp, 0, 255)))


def networks():
    """The network alone, on one picture, in each engine."""
    import numpy as np

    from n2n_tf.denoising.engines import load

    image = np.random.default_rng(0).random((1, HEIGHT, WIDTH, 3), np.float32)
    runs = {name: load(MODEL.value, name)[0].run for name in ("litert", "keras")}
    return {name: lambda run=run: np.asarray(run(image)) for name, run in runs.items()}


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
    told = machine()
    print(", ".join(f"{key} {value}" for key, value in told.items()))
    with tempfile.TemporaryDirectory() as folder:
        programs = table("n2n-denoise", whole_programs(pathlib.Path(folder)), REPEATS.value)
    alone = table(f"{MODEL.value} alone", networks(), REPEATS.value)
    if OUTPUT.value:
        figures = {"machine": told, "programs": programs, "networks": alone}
        pathlib.Path(OUTPUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
