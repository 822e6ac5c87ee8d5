"""Denoiser: what it does to pixels, what it loads, and what it refuses with which words."""

import io
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from n2n_tf.denoising import denoiser as denoiser_module
from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.export.saved_model import export_saved_model
from n2n_tf.export.tflite import export_tflite
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files import shipped
from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.keras_file import as_float32, describe, load_network
from n2n_tf.networks.unet import unet
from n2n_tf.pipelines.files.checksums import file_checksum
from n2n_tf.pipelines.padding import reflect_pad, round_up

INFO = {"network": "small", "channels": 3, "size_multiple": 4, "halo": 8}
KNOWN = ModelInfo(**INFO)


def small_network(channels=3, name="small", dtype=None, seed=1):
    """Two poolings: quick to build, and it fails on sides that are no multiple of 4."""
    keras.utils.set_random_seed(seed)
    x = noisy = keras.Input((None, None, channels), name="noisy")
    for _ in range(2):
        x = layers.Conv2D(3, 3, padding="same", activation="relu", dtype=dtype)(x)
        x = layers.MaxPooling2D(2, dtype=dtype)(x)
    for _ in range(2):
        x = layers.Conv2DTranspose(3, 2, strides=2, dtype=dtype)(x)
    x = layers.Concatenate(dtype=dtype)([x, noisy])
    return keras.Model(noisy, layers.Conv2D(channels, 1, dtype="float32")(x), name=name)


