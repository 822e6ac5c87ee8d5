"""Exports: equal to the network at any size, runnable without us, and never written when wrong."""

import hashlib
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from tensorflow.lite.python.lite import TFLiteSavedModelConverterV2

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.export import replacing, saved_model, tflite, tflite_graph
from n2n_tf.export.replacing import ExportError, check_free
from n2n_tf.export.saved_model import export_saved_model
from n2n_tf.export.tflite import export_tflite
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.keras_file import describe
from n2n_tf.model_files.tflite_domain import INPUTS
from n2n_tf.networks.unet import unet

SIZES = [(63, 65), (33, 40), (64, 96), (17, 1), (1, 50), (1, 1)]
INFO = ModelInfo(channels=1, size_multiple=2, halo=4, network="small")
FOREIGN = ("Flex", "CUSTOM", "READ_VARIABLE", "VAR_HANDLE", "ASSIGN_VARIABLE")


def largest_difference_of_tflite(*arguments, **more):
    """`export_tflite` returns all that it measured; the SavedModel's function one number."""
    return export_tflite(*arguments, **more).max_difference


WRITERS = {"saved_model": export_saved_model, "model.tflite": largest_difference_of_tflite}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(5)
    return unet(channels=3, features=2, init_scale=1.0)


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """Folder with both exports of the U-Net. Not to be written to."""
    folder = tmp_path_factory.mktemp("exported") / "made/on/the/way"
    info = describe(network, noise="gauss25")
    differences = [write(network, folder / name, info) for name, write in WRITERS.items()]
    assert all(0 <= difference < 1e-5 for difference in differences)
    return folder


def expected_output(network, noisy, multiple=32):
    """Padding, network, cropping, all outside of the export."""
    height, width = noisy.shape[1:3]
    more = ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0))
    return np.asarray(network(np.pad(noisy, more, "reflect")))[:, :height, :width]


def noise_image(height, width, channels=3, batch=1):
    return np.random.default_rng(height).random((batch, height, width, channels), np.float32)


def small_network(seed=0):
    """One pooling: fails on odd sides. Converted in a second or two."""
    keras.utils.set_random_seed(seed)
    x = noisy = keras.Input((None, None, 1))
    x = layers.MaxPooling2D(2)(layers.Conv2D(2, 3, padding="same")(x))
    x = layers.Concatenate()([layers.Conv2DTranspose(2, 2, strides=2)(x), noisy])
    return keras.Model(noisy, layers.Conv2D(1, 1)(x), name="small")


def test_saved_model_equals_the_network_at_any_size(exported, network):
    loaded = tf.saved_model.load(str(exported / "saved_model"))
    # The second name for the same one is what TensorFlow Serving asks for.
    assert set(loaded.signatures) == {"denoise", "serving_default"}
    serve = loaded.signatures["denoise"]
    for height, width in SIZES:
        noisy = noise_image(height, width)
        result = serve(noisy=tf.constant(noisy))
        assert list(result) == ["denoised"]
        expected = expected_output(network, noisy)
        np.testing.assert_allclose(result["denoised"], expected, rtol=0, atol=1e-5)
    assert np.ptp(expected_output(network, noise_image(63, 65))) > 0.1
    noisy = noise_image(33, 40, batch=3)
    result = serve(noisy=tf.constant(noisy))["denoised"]
    np.testing.assert_allclose(result, expected_output(network, noisy), rtol=0, atol=1e-5)


def test_tflite_equals_the_network_at_any_size(exported, network):
    interpreter = Interpreter(str(exported / "model.tflite"))
    assert interpreter.get_signature_list() == {
        "denoise": {"inputs": ["noisy"], "outputs": ["denoised"]}
    }
    denoise = interpreter.get_signature_runner("denoise")
    for height, width in SIZES:
        noisy = noise_image(height, width)
        expected = expected_output(network, noisy)
        np.testing.assert_allclose(denoise(noisy=noisy)["denoised"], expected, rtol=0, atol=1e-5)
    noisy = noise_image(33, 40, batch=3)
    expected = expected_output(network, noisy)
    np.testing.assert_allclose(denoise(noisy=noisy)["denoised"], expected, rtol=0, atol=1e-5)


def test_tflite_holds_its_weights_and_only_tflites_own_operations(exported, network):
    interpreter = Interpreter(str(exported / "model.tflite"))
    operations = {op["op_name"] for op in interpreter._get_ops_details()}
    assert {"CONV_2D", "TRANSPOSE_CONV", "MAX_POOL_2D"} <= operations
    assert not [name for name in operations if name.startswith(FOREIGN)]
    assert (exported / "model.tflite").stat().st_size > 4 * network.count_params()


