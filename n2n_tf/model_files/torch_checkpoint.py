"""A PyTorch checkpoint file into a dict of arrays, without PyTorch and without running its code.

Both formats of `torch.save` are read: the zip archive of PyTorch 1.6 and later, and the stream of
pickles before it. The pickles are read as data by `torch_pickle`; here the numbers are found, and
every size the file declares is held against the bytes it has. A checkpoint may come from anywhere,
so whatever is wrong with it ends in one exception, `CheckpointError`.

Source: `torch/serialization.py` and `torch/_utils.py`.
"""

import io
import math
import os
import zipfile
from pathlib import Path

import numpy as np

from n2n_tf.model_files.torch_pickle import (
    MAX_PICKLE_BYTES,
    SAVE_AGAIN,
    STORAGE_TYPES,
    CheckpointError,
    Tensor,
    brief,
    read_pickle,
)

MAX_FILE_BYTES = 256 << 20  # the official U-Net takes 5 MiB
MAX_GROWTH = 8  # tensors may share storage, so together they may be larger than the file
MAX_DIMENSIONS = 16
NESTED_UNDER = ("state_dict", "model", "net", "params")
COPY_AGAIN = "Download or copy it again."
CONTIGUOUS = f"Save `tensor.contiguous()` in its place. {SAVE_AGAIN}"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch checkpoint; nothing in the file is run.

    A state dict one level down, under "state_dict", "model", "net" or "params", is found there. The
    prefix "module." that `DataParallel` puts before all names is dropped.

    Args:
        path: str or path of a file made by `torch.save(net.state_dict(), path)`, up to 256 MiB.

    Returns:
        dict of str -> `np.ndarray`, each a contiguous copy in native byte order, shape and dtype as
        saved; bfloat16, which numpy lacks, becomes float32.

    Raises:
        CheckpointError: The file is damaged, is something else, or asks for more than tensors. The
            message names the file, what is wrong, and the remedy.

    Example:
        >>> state = read_state_dict("model_gauss25_b4e100r02.pth")  # doctest: +SKIP
        >>> state["enc_conv0.weight"].shape  # doctest: +SKIP
        (48, 3, 3, 3)
    """
    try:
        return _tensors_of(_read_file(Path(path)))
    except CheckpointError as error:
        raise error.in_file(path) from None
    except Exception as error:  # Broken bytes can upset zipfile, struct and numpy in any way.
        reason = f"is damaged: {type(error).__name__}, {brief(str(error))}"
        raise CheckpointError(reason, COPY_AGAIN, str(path)) from error


# The file.


def _read_file(path):
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CheckpointError("is not a file", "Give the path of a .pth file.")
        if size > MAX_FILE_BYTES:
            raise CheckpointError(f"has {size} bytes, over the limit of {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", "Check the path.") from error


def _tensors_of(data):
    """Reads the bytes of a checkpoint of either format into a dict of arrays."""
    _refuse_other_files(data)
    read = _read_zip if data.startswith(b"PK\x03\x04") else _read_legacy
    value, storages, numbers, order = read(data)
    for key, storage in storages.items():
        if len(numbers[key]) != storage.count * _item_bytes(storage):
            raise CheckpointError(f"has a storage {brief(key)} of another size than it declares")
    tensors = _without_prefix(_find_state(value))
    for tensor in tensors.values():
        _check_view(tensor)
    declared = sum(math.prod(t.size) * _item_bytes(t.storage) for t in tensors.values())
    if declared > MAX_GROWTH * len(data):
        raise CheckpointError(f"declares {declared} bytes of tensors in a file of {len(data)}")
    return {name: _to_array(t, numbers[t.storage.key], order) for name, t in tensors.items()}


def _refuse_other_files(data):
    start = data[:24]
    if not data:
        raise CheckpointError("is empty", COPY_AGAIN)
    if data[257:262] == b"ustar":
        raise CheckpointError("is a tar archive, as PyTorch wrote before version 0.2")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        raise CheckpointError(
            f"is text that begins with {brief(start.decode())}",
            "A web page or a Git LFS pointer may have been saved in place of the file: fetch the "
            "file itself.",
        )
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError(f"begins with {start[:8].hex(' ')}, not as torch.save begins a file")


# The zip format: NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder, NAME/version.


def _read_zip(data):
    """Returns (value, storages, key -> bytes, byte order) of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = _zip_root(archive.namelist())
        records = _zip_records(archive, len(data))
        if records[f"{root}/data.pkl"].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"has a pickle of more than {MAX_PICKLE_BYTES} bytes")
        pickle = read_pickle(archive.read(records[f"{root}/data.pkl"]))
        order = b"little"
        if f"{root}/byteorder" in records:
            order = archive.read(records[f"{root}/byteorder"])
        if order not in (b"little", b"big"):
            raise CheckpointError("names a byte order that is neither little nor big", COPY_AGAIN)
        numbers = {}
        for key in pickle.storages:
            if f"{root}/data/{key}" not in records:
                raise CheckpointError(f"lacks the record of storage {brief(key)}", COPY_AGAIN)
            numbers[key] = archive.read(records[f"{root}/data/{key}"])
    return pickle.value, pickle.storages, numbers, "<" if order == b"little" else ">"