def save_folder(folder, network, info):
    """A folder as n2n-train leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "network.keras")
    (folder / "model.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def models(tmp_path_factory, network):
    """The same network in every form that can be loaded. Not to be written to."""
    root = tmp_path_factory.mktemp("models")
    folder = save_folder(root / "folder", network, INFO)
    export_saved_model(network, root / "saved_model", KNOWN)
    export_tflite(network, root / "model.tflite", KNOWN)
    return {
        "folder": folder,
        "keras": folder / "network.keras",
        "saved_model": root / "saved_model",
        "tflite": root / "model.tflite",
    }


def identity(channels=3, **arguments):
    return Denoiser(lambda x: x, ModelInfo(channels, 8, 8), tile=32, **arguments)


# Pixels


@pytest.mark.parametrize("dtype, side", [(np.uint8, 17), (np.uint16, 257)])
def test_identity_gives_every_integer_back(dtype, side):
    values = np.arange(side * side).reshape(side, side) % (np.iinfo(dtype).max + 1)
    gray = values.astype(dtype)
    colour = np.stack([gray, gray[::-1], gray.T], axis=-1)
    assert np.unique(gray).size == np.iinfo(dtype).max + 1
    for model, image in ((identity(1), gray), (identity(1), colour), (identity(3), colour)):
        same = model(image)
        assert same.dtype == dtype
        np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(identity(1)(gray[..., None]), gray[..., None])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_neither_clipped_nor_rounded(dtype, rng):
    image = rng.normal(0.5, 2.0, (33, 21, 3)).astype(dtype)
    assert image.min() < -1 and image.max() > 2
    same = identity()(image)
    assert same.dtype == np.float32
    np.testing.assert_array_equal(same, image.astype(np.float32))


@pytest.mark.parametrize("dtype, white", [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_rounded_half_up_and_clipped(dtype, white):
    image = np.array([[0, 1, 2, 100, white]], dtype)
    assert Denoiser(lambda x: x * 0.5, ModelInfo(1, 1, 0)).bare(image).tolist() == [
        [0, 1, 1, 50, (white + 1) // 2]  # 0.5 -> 1
    ]
    brighter = Denoiser(lambda x: x * 2 - 0.5, ModelInfo(1, 1, 0)).bare(image)
    assert brighter[0, [0, -1]].tolist() == [0, white]


def test_big_endian_pixels_go_too():
    image = np.array([[0, 1, 256, 65535]], ">u2")
    same = identity(1)(image)
    assert same.dtype == image.dtype
    np.testing.assert_array_equal(same, image)


def test_white_level_sets_what_is_one():
    seen = []

    def run(x):
        seen.append(float(x.max()))
        return x * 2

    model = Denoiser(run, ModelInfo(1, 1, 0))
    twelve_bits = np.array([[0, 1000, 4095]], np.uint16)
    # Brighter than white is possible: only the type's own largest value is the end.
    assert model(twelve_bits, white_level=4095, noise="none").tolist() == [[0, 2000, 8190]]
    floats = np.array([[0.0, 10.0, 20.0]])
    assert model(floats, white_level=20.0, noise="none").tolist() == [[0, 20, 40]]
    trained = Denoiser(run, ModelInfo(1, 1, 0, white_level=4095.0))
    assert trained(twelve_bits, noise="none").tolist() == [[0, 2000, 8190]]
    assert seen == [1.0, 1.0, 1.0]


def test_a_gray_model_sees_colour_plane_by_plane(rng):
    shapes = []

    def run(x):
        shapes.append(x.shape)
        return x + x.mean()  # depends on the plane as a whole

    image = rng.random((8, 16, 3), np.float32)
    denoised = Denoiser(run, ModelInfo(1, 8, 0)).bare(image)
    assert shapes == [(1, 8, 16, 1)] * 3
    expected = image + image.mean(axis=(0, 1))
    np.testing.assert_allclose(denoised, expected, atol=1e-6)


def test_progress_runs_once_from_none_to_all_even_plane_by_plane():
    told = []
    image = np.zeros((8, 256, 3), np.uint8)
    model = Denoiser(lambda x: x, ModelInfo(1, 8, 8), tile=32)
    model(image, progress=lambda *counts: told.append(counts), noise="none")
    done, total = zip(*told, strict=True)
    assert set(total) == {9} and sorted(done) == list(done) and (done[0], done[-1]) == (0, 9)


def test_no_window_is_larger_than_the_tile(rng):
    sizes = set()

    def run(x):
        sizes.add(x.shape[1:3])
        return x

    image = rng.random((100, 50, 1), np.float32)
    np.testing.assert_array_equal(Denoiser(run, ModelInfo(1, 8, 8), tile=40)(image), image)
    assert sizes == {(40, 40)}
    sizes.clear()
    # Too small to keep anything inside its halo: the least that works is taken.
    np.testing.assert_array_equal(Denoiser(run, ModelInfo(1, 8, 8), tile=1)(image), image)
    assert sizes == {(24, 24)}


@pytest.mark.parametrize(
    "image, white_level, message",
    [
        (np.zeros((4, 4, 4), np.uint8), None, "of 3 channels. Received: 4"),
        (np.zeros((4, 4), np.uint8), None, "of 3 channels. Received: 1"),
        (np.zeros((4, 4, 3), np.int32), None, "uint8, uint16 or float. Received: int32"),
        (np.zeros((4, 4, 3), np.uint32), None, "uint8, uint16 or float. Received: uint32"),
        (np.zeros((4, 4, 3), bool), None, "uint8, uint16 or float. Received: bool"),
        (np.zeros((4, 4, 3), complex), None, "uint8, uint16 or float. Received: complex128"),
        (np.zeros((0, 4, 3), np.uint8), None, r"one pixel. Received: shape=\(0, 4, 3\)"),
        (np.zeros((4, 4, 0), np.uint8), None, r"one pixel. Received: shape=\(4, 4, 0\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), None, r"Received: shape=\(1, 4, 4, 3\)"),
        (np.zeros(3), None, r"Received: shape=\(3,\)"),
        (np.full((4, 4, 3), np.nan), None, "NaN or infinite"),
        (np.full((4, 4, 3), np.inf), None, "NaN or infinite"),
        (np.zeros((4, 4, 3), np.uint8), 256, "at most 255 for uint8 pixels. Received: 256"),
        (np.zeros((4, 4, 3), np.uint16), 65536.0, "at most 65535 for uint16 pixels"),
        (np.zeros((4, 4, 3)), 0, "above 0 .* Received: 0"),
        (np.zeros((4, 4, 3)), float("nan"), "Received: nan"),
    ],
)
def test_images_that_cannot_be_denoised_are_refused(image, white_level, message):
    with pytest.raises(ValueError, match=message):
        identity().bare(image, white_level)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_returns_no_numbers_does_not_pass_for_black(value):
    with pytest.raises(ModelError, match="returned NaN or infinite pixels"):
        Denoiser(lambda x: x + value, ModelInfo(3, 1, 0))(
            np.zeros((4, 4, 3), np.uint8), noise="none"
        )


# Axes


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("ZYX", (5, 6, 7)), ("TCYX", (2, 3, 6, 7)), ("YXZ", (6, 7, 5)), ("XY", (7, 6))],
)
def test_every_plane_of_a_stack_is_denoised_by_itself(axes, shape, rng):
    image = rng.random(shape, np.float32)

    def run(plane):  # minus its mean: tells planes from stacks
        return plane - plane.mean()

    denoise = Denoiser(run, ModelInfo(1, 1, 0))
    across = tuple(axes.index(letter) for letter in "YX")
    expected = image - image.mean(across, keepdims=True)
    np.testing.assert_allclose(denoise(image, axes=axes, noise="none"), expected, rtol=0, atol=1e-6)


def test_axes_are_asked_for_where_they_could_be_two_things(rng):
    gray = Denoiser(lambda x: x, ModelInfo(1, 1, 0))
    for shape in ((9, 6, 7), (6, 7, 4), (2, 3, 6, 7)):
        with pytest.raises(ValueError, match=r'say what its axes are, like axes="ZYX"'):
            gray(rng.random(shape, np.float32))
    with pytest.raises(ValueError, match="every axis of the image once, Y and X among them"):
        gray(rng.random((9, 6, 7), np.float32), axes="ZYY")
    assert gray(rng.random((6, 7, 4), np.float32), axes="YXC").shape == (6, 7, 4)


# Loading


@pytest.mark.parametrize("form", ["folder", "keras", "saved_model", "tflite"])
def test_every_form_denoises_as_the_network(models, network, form, rng):
    image = rng.random((33, 50, 3), np.float32)
    padded = reflect_pad(image, round_up(33, 4), round_up(50, 4))
    expected = np.asarray(network(padded[None]))[0, :33, :50]
    model = Denoiser.load(models[form])
    assert (model.channels, model.tiling.size_multiple, model.tiling.halo) == (3, 4, 8)
    assert model.info.to_json().items() >= INFO.items()
    np.testing.assert_allclose(model.bare(image), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.1
    text_path = Denoiser.load(str(models[form]), tile=40)
    np.testing.assert_allclose(text_path.bare(image), expected, rtol=0, atol=1e-5)
    assert (model.network is None) == (form in ("saved_model", "tflite"))


def test_our_network_needs_no_model_json(tmp_path):
    unet(channels=1, features=2).save(tmp_path / "mine.keras")
    model = Denoiser.load(tmp_path / "mine.keras")
    assert (model.channels, model.tiling.size_multiple, model.tiling.halo) == (1, 32, 160)
    assert model(np.zeros((33, 7), np.uint8)).shape == (33, 7)


def test_a_network_or_its_trainer_is_taken_as_it_is(tmp_path, rng):
    network = unet(channels=3, features=2, init_scale=1.0)
    trainer = Neighbor2Neighbor(network)
    trainer.save(tmp_path / "trainer.keras")
    image = rng.random((32, 40, 3), np.float32)
    expected = np.asarray(trainer(image[None]))[0]
    for model in (network, trainer, tmp_path / "trainer.keras"):
        np.testing.assert_allclose(Denoiser.load(model).bare(image), expected, rtol=0, atol=1e-6)


def test_a_living_network_is_not_copied(rng):
    network = unet(channels=3, features=2, init_scale=1.0)
    model, image = Denoiser.load(network), rng.random((32, 32, 3), np.float32)
    before = model.bare(image)
    network.get_layer("nin_c").bias.assign_add([1.0, 0.0, 0.0])
    np.testing.assert_allclose(model.bare(image), before + np.float32([1, 0, 0]), atol=1e-5)


def test_shipped_models_are_found_by_name(tmp_path, monkeypatch, network):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    save_folder(tmp_path / "photos_25", network, INFO)
    assert Denoiser.load("photos_25").info == KNOWN
    with pytest.raises(ModelError, match=r"photos_52: no such .*there are: photos_25"):
        Denoiser.load("photos_52")


def test_a_network_by_its_path_is_checked_and_hands_no_checksum_on(tmp_path, network):
    folder = save_folder(tmp_path / "model", network, INFO)
    path = folder / "network.keras"
    (folder / "model.json").write_text(json.dumps(INFO | {"sha256": file_checksum(path)}))
    loaded = Denoiser.load(path)
    assert loaded.info == KNOWN  # the checksum is this file's and no export's
    export_saved_model(loaded.network, tmp_path / "saved_model", loaded.info)
    assert Denoiser.load(tmp_path / "saved_model").channels == 3
    small_network(seed=2).save(path)
    refused(path, "is damaged or not the network that model.json beside it describes")


def test_mixed_precision_is_loaded_in_float32(tmp_path, rng):
    mixed = small_network(dtype="mixed_bfloat16")
    plain = small_network(dtype="float32")
    mixed.set_weights(plain.get_weights())
    image = rng.random((1, 32, 32, 3), np.float32)
    assert np.abs(mixed(image) - plain(image)).max() > 1e-4
    mixed.save(tmp_path / "network.keras")
    for converted in (as_float32(mixed), load_network(tmp_path / "network.keras")):
        np.testing.assert_allclose(converted(image), plain(image), rtol=0, atol=1e-6)
    assert as_float32(plain) is plain


# Refusing


def refused(path, *words):
    """`path` is refused with ModelError in one line that names it, or a file in it, and `words`."""
    with pytest.raises(ModelError) as caught:
        Denoiser.load(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1 and len(text) < 600
    for word in words:
        assert word in text


@pytest.mark.parametrize("name", ["nothing", "runs/nothing", "nothing.keras", "nothing.tflite"])
def test_what_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(name, "no such file or folder")


def test_what_is_no_model(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    refused(tmp_path / "photo.png", "not a model", ".keras, .tflite, .pth and .npz")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no network.keras")


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda data: bytes(len(data)),
    "one byte changed": lambda data: _changed(data, data.rindex(b"model.weights.h5") // 2),
}


def _changed(data, index):
    return data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_keras_files(models, tmp_path, damage):
    data = models["keras"].read_bytes()
    (tmp_path / "network.keras").write_bytes(DAMAGES[damage](data))
    refused(tmp_path / "network.keras")
    shutil.copy(models["folder"] / "model.json", tmp_path)
    refused(tmp_path, "network.keras")


def test_a_keras_file_without_weights(models, tmp_path):
    rewrite(models["keras"], tmp_path / "network.keras", drop="model.weights.h5")
    refused(tmp_path / "network.keras", "must hold config.json, metadata.json, model.weights.h5")


def rewrite(source, target, config=None, drop=None):
    """Copies a .keras file with another configuration, or without one of its files."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name == "config.json" and config:
                new.writestr(name, json.dumps(config(json.loads(old.read(name)))))
            elif name != drop:
                new.writestr(name, old.read(name))


