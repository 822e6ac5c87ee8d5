"""Engines: LiteRT gives Keras's numbers, is made once, and where it cannot be, Keras is said."""

import json
import re
import subprocess
import sys
import types
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from n2n_tf.denoising import engines
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.model_files import litert_conversion, litert_form, shipped
from n2n_tf.model_files.info import ModelError
from n2n_tf.model_files.keras_file import describe

NOISY = np.random.default_rng(0).random((37, 70, 3), np.float32)


def network_of_all_kinds(seed=1):
    """Transposed convolutions that become 1x1 convolutions, and one that cannot."""
    keras.utils.set_random_seed(seed)
    x = noisy = keras.Input((None, None, 3), name="noisy")
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, activation=layers.LeakyReLU(0.2))(x)
    x = layers.Conv2DTranspose(6, 2, strides=2, padding="same", use_bias=False)(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same")(x)
    return keras.Model(noisy, layers.Conv2D(3, 1)(layers.Concatenate()([x, noisy])), name="kinds")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as n2n-train leaves it; what would go into the user's cache goes elsewhere too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return saved(tmp_path / "model", network_of_all_kinds())


def saved(folder, network):
    folder.mkdir(exist_ok=True)
    network.save(folder / "network.keras")
    (folder / "model.json").write_text(json.dumps(describe(network).to_json()))
    return folder


def convert(folder):
    litert_conversion.main(str(folder / "network.keras"), str(folder / "network.tflite"))


def test_no_shipped_form_is_another_networks():
    for name in shipped.shipped_models():
        source = shipped.SHIPPED / name / "network.keras"
        form = litert_form.find_form(source)
        assert form and form.path == litert_form.beside(source), f"{name}: run n2n-models convert"


@pytest.mark.parametrize("name", shipped.shipped_models())
def test_shipped_models_have_a_form_that_equals_the_network(name):
    fast, plain = (Denoiser.load(name, engine=e) for e in ("litert", "keras"))
    assert fast.engine.startswith("LiteRT") and plain.engine == "Keras"
    noisy = np.random.default_rng(1).random((100, 140, fast.channels), np.float32)
    assert np.abs(fast(noisy) - plain(noisy)).max() <= 1e-5
    assert fast.info == plain.info and fast.network.count_params() == fast.info.parameters


def test_the_form_of_ones_own_network_equals_it_and_is_made_once(folder, monkeypatch):
    plain = Denoiser.load(folder, engine="keras")
    fast = Denoiser.load(folder, engine="litert")  # converts in a process of its own
    assert np.abs(fast(NOISY) - plain(NOISY)).max() <= 1e-5
    assert sorted(p.name for p in folder.iterdir()) == [
        "model.json",
        "network.keras",
        "network.tflite",
    ]
    monkeypatch.setattr(litert_form.subprocess, "run", None)  # nothing more is converted
    for model in (folder, folder / "network.keras"):
        assert Denoiser.load(model).engine.startswith("LiteRT")
    assert np.array_equal(Denoiser.load(folder / "network.tflite")(NOISY), fast(NOISY))


def test_a_form_of_another_network_or_a_damaged_one_is_not_used(folder):
    source = folder / "network.keras"
    convert(folder)
    whole = (folder / "network.tflite").read_bytes()
    assert litert_form.find_form(source).content == whole
    for at in (100, len(whole) // 2):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        (folder / "network.tflite").write_bytes(damaged)
        assert litert_form.find_form(source) is None
    for short in (b"", whole[:5000]):
        (folder / "network.tflite").write_bytes(short)
        assert litert_form.find_form(source) is None
    (folder / "network.tflite").write_bytes(whole)
    saved(folder, network_of_all_kinds(seed=2))
    assert litert_form.find_form(source) is None


def test_weights_of_16_bits_are_kept_in_16_bits(folder):
    convert(folder)
    size = (folder / "network.tflite").stat().st_size
    network = network_of_all_kinds()
    wide = layers.Conv2D(64, 3, padding="same", name="wide")
    network = keras.Model(network.input, layers.Conv2D(3, 3, padding="same")(wide(network.output)))
    assert not litert_conversion.fits_float16(network)
    exact = litert_conversion.litert_graph(network, describe(network))
    network.set_weights([np.float16(w).astype(np.float32) for w in network.get_weights()])
    assert litert_conversion.fits_float16(network)
    half = litert_conversion.litert_graph(network, describe(network))  # raises if it differs
    numbers = wide.count_params()
    assert size and len(exact) - len(half) > 1.5 * numbers


def test_without_litert_keras_runs_and_says_why(folder, monkeypatch):
    monkeypatch.setattr(litert_form.sys, "executable", "/bin/false")
    no_tensorflow = types.SimpleNamespace(modules={})  # as in a process that has not imported it
    monkeypatch.setattr(engines, "sys", no_tensorflow)
    with pytest.warns(UserWarning, match=r"run with Keras, not with LiteRT: the conversion failed"):
        denoise = Denoiser.load(folder)
    assert denoise.engine.startswith("Keras: the conversion failed")
    expected = Denoiser.load(folder, engine="keras")(NOISY)
    assert np.array_equal(denoise(NOISY), expected)
    with pytest.raises(ModelError, match=r"model: cannot be run with LiteRT: the conversion"):
        Denoiser.load(folder, engine="litert")


def test_a_litert_that_does_not_start_leaves_the_work_to_keras(folder, monkeypatch):
    """As on a processor, or with libraries, that it was not made for."""
    convert(folder)
    expected = Denoiser.load(folder, engine="keras")(NOISY)

    def unsuited(*arguments, **more):
        raise RuntimeError("XNNPACK delegate failed to initialize")

    for broken, said in (
        (types.ModuleType("interpreter"), r"Keras: LiteRT does not start \(cannot import"),
        (types.SimpleNamespace(Interpreter=unsuited), r"\(XNNPACK delegate failed to initialize\)"),
    ):
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", broken)
        with pytest.warns(UserWarning, match="run with Keras, not with LiteRT") as warned:
            denoise = Denoiser.load(folder)
        assert len(warned) == 1
        assert re.search(said, denoise.engine)
        assert np.array_equal(denoise(NOISY), expected)
        with pytest.raises(ModelError, match="cannot be run with LiteRT"):
            Denoiser.load(folder, engine="litert")
        with pytest.raises(ModelError, match=r"LiteRT does not start|XNNPACK delegate"):
            Denoiser.load(folder / "network.tflite")


@pytest.mark.parametrize(
    "raised, said",
    [
        (
            RuntimeError("MLIR.<unknown>:0: \nCustom ops: Erfinv\nDetails: ..."),
            "LiteRT has no Erfinv",
        ),
        (ValueError("One line.\nAnother."), "One line"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_conversion_that_fails_says_why_in_one_line(raised, said):
    def fails(source):
        raise raised

    with pytest.raises(SystemExit) as ended:
        litert_conversion.told(fails, ["network.keras"])
    assert ended.value.code == said


def test_a_folder_that_cannot_be_written_to(folder, tmp_path, monkeypatch):
    source = folder / "network.keras"
    assert litert_form._place(source) == folder / "network.tflite"
    closed = {folder}
    monkeypatch.setattr(litert_form.os, "access", lambda path, how: path not in closed)
    cached = litert_form._place(source)
    assert cached.parent == tmp_path / "cache" / "n2n_tf"
    litert_conversion.main(str(source), str(cached))
    assert Denoiser.load(folder).engine.startswith("LiteRT")
    cached.unlink()
    closed.add(cached.parent)
    with pytest.raises(ModelError, match="LiteRT: no place to keep it"):
        Denoiser.load(folder, engine="litert")


def test_files_of_others_stay(folder):
    theirs = folder / "network.tflite"
    theirs.write_bytes(b"not ours")
    assert litert_form._place(folder / "network.keras") != theirs


def test_which_engine_is_chosen(folder, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "not made yet" in Denoiser.load(folder).engine  # TensorFlow is imported here
        assert Denoiser.load(network_of_all_kinds()).engine == "Keras"
        convert(folder)
        monkeypatch.setattr(engines, "_gpu_there", lambda before_keras: True)
        assert Denoiser.load(folder).engine == "Keras: there is a GPU"
        assert Denoiser.load(folder, engine="litert").engine.startswith("LiteRT")
    with pytest.raises(ModelError, match=r"network\.tflite: a \.tflite file is run with LiteRT"):
        Denoiser.load(folder / "network.tflite", engine="keras")
    with pytest.raises(ModelError, match="save it to use LiteRT"):
        Denoiser.load(network_of_all_kinds(), engine="litert")
    with pytest.raises(ValueError, match=r"must be one of auto, litert, keras\. Received: 'gpu'"):
        Denoiser.load(folder, engine="gpu")


def test_no_gpu_is_looked_for_where_there_is_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not engines._gpu_there(before_keras=None)


def _imported(*words):
    """What n2n-denoise says, and the modules that it imports."""
    code = (
        "import sys; from n2n_tf.cli import denoise\n"
        "try:\n    denoise.run()\nfinally:\n    print(*sorted(sys.modules), file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, set(done.stderr.split())


@pytest.fixture
def photo(tmp_path):
    from n2n_tf.pipelines.files.image_files import write_image

    write_image(tmp_path / "photo.png", np.uint8(255 * NOISY))
    return tmp_path / "photo.png"


def test_a_denoise_imports_no_tensorflow(photo, tmp_path):
    said, imported = _imported(photo, "-o", tmp_path / "out.png")
    assert said.startswith("Run by LiteRT")
    assert "1 of 1 image denoised" in said
    heavy = {"tensorflow", "keras", "scipy", "skimage", "h5py", "tensorboard", "matplotlib"}
    heavy |= {"rawpy", "filelock"}  # of raws
    assert not heavy & imported


@pytest.mark.parametrize(
    "asked, heavy",
    [
        ("--list_models", {"numpy", "cv2", "tqdm", "keras"}),
        ("--help", {"numpy", "cv2", "tqdm", "keras"}),
        ("--estimate", {"ai_edge_litert", "tqdm", "keras", "scipy", "rawpy"}),
    ],
)
def test_what_needs_no_network_imports_little(asked, heavy, photo):
    said, imported = _imported(asked, photo)
    assert said and "n2n_tf.cli.denoise" in imported
    assert not heavy & imported
