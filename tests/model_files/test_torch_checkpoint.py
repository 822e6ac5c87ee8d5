"""Laws of the checkpoint reader: it reads what PyTorch wrote, and refuses every other file.

The files in `data` were written by PyTorch (`data/make_torch_fixtures.py`).
"""

import io
import itertools
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_bytes import (
    FILE_OF,
    FORMATS,
    KEYS,
    MAGIC,
    PREAMBLE,
    SIX,
    assert_sound,
    dictionary,
    each_format,
    group,
    legacy_bytes,
    number,
    read,
    refusal,
    storage,
    tensor,
    text,
    zip_bytes,
)

from n2n_tf.model_files import torch_checkpoint, torch_pickle
from n2n_tf.model_files.torch_checkpoint import CheckpointError, read_state_dict

DATA = Path(__file__).parents[1] / "data"

# What PyTorch wrote is what is read.


@each_format
def test_every_kind_of_storage_and_view_holds_what_pytorch_says(form):
    expected = np.load(DATA / "kinds.npz")
    state = read_state_dict(DATA / f"kinds_{form}.pth")
    assert list(state) == expected.files
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative


@each_format
def test_tensors_that_share_a_storage_come_back_as_separate_copies(form):
    state = read_state_dict(DATA / f"kinds_{form}.pth")
    before = state["slice"].copy()
    state["shared"][:] = 0
    np.testing.assert_array_equal(state["slice"], before)


def test_both_formats_give_the_same_state_dict():
    modern, legacy = (read_state_dict(DATA / f"unet_{form}.pth") for form in FORMATS)
    assert list(modern) == list(legacy)
    assert len(modern) == 50 and modern["up5.deconv.bias"].all()
    for name in modern:
        np.testing.assert_array_equal(modern[name], legacy[name], strict=True)