@pytest.mark.parametrize(
    "info, words",
    [
        (None, ["model.json: missing", "copy both"]),
        (b"no json {", ["model.json: cannot be read"]),
        (b"\xff\xfe", ["model.json: cannot be read"]),
        (b"[" * 100_000, ["model.json: cannot be read"]),
        (b"[]", ["'channels' must be a whole number in 1..64, is None"]),
        (b"{}", ["'channels' must be"]),
        ({"channels": "3"}, ["'channels' must be", "is '3'"]),
        ({"channels": True}, ["'channels' must be", "is True"]),
        ({"channels": 3.0}, ["'channels' must be", "is 3.0"]),
        ({"channels": 65}, ["'channels' must be"]),
        ({"channels": "3" * 10_000}, ["'channels' must be"]),
        ({"size_multiple": 0}, ["'size_multiple' must be a whole number in 1..512, is 0"]),
        ({"halo": -1}, ["'halo' must be a whole number in 0..4096, is -1"]),
        ({"halo": None}, ["'halo' must be"]),
        # Numbers that are possible, but not this network's.
        ({"channels": 1}, ["takes 3 channels", "says channels=1"]),
        ({"size_multiple": 2}, ["2 x 2 pixels", "size_multiple in model.json is wrong"]),
    ],
)
def test_wrong_model_json(network, tmp_path, info, words):
    save_folder(tmp_path, network, INFO | info if isinstance(info, dict) else INFO)
    if info is None:
        (tmp_path / "model.json").unlink()
    elif isinstance(info, bytes):
        (tmp_path / "model.json").write_bytes(info)
    refused(tmp_path, *words)


