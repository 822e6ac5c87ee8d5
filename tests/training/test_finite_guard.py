"""A training that goes wrong loses nothing: NaN, signals, full disks, lost files and folders."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import run as run_program
from training_runs import (
    EVERY_STEP,
    SHORT,
    assert_same_end,
    events,
    final_state,
    network_two,
    write_random_images,
)

from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.training import batches
from n2n_tf.pipelines.training.batches import training_batches
from n2n_tf.training import run
from n2n_tf.training.checkpoints import parse_interval
from n2n_tf.training.errors import TrainingStopped
from n2n_tf.training.finite_guard import images_of_step
from n2n_tf.training.run import Conduct, TrainingError, train


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with network_two():
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_random_images(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A training that nothing happened to."""
    model_dir = tmp_path_factory.mktemp("whole")
    train(SHORT, ImageFolder(photos, channels=1), model_dir, report=lambda line: None)
    return model_dir


def after_step(step, action):
    """A progress bar that does something at the end of a step, after all callbacks before it."""

    class Bar(run.ProgressBar):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self.checkpoint.step == step:
                action(self)

    return Bar


def steps_kept(model_dir):
    return [int(p.stem) for p in sorted((model_dir / "checkpoints").glob("*.json"))]


def poison(callback):
    """What a step with NaN gradients does to the weights."""
    callback.model.network.trainable_variables[0].assign_add(
        np.nan * callback.model.network.trainable_variables[0]
    )


def test_nan_stops_at_the_first_bad_step_and_names_its_images(photos, tmp_path, monkeypatch, whole):
    images = ImageFolder(photos, channels=1)
    with monkeypatch.context() as patch:
        patch.setattr(run, "ProgressBar", after_step(7, poison))
        with pytest.raises(TrainingError) as caught:
            train(SHORT, images, tmp_path, conduct=EVERY_STEP, report=lambda line: None)
    names = images_of_step(images.names, SHORT, 5, 7)
    text = str(caught.value)
    assert "step 8 (epoch 2, batch 3): the loss is nan" in text
    assert f"Images in this batch: {', '.join(names)}." in text
    assert "checkpoint of step 7 is good" in text and "--on_nan=rollback" in text
    assert steps_kept(tmp_path) == [6, 7]
    train(SHORT, images, tmp_path, report=lambda line: None)  # without the poison
    assert_same_end(tmp_path, whole)


def test_a_network_that_diverged_is_not_saved(photos, tmp_path, monkeypatch, whole):
    def scatter(callback):
        for weight in callback.model.network.trainable_variables:
            weight.assign(30 * weight)

    images, conduct = ImageFolder(photos, channels=1), Conduct(checkpoint_every="100")
    with monkeypatch.context() as patch:
        patch.setattr(run, "ProgressBar", after_step(6, scatter))
        with pytest.raises(TrainingError, match=r"step 10 .*loss is .* times .*: it has diverged"):
            train(SHORT, images, tmp_path, conduct=conduct, report=lambda line: None)
    assert steps_kept(tmp_path)[-1] == 5
    train(SHORT, images, tmp_path, report=lambda line: None)
    assert_same_end(tmp_path, whole)


def test_the_named_images_are_those_of_the_batch(photos):
    images = ImageFolder(photos, channels=1)
    asked = []
    images.crop = lambda index, *window: (
        asked.append(images.names[index]) or np.zeros((*window[2:], 1), np.float32)
    )
    options = {"patch_size": 8, "batch_size": 2, "epoch_steps": 5, "start_step": 8}
    batches = training_batches(images, parse_noise("none"), frozen=True, **options)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    next(iter(batches.with_options(options)))
    assert set(asked[:2]) == set(images_of_step(images.names, SHORT, 5, 8))


def test_weights_gone_bad_are_noticed_before_they_are_saved(photos, tmp_path, monkeypatch):
    def bad_update(self, gradients, variables):
        apply(self, gradients, variables)
        variables[0].assign(tf.where(self.iterations == 4, np.inf, variables[0]))

    apply = keras.optimizers.Adam.apply
    monkeypatch.setattr(keras.optimizers.Adam, "apply", bad_update)
    with pytest.raises(TrainingError, match=r"step 4 .*weights or optimizer state are NaN"):
        train(SHORT, ImageFolder(photos, channels=1), tmp_path, conduct=EVERY_STEP, report=print)
    assert steps_kept(tmp_path) == [2, 3]


