"""A training in a folder: what it leaves, and that stopping it changes nothing."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from skimage import data
from training_runs import (
    RECIPE,
    SHORT,
    Stop,
    assert_same_end,
    events,
    final_state,
    network_two,
    stopped_after,
    two_convolutions,
)

from n2n_tf import networks
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.training import run
from n2n_tf.training.recipes import PRESETS, build_network
from n2n_tf.training.run import TrainingError, train


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "two", (two_convolutions, 1, 2))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, name in enumerate(("coins", "camera", "moon", "brick", "grass")):
        write_image(folder / f"{i}.png", getattr(data, name)()[:96, :80, None])
    return folder


@pytest.fixture(scope="module")
def uninterrupted(photos, tmp_path_factory):
    with network_two():
        model_dir = tmp_path_factory.mktemp("whole")
        train(RECIPE, ImageFolder(photos, channels=1), model_dir, report=lambda line: None)
    return model_dir


def test_a_finished_training_holds_a_network_its_record_and_its_logs(uninterrupted, photos):
    _, step, history = final_state(uninterrupted)
    assert step == 3 * 10  # 5 images x 4 crops / 2 per batch, 3 epochs
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["gamma"] for row in history] == pytest.approx([2 / 3, 4 / 3, 2])
    assert history[2]["reconstruction"] < history[0]["reconstruction"]
    record = json.loads((uninterrupted / "run.json").read_text())
    assert record["recipe"] == dataclasses.asdict(RECIPE)
    assert record["data"]["images"] == 5
    assert record["data"]["fingerprint"] == ImageFolder(photos, channels=1).fingerprint
    assert set(record["versions"]) == {"n2n_tf", "keras", "tensorflow", "numpy", "python"}
    info = json.loads((uninterrupted / "model.json").read_text())
    assert (info["noise"], info["noise_realization"], info["epochs"]) == ("gauss25", "frozen", 3)
    assert len(list((uninterrupted / "checkpoints").iterdir())) == 4  # the newest two


def test_the_saved_network_is_the_trained_one(uninterrupted, rng):
    arrays, _, _ = final_state(uninterrupted)
    network = Denoiser.load(uninterrupted).network
    trained = [
        array for name, array in sorted(arrays.items()) if "network/" in name or "layers/" in name
    ]
    for ours in network.get_weights():
        assert any(ours.shape == a.shape and np.array_equal(ours, a) for a in trained)


def test_tensorboard_holds_one_value_per_epoch(uninterrupted):
    logged = events(uninterrupted)
    assert logged["loss"].keys() == logged["gamma"].keys() == {1, 2, 3}
    assert logged["noisy_denoised/0.png"].keys() == logged["learning_rate"].keys() == {1, 2, 3}


@pytest.mark.parametrize("stop_after", [1, 9, 10, 14, 29])
def test_stopped_anywhere_it_ends_with_the_same_bits(
    stop_after, uninterrupted, photos, tmp_path, monkeypatch
):
    images = ImageFolder(photos, channels=1)
    stopped_after(stop_after, RECIPE, images, tmp_path, monkeypatch)
    said = []
    train(RECIPE, images, tmp_path, report=said.append)
    # The last step of an epoch is kept together with the epoch's figures, or done again.
    next_step = stop_after if stop_after % 10 == 0 else stop_after + 1
    assert said[0] == f"Continuing at step {next_step} of 30."
    assert_same_end(tmp_path, uninterrupted)


AVERAGED = dataclasses.replace(RECIPE, ema_decay=0.9)


@pytest.fixture(scope="module")
def averaged(photos, tmp_path_factory):
    """(folder of a training with moving averages, its model, the weights after each step)."""
    model_dir, weights = tmp_path_factory.mktemp("averaged"), []

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weights.append(self.model.network.get_weights())

    with network_two(), pytest.MonkeyPatch.context() as patch:
        # A checkpoint is written before; a callback of ours rides along with the progress bar.
        bar = run.ProgressBar
        patch.setattr(run, "ProgressBar", type("Bar", (Steps, bar), {}))
        model = train(AVERAGED, ImageFolder(photos, channels=1), model_dir, report=str)
    return model_dir, model, weights


def test_the_final_network_holds_the_moving_averages(averaged):
    model_dir, model, weights = averaged
    expected = [w.astype(np.float64) for w in weights[0]]
    for step in weights[1:]:
        expected = [0.9 * e + 0.1 * w for e, w in zip(expected, step, strict=True)]
    assert len(weights) == 30
    saved = Denoiser.load(model_dir).network.get_weights()
    assert max(np.abs(s - w).max() for s, w in zip(saved, weights[-1], strict=True)) > 1e-3
    for got, returned, right in zip(saved, model.network.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, right, atol=1e-6)
        np.testing.assert_array_equal(got, returned)


@pytest.mark.parametrize("stop_after", [4, 10, 17])
def test_averages_survive_a_stop_bit_for_bit(stop_after, averaged, photos, tmp_path, monkeypatch):
    images, whole = ImageFolder(photos, channels=1), averaged[0]
    stopped_after(stop_after, AVERAGED, images, tmp_path, monkeypatch)
    train(AVERAGED, images, tmp_path, report=lambda line: None)
    assert_same_end(tmp_path, whole)
    one, other = (Denoiser.load(folder).network.get_weights() for folder in (tmp_path, whole))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    # A training that is complete returns what it saved, too.
    again = train(AVERAGED, images, whole, report=lambda line: None)
    for a, b in zip(again.network.get_weights(), other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_complete_training_is_not_trained_further(uninterrupted, photos):
    before = final_state(uninterrupted)
    said = []
    train(RECIPE, ImageFolder(photos, channels=1), uninterrupted, report=said.append)
    assert "complete (3 epochs)" in said[0]
    assert final_state(uninterrupted)[1:] == before[1:]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    uninterrupted, photos, tmp_path, monkeypatch
):
    images = ImageFolder(photos, channels=1)
    with monkeypatch.context() as patch:
        patch.setattr(run.SavedNetwork, "on_epoch_end", _raise_in_epoch_2)
        with pytest.raises(Stop):
            train(RECIPE, images, tmp_path, report=lambda line: None)
    newest = sorted((tmp_path / "checkpoints").glob("*.h5"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    said = []
    train(RECIPE, images, tmp_path, report=said.append)
    assert "000000020.json is damaged" in said[0] and "step 11 of 30" in said[1]
    assert_same_end(tmp_path, uninterrupted)


def _raise_in_epoch_2(self, epoch, logs=None):
    if epoch == 1:
        raise Stop


def test_another_recipe_or_other_data_is_refused(uninterrupted, photos, tmp_path):
    images = ImageFolder(photos, channels=1)
    changed = dataclasses.replace(RECIPE, gamma=1.0, seed=7)
    with pytest.raises(TrainingError, match=r"gamma was 2.0, is 1.0; seed was 0, is 7"):
        train(changed, images, uninterrupted)
    write_image(tmp_path / "x.png", data.coins()[:64, :64, None])
    with pytest.raises(TrainingError, match="data was"):
        train(RECIPE, ImageFolder(tmp_path, channels=1), uninterrupted)


def test_a_setting_that_is_newer_than_the_record_had_its_default(photos, tmp_path):
    images, quiet = ImageFolder(photos, channels=1), lambda line: None
    train(SHORT, images, tmp_path, report=quiet)
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    del record["recipe"]["method"], record["recipe"]["balance"]
    path.write_text(json.dumps(record))
    train(SHORT, images, tmp_path, report=quiet)
    with pytest.raises(TrainingError, match="balance was False, is True"):
        train(dataclasses.replace(SHORT, balance=True), images, tmp_path, report=quiet)


def test_the_callers_own_settings_stay(photos, tmp_path):
    import random

    recipe = dataclasses.replace(SHORT, epochs=1, precision="mixed_bfloat16", seed=5)
    keras.utils.set_random_seed(11)
    before = random.getstate(), np.random.get_state()[1].tolist()
    train(recipe, ImageFolder(photos, channels=1), tmp_path, report=lambda line: None)
    assert keras.config.dtype_policy().name == "float32"
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_two_trainings_in_one_folder_are_refused(photos, tmp_path):
    with run.only_process(tmp_path), pytest.raises(TrainingError, match="another process"):
        train(RECIPE, ImageFolder(photos, channels=1), tmp_path)


def test_validation_scores_are_logged(photos, tmp_path):
    said = []
    recipe = dataclasses.replace(RECIPE, epochs=1)
    clean = [("moon.png", data.moon()[:64, :64, None])]
    train(recipe, ImageFolder(photos, channels=1), tmp_path, clean, report=said.append)
    tags = set(events(tmp_path))
    assert {"val_psnr", "val_ssim", "clean_noisy_denoised/moon.png"} <= tags


def test_presets_are_the_papers():
    for name, noise in (
        ("paper_gauss25", "gauss25"),
        ("paper_gauss5_50", "gauss5_50"),
        ("paper_poisson30", "poisson30"),
        ("paper_poisson5_50", "poisson5_50"),
    ):
        r = PRESETS[name]
        assert (r.noise, r.gamma, r.epochs, r.batch_size) == (noise, 2.0, 100, 4)
        assert (r.learning_rate, r.patch_size, r.min_side, r.max_side) == (3e-4, 256, 256, 512)
        assert (r.features, r.init_scale, r.noise_realization, r.augment) == (
            48,
            0.1,
            "fresh",
            False,
        )
        assert build_network(r).count_params() == 1_259_475


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="Unknown network 'vnet'"):
        build_network(dataclasses.replace(RECIPE, network="vnet"))


@pytest.mark.slow
def test_killed_processes_end_with_the_same_bits():
    """SIGKILL of the real program while it trains, three times, once in a checkpoint write."""
    soak = pathlib.Path(__file__).parents[2] / "benchmarks" / "soak_training.py"
    done = subprocess.run([sys.executable, soak, "--kills=3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 kills survived" in done.stdout and "equal to the bit" in done.stdout


# Starting from another model


def started_from(tmp_path, photos, model, **more):
    """Trains for no step that counts: with a learning rate of almost 0."""
    recipe = dataclasses.replace(
        RECIPE, epochs=1, learning_rate=1e-30, initial_model=str(model), **more
    )
    lines = []
    trained = train(recipe, ImageFolder(photos, channels=1), tmp_path / "new", report=lines.append)
    return trained.network.get_weights(), "\n".join(lines)


def test_a_training_starts_from_another_ones_weights(uninterrupted, photos, tmp_path):
    before = train(RECIPE, ImageFolder(photos, channels=1), uninterrupted, report=str)  # complete
    weights, told = started_from(tmp_path, photos, uninterrupted)
    for new, old in zip(weights, before.network.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert f"The weights of {uninterrupted} are where the run starts." in told


def test_a_training_that_continues_does_not_start_again(uninterrupted, photos, tmp_path):
    images = ImageFolder(photos, channels=1)
    shutil.copytree(uninterrupted, tmp_path / "old")
    recipe = dataclasses.replace(RECIPE, initial_model=str(tmp_path / "old"))
    done = train(recipe, images, tmp_path / "new", report=str).network.get_weights()
    shutil.rmtree(tmp_path / "old")  # not needed any more
    again = train(recipe, images, tmp_path / "new", report=str).network.get_weights()
    for one, other in zip(done, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_does_not_fit_is_refused_by_name(uninterrupted, photos, tmp_path):
    with pytest.raises(TrainingError, match=r"whole\d+: a run cannot start .*another width"):
        started_from(tmp_path, photos, uninterrupted, features=5)
    assert not (tmp_path / "new/run.json").exists()


def test_what_a_run_starts_from_is_told_with_all_before_it(uninterrupted, photos, tmp_path):
    started_from(tmp_path, photos, uninterrupted)
    (first,) = json.loads((tmp_path / "new/run.json").read_text())["ancestors"]
    assert (first["name"], first["steps"]) == (uninterrupted.name, 30) and "command" in first
    (tmp_path / "new").rename(tmp_path / "second")
    started_from(tmp_path, photos, tmp_path / "second")
    oldest, second = json.loads((tmp_path / "new/run.json").read_text())["ancestors"]
    assert oldest == first and (second["name"], second["steps"]) == ("second", 10)
