"""Laws of the pickle reader: no lie about a tensor is believed, and no code runs."""

import contextlib
import os
import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_bytes import (
    FILE_OF,
    FORMATS,
    KEYS,
    MAGIC,
    assert_sound,
    dictionary,
    each_format,
    group,
    legacy_bytes,
    named,
    number,
    read,
    refusal,
    storage,
    tensor,
    text,
    zip_bytes,
)

from n2n_tf.model_files import torch_pickle
from n2n_tf.model_files.torch_checkpoint import CheckpointError

# Tensors and storages that lie.

BEYOND, ODD, OVERLAP, ABSURD = "beyond its storage", "negative or odd", "overlap", "absurd size"
FLOAT_TWO = b"G" + struct.pack(">d", 2)
PARAMETER = named("torch._utils", "_rebuild_parameter")
LIES = {
    "offset": (tensor(offset=1), BEYOND),
    "far offset": (tensor(offset=1 << 62, size=(1,), stride=(1,)), BEYOND),
    "long stride": (tensor(size=(2,), stride=(1 << 61,)), BEYOND),
    "empty, but offset": (tensor(offset=7, size=(0,), stride=(1,)), BEYOND),
    "negative stride": (tensor(offset=5, size=(6,), stride=(-1,)), ODD),
    "negative offset": (tensor(offset=-1), ODD),
    "negative size": (tensor(size=(-2, -3)), ODD),
    "fractional size": (tensor().replace(number(2), FLOAT_TWO), ODD),
    "true as offset": (tensor(offset=1).replace(number(1), b"\x88", 1), ODD),
    "expanded": (tensor(size=(2, 6), stride=(0, 1)), OVERLAP),
    "interlocked": (tensor(size=(2, 3), stride=(1, 1)), OVERLAP),
    "expanded without end": (tensor(size=(1 << 60,), stride=(0,)), ABSURD),
    "product of 2**66": (tensor(size=(1 << 33, 1 << 33), stride=(0, 0)), ABSURD),
    "empty, but 2**62": (tensor(size=(0, 1 << 62), stride=(1, 1)), ABSURD),
    "17 dimensions": (tensor(size=(1,) * 17, stride=(1,) * 17), ABSURD),
    "no stride": (tensor(stride=(3,)), "size and stride do not match"),
    "size in a list": (tensor().replace(group(number(3), number(1)), b"]"), "do not match"),
    "storage of 7": (tensor(storage(count=7)), "storage '0'"),
    "storage of 5": (tensor(storage(count=5), 0, (5,), (1,)), "storage '0'"),
    "storage of 2**62": (tensor(storage(count=1 << 62)), "storage '0'"),
    "storage of 2**250": (tensor(storage(count=1 << 250)), "storage '0'"),
    "storage of doubles": (tensor(storage(kind="DoubleStorage")), "storage '0'"),
    "storage of -6": (tensor(storage(count=-6)), "no proper element count"),
    "storage that is not there": (tensor(storage(key="1")), "storage"),
    "storage elsewhere": (tensor(storage(key="../../../etc/passwd")), "storage"),
    "storage 0, not '0'": (tensor(storage().replace(text("0"), number(0))), "not a storage"),
    "unknown storage": (tensor(storage(kind="QInt8Storage")), "asks for 'torch.QInt8Storage'"),
    "storage told twice": (group(tensor(), storage(kind="IntStorage")), "in two ways"),
    "view too long": (storage(view=group(text("v"), number(2), number(5))), "leaves its storage"),
    "view before": (storage(view=group(text("v"), number(-2), number(4))), "leaves its storage"),
    "no storage": (tensor(text("0")), "makes a tensor of a str"),
    "no tensor": (PARAMETER + group(number(1), b"\x88", b"}") + b"R", "parameter of a int"),
    "reference by text": (text("storage") + b"Q", "outside its pickle"),
    "reference by module": (storage().replace(text("storage"), text("module")), "not a storage"),
}