def test_rollback_halves_the_learning_rate_for_good(photos, tmp_path, monkeypatch):
    images, said = ImageFolder(photos, channels=1), []
    conduct = Conduct(checkpoint_every="3", on_nan="rollback")
    once = iter([True])
    act = lambda bar: poison(bar) if next(once, False) else None  # noqa: E731

    with monkeypatch.context() as patch:
        patch.setattr(run, "ProgressBar", after_step(4, act))
        train(SHORT, images, tmp_path, conduct=conduct, report=said.append)
    told = "Back to the checkpoint of step 3, with learning rates 0.5 of"
    assert any(told in line for line in said)
    _, step, history = final_state(tmp_path)
    assert step == 10 and [row["learning_rate"] for row in history] == pytest.approx([5e-3] * 2)
    assert events(tmp_path)["learning_rate"].keys() == {1, 2}
    # A resume, in another process, knows: the next training of these files begins at half.
    longer = dataclasses.replace(SHORT, epochs=3)
    conduct = Conduct(allow_changed=True)
    train(longer, images, tmp_path, conduct=conduct, report=said.append)
    assert final_state(tmp_path)[2][2]["learning_rate"] < 5e-3 + 1e-9


def test_rollbacks_end(photos, tmp_path, monkeypatch):
    class Bar(run.ProgressBar):
        def on_train_batch_begin(self, batch, logs=None):
            if self.checkpoint.step == 2:
                poison(self)

    said = []
    monkeypatch.setattr(run, "ProgressBar", Bar)
    with pytest.raises(TrainingError, match=r"step 3 .*done 5 times so far, 5 at most"):
        conduct = Conduct(checkpoint_every="1", on_nan="rollback")
        train(SHORT, ImageFolder(photos, channels=1), tmp_path, conduct=conduct, report=said.append)
    assert sum("Back to the checkpoint of step 2" in line for line in said) == 5


def test_a_step_skipped_by_loss_scaling_is_no_bad_step(photos, tmp_path, monkeypatch):
    recipe = dataclasses.replace(SHORT, precision="mixed_float16", epochs=4)
    build, note = run._model, Neighbor2Neighbor.note_step

    def with_too_large_a_scale(recipe):
        model = build(recipe)
        model.optimizer.dynamic_scale.assign(2.0**26)
        return model

    def with_nan(self, taken, **losses):  # the loss of a skipped step may be NaN too
        note(self, taken, **{name: tf.where(taken, loss, np.nan) for name, loss in losses.items()})

    monkeypatch.setattr(run, "_model", with_too_large_a_scale)
    monkeypatch.setattr(Neighbor2Neighbor, "note_step", with_nan)
    try:
        model = train(recipe, ImageFolder(photos, channels=1), tmp_path, report=lambda line: None)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert 0 < int(model.optimizer.iterations) < 20
    assert all(np.isfinite(w).all() for w in model.network.get_weights())
    history = final_state(tmp_path)[2]
    assert all(np.isfinite(list(row.values())).all() for row in history)
    assert history[-1]["loss"] > 0


@pytest.mark.parametrize(
    ("number", "status", "step"), [(signal.SIGTERM, 143, 3), (signal.SIGINT, 130, 5)]
)
def test_signals_save_and_stop(number, status, step, photos, tmp_path, monkeypatch, whole):
    images, said = ImageFolder(photos, channels=1), []
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        act = lambda bar: os.kill(os.getpid(), number)  # noqa: E731
        patch.setattr(run, "ProgressBar", after_step(step, act))
        with pytest.raises(TrainingStopped, match=f"after step {step}, which is saved") as caught:
            train(SHORT, images, tmp_path, report=said.append)
    assert caught.value.status == status and signal.getsignal(number) is before
    assert steps_kept(tmp_path)[-1] == step
    train(SHORT, images, tmp_path, report=lambda line: None)
    assert_same_end(tmp_path, whole)


def test_a_thread_trains_without_signals(photos, tmp_path):
    thread = threading.Thread(
        target=train,
        args=(SHORT, ImageFolder(photos, channels=1), tmp_path),
        kwargs={"report": lambda line: None},
    )
    thread.start()
    thread.join()
    assert final_state(tmp_path)[1] == 10


