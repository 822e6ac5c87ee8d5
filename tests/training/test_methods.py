"""Whole trainings by each method: they learn, stop, and go on."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from skimage import data
from training_runs import RECIPE as TWO
from training_runs import network_two

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.training.checkpoints import Checkpoint
from n2n_tf.training.run import Conduct, train

RECIPE = dataclasses.replace(
    TWO,
    noise="gauss10_40",
    noise_realization="fresh",
    epochs=2,
    crops_per_image=8,
    schedule="cosine",
    log_levels=True,
    balance=True,
    augment=True,
    ema_decay=0.9,
    holdout=0.0,
)


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with network_two():
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("coins", "camera", "moon", "brick"):
        write_image(folder / f"{name}.png", getattr(data, name)()[:96, :96, None])
    return folder


def weights(model_dir):
    newest = sorted((model_dir / "checkpoints").glob("*.h5"))[-1]
    arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(newest) as file:
        file.visititems(keep)
    return arrays


class Stopped(Exception):
    pass


@pytest.mark.parametrize("method", ["recorrupted", "noise2noise", "noise2void"])
def test_a_stopped_training_ends_as_one_that_was_not(method, photos, tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, method=method)
    images = ImageFolder(photos, channels=1)
    train(recipe, images, tmp_path / "whole", report=lambda line: None)

    counted = Checkpoint.on_train_batch_end

    def stop_at_21(self, batch, logs=None):
        counted(self, batch, logs)
        if self.step == 21:
            raise Stopped

    every = Conduct(checkpoint_every="1")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Checkpoint, "on_train_batch_end", stop_at_21)
        train(recipe, images, tmp_path / "stopped", conduct=every, report=lambda line: None)
    train(recipe, images, tmp_path / "stopped", conduct=every, report=lambda line: None)

    whole, continued = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == continued.keys()
    for name, value in whole.items():
        # But for rounding; other noise, or the steps left out, would change far more.
        np.testing.assert_allclose(continued[name], value, rtol=1e-3, atol=2e-4, err_msg=name)
    assert json.loads((tmp_path / "whole/model.json").read_text())["noise"] == "gauss10_40"


def test_recorrupted_images_teach_to_denoise(photos, tmp_path, rng):
    network = {"network": "unet_bias_free", "features": 6, "learning_rate": 2e-3}
    recipe = dataclasses.replace(RECIPE, method="recorrupted", epochs=12, **network)
    train(recipe, ImageFolder(photos, channels=1), tmp_path, report=lambda line: None)
    clean = data.camera()[200:328, 200:328, None] / np.float32(255)
    noisy = clean + rng.normal(0, 25 / 255, clean.shape).astype(np.float32)
    denoised = Denoiser.load(tmp_path)(noisy)
    assert np.mean((denoised - clean) ** 2) < 0.5 * np.mean((noisy - clean) ** 2)