def _zip_root(names):
    """Returns the one folder that everything in a checkpoint lies in."""
    roots = {name.split("/")[0] for name in names}
    root = min(roots, default="")
    inside = {name.removeprefix(f"{root}/") for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise CheckpointError("is a TorchScript archive, made by torch.jit.save")
    if len(roots) != 1 or "data.pkl" not in inside:
        raise CheckpointError("is a zip archive, but not one that torch.save made")
    return root


def _zip_records(archive, file_bytes):
    """Returns name -> record after a look at each, before any of them is read."""
    records = {}
    for record in archive.infolist():
        name = record.filename
        if name in records or "\\" in name or {"", ".", ".."} & set(name.split("/")):
            raise CheckpointError(f"has an archive entry named {brief(name)}")
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            raise CheckpointError(f"has a compressed or encrypted record {brief(name)}")
        if record.file_size != record.compress_size:
            raise CheckpointError(f"gives two sizes for its record {brief(name)}", COPY_AGAIN)
        records[name] = record
    if sum(record.file_size for record in records.values()) > file_bytes:
        raise CheckpointError("declares records larger than the file", COPY_AGAIN)
    return records


# The legacy format: five pickles, then for each storage an int64 count and its numbers.


def _read_legacy(data):
    """Returns (value, storages, key -> bytes, byte order) of a stream of pickles."""
    magic = read_pickle(data)
    if type(magic.value) is not int or magic.value != LEGACY_MAGIC:
        raise CheckpointError("is a pickle, but not one that torch.save made")
    version = read_pickle(data, magic.end)
    if type(version.value) is not int or version.value != LEGACY_VERSION:
        raise CheckpointError(f"is not of the legacy format's version {LEGACY_VERSION}")
    system = read_pickle(data, version.end)  # Not needed: the numbers are little-endian always.
    content = read_pickle(data, system.end)
    keys = read_pickle(data, content.end)
    return content.value, content.storages, _legacy_numbers(data, keys, content.storages), "<"


def _legacy_numbers(data, keys, storages):
    listed = keys.value if type(keys.value) is list else [None]
    if not all(type(key) is str for key in listed) or sorted(listed) != sorted(storages):
        raise CheckpointError("lists other storages than its tensors use", COPY_AGAIN)
    numbers, at, whole = {}, keys.end, memoryview(data)
    for key in listed:
        count = int.from_bytes(whole[at : at + 8], "little", signed=True)
        if count != storages[key].count:
            raise CheckpointError(f"gives two sizes for its storage {brief(key)}", COPY_AGAIN)
        at += 8 + count * _item_bytes(storages[key])
        if at > len(data):
            raise CheckpointError(f"ends inside its storage {brief(key)}", COPY_AGAIN)
        numbers[key] = whole[at - count * _item_bytes(storages[key]) : at]
    if at != len(data):
        raise CheckpointError(f"goes on for {len(data) - at} bytes after its end", COPY_AGAIN)
    return numbers


# From the value of the pickle to arrays.


def _find_state(value):
    """Returns the dict of tensors that a checkpoint is, or that it keeps one level down."""
    if type(value) is not dict:
        raise CheckpointError(f"holds a {type(value).__name__}, not a dict of tensors")
    for key in NESTED_UNDER:
        if type(value.get(key)) is dict:
            value = value[key]
            break
    for name, tensor in value.items():
        if type(name) is not str or type(tensor) is not Tensor:
            raise CheckpointError(f"keeps a {type(tensor).__name__} under {brief(str(name))}")
    if not value:
        raise CheckpointError("holds no tensors")
    return value


def _without_prefix(tensors):
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _item_bytes(storage):
    return np.dtype(STORAGE_TYPES[storage.kind]).itemsize


def _check_view(tensor):
    """Refuses a tensor that leaves its storage, or that lies over itself.

    Walking the dimensions from the smallest stride up, each stride must clear all that the smaller
    ones reach. So a tensor never has more elements than its storage.
    """
    size, stride, offset = tensor.size, tensor.stride, tensor.offset
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise CheckpointError("has a tensor whose size and stride do not match")
    if any(type(n) is not int or n < 0 for n in (*size, *stride, offset)):
        raise CheckpointError("has a tensor with a negative or odd size, stride or offset")
    if len(size) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in size) > MAX_FILE_BYTES:
        raise CheckpointError("has a tensor of absurd size")
    reach = 0 if 0 in size else 1
    for step, count in sorted(zip(stride, size, strict=True)):
        if reach and count > 1:
            if step < reach:
                raise CheckpointError("has a tensor whose elements overlap", CONTIGUOUS)
            reach += step * (count - 1)
    if offset + reach > tensor.storage.stop - tensor.storage.start:
        raise CheckpointError("has a tensor that reaches beyond its storage")


def _to_array(tensor, numbers, order):
    dtype = np.dtype(STORAGE_TYPES[tensor.storage.kind]).newbyteorder(order)
    if 0 in tensor.size:
        array = np.empty(tensor.size, dtype.newbyteorder("="))
    else:
        # This constructor checks once more that the view lies within the buffer.
        start = (tensor.storage.start + tensor.offset) * dtype.itemsize
        steps = [step * dtype.itemsize for step in tensor.stride]
        view = np.ndarray(tensor.size, dtype, numbers, start, steps)
        array = np.array(view, dtype.newbyteorder("="), order="C")
    if tensor.storage.kind == "BFloat16Storage":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array != 0 if tensor.storage.kind == "BoolStorage" else array
