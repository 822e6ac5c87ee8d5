"""Checkpoints put together byte by byte, so that they can say what PyTorch never would.

A pickle is a program. Each of the first functions returns the instructions that leave one value on
its stack; `zip_bytes` and `legacy_bytes` make a file of such a program.
"""

import io
import struct
import zipfile

import numpy as np
import pytest

from n2n_tf.model_files.torch_checkpoint import MAX_GROWTH, CheckpointError, read_state_dict

FORMATS = ["zip", "legacy"]
each_format = pytest.mark.parametrize("form", FORMATS)


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"\x8a\x20" + value.to_bytes(32, "little", signed=True)


def group(*items):
    return b"(" + b"".join(items) + b"t"


def named(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def dictionary(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(key="0", count=6, kind="FloatStorage", view=b""):
    return (
        group(text("storage"), named("torch", kind), text(key), text("cpu"), number(count), view)
        + b"Q"
    )


def tensor(stored=None, offset=0, size=(2, 3), stride=(3, 1)):
    view = number(offset), group(*map(number, size)), group(*map(number, stride))
    arguments = group(stored or storage(), *view, b"\x89", b"}")
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


SIX = np.arange(6, dtype="<f4").tobytes()
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
PREAMBLE = MAGIC + b"\x80\x02M\xe9\x03." + b"\x80\x02}."
KEYS = b"\x80\x02](" + text("0") + b"e."
COUNTED = struct.pack("<q", 6) + SIX


def zip_bytes(program, storages=None, extra=None, method=zipfile.ZIP_STORED):
    """Returns an archive as torch.save writes it; `program` leaves its value, without the end."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("model/version", "3\n")
        archive.writestr("model/data.pkl", b"\x80\x02" + program + b".")
        for key, content in {"0": SIX, **(storages or {})}.items():
            archive.writestr(f"model/data/{key}", content)
        for entry, content in (extra or {}).items():
            archive.writestr(entry, content)
    return file.getvalue()


def legacy_bytes(program, keys=KEYS, numbers=COUNTED):
    return PREAMBLE + b"\x80\x02" + program + b"." + keys + numbers


FILE_OF = {"zip": zip_bytes, "legacy": legacy_bytes}


def read(folder, content):
    (folder / "model.pth").write_bytes(content)
    return read_state_dict(folder / "model.pth")


def refusal(folder, content):
    """Returns the message with which a file is refused; it must name the file and a remedy."""
    with pytest.raises(CheckpointError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'model.pth'} ")
    assert message.endswith(f". {caught.value.remedy}")
    return message


def assert_sound(state, content):
    """A changed pickle may still be one, but its arrays may not be larger than the file allows."""
    assert state and all(type(name) is str for name in state)
    widened = 2  # bfloat16 to float32
    size = sum(array.nbytes for array in state.values())
    assert size <= MAX_GROWTH * widened * len(content)