def test_tflite_runs_where_only_numpy_and_litert_are(exported, network, tmp_path):
    noisy = noise_image(63, 65)
    np.save(tmp_path / "noisy.npy", noisy)
    program = f"""
import json, pathlib, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
folder = pathlib.Path({str(exported)!r})
info = json.loads((folder / "model.tflite.json").read_text())
noisy = np.load("noisy.npy")
assert noisy.shape[-1] == info["channels"]
denoise = Interpreter(str(folder / "model.tflite")).get_signature_runner("denoise")
np.save("denoised.npy", denoise(noisy=noisy)["denoised"])
print(sorted({{"tensorflow", "keras", "n2n_tf"}} & set(sys.modules)))
"""
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    denoised = np.load(tmp_path / "denoised.npy")
    np.testing.assert_allclose(denoised, expected_output(network, noisy), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_saved_model_serves_where_only_tensorflow_is(exported, network, tmp_path):
    noisy = noise_image(63, 65)
    np.save(tmp_path / "noisy.npy", noisy)
    program = f"""
import sys
import numpy as np
import tensorflow as tf
serve = tf.saved_model.load({str(exported / "saved_model")!r}).signatures["denoise"]
np.save("denoised.npy", serve(noisy=tf.constant(np.load("noisy.npy")))["denoised"])
print([name for name in ("n2n_tf", "pipelines") if name in sys.modules])
"""
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    denoised = np.load(tmp_path / "denoised.npy")
    np.testing.assert_allclose(denoised, expected_output(network, noisy), rtol=0, atol=1e-5)


def test_model_json_lies_beside_and_the_denoiser_takes_both(exported):
    assert sorted(p.name for p in exported.iterdir()) == [
        "model.tflite",
        "model.tflite.json",
        "saved_model",
    ]
    info = {"network": "unet", "channels": 3, "size_multiple": 32, "halo": 160, "noise": "gauss25"}
    info |= {"license": "not stated", "input": "image"}
    assert json.loads((exported / "saved_model/model.json").read_text()) == info
    beside = json.loads((exported / "model.tflite.json").read_text())
    inside = {"precision": "float32", "takes_and_returns": INPUTS["image"]}
    with zipfile.ZipFile(exported / "model.tflite") as archive:
        assert json.loads(archive.read("model.json")) == info | inside
    content = (exported / "model.tflite").read_bytes()
    assert beside.pop("sha256") == hashlib.sha256(content).hexdigest()
    measured = beside.pop("measured")
    assert beside == info | inside
    assert measured["psnr"] == pytest.approx(measured["psnr_keras"], abs=1e-3)
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    both = [Denoiser.load(exported / name).bare(image).astype(int) for name in WRITERS]
    assert np.abs(both[0] - both[1]).max() <= 1  # a value at a half may round either way
    assert both[0].shape == image.shape


@pytest.fixture(params=WRITERS)
def target(request, tmp_path):
    """(export function, path to write)."""
    return WRITERS[request.param], tmp_path / request.param


def test_small_networks_of_others_can_be_exported(target):
    write, path = target
    network = small_network()
    assert write(network, path, INFO) < 1e-5
    noisy = noise_image(7, 9, channels=1)
    expected = expected_output(network, noisy, multiple=2)
    np.testing.assert_allclose(Denoiser.load(path).run(noisy), expected, rtol=0, atol=1e-5)
    assert not list(path.parent.glob(".*"))


def with_wrong_weights(value):
    """Writes the SavedModel of a network whose first kernel was spoilt."""
    honest = saved_model.write_saved_model

    def write(network, folder, info, **more):
        spoilt = keras.models.clone_model(network)
        weights = network.get_weights()
        weights[0] = weights[0] + np.float32(value)
        spoilt.set_weights(weights)
        honest(spoilt, folder, info, **more)

    return write


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("saved_model", 1.0, "differs from the network by"),
        ("model.tflite", 1.0, "differs from the network by"),
        ("model.tflite", np.nan, "returns NaN"),
    ],
)
def test_an_export_with_other_weights_is_not_written(tmp_path, monkeypatch, name, value, words):
    write, path = WRITERS[name], tmp_path / name
    for module in (saved_model, tflite):
        monkeypatch.setattr(module, "write_saved_model", with_wrong_weights(value))
    with pytest.raises(ExportError, match=words) as caught:
        write(small_network(), path, INFO)
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_returns_nan_is_not_exported(tmp_path):
    network = small_network()
    network.set_weights([w * np.nan for w in network.get_weights()])
    with pytest.raises(ExportError, match="differs from the network by"):
        export_saved_model(network, tmp_path / "saved_model", INFO)
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_the_padding_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite_graph, "reflect_pad_batch", lambda images, multiple: images)
    with pytest.raises(ExportError, match="running the exported model failed"):
        export_saved_model(small_network(), tmp_path / "saved_model", INFO)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "result, words",
    [
        (RuntimeError("no kernel for X\nmore"), r"TFLite conversion failed: no kernel for X\.$"),
        (b"not a flatbuffer", "running the exported model failed"),
    ],
)
def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch, result, words):
    def convert(self):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(TFLiteSavedModelConverterV2, "convert", convert)
    with pytest.raises(ExportError, match=words):
        export_tflite(small_network(), tmp_path / "model.tflite", INFO)
    assert list(tmp_path.iterdir()) == []


