"""N replicas take the step of one: on one machine, on several, after a worker was killed.

Programs run in processes of their own: a process can hold one strategy and one set of devices.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import run
from skimage import data
from training_runs import EVERY_STEP, RECIPE, assert_same_end, stopped_after, two_convolutions

from n2n_tf import networks
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.training.batches import training_batches
from n2n_tf.training import strategies
from n2n_tf.training.run import train
from n2n_tf.training.strategies import StrategyError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(("coins", "camera", "moon", "brick", "grass")):
        write_image(folder / f"{i}.png", getattr(data, name)()[:96, :80, None])
    return folder


# ---------------------------------------------------------------------------------- the batches


class Counting:
    """Images that count how often they are read."""

    def __init__(self, images):
        self.images, self.read = images, 0

    def __len__(self):
        return len(self.images)

    def __getattr__(self, name):
        return getattr(self.images, name)

    def crop(self, *window):
        self.read += 1
        return self.images.crop(*window)


@pytest.mark.parametrize(("workers", "replicas"), [(1, 4), (2, 4), (4, 4)])
def test_the_pieces_of_all_replicas_are_the_batch(photos, workers, replicas):
    images = ImageFolder(photos, channels=1)
    settings = {"frozen": False, "patch_size": 16, "batch_size": 8, "epoch_steps": 3, "seed": 2}
    settings |= {"noise": parse_noise("gauss5_50"), "augment": True, "start_step": 2}
    whole = np.stack(list(training_batches(images, **settings).take(5).as_numpy_iterator()))
    local = replicas // workers
    parts = []
    for number in range(workers):
        worker = tf.distribute.InputContext(workers, number, replicas)
        pieces = training_batches(images, worker=worker, **settings).take(5 * local)
        part = np.stack(list(pieces.as_numpy_iterator()))
        assert part.shape == (5 * local, 8 // replicas, 16, 16, 1)
        parts.append(part.reshape(5, 8 // workers, 16, 16, 1))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_worker_makes_no_other_worker_s_part(photos):
    images = Counting(ImageFolder(photos, channels=1))
    worker = tf.distribute.InputContext(4, 3, 4)
    pieces = training_batches(
        images, parse_noise("none"), frozen=True, patch_size=16, batch_size=8, worker=worker
    )
    assert len(list(pieces.take(10))) == 10
    assert 20 <= images.read < 80  # 2 of each batch of 8, and some ahead; all parts would be 80


# ------------------------------------------------------------------------------------- one step


@pytest.mark.slow
def test_replicas_take_the_step_of_one(tmp_path):
    """SGD, Adam with averages, and loss scaling with an overflow on one replica only."""
    program = [sys.executable, ROOT / "benchmarks" / "replicas.py", "--network=small"]
    options = ["--steps=12", "--cases=SGD,averages,overflow", f"--output={tmp_path / 'table'}"]
    done = subprocess.run([*program, *options], capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "table").read_text())
    for case, row in table.items():
        assert set(row) == {"2", "4"}
        for compared in row.values():
            assert compared["largest_weight"] > 0.1
            rounding = 1e-4 if case == "overflow" else 1e-6
            assert compared["weights"] < rounding, (case, compared)
            assert case == "overflow" or compared["loss"] < 1e-6
            one, several = compared["steps_taken"]
            assert one == several and (one < 12) == (case == "overflow")


def test_a_step_with_an_overflow_is_skipped_and_its_subsampler_is_the_next_step_s(rng):
    noisy = rng.random((2, 16, 16, 1), np.float32)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        models = [Neighbor2Neighbor(two_convolutions(1, 4, 1.0), seed=1) for _ in range(2)]
        models[1].network.set_weights(models[0].network.get_weights())
        for model in models:
            model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), 64.0))
            model.optimizer.build(model.network.trainable_variables)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    before = models[0].network.get_weights()
    models[0].train_on_batch(np.float32(1e30) * noisy)
    for weight, old in zip(models[0].network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert float(models[0].optimizer.dynamic_scale.numpy()) == 32
    assert int(models[0].optimizer.iterations.numpy()) == 0
    models[1].optimizer.dynamic_scale.assign(32)
    for model in models:
        model.train_on_batch(noisy)
        assert int(model.optimizer.iterations.numpy()) == 1
    for one, other in zip(*(model.network.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((w != b).any() for w, b in zip(models[0].network.get_weights(), before, strict=True))


def test_skipped_steps_survive_a_stop_bit_for_bit(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "two", (two_convolutions, 1, 2))
    recipe = dataclasses.replace(RECIPE, precision="mixed_float16", ema_decay=0.9, epochs=2)
    images = ImageFolder(photos, channels=1, white_level=16)  # so bright that some steps overflow
    try:
        whole = train(recipe, images, tmp_path / "whole", report=lambda line: None)
        stopped_after(3, recipe, images, tmp_path / "stopped", monkeypatch)
        train(recipe, images, tmp_path / "stopped", conduct=EVERY_STEP, report=lambda line: None)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert 0 < int(whole.optimizer.iterations.numpy()) < 20
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


# --------------------------------------------------------------------------------- real programs

TRAIN = """
from training_runs import network_two
from n2n_tf.cli.train import run
with network_two():
    run()
"""
TWO_DEVICES = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
"""


def _environment(**more):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    kept |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return kept | {"PYTHONPATH": str(ROOT / "tests" / "support")} | more


