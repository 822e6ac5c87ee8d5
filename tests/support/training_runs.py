"""Small training runs that several tests share."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf import networks
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.training import run
from n2n_tf.training.recipes import Recipe
from n2n_tf.training.run import Conduct, train


def two_convolutions(channels, features, init_scale):
    """A network that trains in no time."""
    noisy = keras.Input((None, None, channels))
    scale = keras.initializers.HeNormal(seed=int(10 * init_scale))
    first = keras.layers.Conv2D(features, 3, padding="same", kernel_initializer=scale, name="first")
    x = keras.layers.LeakyReLU(negative_slope=0.2)(first(noisy))
    last = keras.layers.Conv2D(channels, 3, padding="same", name="last")
    return keras.Model(noisy, last(x), name="two")


RECIPE = Recipe(
    "gauss25",
    network="two",
    channels=1,
    features=4,
    init_scale=1.0,
    epochs=3,
    batch_size=2,
    patch_size=32,
    crops_per_image=4,
    learning_rate=1e-2,
)


@contextlib.contextmanager
def network_two():
    """Recipes may name the network "two"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "two", (two_convolutions, 1, 2))
        yield


def write_random_images(folder):
    """Five small gray images of nothing."""
    for i, noisy in enumerate(np.random.default_rng(1).random((5, 48, 40, 1))):
        write_image(folder / f"{i}.png", np.uint8(255 * noisy))
    return folder


class Stop(Exception):
    """Stands for a process that dies."""


SHORT = dataclasses.replace(RECIPE, epochs=2, crops_per_image=2)  # 2 epochs of 5 steps


EVERY_STEP = Conduct(checkpoint_every="1")


def final_state(model_dir):
    """Weights, optimizer state and history of a finished training, bit for bit."""
    newest = sorted((model_dir / "checkpoints").glob("*.json"))[-1]
    progress = json.loads(newest.read_text())
    import h5py

    arrays = {}
    with h5py.File(newest.with_suffix(".weights.h5")) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays, progress["step"], progress["history"]


def assert_same_end(one, other):
    arrays, step, history = final_state(one)
    arrays_other, step_other, history_other = final_state(other)
    assert step == step_other and arrays.keys() == arrays_other.keys()
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], arrays_other[name], err_msg=name)
    assert history == history_other


def events(model_dir):
    """What TensorBoard's own reader finds: tag -> step -> value; doubles fail."""
    found = {}
    for file in sorted((model_dir / "logs").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                steps = found.setdefault(value.tag, {})
                assert event.step not in steps, f"{value.tag} has step {event.step} twice"
                steps[event.step] = value.simple_value or value.image.encoded_image_string
    return found


def stopped_after(step, recipe, images, model_dir, monkeypatch):
    """Trains with a checkpoint at every step until the process "dies" after the given one."""
    on_batch_end = run.Checkpoint.on_train_batch_end

    def dying(self, batch, logs=None):
        on_batch_end(self, batch, logs)
        if self.step == step:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(run.Checkpoint, "on_train_batch_end", dying)
        with pytest.raises(Stop):
            train(recipe, images, model_dir, conduct=EVERY_STEP, report=lambda line: None)
