"""The pickle inside a PyTorch checkpoint, read as data: nothing in it is imported or called.

A pickle is a program for a small stack machine. `read_pickle` is that machine with only the
instructions that a state dict needs. Where the program names a class or function, the machine puts
down an inert `Name`; where it calls one, only three names lead anywhere: an ordered dict, a tensor
and a parameter, each answered with a plain dict or a `Tensor` record. Any other name is refused.

`pickle.Unpickler` with its own `find_class` would run no code either, but a file can still kill
the process through it: a million nested tuples as a dict key overflow the C stack, and a memo index
of 2**31 can take gigabytes. Here keys are text or small integers and the memo is a dict.

Source: https://docs.python.org/3/library/pickletools.html for the instructions; `torch.save` for
what it writes with them.
"""

import os
import pickletools
import struct
from typing import NamedTuple

# As numpy spells them, without byte order. numpy has no bfloat16: its bits are read as uint16.
STORAGE_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
MAX_PICKLE_BYTES = 16 << 20
MAX_INSTRUCTIONS = 1_000_000  # bounds time and memory; a tensor takes about 40
SAVE_AGAIN = "Load it where it was made and save its tensors: torch.save(net.state_dict(), path)."


class CheckpointError(ValueError):
    """A checkpoint is refused: which file, why, and what to do about it.

    Attributes:
        reason: str, a predicate such as "is empty".
        remedy: str, a sentence that says what to do.
    """

    def __init__(
        self, reason: str, remedy: str = SAVE_AGAIN, file: str = "This checkpoint"
    ) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{file} {reason}. {remedy}")

    def in_file(self, path: str | os.PathLike) -> "CheckpointError":
        """Returns the same error with the name of the file in its message."""
        return CheckpointError(self.reason, self.remedy, str(path))


class Name(NamedTuple):
    """What a pickle calls by name, such as `torch.FloatStorage`: text, never the thing itself."""

    dotted: str


class Storage(NamedTuple):
    """A run of numbers elsewhere in the file, of which elements start to stop are meant."""

    kind: str  # a key of STORAGE_TYPES
    key: str
    count: int  # elements
    start: int
    stop: int