def _command(code, photos, model_dir, *more):
    """n2n-train: 2 epochs of 10 steps, with moving averages and a checkpoint at every step."""
    options = f"""--data_dir={photos} --model_dir={model_dir} --noise=gauss25 --channels=1
    --network=two --features=2 --patch_size=32 --batch_size=4 --epochs=2 --crops_per_image=8
    --init_scale=1 --ema_decay=0.9 --checkpoint_every=1""".split()
    return [sys.executable, "-c", code, *options, *more]


def _workers(photos, *model_dirs):
    """Starts two workers on loopback."""
    with socket.socket() as one, socket.socket() as other:
        for port in (one, other):
            port.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{port.getsockname()[1]}" for port in (one, other)]}
    return [
        subprocess.Popen(
            _command(TRAIN, photos, model_dir, "--strategy=multi_worker"),
            env=_environment(
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, model_dir in enumerate(model_dirs)
    ]


def _ended(processes, limit=240):
    """[(standard output, standard error)] of processes that end well."""
    told = [process.communicate(timeout=limit) for process in processes]
    for process, (_, errors) in zip(processes, told, strict=True):
        assert process.returncode == 0, errors
    return told


@pytest.mark.slow
def test_two_workers_one_killed_and_two_devices_end_where_one_device_does(photos, tmp_path):
    one, two, whole, killed = (tmp_path / n for n in ("one", "two", "whole", "killed"))
    alone = [
        _command(TRAIN, photos, one, "--strategy=one_device"),
        _command(TWO_DEVICES + TRAIN, photos, two, "--strategy=mirrored"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(c, env=_environment(), **pipes) for c in alone]
    assert "2 replicas share each batch" in _ended(processes)[1][0]

    chief, other = _ended(_workers(photos, whole, tmp_path / "elsewhere"))
    assert "Starting at step 1 of 20" in chief[0] and "epoch 2/2" in chief[0] + chief[1]
    assert not (tmp_path / "elsewhere").exists(), "only the chief writes"
    assert "step" not in other[0] and "img" not in other[1]

    for folder in (two, whole):
        pair = (Denoiser.load(f).network.get_weights() for f in (one, folder))
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    processes = _workers(photos, killed, killed)
    deadline = time.monotonic() + 240
    while not list(killed.glob("checkpoints/00000000[3-9].json")):
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.02)
    os.kill(processes[1].pid, signal.SIGKILL)
    _, errors = processes[0].communicate(timeout=60)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert errors.splitlines()[-1].startswith("n2n-train: error: Another worker has stopped")

    chief, _ = _ended(_workers(photos, killed, killed))
    assert "Continuing at step" in chief[0]
    assert_same_end(killed, whole)


# ------------------------------------------------------------------------------------ bad input

WORKERS = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "TF_CONFIG is not set"),
        ("{", "TF_CONFIG cannot be used .JSONDecodeError"),
        ("[]", "TF_CONFIG cannot be used"),
        ("{}", "TF_CONFIG cannot be used .KeyError: 'cluster'"),
        ('{"cluster": {"worker": ["a:1"]}}', "KeyError: 'task'"),
        (WORKERS.replace('"index": 0', '"index": 2'), "IndexError"),
        (WORKERS.replace('"index": 0', '"index": -1'), "cannot be used"),
        (WORKERS.replace('"index": 0', '"index": "x"'), "cannot be used"),
        (WORKERS.replace('"type": "worker"', '"type": "ps"'), "KeyError: 'ps'"),
        (WORKERS.replace('["a:1", "b:1"]', '"a:1"'), "cannot be used"),
        (WORKERS.replace('"a:1"', '"a"'), "cannot be used"),
        (WORKERS, "batch_size 5 cannot be shared evenly by 2 replicas.*multiple of 2"),
    ],
)
def test_unusable_settings_are_told(config, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(StrategyError, match=message):
        strategies.choose("multi_worker", 5)


def test_a_batch_that_gpus_cannot_share_is_refused(monkeypatch):
    gpus = [tf.config.LogicalDevice(f"GPU:{i}", "GPU") for i in range(8)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in ("auto", "mirrored"):
        with pytest.raises(StrategyError, match=r"batch_size 4 .* by 8 replicas.*multiple of 8"):
            strategies.choose(name, 4)
    assert strategies.choose("one_device", 4).num_replicas_in_sync == 1


def test_mirrored_on_one_device_trains_alone_and_says_so(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.delenv("TF_CONFIG", raising=False)
    said = []
    assert strategies.choose("mirrored", 3, said.append).num_replicas_in_sync == 1
    assert said == ["There is one device only; it trains alone."]
    assert strategies.choose("auto", 3, said.append).num_replicas_in_sync == 1
    assert len(said) == 1
    with pytest.raises(StrategyError, match="Unknown strategy 'tpu'"):
        strategies.choose("tpu")


def test_the_program_ends_with_one_line(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    flags = [f"--data_dir={photos}", f"--model_dir={tmp_path / 'm'}", "--noise=gauss25"]
    ended = run(capsys, monkeypatch, "train", *flags, "--strategy=multi_worker")
    assert ended.status == 1 and ended.err.startswith("n2n-train: error: TF_CONFIG cannot be used")
    assert len(ended.err.splitlines()) == 1 and not (tmp_path / "m").exists()