def test_the_program_ends_with_the_signals_status(photos, tmp_path, capsys, monkeypatch):
    act = lambda bar: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(run, "ProgressBar", after_step(2, act))
    flags = "--noise=none --network=two --channels=1 --features=2 --patch_size=32 --epochs=2"
    flags = [*flags.split(), "--batch_size=1"]
    flags += [f"--data_dir={photos}", f"--model_dir={tmp_path / 'run'}"]
    ended = run_program(capsys, monkeypatch, "train", *flags)
    assert ended.status == 143, ended.err
    assert "SIGTERM after step 2, which is saved. Run the same command" in ended.err


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_data_file_lost_during_training_costs_no_step(
    damage, photos, tmp_path, monkeypatch, whole
):
    """Lost at a read, not after a step: reads run ahead of the steps, by chance how far."""
    data_dir = tmp_path / "photos"
    shutil.copytree(photos, data_dir)
    images = ImageFolder(data_dir, channels=1, cache_bytes=0)
    read, number = images.crop, itertools.count()
    at_the_start = len(images) + 1  # reads that examine ranges, and the first for the logs

    def crop(*window):
        if next(number) == at_the_start + 3 * SHORT.batch_size:
            for path in data_dir.iterdir():
                path.unlink() if damage == "deleted" else path.write_bytes(path.read_bytes()[:50])
        return read(*window)

    with monkeypatch.context() as patch:
        patch.setattr(images, "crop", crop)
        patch.setattr(batches, "available_processors", lambda: 2)  # so many samples lose their file
        with pytest.raises(TrainingError, match=r"photos.*\.png.*is saved: bring the file back"):
            train(SHORT, images, tmp_path / "model", report=lambda line: None)
    assert steps_kept(tmp_path / "model")[-1] >= 2  # batches made ahead are still trained on
    shutil.copytree(photos, data_dir, dirs_exist_ok=True)
    train(SHORT, ImageFolder(data_dir, channels=1), tmp_path / "model", report=lambda line: None)
    assert_same_end(tmp_path / "model", whole)


def test_a_log_folder_that_vanishes_comes_back_whole(photos, tmp_path, monkeypatch, whole):
    act = lambda bar: shutil.rmtree(tmp_path / "logs")  # noqa: E731
    monkeypatch.setattr(run, "ProgressBar", after_step(7, act))
    train(SHORT, ImageFolder(photos, channels=1), tmp_path, report=lambda line: None)
    again, before = events(tmp_path), events(whole)
    assert {tag: steps for tag, steps in again.items() if "/" not in tag} == {
        tag: steps for tag, steps in before.items() if "/" not in tag
    }


