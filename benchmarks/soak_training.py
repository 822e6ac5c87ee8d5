"""Kills a real training again and again and compares its end, bit for bit, with one left alone.

    python benchmarks/soak_training.py --kills 12

Each run is a process of its own that runs the whole program `n2n-train`; it is forked from this one
after TensorFlow's import, which saves six seconds each. It is killed by SIGKILL: every second time
in the midst of writing a checkpoint, as a temporary file in its folder shows, else at a random
moment after it has taken a step. At the end weights, optimizer, averages, history, the network and
the steps in TensorBoard's files must equal those of the training that nobody killed.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

FLAGS = (
    "--noise=gauss25 --network=unet_bias_free --channels=1 --features=2 --patch_size=32 "
    "--batch_size=2 --init_scale=1 --crops_per_image=4 --epochs=5 --ema_decay=0.9 "
    "--checkpoint_every=2 --holdout=0.2"
).split()


def start(data_dir, model_dir):
    """Forks a process that trains; returns its number. Its output goes to a file."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        output = os.open(f"{model_dir}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        from n2n_tf.cli import train

        folders = [f"--data_dir={data_dir}", f"--model_dir={model_dir}"]
        sys.argv = ["n2n-train", *FLAGS, *folders]
        train.run()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(number, deadline=0.0):
    """Waits until then at most; returns the exit status, None if the process still runs."""
    while True:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


def kill(number, model_dir, while_writing, pause):
    """Kills a training run after its next step; returns whether it still ran."""
    folder = model_dir / "checkpoints"
    before = set(folder.glob("*.json"))
    deadline = time.monotonic() + 120
    while not set(folder.glob("*.json")) - before:
        assert time.monotonic() < deadline, "no step within two minutes"
        if ended(number) is not None:
            return False
        time.sleep(0.002)
    if while_writing:
        while not any(folder.glob(".*")) and time.monotonic() < deadline:
            time.sleep(0.0002)
    elif ended(number, time.monotonic() + pause) is not None:
        return False
    os.kill(number, signal.SIGKILL)
    return ended(number, deadline) == -signal.SIGKILL


def end_of(model_dir):
    """All that a finished training holds: arrays by name, step, history, logged values."""
    import h5py
    import numpy as np
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    newest = sorted((model_dir / "checkpoints").glob("*.json"))[-1]
    progress = json.loads(newest.read_text())
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item[()]).tobytes()

    with h5py.File(newest.with_suffix(".weights.h5")) as file:
        file.visititems(keep)
    logged = [
        (value.tag, event.step, value.tensor.SerializeToString())
        for file in sorted((model_dir / "logs").iterdir())
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    return arrays, progress["step"], progress["history"], logged


def main():
    """Prints one line per kill and the result; exits with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import n2n_tf.training.run  # noqa: F401  before the forks
    from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, embedded_photo
    from n2n_tf.pipelines.files.image_files import write_image

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "photos").mkdir()
        for name in FIRST_SET:
            write_image(root / "photos" / f"{name}.png", embedded_photo(name)[:96, :80])
        assert ended(start(root / "photos", root / "whole"), time.monotonic() + 600) == 0, (
            root / "whole.txt"
        ).read_text()
        kills = survived = writing = 0
        while kills < arguments.kills:
            number = start(root / "photos", root / "killed")
            while_writing = kills % 2 == 1
            if not kill(number, root / "killed", while_writing, draw.uniform(0, 0.5)):
                break
            kills += 1
            left = any((root / "killed" / "checkpoints").glob(".*"))
            writing += left
            step = sorted((root / "killed" / "checkpoints").glob("*.json"))[-1].stem
            print(
                f"kill {kills}: at step {int(step)}{', in a checkpoint write' * left}", flush=True
            )
            survived += 1
        last = start(root / "photos", root / "killed")
        assert ended(last, time.monotonic() + 600) == 0, (root / "killed.txt").read_text()
        whole, killed = end_of(root / "whole"), end_of(root / "killed")
        leftovers = [str(p) for p in (root / "killed").rglob(".*") if p.name != ".lock"]
    parts = ("weights, optimizer and averages", "step", "history", "TensorBoard")
    differing = [name for name, a, b in zip(parts, whole, killed, strict=True) if a != b]
    differing += [f"left behind: {leftovers}"] * bool(leftovers)
    print(
        f"{survived} of {arguments.kills} kills survived, {writing} of them in a checkpoint write; "
        + (f"DIFFERENT: {', '.join(differing)}" if differing else "the end is equal to the bit.")
    )
    return int(bool(differing) or survived < arguments.kills)


if __name__ == "__main__":
    sys.exit(main())
