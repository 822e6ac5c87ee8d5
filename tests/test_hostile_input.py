"""Files made to harm: each is read or refused, quickly, in little memory, and runs no code.

`benchmarks/soak_inputs.py` does the same to thousands of files.
"""

import dataclasses
import io
import json
import os
import pathlib
import struct
import sys
import time
import zipfile
import zlib

import h5py
import keras
import numpy as np
import PIL.Image
import programs
import pytest
import tifffile
from dng_samples import random_mosaic, write_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from n2n_tf.model_files.info import ModelError, ModelInfo, read_info
from n2n_tf.model_files.keras_file import load_network
from n2n_tf.networks.unet import unet
from n2n_tf.pipelines.files import image_limits, metadata
from n2n_tf.pipelines.files.image_files import ImageFileError, read_image, write_image
from n2n_tf.pipelines.files.tiff_directories import TiffDirectories
from n2n_tf.pipelines.noise.synthetic import Noise, parse_noise
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.dng import encode_dng
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame
from n2n_tf.pipelines.raw.tiff_tags import make_tag

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
import soak_inputs

# Damage at random


@pytest.mark.parametrize("name", ["png", "jpeg", "bmp", "tiff", "raw", "raw tags", "pth", "npz"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, name):
    rng = np.random.default_rng(20210619)
    row, bad = soak_inputs.soak(soak_inputs.TABLE[name], 60, rng, tmp_path)
    assert not bad, bad[0][2]
    assert row["read"] + row["refused"] == 60
    assert row["at_most"] < row["at_rest"] + 500  # MiB


def test_the_soak_counts_what_goes_wrong(tmp_path):
    """A reader that crashes, hangs or raises the wrong error does not pass for a good one."""
    reader, path = soak_inputs.Reader(), tmp_path / "a.png"
    path.write_bytes(b"x")
    assert reader.read("read_picture", path)[0] == "refused"
    assert reader.read("_mend_png", path)[0] == "traceback"  # a call without its arguments
    assert reader.read("read_tags", path)[0] == "read"
    reader.process.kill()
    assert reader.read("read_tags", path)[0] == "crash"
    assert reader.read("read_tags", path, seconds=0)[0] == "hang"  # not even started yet


# Small files that ask for much


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(extra):
    """A picture with other chunks behind its header."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(file, "png")
    return file.getvalue()[:33] + extra + file.getvalue()[33:]


def tiff_of(width, height, compression=1, payload=bytes(64), **tags):
    """A gray 8-bit TIFF put together tag by tag; its pixels begin at byte 8."""
    codes = {"offsets": 273, "rows": 278, "lengths": 279}
    codes |= {"tile_width": 322, "tile_length": 323, "tile_offsets": 324, "tile_lengths": 325}
    tags = tags or {"offsets": 8, "rows": height, "lengths": len(payload)}
    entries = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    entries |= {codes[name]: value for name, value in tags.items()}
    body = b"".join(struct.pack("<HHII", code, 4, 1, entries[code]) for code in sorted(entries))
    directory = struct.pack("<H", len(entries)) + body + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(payload)) + payload + directory


def tiff_of_tags(code, count, big=False):
    """A TIFF of one pixel whose many tags of one code all have the whole file as their values."""
    counter, entry, number = ("<Q", "<HHQQ", "<Q") if big else ("<H", "<HHII", "<I")
    size = struct.calcsize(entry) * count
    plain = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 273: 8, 279: 1}
    entries = [(plain_code, 4, 1, value) for plain_code, value in plain.items()]
    entries = sorted(entries + [(code, 4, size // 4, 8)] * count)
    body = struct.pack(counter, len(entries)) + b"".join(struct.pack(entry, *e) for e in entries)
    header = b"II+\0\x08\0\0\0" if big else b"II*\0"
    return header + struct.pack(number, 16 if big else 8) + body + bytes(8)


def tiff_of_pages(count):
    """A chain of directories without pixels."""
    entries = b"".join(struct.pack("<HHII", code, 4, 1, 8) for code in (256, 257))
    size = 2 + len(entries) + 4
    links = [struct.pack("<I", 8 + size * (n + 1) if n < count - 1 else 0) for n in range(count)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(b"\2\0" + entries + x for x in links)


def jpeg_of_scans(count):
    """A progressive JPEG of 4 megapixels whose last scan is there so many times."""
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros((2000, 2000), np.uint8)).save(file, "jpeg", progressive=True)
    data = file.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def retagged(data, **tags):
    """A TIFF with other values in tags it has."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        for name, value in tags.items():
            opened.pages.first.tags[name].overwrite(value)
    return file.getvalue()


STRIPS = io.BytesIO()
tifffile.imwrite(STRIPS, np.zeros((40, 48), np.uint8), rowsperstrip=3, metadata=None)
STRIPS = STRIPS.getvalue()
ZEROS = zlib.compress(bytes(7 << 20), 9)
BIG_JPEG = io.BytesIO()
PIL.Image.fromarray(np.zeros((3000, 3000), np.uint8)).save(BIG_JPEG, "jpeg")
TILES = {"tile_offsets": 8, "tile_lengths": 64}
ASK_FOR_MUCH = {
    "pixels behind the last row": (png_with(chunk(b"IDAT", ZEROS)), "far more pixels"),
    "many pages": (tiff_of_pages(300_000), "does not say its colours"),
    "strips of one row": (
        retagged(STRIPS, RowsPerStrip=1, ImageLength=100_000_000, ImageWidth=4),
        "lacks some",
    ),
    "tiles of one pixel": (tiff_of(9999, 9999, tile_width=1, tile_length=1, **TILES), "lacks some"),
    "tiles larger than all": (
        tiff_of(9999, 9999, tile_width=16, tile_length=1 << 25, **TILES),
        "10000 x 33554432 pixels",
    ),
    "strips larger than the file": (
        tiff_of(9999, 9999, offsets=8, rows=9999, lengths=0xFFFFFFF0),
        "larger than the file",
    ),
    "tags that claim the same bytes": (tiff_of_tags(273, 3000), "tags are larger than the file"),
    "the same in BigTIFF": (tiff_of_tags(273, 3000, big=True), "tags are larger than the file"),
    "the same below EXIF": (tiff_of_tags(34665, 3000), "tags are larger than the file"),
    "an image within the TIFF": (tiff_of(8, 8, 34712), "damaged or truncated JPEG 2000"),
    "a large JPEG within the TIFF": (tiff_of(8, 8, 7, BIG_JPEG.getvalue()), "larger than its tile"),
    "strip that inflates": (tiff_of(8, 8, 8, ZEROS), "damaged"),
    "many scans": (jpeg_of_scans(2000), "scans, which would take minutes"),
}


@pytest.mark.parametrize("name", ASK_FOR_MUCH)
def test_small_files_that_ask_for_much_are_refused_at_once(tmp_path, name):
    data, reason = ASK_FOR_MUCH[name]
    (tmp_path / "a.png").write_bytes(data)
    begun = time.monotonic()
    with pytest.raises(ImageFileError, match=reason):
        read_image(tmp_path / "a.png")
    assert time.monotonic() - begun < 5


def test_text_and_profiles_of_a_png_cost_nothing(tmp_path, monkeypatch):
    names = [b"zTXt", b"iCCP", b"iTXt"]
    bodies = {b"zTXt": b"k\0\0" + ZEROS, b"iCCP": b"k\0\0" + ZEROS, b"iTXt": b"k\0\1\0\0\0" + ZEROS}
    extra = b"".join(chunk(name, bodies[name]) for name in names * 100)
    (tmp_path / "a.png").write_bytes(png_with(extra))
    unpacked = []
    inflated = metadata._inflated
    monkeypatch.setattr(
        metadata, "_inflated", lambda packed: unpacked.append(1) or inflated(packed)
    )
    assert (read_image(tmp_path / "a.png").pixels == 7).all()
    assert len(unpacked) <= 3  # a profile, a description of it, a comment: all 300 would be 20 s


def test_thumbnails_and_jpegs_within_a_tiff_are_still_read(tmp_path):
    gray = np.full((40, 48), 90, np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(gray, compression="jpeg", tile=(16, 16))
        for _ in range(64):
            writer.write(gray[::4, ::4], subfiletype=1)
    assert np.abs(read_image(tmp_path / "a.tif").pixels.astype(int) - 90).max() < 3


def test_a_raw_that_claims_more_than_it_can_hold_is_refused(tmp_path, monkeypatch):
    path = write_sample(tmp_path / "a.dng", random_mosaic(64, 80))
    monkeypatch.setattr(image_limits, "MAX_PIXELS", 64 * 80 - 1)
    with pytest.raises(RawFileError, match=r"80 x 64 pixels, more than the 0\.005119 megapixels"):
        read_raw(path)
    monkeypatch.undo()
    assert read_raw(path).mosaic.shape == (64, 80)
    monkeypatch.setattr("n2n_tf.pipelines.raw.camera_files._MAX_PIXELS_PER_BYTE", 0.1)
    with pytest.raises(RawFileError, match=r"80 x 64 pixels are not in \d+ bytes"):
        read_raw(path)


def test_tiles_of_a_raw_that_are_all_one_large_piece_are_refused_at_once(tmp_path):
    """394 kB of offsets to the whole file would be 40 GB of copies."""
    frame = RawFrame(random_mosaic(64, 80), "RGGB", (64.0,) * 4, 4095)
    path, blob = tmp_path / "a.dng", bytearray(encode_dng(frame, frame.mosaic))
    tags, _ = TiffDirectories(blob).read(TiffDirectories(blob).first)
    number = 20_000
    for code, values in ((324, [0] * number), (325, [4 * number] * number)):
        index = [tag.code for tag in tags].index(code)
        at = TiffDirectories(blob).first + 2 + 12 * index
        struct.pack_into("<HHII", blob, at, code, 4, number, len(blob))
        blob += struct.pack(f"<{number}I", *values)
    path.write_bytes(blob)
    begun = time.process_time()
    with pytest.raises(RawFileError, match=r"a\.dng: corrupt or truncated: a JPEG in it"):
        read_raw(path)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("seed", range(30))
def test_raws_whose_tags_have_another_type_are_read_or_refused(tmp_path, seed):
    """Text where a number belongs, or the other way round; NaN and infinity too."""
    rng = np.random.default_rng(seed)
    frame = RawFrame(random_mosaic(64, 80), "RGGB", (64.0,) * 4, 4095, make="Acme", iso=100)
    exif = {33434: make_tag(12, 1e30), 33437: make_tag(12, np.inf), 34855: make_tag(12, np.nan)}
    frame = dataclasses.replace(frame, exif=exif)
    path, blob = tmp_path / "a.dng", bytearray(encode_dng(frame, frame.mosaic, compress=seed % 2))
    places = [TiffDirectories(blob).first + 2 + 12 * n for n in range(24)]
    for at in rng.choice(places, 1 + seed % 3, replace=False):
        struct.pack_into("<H", blob, at + 2, rng.integers(1, 14))
    path.write_bytes(blob)
    try:
        soak_inputs.read_and_write_raw(path)
    except RawFileError as error:
        assert str(error).startswith(str(path))


# Models


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "network.keras"
    unet(channels=1, features=2).save(path)
    return path


def rewritten(source, target, change=None, extra=(), method=zipfile.ZIP_STORED):
    """A .keras file with another configuration, more members, or another compression."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            content = old.read(name)
            if change and name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config)
            new.writestr(name, content)
        for name, content in extra:
            new.writestr(name, content)
    return target


def layer_of(config, kind="MaxPooling2D"):
    return next(one for one in config["config"]["layers"] if one["class_name"] == kind)


def as_object(**entries):
    return lambda config: layer_of(config).update(entries)


def wide(config):
    for layer in config["config"]["layers"]:
        if "filters" in layer["config"]:
            layer["config"]["filters"] = 100_000
        layer.pop("build_config", None)


CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}
SHELL = {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
MALICIOUS = {
    "lambda": (as_object(class_name="Lambda", config={"function": CODE}), "layers.Lambda"),
    "os": (as_object(module="os", class_name="system"), "os.system"),
    "process": (as_object(module="subprocess", class_name="Popen"), "subprocess.Popen"),
    "builtin": (
        as_object(module="builtins", class_name="function", config="exec"),
        "cannot be loaded",
    ),
    "download": (
        as_object(module="keras.utils", class_name="function", config="get_file"),
        "keras.utils.function",
    ),
    "SavedModel": (as_object(class_name="TFSMLayer", config={"filepath": "/"}), "TFSMLayer"),
    "file": (as_object(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}), "Lookup"),
    "function": (lambda c: layer_of(c, "Conv2D")["config"].update(activation=SHELL), "os.function"),
    "nested": (as_object(config={"a": [{"b": SHELL}]}), "os.function"),
    "module that is a list": (as_object(module=["os"]), "which could run code"),
    "4 TB of weights": (wide, "declares 2030004300000 weights and stores"),
    "nothing": (dict.clear, "cannot be loaded"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_configurations_that_would_run_code_or_fill_the_memory(tmp_path, network_file, name):
    change, reason = MALICIOUS[name]
    path = rewritten(network_file, tmp_path / "network.keras", change)
    with pytest.raises(ModelError) as caught:
        load_network(path)
    assert str(caught.value).startswith(f"{path}: ") and reason in str(caught.value)
    with keras.StatelessScope():
        pass  # its end gives values, and memory, to all variables that Keras has noted down without


ARCHIVES = {
    "traversal": ({"extra": [("../../x", b"1")]}, "and nothing"),
    "absolute": ({"extra": [("/tmp/x", b"1")]}, "and nothing"),
    "assets": ({"extra": [("assets/x", b"1")]}, "and nothing"),
    "bomb": (
        {"extra": [("z", bytes(1 << 26))], "method": zipfile.ZIP_DEFLATED},
        "and nothing",
    ),
    "compressed": ({"method": zipfile.ZIP_DEFLATED}, "compressed, which Keras never does"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_are_no_plain_keras_file(tmp_path, network_file, name):
    options, reason = ARCHIVES[name]
    path = rewritten(network_file, tmp_path / "network.keras", **options)
    with pytest.raises(ModelError, match=reason):
        load_network(path)
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_lie_in_another_file_are_refused(tmp_path, network_file):
    """HDF5 can take numbers from any file there is; Keras before 3.12.1 and 3.13.2 let it."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(100_000))
    weights = tmp_path / "weights.h5"
    with zipfile.ZipFile(network_file) as archive:
        weights.write_bytes(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
        shape, dtype = file[found[0]].shape, file[found[0]].dtype
        del file[found[0]]
        size = int(np.prod(shape)) * dtype.itemsize
        file.create_dataset(found[0], shape, dtype, external=[(str(secret), 0, size)])
    path = tmp_path / "network.keras"
    with zipfile.ZipFile(network_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, weights.read_bytes() if name.endswith("h5") else old.read(name))
    with pytest.raises(ModelError, match=r"network\.keras: cannot be loaded as a Keras model"):
        load_network(path)


def test_a_link_in_an_archive_leads_nowhere(tmp_path, network_file):
    path = tmp_path / "network.keras"
    with zipfile.ZipFile(network_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            new.writestr(link, b"/etc/passwd" if name.endswith("h5") else old.read(name))
    with pytest.raises(ModelError, match="stores 11 bytes"):
        load_network(path)


def test_networks_of_plain_keras_layers_are_still_loaded(tmp_path):
    x = keras.Input((None, None, 3))
    inner = keras.Sequential([layers.Conv2D(3, 3, padding="same"), layers.GroupNormalization(3)])
    y = keras.ops.clip(layers.SpatialDropout2D(0.1)(inner(x)) + x, 0, 1)
    keras.Model(x, layers.BatchNormalization()(y)).save(tmp_path / "a.keras")
    assert load_network(tmp_path / "a.keras").output_shape == (None, None, None, 3)


INFO_KEYS = ["channels", "size_multiple", "halo", "tile", "noise", "epochs", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["channels", "size_multiple", "halo", "tile", "noise", "epochs", "x"]),
            inner,
        )
    ),
    max_leaves=9,
)


@given(JSON)
def test_any_model_json_is_right_or_refused(info):
    try:
        read = ModelInfo.from_json(info, "model.json")
    except ModelError as error:
        assert str(error).startswith("model.json: ")
    else:
        assert 1 <= read.channels <= 64 and 0 <= read.halo <= 4096


@given(st.binary(max_size=60))
def test_any_bytes_of_a_model_json_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("info") / "model.json"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.json"):
        read_info(path)


# What is typed


@settings(max_examples=300)
@given(
    st.text("gaussponrwiefl_:,.-+e0123456789 \n\0٣", max_size=24)
    | st.from_regex(r"(gauss|poisson|raw:|poisson_gaussian:)[0-9e.,_-]{0,12}")
)
def test_any_name_of_a_noise_is_read_or_refused(text):
    try:
        noise = parse_noise(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert isinstance(noise, Noise)
        levels = [v for v in dataclasses.astuple(noise)[1:] if v is not None]
        assert np.isfinite(levels).all() and min(levels) >= 0


VALUES = ["nan", "-nan", "inf", "-1", "0", "1e308", "1e999", "9" * 30, "", " ", "é", "--", "a,b"]
VALUES += ["-", "\n", "../..", "/dev/null", "None", "true", "0x10", "1_0"]


@pytest.mark.parametrize(
    "program, needed",
    [
        ("denoise", ["--model=none", "-o", "out", "none.png"]),
        ("evaluate", ["--model=none", "--data_dir=none", "--noise=gauss25"]),
        ("train", ["--data_dir=none", "--model_dir=m", "--noise=gauss25"]),
    ],
)
def test_any_value_of_any_flag_gives_one_line(capsys, monkeypatch, tmp_path, program, needed):
    monkeypatch.chdir(tmp_path)
    with programs.imported(program) as module:
        holders = [*vars(module).values(), *getattr(module, "RECIPE", [])]
        names = sorted(
            {holder.name for holder in holders if hasattr(holder, "serialize")} - {"debug"}
        )
    picked = np.random.default_rng(7).permutation([(n, v) for n in names for v in VALUES])[:60]
    for name, value in picked:
        ended = programs.run(capsys, monkeypatch, program, *needed, f"--{name}={value}")
        assert ended.status == 1, (name, value)
        assert f"n2n-{program}: error: " in ended.err and "Traceback" not in ended.err
        if value in ("nan", "inf", "1e999"):
            assert ended.err.count("\n") == 1


def test_numbers_that_are_none_are_refused_by_name(capsys, monkeypatch):
    for value in ("nan", "inf", "-inf"):
        arguments = ("--model=m", "-o", "out", "a.png", f"--max_megapixels={value}")
        ended = programs.run(capsys, monkeypatch, "denoise", *arguments)
        assert ended.status == 1 and "max_megapixels" in ended.err


# Links and limits at the prompt


def test_dead_and_circular_links_are_named_and_do_not_stop(
    capsys, monkeypatch, tmp_path, network_file
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("in").mkdir()
    write_image("in/a.png", np.zeros((40, 40, 1), np.uint8))
    os.symlink("nowhere", "in/dead.png")
    os.symlink("loop.png", "in/loop.png")
    ended = programs.run(capsys, monkeypatch, "denoise", "--model", network_file, "in", "-o", "out")
    assert (ended.status, ended.out) == (1, "1 of 3 images denoised into out\n")
    assert "in/dead.png: cannot be read (No such file" in ended.err
    assert "in/loop.png: cannot be read (Too many levels" in ended.err
    os.symlink("nowhere", "in/lost.dng")
    ended = programs.run(
        capsys, monkeypatch, "denoise", "--model", network_file, "in", "-o", "raws"
    )
    assert ended.out == "1 of 3 images denoised into raws\n"
    assert "1 left out, not of the kind that --model denoises: lost.dng." in ended.err
    ended = programs.run(
        capsys, monkeypatch, "denoise", "--model", network_file, "in/lost.dng", "-o", "lost"
    )
    assert ended.status == 1 and "in/lost.dng: no such file or folder" in ended.err


def test_the_limit_on_pixels_is_a_flag(capsys, monkeypatch, tmp_path, network_file):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(image_limits, "MAX_PIXELS", image_limits.MAX_PIXELS)  # restored after
    write_image("a.png", np.zeros((40, 50, 1), np.uint8))
    command = ("denoise", "--model", network_file, "a.png", "-o")
    ended = programs.run(capsys, monkeypatch, *command, "b.png", "--max_megapixels=0.001999")
    assert ended.status == 1
    assert "50 x 40 pixels, more than the 0.001999 megapixels allowed (--max_me" in ended.err
    ended = programs.run(capsys, monkeypatch, *command, "b.png", "--max_megapixels=0.002")
    assert ended.status == 0