@each_format
@pytest.mark.parametrize("lie", LIES)
def test_lies_about_sizes_and_places_are_refused(tmp_path, form, lie):
    program, reason = LIES[lie]
    assert reason in refusal(tmp_path, FILE_OF[form](dictionary(a=program)))


# Pickles that ask for code.


class Call:
    """Pickles to a call of `function`: unpickled by `pickle.loads`, the call is made."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts

    def __call__(self):
        """Makes the result of a call something that another `Call` may call."""


def payloads(canary):
    """Returns name to be refused -> object whose unpickling makes the file `canary`."""
    touch = f"open({str(canary)!r}, 'w').close()"
    built_in = Call(getattr, Call(__import__, "builtins"), "exec")
    return {
        f"{os.system.__module__}.system": Call(os.system, f": > '{canary}'"),
        "eval": Call(eval, touch),
        "exec": Call(exec, touch),
        "getattr": Call(built_in, touch),
        "loads": Call(pickle.loads, pickle.dumps(Call(exec, touch))),
    }


@each_format
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_code_is_refused_by_name_and_never_runs(tmp_path, form, protocol):
    canary = tmp_path / "canary"
    for asked, payload in payloads(canary).items():
        program = pickle.dumps({"enc_conv0.weight": payload}, protocol)
        pickle.loads(program)
        assert canary.exists()  # the payload is a live one
        canary.unlink()
        message = refusal(tmp_path, FILE_OF[form](program.removesuffix(b".")))
        assert "asks for '" in message and f"{asked}', which is not a tensor" in message
        assert not canary.exists()


def test_code_in_any_pickle_of_the_legacy_format_is_refused(tmp_path):
    canary = tmp_path / "canary"
    evil = pickle.dumps(Call(exec, f"open({str(canary)!r}, 'w').close()"), 2)
    good = legacy_bytes(dictionary(a=tensor()))
    parts = [MAGIC, b"\x80\x02M\xe9\x03.", b"\x80\x02}.", KEYS]
    for part in parts:
        assert "exec', which is not a tensor" in refusal(tmp_path, good.replace(part, evil))
    assert not canary.exists()


ORDERED = named("collections", "OrderedDict")
SYSTEM = text("posix") + text("system") + b"\x93"
TRICKS = {
    "nested load": (named("torch.storage", "_load_from_bytes"), "'torch.storage._load_from_bytes'"),
    "network class": (named("arch_unet", "UNet") + b")\x81", "asks for 'arch_unet.UNet'"),
    "name on the stack": (SYSTEM, "asks for 'posix.system'"),
    "name from the memo": (
        text("system") + b"q\0" + text("posix") + b"q\1h\1h\0\x93",
        "asks for 'posix.system'",
    ),
    "name that is no text": (text("posix") + number(1) + b"\x93", "whose name is not text"),
    "attribute of an admitted name": (
        named("collections", "OrderedDict.fromkeys"),
        "asks for 'collections.OrderedDict.fromkeys'",
    ),
    "builtin of the torch module": (named("torch", "load"), "asks for 'torch.load'"),
    "very long name": (named("a" * 5000, "b"), "asks for '" + "a" * 60 + "...'"),
    "call of a storage type": (
        named("torch", "FloatStorage") + group(number(9)) + b"R",
        "calls 'torch.FloatStorage'",
    ),
    "call of text": (text("collections.OrderedDict") + b")R", "calls 'str'"),
    "call with a list": (ORDERED + b"]R", "calls 'collections.OrderedDict'"),
    "ordered dict of pairs": (ORDERED + group(b"]") + b"R", "is damaged: TypeError"),
    "attribute of a dict": (
        ORDERED + b")R" + dictionary(__class__=ORDERED) + b"b",
        "sets the attribute '__class__' of a dict",
    ),
    "__setstate__ and __reduce__": (
        ORDERED + b")R" + dictionary(_metadata=b"}", __setstate__=ORDERED) + b"b",
        "sets the attribute '__setstate__' of a dict",
    ),
    "slots of a dict": (ORDERED + b")R" + group(b"N", b"}") + b"b", "sets the attribute"),
    "attribute of a storage type": (
        named("torch", "FloatStorage") + dictionary(_metadata=b"}") + b"b",
        "puts items into a Name",
    ),
    "attribute of a tensor": (tensor() + b"}b", "puts items into a Tensor"),
    "item of a tuple": (b")" + number(1) + b"a", "puts items into a tuple"),
    "object without __init__": (ORDERED + b")\x81", "instruction NEWOBJ"),
    "object with keywords": (ORDERED + b")}\x92", "instruction NEWOBJ_EX"),
    "instance of old": (b"(iposix\nsystem\n", "instruction INST"),
    "object of old": (b"(" + ORDERED + b"o", "instruction OBJ"),
    "extension registry": (b"\x82\x01", "instruction EXT1"),
    "reference by line": (b"Pstorage\n", "instruction PERSID"),
    "buffer out of band": (b"\x97", "instruction NEXT_BUFFER"),
    "no instruction at all": (b"\xff", "the byte b'\\xff' as instruction"),
}


@each_format
@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_of_the_pickle_language_are_refused(tmp_path, form, trick):
    program, reason = TRICKS[trick]
    assert reason in refusal(tmp_path, FILE_OF[form](dictionary(a=program)))


# Pickles that would exhaust or crash the process.

DEEP = b")" + b"\x85" * 300_000  # as a dict key it overflows the C stack of pickle.loads
LAUGHS = b")" + b"q\0h\0\x86" * 80  # 2**80 items to hash, to compare or to print
GREEDY = {
    "deep key": (b"}" + DEEP + b"Ns", "has a tuple as the key of a dict"),
    "laughing key": (b"}" + LAUGHS + b"Ns", "has a tuple as the key of a dict"),
    "laughing count": (storage().replace(number(6), LAUGHS), "no proper element count"),
    "laughing offset": (tensor(offset=1).replace(number(1), LAUGHS, 1), ODD),
    "laughing reference": (LAUGHS + b"Q", "is damaged: ValueError"),
    "laughing name": (LAUGHS + text("system") + b"\x93", "whose name is not text"),
    "laughing call": (LAUGHS + b")R", "calls 'tuple'"),
    "laughing entry": (LAUGHS, "keeps a tuple under 'a'"),
    "deep entry": (DEEP, "keeps a tuple under 'a'"),
    "large number as key": (b"}" + number(1 << 31) + b"Ns", "has a int as the key"),
    "text of 4 GiB": (b"X\xff\xff\xff\xff", "ends in the middle of its pickle"),
    "frame of 2**64": (b"\x95" + b"\xff" * 8 + number(1), "keeps a int under 'a'"),
    "memo of 2**32": (number(1) + b"r\xff\xff\xff\xff", "keeps a int under 'a'"),
}


@each_format
@pytest.mark.parametrize("greed", GREEDY)
def test_pickles_cannot_exhaust_or_crash_the_process(tmp_path, form, greed):
    program, reason = GREEDY[greed]
    assert reason in refusal(tmp_path, FILE_OF[form](dictionary(good=tensor(), a=program)))


def test_pickles_of_too_many_instructions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_INSTRUCTIONS", 1000)
    message = refusal(tmp_path, zip_bytes(b"N" * 1001))
    assert "takes more than 1000 pickle instructions" in message


# Any other program.

PIECES = [
    *(
        bytes([code])
        for code in b"(NKMJGXqrhjcQRbtueas)]}.\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95"
    ),
    *(text(word) for word in ["storage", "0", "collections", "OrderedDict", "_metadata"]),
    *(number(n) for n in [0, 1, -1, 6, 1 << 31]),
    *(ORDERED, storage(), tensor(), group(), PARAMETER, b"\0", b"\n"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(FORMATS))
def test_any_program_is_refused_or_stays_within_the_file(tmp_path_factory, pieces, form):
    content = FILE_OF[form](dictionary(a=tensor(), b=b"".join(pieces)))
    with contextlib.suppress(CheckpointError):
        assert_sound(read(tmp_path_factory.mktemp("program"), content), content)