def test_reading_needs_neither_pytorch_nor_keras():
    package = Path(torch_checkpoint.__file__).parent
    # An empty package stands in, so that only what the modules themselves import counts.
    code = f"""
import sys, types
sys.modules["torch"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
sys.modules["n2n_tf"] = types.ModuleType("n2n_tf")
sys.modules["n2n_tf"].__path__ = [{str(package)!r}]
from n2n_tf.model_files.torch_file import read_state_dict, unet_shape
print(unet_shape(read_state_dict({str(DATA / "unet_zip.pth")!r})))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "{'channels': 3, 'features': 4, 'tail_features': 8}\n", process.stderr


# Variants that are read too.


@each_format
@pytest.mark.parametrize("outer", [None, "state_dict", "model", "net", "params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_nesting_and_the_prefix_of_data_parallel_are_undone(tmp_path, form, outer, prefix):
    program = dictionary(**{f"{prefix}a.weight": tensor(), f"{prefix}a.bias": tensor()})
    if outer:
        program = dictionary(epoch=number(7), **{outer: program})
    state = read(tmp_path, FILE_OF[form](program))
    assert list(state) == ["a.weight", "a.bias"]
    np.testing.assert_array_equal(state["a.weight"], [[0, 1, 2], [3, 4, 5]])


def test_a_prefix_on_only_some_names_is_part_of_them(tmp_path):
    program = dictionary(**{"module.a": tensor(), "b": tensor()})
    assert list(read(tmp_path, zip_bytes(program))) == ["module.a", "b"]


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    ("kind", "bits", "values"),
    [
        ("FloatStorage", np.array([1.5, -2, 0, 3, 1e9, 7], "f4"), None),
        ("LongStorage", np.array([1, -2, 3, 4, 5, 1 << 40], "i8"), None),
        ("HalfStorage", np.array([1.5, -2, 0, 3, 4, 5], "f2"), None),
        (
            "BFloat16Storage",
            np.array([0x3FC0, 0xC000, 0, 0x8000, 0x7F80, 0x4228], "u2"),
            np.array([1.5, -2, 0, -0.0, np.inf, 42], "f4"),
        ),
    ],
)
def test_the_byte_order_record_is_obeyed(tmp_path, order, kind, bits, values):
    program = dictionary(a=tensor(storage(kind=kind), 0, (6,), (1,)))
    stored = bits.astype(bits.dtype.newbyteorder(order)).tobytes()
    content = zip_bytes(program, {"0": stored}, {"model/byteorder": order})
    array = read(tmp_path, content)["a"]
    np.testing.assert_array_equal(array, bits if values is None else values, strict=True)


def test_a_legacy_view_of_a_storage_starts_at_its_own_offset(tmp_path):
    view = storage(view=group(text("v"), number(2), number(3)))  # elements 2, 3, 4
    state = read(tmp_path, legacy_bytes(dictionary(a=tensor(view, 1, (2,), (1,)))))
    np.testing.assert_array_equal(state["a"], [3, 4])
    program = dictionary(a=tensor(view, 2, (2,), (1,)))
    assert "reaches beyond its storage" in refusal(tmp_path, legacy_bytes(program))


@settings(max_examples=200, deadline=None)
@given(
    sides=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=3),
    offset=st.integers(0, 7),
    form=st.sampled_from(FORMATS),
)
def test_a_view_is_gathered_by_its_strides_or_refused(tmp_path_factory, sides, offset, form):
    size, stride = [n for n, _ in sides], [step for _, step in sides]
    places = itertools.product(*([i * step for i in range(n)] for n, step in sides))
    index = [offset + sum(place) for place in places]
    content = FILE_OF[form](dictionary(a=tensor(storage(), offset, size, stride)))
    folder = tmp_path_factory.mktemp("view")
    if max(index, default=offset - 1) >= 6 or len(set(index)) < len(index):
        refusal(folder, content)
        return
    try:
        array = read(folder, content)["a"]
    except CheckpointError as error:  # two sides interlock, as slicing and turning never make them
        assert "overlap" in str(error) and len([n for n in size if n > 1]) > 1
        return
    np.testing.assert_array_equal(array, np.reshape(index, size).astype("f4"), strict=True)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(3)), st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_every_slice_and_transpose_of_an_array_is_read(tmp_path_factory, axes, steps):
    base = np.arange(60, dtype="<f4").reshape(3, 4, 5)
    cut = base[:: steps[0], 1 :: steps[1], :: steps[2]].transpose(axes)
    stride = [step // base.itemsize for step in cut.strides]
    program = dictionary(a=tensor(storage(count=60), 5, cut.shape, stride))
    state = read(tmp_path_factory.mktemp("slice"), zip_bytes(program, {"0": base.tobytes()}))
    np.testing.assert_array_equal(state["a"], cut, strict=True)


# Files that are something else.


def test_other_files_are_called_what_they_are(tmp_path):
    assert "is empty. Download" in refusal(tmp_path, b"")
    page = refusal(tmp_path, b"<!DOCTYPE html><html><body>Not found</body></html>")
    assert "is text that begins with '<!DOCTYPE html><html><bo'" in page and "Git LFS" in page
    assert "begins with 89 48 44 46 0d" in refusal(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(100))
    plain = pickle.dumps({"a": 1}, protocol=2)
    assert "is a pickle, but not one that torch.save made" in refusal(tmp_path, plain)
    older = PREAMBLE.replace(b"M\xe9\x03", b"M\xe8\x03")
    assert "is not of the legacy format's version 1001" in refusal(tmp_path, older)


def test_other_archives_are_called_what_they_are(tmp_path):
    script = {"model/constants.pkl": b"\x80\x02).", "model/code/__torch__.py": b"x"}
    message = refusal(tmp_path, zip_bytes(dictionary(a=tensor()), extra=script))
    assert "is a TorchScript archive" in message and "net.state_dict()" in message
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "is a zip archive, but not one that torch" in refusal(tmp_path, other.getvalue())
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    assert "is a tar archive" in refusal(tmp_path, tar.getvalue())


def test_paths_that_are_no_readable_file(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"absent\.pth cannot be read: No such file"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="is not a file"):
        read_state_dict(str(tmp_path))
    monkeypatch.setattr(torch_checkpoint, "MAX_FILE_BYTES", 100)
    assert "has 101 bytes, over the limit of 100" in refusal(tmp_path, bytes(101))


def test_checkpoints_that_hold_no_state_dict(tmp_path):
    assert "holds a list, not a dict of tensors" in refusal(tmp_path, zip_bytes(b"]"))
    assert "holds a Tensor, not a dict of tensors" in refusal(tmp_path, zip_bytes(tensor()))
    assert "holds no tensors" in refusal(tmp_path, zip_bytes(b"}"))
    mixed = dictionary(a=tensor(), epoch=number(3))
    assert "keeps a int under 'epoch'" in refusal(tmp_path, zip_bytes(mixed))


# Archives that lie.


@pytest.mark.parametrize(
    "entry", ["model/../up", "model/./same", "model//twice", "model/dir/", "model/a\\..\\up"]
)
def test_odd_archive_entries_are_refused(tmp_path, entry):
    content = zip_bytes(dictionary(a=tensor()), extra={entry: b""})
    assert f"has an archive entry named {entry!r}" in refusal(tmp_path, content)


@pytest.mark.parametrize("entry", ["../up", "/etc/absolute", "elsewhere"])
def test_archive_entries_outside_the_one_folder_are_refused(tmp_path, entry):
    content = zip_bytes(dictionary(a=tensor()), extra={entry: b""})
    assert "is a zip archive, but not one that torch.save made" in refusal(tmp_path, content)


def test_the_same_archive_entry_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zip_bytes(dictionary(a=tensor()), extra={"model/data.pkl": b"\x80\x02}."})
    assert "has an archive entry named 'model/data.pkl'" in refusal(tmp_path, content)


def test_a_zip_bomb_is_refused(tmp_path):
    program = dictionary(a=tensor(storage(count=1 << 20), 0, (1 << 20,), (1,)))
    bomb = zip_bytes(program, {"0": bytes(4 << 20)}, method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    assert "has a compressed or encrypted record" in refusal(tmp_path, bomb)


def test_a_record_of_two_sizes_is_refused(tmp_path):
    content = bytearray(zip_bytes(dictionary(a=tensor())))
    entry = content.rindex(b"PK\1\2")
    assert struct.unpack_from("<2L", content, entry + 20) == (24, 24)  # compressed, as it is
    struct.pack_into("<2L", content, entry + 20, 24, 2400)
    assert "gives two sizes for its record 'model/data/0'" in refusal(tmp_path, bytes(content))


def test_records_that_share_their_bytes_are_refused(tmp_path):
    content = zip_bytes(dictionary(a=tensor()), {"0": bytes(1000)})
    directory, last, end = content.index(b"PK\1\2"), content.rindex(b"PK\1\2"), -22
    entry = content[last:end]
    listed = content[directory:end] + b"".join(
        entry.replace(b"data/0", b"data/%d" % i) for i in range(1, 10)
    )
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 12, 12, len(listed), directory, 0)
    message = refusal(tmp_path, content[:directory] + listed + tail)
    assert "declares records larger than the file" in message


def test_an_overlong_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_checkpoint, "MAX_PICKLE_BYTES", 50)
    message = refusal(tmp_path, zip_bytes(dictionary(a=tensor())))
    assert "has a pickle of more than 50 bytes" in message


def test_an_odd_byte_order_is_refused(tmp_path):
    content = zip_bytes(dictionary(a=tensor()), extra={"model/byteorder": "middle"})
    assert "names a byte order that is neither little nor big" in refusal(tmp_path, content)


def test_legacy_storages_that_lie(tmp_path):
    program = dictionary(a=tensor())
    for keys in [b"\x80\x02].", b"\x80\x02}.", KEYS.replace(b"e.", text("0") + b"e.")]:
        assert "lists other storages" in refusal(tmp_path, legacy_bytes(program, keys))
    for count in (5, 7, -1, 1 << 62):
        content = legacy_bytes(program, numbers=struct.pack("<q", count) + SIX)
        assert "gives two sizes for its storage '0'" in refusal(tmp_path, content)
    assert "ends inside its storage '0'" in refusal(tmp_path, legacy_bytes(program)[:-1])
    assert "goes on for 1 bytes after" in refusal(tmp_path, legacy_bytes(program) + b"\0")


def test_tensors_on_one_storage_may_not_outgrow_the_file(tmp_path):
    whole = tensor(storage(count=5000), 0, (5000,), (1,)) + b"q\1"
    again = b"".join(text(f"again{i}") + b"h\1" for i in range(20))
    content = zip_bytes(b"}(" + text("a") + whole + again + b"u", {"0": bytes(20_000)})
    assert "declares 420000 bytes of tensors in a file of" in refusal(tmp_path, content)


# Files cut short and files with one byte changed.

WRITTEN = ["unet_zip.pth", "unet_legacy.pth", "kinds_zip.pth", "kinds_legacy.pth"]


@pytest.mark.parametrize("file", WRITTEN)
def test_a_file_cut_short_anywhere_is_refused(tmp_path, file):
    content = (DATA / file).read_bytes()
    for length in {*range(0, len(content), len(content) // 200), len(content) - 1}:
        refusal(tmp_path, content[:length])


def mutations(content, start, stop, count=300):
    """Yields copies of `content` in which one byte from start to stop is another."""
    draw = random.Random(20210621)
    for _ in range(count):
        place = draw.randrange(start, stop)
        changed = bytearray(content)
        changed[place] ^= draw.randrange(1, 256)
        yield bytes(changed)


def numbers_start(content):
    """Returns where the pickles of a legacy file end."""
    end = 0
    for _ in range(5):
        end = torch_pickle.read_pickle(content, end).end
    return end


@pytest.mark.parametrize("file", ["unet_zip.pth", "kinds_zip.pth"])
def test_a_changed_archive_is_refused_or_reads_the_same(tmp_path, file):
    content = (DATA / file).read_bytes()
    expected = read_state_dict(DATA / file)
    refused = 0
    directory = content.index(b"PK\1\2")
    everywhere = mutations(content, 0, len(content))
    for changed in itertools.chain(everywhere, mutations(content, directory, len(content))):
        try:
            state = read(tmp_path, changed)
        except CheckpointError:
            refused += 1
            continue
        assert list(state) == list(expected)
        for name, array in state.items():
            np.testing.assert_array_equal(array, expected[name], strict=True)
    assert refused > 100


@pytest.mark.parametrize("file", ["unet_legacy.pth", "kinds_legacy.pth"])
def test_a_changed_number_of_a_legacy_file_changes_one_number(tmp_path, file):
    content = (DATA / file).read_bytes()
    expected = read_state_dict(DATA / file)
    for changed in mutations(content, numbers_start(content), len(content)):
        try:
            state = read(tmp_path, changed)
        except CheckpointError as error:
            assert "gives two sizes for its storage" in str(error)
            continue
        assert list(state) == list(expected)
        assert all(np.sum(state[name] != expected[name]) <= 1 for name in state)


def archive_of(records):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("file", WRITTEN)
def test_a_changed_pickle_is_refused_or_stays_within_the_file(tmp_path, file):
    """In an archive the checksum would tell; here it is made to fit the changed pickle."""
    content = (DATA / file).read_bytes()
    if file.endswith("legacy.pth"):
        changes = mutations(content, 0, numbers_start(content))
    else:
        with zipfile.ZipFile(DATA / file) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        pickled = next(name for name in records if name.endswith("/data.pkl"))
        program = records[pickled]
        changes = (
            archive_of({**records, pickled: changed})
            for changed in mutations(program, 0, len(program))
        )
    outcomes = set()
    for changed in changes:
        try:
            assert_sound(read(tmp_path, changed), content)
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", MAGIC, PREAMBLE]), st.binary())
def test_noise_is_refused(tmp_path_factory, start, noise):
    refusal(tmp_path_factory.mktemp("noise"), start + noise)