class Tensor(NamedTuple):
    """A view of a storage; offset and stride in elements. Nothing in it has been checked."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


class Pickle(NamedTuple):
    """One pickle that has been read."""

    value: object
    storages: dict  # key -> Storage, all that the pickle mentions
    end: int  # index of the first byte after it


def read_pickle(data: bytes, start: int = 0) -> Pickle:
    r"""Reads one pickle of a checkpoint without importing or calling anything it names.

    Args:
        data: bytes that hold the pickle, and perhaps more after it.
        start: index of its first byte.

    Returns:
        `Pickle`. Its value is made of dict, list, tuple, str, int, float, bool, None, `Name`,
        `Storage` and `Tensor` alone.

    Raises:
        CheckpointError: The pickle asks for something else. Broken bytes may also raise
            IndexError, struct.error or another error of the kind.

    Example:
        >>> read_pickle(b"\x80\x02}X\x04\x00\x00\x00stepK\x07s.").value
        {'step': 7}
    """
    return _Machine(data[start : start + MAX_PICKLE_BYTES], start).run()


def brief(text: str, longest: int = 60) -> str:
    """Quotes text from a file for a message, cut to `longest` characters.

    Example:
        >>> brief("enc_conv0.weight"), brief("x" * 100, longest=3)
        ("'enc_conv0.weight'", "'xxx...'")
    """
    return repr(text if len(text) <= longest else text[:longest] + "...")


class _Machine:
    """The stack machine. `_INSTRUCTIONS` says which of its methods each instruction is."""

    def __init__(self, data, start):
        self.data, self.at, self.start = data, 0, start
        self.stack, self.marked = [], []  # the current stack, and those below each mark
        self.memo, self.storages = {}, {}

    def run(self):
        for _ in range(MAX_INSTRUCTIONS):
            code = self.take(1)
            if code == b".":
                return Pickle(self.stack.pop(), self.storages, self.start + self.at)
            if code not in _INSTRUCTIONS:
                raise CheckpointError(f"uses {_opcode(code)}, which no state dict needs")
            _INSTRUCTIONS[code](self)
        raise CheckpointError(f"takes more than {MAX_INSTRUCTIONS} pickle instructions")

    # Arguments that follow an instruction in the file.

    def take(self, count):
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise CheckpointError("ends in the middle of its pickle", "Download or copy it again.")
        self.at += count
        return bytes(taken)

    def number(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, layout):
        return self.take(self.number(layout)).decode("utf-8", "surrogatepass")

    def line(self):
        length = self.data.index(b"\n", self.at) - self.at
        return self.take(length + 1)[:-1].decode("utf-8")

    # Instructions.

    def push(self, value):
        self.stack.append(value)

    def mark(self):
        self.marked.append(self.stack)
        self.stack = []

    def items(self):
        items, self.stack = self.stack, self.marked.pop()
        return items

    def pop(self, count):
        if count > len(self.stack):
            raise IndexError("a pickle instruction found its stack empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def top(self, kind):
        if type(self.stack[-1]) is not kind:
            raise CheckpointError(f"puts items into a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def append(self, items):
        self.top(list).extend(items)

    def assign(self, items):
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Text and small integers alone: other keys could be made slow or deadly to hash.
            if type(key) is not str and not (type(key) is int and 0 <= key < 1 << 31):
                raise CheckpointError(f"has a {type(key).__name__} as the key of a dict")
            target[key] = value

    def remember(self, index):
        self.memo[index] = self.stack[-1]

    def name(self, module, name):
        if type(module) is not str or type(name) is not str:
            raise CheckpointError("asks for something whose name is not text")
        dotted = f"{module}.{name}"
        if dotted not in _ADMITTED:
            raise CheckpointError(f"asks for {brief(dotted)}, which is not a tensor")
        self.push(Name(dotted))

    def call(self):
        callee, arguments = self.pop(2)
        called = callee.dotted if type(callee) is Name else type(callee).__name__
        if called not in _CALLS or type(arguments) is not tuple:
            raise CheckpointError(f"calls {brief(called)}, which is not a tensor")
        self.push(_CALLS[called](*arguments))

    def build(self):
        (state,) = self.pop(1)
        self.top(dict)
        # An ordered dict made by `state_dict()` carries the attribute `_metadata`: not needed.
        extra = {"state"} if type(state) is not dict else set(state) - {"_metadata"}
        if extra:
            raise CheckpointError(f"sets the attribute {brief(str(min(extra, key=str)))} of a dict")

    def persistent(self):
        (reference,) = self.pop(1)
        storage = _storage(reference)
        known = self.storages.setdefault(storage.key, storage)
        if (known.kind, known.count) != (storage.kind, storage.count):
            raise CheckpointError(f"describes storage {brief(storage.key)} in two ways")
        self.push(storage)


def _opcode(code):
    known = pickletools.code2op.get(code.decode("latin-1"))
    return f"the pickle instruction {known.name}" if known else f"the byte {code!r} as instruction"


def _tensor(storage, offset, size, stride, requires_grad, hooks, metadata=None):
    if type(storage) is not Storage:
        raise CheckpointError(f"makes a tensor of a {type(storage).__name__}")
    return Tensor(storage, offset, size, stride)


def _parameter(tensor, requires_grad, hooks):
    if type(tensor) is not Tensor:
        raise CheckpointError(f"makes a parameter of a {type(tensor).__name__}")
    return tensor


def _storage(reference):
    """Reads ("storage", type, key, device, count), in the legacy format followed by a view."""
    word, name, key, _, count, *view = reference if type(reference) is tuple else [None] * 5
    kind = name.dotted.removeprefix("torch.") if type(name) is Name else None
    if word != "storage" or kind not in STORAGE_TYPES or type(key) is not str:
        raise CheckpointError("refers to something outside its pickle that is not a storage")
    if type(count) is not int or count < 0:
        raise CheckpointError(f"has no proper element count for its storage {brief(key)}")
    start, length = 0, count
    if view and view[0] is not None:
        _, start, length = view[0]
        if not (type(start) is type(length) is int and 0 <= start <= start + length <= count):
            raise CheckpointError(f"has a view that leaves its storage {brief(key)}")
    return Storage(kind, key, count, start, start + length)


_CALLS = {
    "collections.OrderedDict": lambda: {},
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
_ADMITTED = {*_CALLS, *(f"torch.{kind}" for kind in STORAGE_TYPES)}
_INSTRUCTIONS = {
    b"\x80": lambda m: m.take(1),  # PROTO: the version, which the instructions tell as well
    b"\x95": lambda m: m.take(8),  # FRAME: the length of what follows, of no use here
    b"(": _Machine.mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"X": lambda m: m.push(m.text("<I")),
    b"\x8c": lambda m: m.push(m.text("<B")),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(tuple(m.pop(1))),
    b"\x86": lambda m: m.push(tuple(m.pop(2))),
    b"\x87": lambda m: m.push(tuple(m.pop(3))),
    b"t": lambda m: m.push(tuple(m.items())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: m.append(m.pop(1)),
    b"e": lambda m: m.append(m.items()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.assign(m.pop(2)),
    b"u": lambda m: m.assign(m.items()),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*m.pop(2)),
    b"R": _Machine.call,
    b"b": _Machine.build,
    b"Q": _Machine.persistent,
}
