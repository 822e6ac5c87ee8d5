"""The directories of TIFF files that may lie: no more is read of them than the file is long.

Any number of tags may claim the same bytes as their values. Copied one by one, a file of 400 kB
made gigabytes of them.
Source: TIFF 6.0; the BigTIFF proposal.
"""

import struct
from typing import NamedTuple

# Bytes of one value, by type number.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
              16: 8, 17: 8, 18: 8}  # fmt: skip


class Entry(NamedTuple):
    """One tag of a directory, its values still in the file.

    Attributes:
        code: what the tag means.
        kind: type number, a key of `TYPE_BYTES`.
        count: number of values.
        start: where the values begin, in bytes from the start of the file.
        length: bytes of all values together.
    """

    code: int
    kind: int
    count: int
    start: int
    length: int


class TiffDirectories:
    """Reads the directories of one file, all of them together no larger than `room`.

    Args:
        blob: bytes or mmap of a classic TIFF, a BigTIFF or a raw built like them.
        room: bytes that directories and values may take together; one that is visited twice
            counts twice. Default: the length of the file.

    Attributes:
        order: "<" or ">", byte order in the notation of `struct`.
        first: where the first directory begins; 0 if the file is too short to say.
        overdrawn: whether anything was left out for want of room.

    Example:
        >>> tiff = TiffDirectories(b"II*\\0" + bytes([8, 0, 0, 0, 1, 0, 0, 1, 3, 0, 1, 0, 0, 0]))
        >>> tiff.order, tiff.first
        ('<', 8)
    """

    def __init__(self, blob: bytes, room: int | None = None) -> None:
        self._blob, self._room = blob, len(blob) if room is None else room
        self.order, self.overdrawn = "<" if blob[:2] == b"II" else ">", False
        big = blob[2:4] in (b"+\0", b"\0+")
        # Formats of the number of entries, of an entry before its value, and of an offset.
        self._formats = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
        self.first = self._number("Q" if big else "I", 8 if big else 4) or 0

    def read(self, start: int) -> tuple[list[Entry], int]:
        """One directory.

        Args:
            start: where it begins, in bytes.

        Returns:
            its entries with whole values of a known type, and the start of the next directory (0:
            there is none).
        """
        counter, entry, offset = (self.order + name for name in self._formats)
        head, value = struct.calcsize(entry), struct.calcsize(offset)
        step = head + value  # bytes of one entry
        begin = start + struct.calcsize(counter)
        stated = self._number(self._formats[0], start)
        if stated is None or not self._pay(struct.calcsize(counter) + value):
            return [], 0
        found = []
        entries = min(stated, (len(self._blob) - begin) // step)
        for at in range(begin, begin + entries * step, step):
            code, kind, count = struct.unpack_from(entry, self._blob, at)
            length = count * TYPE_BYTES.get(kind, 0)
            place = at + head if length <= value else self._number(self._formats[2], at + head)
            whole = kind in TYPE_BYTES and place + length <= len(self._blob)
            if not self._pay(step + length * whole):
                break
            if whole:
                found.append(Entry(code, kind, count, place, length))
        return found, self._number(self._formats[2], begin + entries * step) or 0

    def _pay(self, length: int) -> bool:
        """Whether there is room for so many bytes more; then they are taken off it."""
        if length > self._room:
            self.overdrawn = True
            return False
        self._room -= length
        return True

    def _number(self, name: str, at: int) -> int | None:
        """An unsigned number of the file; None beyond its end."""
        name = self.order + name
        if not 0 <= at <= len(self._blob) - struct.calcsize(name):
            return None
        return struct.unpack_from(name, self._blob, at)[0]
