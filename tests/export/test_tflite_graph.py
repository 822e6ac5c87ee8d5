"""What files take and return: the translation to the network's own domain and back."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.export.tflite_graph import wrap
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.tflite_domain import Stabilised, decode, encode, finish
from n2n_tf.model_files.tflite_file import read_tflite_info, write_tflite
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.frame import normalise_mosaic

INFO = ModelInfo(channels=4, size_multiple=2, halo=2, precision="float32")
FIXED = {"black_level": [60.0, 64.0, 68.0, 72.0], "white_level": 1023.0}
MOSAIC = INFO.but(
    input="bayer_mosaic", dtype="uint16", levels=FIXED, pattern="RGGB", keeps_clipped=True
)


def doubling(channels):
    """A network one can compute by hand."""
    x = keras.Input((None, None, channels))
    return keras.Model(x, keras.layers.Rescaling(2.0)(x))


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["uint16", "float32"]), st.booleans())
def test_encode_and_decode_are_inverse_but_for_rounding(seed, dtype, fixed):
    noisy = np.random.default_rng(seed).normal(0.4, 0.2, (1, 4, 6, 4)).astype(np.float32)
    info = MOSAIC.but(dtype=dtype, levels=FIXED if fixed else "inputs")
    arguments = encode(noisy, info)
    assert arguments["noisy"].shape == (1, 8, 12, 1) and arguments["noisy"].dtype == dtype
    assert set(arguments) == ({"noisy"} if fixed else {"noisy", "black_level", "white_level"})
    black, white = (FIXED["black_level"], 1023) if fixed else (1024, 16383)
    span = white - np.asarray(black)
    expected = np.maximum(noisy, -np.asarray(black) / span) if dtype == "uint16" else noisy  # raw 0
    atol = 0.5 / span.min() + 1e-5 if dtype == "uint16" else 1e-5
    np.testing.assert_allclose(decode(arguments["noisy"], info), expected, rtol=0, atol=atol)


def test_a_mosaic_is_normalised_and_packed_as_raw_files_are(rng):
    mosaic = rng.integers(0, 1024, (8, 12), dtype=np.uint16)
    expected = bayer.pack(
        normalise_mosaic(mosaic, FIXED["black_level"], FIXED["white_level"]), "RGGB"
    )
    got = decode(mosaic[None, ..., None], MOSAIC)
    np.testing.assert_allclose(got[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("tile", [None, (4, 6)])
@pytest.mark.parametrize("levels", [FIXED, "inputs"])
def test_the_function_of_a_mosaic_file_against_float64(rng, precision, tile, levels):
    keeps = precision == "float32"
    info = MOSAIC.but(precision=precision, tile=tile, levels=levels, keeps_clipped=keeps)
    mosaic = rng.integers(0, 1024, (8, 12), dtype=np.uint16)
    mosaic[0, :3] = 1023, 1023, 700
    black, white = np.array(FIXED["black_level"]), 1023.0
    cells = np.tile(black.reshape(2, 2), (4, 6))
    doubled = 2 * (mosaic - cells) / (white - cells) * (white - cells) + cells
    expected = np.clip(doubled, 0, white)
    if keeps:
        expected = np.where(mosaic >= white, mosaic, expected)
    function, signature = wrap(doubling(4), info)
    arguments = {"noisy": mosaic[None, ..., None]}
    if levels == "inputs":
        arguments |= {"black_level": np.float32(black), "white_level": np.float32([white])}
    assert [spec.name for spec in signature] == list(arguments)
    got = function(*map(tf.constant, arguments.values()))["denoised"]
    assert got.dtype == "uint16" and got.shape == (1, 8, 12, 1)
    assert np.abs(got[0, ..., 0].numpy().astype(float) - expected).max() <= 0.501


@pytest.mark.parametrize(("shot", "read"), [(0.01, 1e-4), (0.001, 2e-6), (0.03, 0.0)])
@pytest.mark.parametrize("level", [0.1, 0.4, 0.9])
def test_sensor_noise_becomes_alike_and_means_come_back(rng, shot, read, level):
    noisy = shot * rng.poisson(level / shot, 400_000) + rng.normal(0, read**0.5, 400_000)
    stable = Stabilised(shot, read)
    scaled = stable.apply(noisy)
    unit = 2 * np.sqrt(1 / shot + read / shot**2 + 0.375) - 2 * np.sqrt(read / shot**2 + 0.375)
    assert scaled.std() * unit == pytest.approx(1, rel=0.06)  # exact for many photons
    assert stable.undo(scaled.mean()) == pytest.approx(level, rel=0.002)
    np.testing.assert_allclose(stable.apply(np.array([0.0, 1.0])), [0, 1], atol=1e-12)


@pytest.mark.parametrize("levels", [FIXED, "inputs"])
def test_a_mosaic_file_of_a_network_for_gaussian_noise_against_float64(rng, levels):
    info = MOSAIC.but(levels=levels, noise_level=(0.01, 0.2))
    mosaic = rng.integers(60, 1023, (8, 12), dtype=np.uint16)
    arguments = {"noisy": mosaic[None, ..., None]}
    black, white = np.array(FIXED["black_level"]), 1023.0
    if levels == "inputs":
        arguments |= {"black_level": np.float32(black), "white_level": np.float32([white])}
    arguments |= {"shot": np.float32([0.01]), "read": np.float32([1e-4])}
    function, signature = wrap(doubling(4), info)
    assert [spec.name for spec in signature] == list(arguments)
    got = function(*map(tf.constant, arguments.values()))["denoised"][0, ..., 0].numpy()
    cells = np.tile(black.reshape(2, 2), (4, 6))
    x = (mosaic - cells) / (white - cells)
    root = lambda x: 2 * np.sqrt(np.maximum(x / 0.01 + 1e-4 / 0.01**2, 0) + 3 / 8)  # noqa: E731
    d = 2 * (root(x) - root(0)) + root(0)
    d = np.maximum(d, np.sqrt(1.5))
    bias = 1 / 4 + np.sqrt(1.5) / 4 / d - 11 / 8 / d**2 + 5 / 8 * np.sqrt(1.5) / d**3
    x = (d**2 / 4 - 3 / 8 + np.maximum(bias, 0)) * 0.01 - 1e-4 / 0.01
    expected = np.clip(x * (white - cells) + cells, 0, white)
    assert np.abs(got.astype(float) - expected).max() <= 0.51


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_function_of_an_rgb_file(rng, precision):
    info = INFO.but(channels=3, input="rgb_uint8", precision=precision, tile=(4, 4))
    pixels = rng.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    function, (spec,) = wrap(doubling(3), info)
    if precision == "int8":  # its own quantisation makes it uint8
        assert spec.dtype == "float32"
        got = function(tf.constant(pixels / np.float32(255)))["denoised"] * 255
    else:
        assert spec.dtype == "uint8"
        got = function(tf.constant(pixels))["denoised"]
        assert got.dtype == "uint8"
    expected = np.minimum(2 * pixels.astype(float), 255)
    np.testing.assert_allclose(np.asarray(got, float), expected, rtol=0, atol=1e-3)


def test_finish_is_what_the_functions_do(rng):
    noisy = rng.normal(0.5, 0.5, (1, 4, 6, 4)).astype(np.float32)
    arguments = encode(noisy, MOSAIC)
    taken = decode(arguments["noisy"], MOSAIC)
    function, _ = wrap(doubling(4), MOSAIC)
    got = decode(function(tf.constant(arguments["noisy"]))["denoised"].numpy(), MOSAIC)
    np.testing.assert_allclose(got, finish(2 * taken, taken, MOSAIC), rtol=0, atol=0.6 / 950)


def test_model_json_inside_beside_and_wrong(tmp_path):
    path = tmp_path / "x.tflite"
    write_tflite(path, b"....TFL3 something", MOSAIC)
    assert path.read_bytes().startswith(b"....TFL3 something")
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("model.json")) == MOSAIC.to_json()
    beside = tmp_path / "x.tflite.json"
    good = json.loads(beside.read_text())
    assert good.keys() - MOSAIC.to_json().keys() == {"sha256"}
    assert read_tflite_info(path) == MOSAIC.but(sha256=good["sha256"])
    beside.unlink()
    assert read_tflite_info(path) == MOSAIC

    wrong = {
        "tile": [[3, 4], [4], [4, 0], [4, "4"], 4, [4, 1 << 20], {}],
        "input": ["mosaic", 3],
        "levels": ["constant", {}, {"black_level": [1], "white_level": 2}, None, 5],
        "dtype": ["float64", None],
        "channels": [3],
        "sha256": ["0" * 64],
    }
    for key, values in wrong.items():
        for value in values:
            beside.write_text(json.dumps(good | {key: value}))
            with pytest.raises(ModelError, match=r"x\.tflite"):
                read_tflite_info(path)
    black_above_white = {"black_level": [64.0, 64.0, 64.0, 1023.0], "white_level": 1023.0}
    beside.write_text(json.dumps(good | {"levels": black_above_white}))
    with pytest.raises(ModelError, match="four black levels below a white level"):
        read_tflite_info(path)