def test_operations_outside_of_tflites_own_are_refused(tmp_path):
    """With TensorFlow's own operations beside them it would convert, and run almost nowhere."""
    x = keras.Input((None, None, 1))
    network = keras.Model(x, keras.ops.tan(0.5 * x), name="small")
    with pytest.raises(ExportError, match=r"model\.tflite: TFLite conversion failed"):
        export_tflite(network, tmp_path / "model.tflite", INFO)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_multiple_is_found(tmp_path):
    with pytest.raises(ExportError, match="saved_model"):
        export_saved_model(small_network(), tmp_path / "saved_model", INFO.but(size_multiple=1))
    assert list(tmp_path.iterdir()) == []


def test_mixed_precision_is_exported_in_float32(tmp_path):
    """TFLite knows no bfloat16."""
    path = tmp_path / "model.tflite"
    x = keras.Input((None, None, 1))
    y = layers.Conv2D(2, 3, padding="same", dtype="mixed_bfloat16")(x)
    network = keras.Model(x, layers.Conv2D(1, 1, dtype="float32")(y), name="small")
    plain = keras.models.clone_model(network)
    for layer in plain.layers:
        layer.dtype_policy = keras.DTypePolicy("float32")
    plain.set_weights(network.get_weights())
    assert export_tflite(network, path, INFO).max_difference < 1e-5
    noisy = noise_image(8, 8, channels=1)
    np.testing.assert_allclose(Denoiser.load(path).run(noisy), plain(noisy), rtol=0, atol=1e-6)


# What is there already


def write_earlier_export(path):
    """Files with the names of an export."""
    if path.suffix:
        path.write_text("an earlier file")
        path.with_name(f"{path.name}.json").write_text("an earlier model.json")
    else:
        (path / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/variables.index", "model.json"):
            (path / name).write_text(f"an earlier {name}")


def test_an_earlier_export_is_replaced_only_on_request(target, tmp_path):
    write, path = target
    write_earlier_export(path)
    before, network = contents(tmp_path), small_network()
    with pytest.raises(FileExistsError, match="exists already"):
        write(network, path, INFO)
    assert contents(tmp_path) == before

    write(network, path, INFO, overwrite=True)
    noisy = noise_image(8, 8, channels=1)
    np.testing.assert_allclose(Denoiser.load(path).run(noisy), network(noisy), rtol=0, atol=1e-5)
    assert before.keys() <= contents(tmp_path).keys()
    assert not list(tmp_path.glob(".*"))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_failed_replacement_leaves_the_old_export(target, tmp_path, monkeypatch):
    write, path = target
    write_earlier_export(path)
    before = contents(tmp_path)
    for module in (saved_model, tflite):
        monkeypatch.setattr(module, "write_saved_model", with_wrong_weights(1.0))
    with pytest.raises(ExportError, match="differs"):
        write(small_network(), path, INFO, overwrite=True)
    assert contents(tmp_path) == before


def test_a_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    path, old = tmp_path / "saved_model", tmp_path / "old"
    path.mkdir()
    (path / "saved_model.pb").write_text("the old one")
    with pytest.raises(FileNotFoundError):
        replacing.replace_folder(tmp_path / "missing", path, old)
    assert (path / "saved_model.pb").read_text() == "the old one" and not old.exists()


def test_nothing_but_a_saved_model_is_ever_deleted(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("a photo")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "saved_model.pb").touch()
    (mixed / "a.png").write_text("a photo")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(photos)
    before = contents(tmp_path)
    for name in ("photos", "mixed", "file", "link"):
        with pytest.raises(ExportError, match="will not be replaced"):
            export_saved_model(small_network(), tmp_path / name, INFO, overwrite=True)
    folder = tmp_path / "model.tflite"
    folder.mkdir()
    with pytest.raises(ExportError, match="is not a plain file; it will not be replaced"):
        export_tflite(small_network(), folder, INFO, overwrite=True)
    assert contents(tmp_path) == before and folder.is_dir()


def test_a_json_file_of_that_name_is_not_replaced_unasked(tmp_path):
    mine = tmp_path / "model.tflite.json"
    mine.write_text("mine")
    with pytest.raises(FileExistsError, match=r"model\.tflite\.json exists already"):
        export_tflite(small_network(), tmp_path / "model.tflite", INFO)
    assert mine.read_text() == "mine"


def test_names_that_could_not_be_loaded_again(tmp_path):
    with pytest.raises(ExportError, match=r"must end in \.tflite"):
        export_tflite(small_network(), tmp_path / "model.lite", INFO)
    with pytest.raises(ExportError, match="is the name of a TFLite file"):
        export_saved_model(small_network(), tmp_path / "model.tflite", INFO)
    assert list(tmp_path.iterdir()) == []


def test_check_free_tells_before_the_work(tmp_path):
    check_free(tmp_path / "new")
    check_free(tmp_path / "new.tflite")
    (tmp_path / "a.tflite").touch()
    with pytest.raises(FileExistsError, match=r"a\.tflite exists already; .* --overwrite"):
        check_free(tmp_path / "a.tflite")
    check_free(tmp_path / "a.tflite", overwrite=True)