def test_logs_that_cannot_be_written_do_not_end_a_training(photos, tmp_path, whole):
    (tmp_path / "logs").write_text("a file where the folder should be")
    said = []
    train(SHORT, ImageFolder(photos, channels=1), tmp_path, report=said.append)
    assert sum("logs: cannot be written" in line for line in said) == 3
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize("killed_in", ["checkpoint", "log", "network"])
def test_killed_between_the_files_of_an_epoch(killed_in, photos, tmp_path, monkeypatch, whole):
    """The kill: what was to be written after that moment is missing, or of the epoch before."""
    images = ImageFolder(photos, channels=1)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    if killed_in == "checkpoint":  # logged and shown, yet the newest checkpoint is not whole
        newest = tmp_path / "checkpoints" / "000000010.json"
        newest.write_bytes(newest.read_bytes()[:30])
    else:
        (tmp_path / "logs" / "events.out.tfevents.000002").unlink()
    if killed_in == "network":
        (tmp_path / "network.keras").unlink()
    for folder in (tmp_path, tmp_path / "checkpoints", tmp_path / "logs"):
        (folder / ".0123456789ab.weights.h5").write_text("half")
    (tmp_path / "checkpoints" / "000000011.weights.h5").write_text("no JSON yet")
    train(SHORT, images, tmp_path, report=lambda line: None)
    assert_same_end(tmp_path, whole)
    assert (tmp_path / "network.keras").exists()
    assert events(tmp_path) == events(whole)
    assert [p.name for p in tmp_path.rglob(".*")] == [".lock"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


def test_nothing_begins_anew_over_damaged_checkpoints(photos, tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for state in (tmp_path / "checkpoints").glob("*.h5"):
        state.write_bytes(state.read_bytes()[::-1])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    said = []
    with pytest.raises(TrainingError, match=r"all 2 checkpoints are damaged\. Nothing was"):
        train(SHORT, ImageFolder(photos, channels=1), tmp_path, report=said.append)
    assert len(said) == 2 and all("checksum is wrong" in line for line in said)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_a_number_changed_in_the_history_is_damage_too(photos, tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "000000010.json"
    progress = json.loads(newest.read_text())
    progress["history"][0]["loss"] += 1e-9
    newest.write_text(json.dumps(progress))
    said = []
    train(SHORT, ImageFolder(photos, channels=1), tmp_path, report=said.append)
    assert "000000010.json is damaged (its checksum is wrong)" in said[0]
    assert_same_end(tmp_path, whole)


def test_checkpoints_without_their_record_are_refused(photos, tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(TrainingError, match=r"run.json: is missing"):
        train(SHORT, ImageFolder(photos, channels=1), tmp_path)


def test_changed_flags_are_allowed_on_request_and_recorded(photos, tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    images, allow = ImageFolder(photos, channels=1), Conduct(allow_changed=True)
    changed = dataclasses.replace(SHORT, epochs=3, gamma=1.0)
    train(changed, images, tmp_path, conduct=allow, report=lambda line: None)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"] == dataclasses.asdict(changed)
    (change,) = record["changes"]
    assert change["step"] == 10
    assert change["changed"] == ["gamma was 2.0, is 1.0", "epochs was 2, is 3"]
    assert [row["gamma"] for row in final_state(tmp_path)[2]] == pytest.approx([1, 2, 1])
    train(changed, images, tmp_path, report=lambda line: None)  # it is this training's recipe now
    wider = dataclasses.replace(changed, features=6)
    with pytest.raises(TrainingError, match="another shape: features was 4, is 6"):
        train(wider, images, tmp_path, conduct=allow)
    averaged = dataclasses.replace(changed, ema_decay=0.9)
    with pytest.raises(TrainingError, match="does not fit the network and optimizer"):
        train(averaged, images, tmp_path, conduct=allow, report=print)
    assert json.loads((tmp_path / "run.json").read_text()) == record


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "n2n", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_in_trouble_costs_no_checkpoint(
    trouble, small_disk, photos, tmp_path, monkeypatch, whole
):
    images, filler = ImageFolder(photos, channels=1), small_disk / "filler"
    folder = str(small_disk / "run" / "checkpoints")

    def fill(bar):
        if trouble == "read-only":
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            return
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(1000))

    with monkeypatch.context() as patch:
        patch.setattr(run, "ProgressBar", after_step(3, fill))
        with pytest.raises(
            TrainingError, match=r"step 4 cannot be written \(.*\)\. The one of step 3 is"
        ):
            train(SHORT, images, small_disk / "run", conduct=EVERY_STEP, report=lambda line: None)
    assert steps_kept(small_disk / "run") == [2, 3]
    if trouble == "read-only":
        with pytest.raises((OSError, TrainingError), match="Read-only file system"):
            train(SHORT, images, small_disk / "run", conduct=EVERY_STEP, report=lambda line: None)
        subprocess.run(["umount", folder], check=True)
    filler.unlink(missing_ok=True)
    train(SHORT, images, small_disk / "run", report=lambda line: None)
    assert_same_end(small_disk / "run", whole)


def test_a_full_disk_is_found_out_before_the_first_step(small_disk, photos):
    filler = pathlib.Path(small_disk / "filler")
    filler.write_bytes(bytes(385_000))
    with pytest.raises(TrainingError, match="step 0 cannot be written"):
        train(SHORT, ImageFolder(photos, channels=1), small_disk / "run", report=print)


@pytest.mark.parametrize(
    ("text", "expected"), [("5m", (300, None)), ("0.5m", (30, None)), ("200", (None, 200))]
)
def test_intervals(text, expected):
    assert parse_interval(text) == expected


@pytest.mark.parametrize("text", ["0", "0m", "", "5 m", "5h", "-1", "1e3", "٣"])
def test_intervals_that_are_none(text):
    with pytest.raises(ValueError, match="minutes, like 5m, or a number of steps"):
        Conduct(checkpoint_every=text)