@pytest.mark.parametrize("form", ["saved_model", "tflite"])
def test_exports_with_a_wrong_model_json(models, tmp_path, form):
    folder = shutil.copytree(models[form].parent, tmp_path / "copy")
    path = folder / models[form].name
    info = path / "model.json" if path.is_dir() else folder / "model.tflite.json"
    info.write_text(json.dumps(INFO | {"channels": 4}))
    refused(path, "takes 3 channels", "says channels=4")
    info.write_text("{")
    refused(path, info.name, "cannot be read")
    info.unlink()
    if form == "saved_model":
        refused(path, info.name, "missing")
    else:  # it has the same inside, in an archive at its end
        assert Denoiser.load(path).info.to_json().items() >= INFO.items()
        path.write_bytes(path.read_bytes()[:-100])
        refused(path, "model.json", "model.json, which describes its input")


@pytest.mark.parametrize("damage", [*DAMAGES][:3])
def test_damaged_exports(models, tmp_path, damage):
    tflite = tmp_path / "model.tflite"
    shutil.copy(f"{models['tflite']}.json", tmp_path)
    data = models["tflite"].read_bytes()
    tflite.write_bytes(DAMAGES[damage](data))
    refused(tflite, "model.tflite.json describes (another checksum)")
    beside = tmp_path / "model.tflite.json"
    info = json.loads(beside.read_text())
    beside.write_text(json.dumps({k: v for k, v in info.items() if k != "sha256"}))
    refused(tflite, "no .tflite file with a signature denoise(noisy) -> denoised")

    for file in ("saved_model.pb", "variables/variables.index"):
        folder = shutil.copytree(models["saved_model"], tmp_path / file.replace("/", "_"))
        (folder / file).write_bytes(DAMAGES[damage]((folder / file).read_bytes()))
        refused(folder, "no SavedModel with a signature denoise(noisy) -> denoised")


