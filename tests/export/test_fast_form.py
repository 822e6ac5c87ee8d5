"""Forms in 8 bits: near the network, honest about what they lose, made once, never by mistake."""

import re

import keras
import numpy as np
import pytest
from keras import layers

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.export import fast_form
from n2n_tf.model_files import litert_form
from n2n_tf.model_files.info import ModelError
from n2n_tf.model_files.keras_file import describe, save_network


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as n2n-train leaves it, with a network that blurs a little and knows its noise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keras.utils.set_random_seed(3)
    x = noisy = keras.Input((None, None, 3), name="noisy")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(8, 2, strides=2)(x)
    x = layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros")(x)
    network = keras.Model(noisy, layers.Add()([x, noisy]), name="blur")
    network.layers[-2].set_weights([np.full((3, 3, 8, 3), 0.01), np.zeros(3)])
    folder = tmp_path / "model"
    folder.mkdir()
    save_network(network, folder, describe(network, noise="gauss25", noise_level=(0.05, 0.2)))
    return folder


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_it_is_near_the_network_says_what_it_loses_and_is_kept(precision, folder, monkeypatch):
    source = folder / "network.keras"
    place = litert_form.beside(source, precision)
    assert place == folder / f"network_{precision}.tflite"
    fast_form.main(str(source), str(place), precision)
    monkeypatch.setattr(litert_form.subprocess, "run", None)  # nothing more is converted
    fast, plain = Denoiser.load(folder, precision=precision), Denoiser.load(folder, engine="keras")
    told = rf"LiteRT in {precision}, \d+ threads?; \d\.\d\d dB lost on noisy photographs"
    assert re.fullmatch(told, fast.engine), fast.engine
    info = litert_form.find_form(source, precision).info
    assert info.measured["psnr_drop"] < 1 and (info.noise_level is None) == (precision == "int8")
    images = np.random.default_rng(0).random((3, 96, 80, 3), np.float32)
    for image in (images[0], images[1, :38, :50], images[2]):  # another size, and back
        assert np.abs(fast.bare(image) - plain.bare(image)).max() < 0.05
    content = bytearray(place.read_bytes())
    content[500] ^= 1
    place.write_bytes(content)
    assert litert_form.find_form(source, precision) is None


def test_what_loses_too_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr(fast_form, "MOST", -np.inf)
    network = keras.models.load_model(folder / "network.keras")
    with pytest.raises(ModelError, match=r"in dynamic it loses -?\d\.\d\d dB on noisy photographs"):
        fast_form.fast_graph(network, describe(network, noise="gauss25"), "dynamic")


def test_other_engines_have_no_precision(folder):
    with pytest.raises(ModelError, match="Keras runs networks in float32; int8 is for LiteRT"):
        Denoiser.load(folder, engine="keras", precision="int8")
    with pytest.raises(
        ValueError, match=r"must be one of float32, dynamic, int8\. Received: 'half'"
    ):
        Denoiser.load(folder, precision="half")
    with pytest.raises(ModelError, match="save it to use LiteRT"):
        Denoiser.load(keras.models.load_model(folder / "network.keras"), precision="int8")


def test_what_cannot_be_converted_is_run_with_keras_and_said(folder, monkeypatch):
    monkeypatch.setattr(litert_form.sys, "executable", "/bin/false")
    with pytest.warns(UserWarning, match="run with Keras, not with LiteRT: the conversion failed"):
        assert Denoiser.load(folder, precision="dynamic").engine.startswith("Keras: the conversion")
