"""Comments, and IPTC: what agencies write beside a picture, as JPEG, PNG and TIFF hold them.

Source: PNG specification, third edition, 11.3.3; IPTC-NAA IIM 4.2; Adobe Photoshop file formats,
image resource blocks.
"""

import struct
from collections.abc import Callable, Iterator

IPTC_TAG, PHOTOSHOP_TAG = 33723, 34377  # of a TIFF
PHOTOSHOP_START = b"Photoshop 3.0\0"
_BLOCK, _IPTC, _DIGEST = b"8BIM", 0x0404, 0x0425
_IIM = b"\x1c"  # with which every entry of IPTC begins
_COMMENTS = "Comment", "Description"  # the texts of a PNG that are what others call a comment


def text_of(data: bytes) -> str:
    """Bytes of an unknown encoding -> text."""
    data = data.rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def png_texts(
    chunks: Iterator[tuple[bytes, bytes]], inflated: Callable[[bytes], bytes | None]
) -> tuple[str | None, list[str]]:
    """Of the texts of a PNG the one that other formats hold too, and the keywords of the others.

    No other is unpacked: a small file may hold many large ones.

    Args:
        chunks: (name, body).
        inflated: what unpacks a text; None for a damaged one.

    Example:
        >>> png_texts([(b"tEXt", b"Title\\0Dawn"), (b"tEXt", b"Description\\0A hill.")], bytes)
        ('A hill.', ['Title'])
    """
    found = {}
    for name, body in chunks:
        keyword, _, text = body.partition(b"\0")
        packed = name == b"zTXt"
        if name == b"iTXt":
            packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        elif packed:
            text = text[1:]
        elif name != b"tEXt":
            continue
        found[keyword.decode("latin-1")] = packed, text
    chosen = next((keyword for keyword in _COMMENTS if keyword in found), None)
    others = [keyword for keyword in found if keyword != chosen]
    if chosen is None:
        return None, others
    packed, text = found[chosen]
    return text_of((inflated(text) or b"") if packed else text), others


def png_comment(comment: str) -> tuple[bytes, bytes]:
    """(name, body) of the chunk for a comment.

    Example:
        >>> png_comment("Malmö")[0], png_comment("東京")[0]
        (b'tEXt', b'iTXt')
    """
    try:
        return b"tEXt", b"Comment\0" + comment.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", b"Comment" + bytes(5) + comment.encode()


def resources(data: bytes) -> dict[int, bytes]:
    """The resource blocks of Photoshop -> {number: bytes}."""
    found, at = {}, 0
    while data[at : at + 4] == _BLOCK and at + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        at += 6 + (data[at + 6] + 2) // 2 * 2  # a name of an even length with its count
        if at + 4 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        found[number] = data[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return found


def iptc_of(blocks: dict[int, bytes]) -> tuple[bytes | None, tuple[str, ...]]:
    """IPTC among the resources of Photoshop, and what else there is, in words."""
    others = ("Photoshop's resources",) * bool(set(blocks) - {_IPTC, _DIGEST})
    return blocks.get(_IPTC) or None, others


def iptc_resource(iptc: bytes) -> bytes:
    """The resource block that holds IPTC.

    Example:
        >>> resources(iptc_resource(b"some"))
        {1028: b'some'}
    """
    head = _BLOCK + struct.pack(">HHI", _IPTC, 0, len(iptc))
    return head + iptc + bytes(len(iptc) % 2)


def iptc_of_tag(value: bytes) -> bytes | None:
    """IPTC of a TIFF's tag, in which some programs put it as numbers of 32 bits, turned round.

    Example:
        >>> iptc_of_tag(b"\\0i\\2\\x1c")
        b'\\x1c\\x02i\\x00'
    """
    if value and not value.startswith(_IIM) and value[3:4] == _IIM:
        value = b"".join(value[at : at + 4][::-1] for at in range(0, len(value), 4))
    return value or None