def test_a_saved_model_of_something_else(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, [tf.TensorSpec((None, None, None, 3))])
    tf.saved_model.save(module, str(tmp_path / "other"))
    (tmp_path / "other/model.json").write_text(json.dumps(INFO))
    refused(tmp_path / "other", "no SavedModel with a signature denoise(noisy) -> denoised")


def test_a_lambda_in_a_file_is_not_run(tmp_path):
    mark = tmp_path / "was_here"
    x = keras.Input((None, None, 3))
    code = f"lambda t: t if __import__('pathlib').Path({str(mark)!r}).write_text('x') else t"
    network = keras.Model(x, layers.Lambda(eval(code))(x), name="small")
    save_folder(tmp_path / "model", network, INFO)
    assert mark.exists(), "the lambda works"
    mark.unlink()
    refused(tmp_path / "model", "cannot be loaded as a Keras model")
    assert not mark.exists()


def test_a_class_of_a_foreign_module_is_not_imported(tmp_path, monkeypatch, models):
    mark = tmp_path / "was_here"
    (tmp_path / "unknown_layers.py").write_text(
        f"import keras, pathlib\npathlib.Path({str(mark)!r}).write_text('x')\n"
        "class Other(keras.layers.ReLU):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def foreign(config):
        layer = next(
            one for one in config["config"]["layers"] if one["class_name"] == "MaxPooling2D"
        )
        layer |= {"module": "unknown_layers", "class_name": "Other", "registered_name": "Other"}
        layer["config"] = {"name": layer["config"]["name"]}
        return config

    rewrite(models["keras"], tmp_path / "network.keras", config=foreign)
    shutil.copy(models["folder"] / "model.json", tmp_path)
    refused(tmp_path, "cannot be loaded as a Keras model")
    assert not mark.exists()


# Describing


def test_describe_reads_the_reach_from_the_layers(network):
    info = describe(unet(channels=4, features=2), noise="gauss25")
    assert info == ModelInfo(4, 32, 160, network="unet", noise="gauss25")
    assert ModelInfo.from_json(json.loads(json.dumps(info.to_json())), "x") == info
    named_alike = small_network()
    named_alike.name = "unet"
    assert (describe(named_alike).size_multiple, describe(named_alike).halo) == (4, 8)


def test_describe_asks_what_layers_do_not_tell(network):
    x = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    far = keras.Model(x, layers.Multiply()([x, pooled]), name="attention")
    with pytest.raises(ModelError, match=r"attention.*GlobalAveragePooling2D.*multiple and halo"):
        describe(far)
    assert describe(far, size_multiple=4, halo=8).halo == 8


def test_describe_refuses_what_takes_no_images_of_any_size():
    def functional(shape, make):
        x = keras.Input(shape)
        return keras.Model(x, make(x))

    conv = layers.Conv2D(3, 1)
    for shape in ((64, 64, 3), (None, 64, 3), (None, None, None), (None, 3)):
        network = functional(shape, layers.Activation("relu"))
        with pytest.raises(ModelError, match=r"any height and width\. Received: input_shape="):
            describe(network, size_multiple=1, halo=0)
    for make in (layers.Conv2D(1, 1), layers.MaxPooling2D(2), layers.GlobalMaxPooling2D()):
        changing = functional((None, None, 3), lambda x, make=make: make(conv(x)))
        if changing.output_shape == changing.input_shape:
            continue  # a pooling's unknown sides are found when the network is run
        with pytest.raises(ModelError, match="must return images of the shape it takes"):
            describe(changing, size_multiple=1, halo=0)
    x, y = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="must take images"):
        describe(keras.Model([x, y], layers.Add()([x, y])), size_multiple=1, halo=0)

    class Own(keras.Model):
        pass

    with pytest.raises(ModelError, match="must take images"):
        describe(Own(), size_multiple=1, halo=0)


def test_a_network_that_shrinks_images_is_refused(tmp_path):
    x = keras.Input((None, None, 3))
    network = keras.Model(x, layers.MaxPooling2D(2)(x), name="small")
    save_folder(tmp_path, network, INFO)
    refused(tmp_path, "returns (1, 2, 2, 3) for images (1, 4, 4, 3)")


def test_the_example_of_the_class_runs():
    import doctest

    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(Denoiser, "Denoiser", globs=vars(denoiser_module))
    told = io.StringIO()
    assert doctest.DocTestRunner().run(example, out=told.write).attempted == 3
    assert told.getvalue() == ""
    assert shipped.SHIPPED.name == "saved_models"
