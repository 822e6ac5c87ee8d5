"""Planes of one format written as a file of another."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable

import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.exif import (
    WORDS,
    XMP_TAG,
    add_directories,
    readable,
    tiff_tags,
    upright_xmp,
    with_description,
)
from n2n_tf.pipelines.files.image_files import WRITTEN, upright, write_image
from n2n_tf.pipelines.files.image_limits import ImageFileError
from n2n_tf.pipelines.files.metadata import LARGEST_SEGMENT, upright_exif
from n2n_tf.pipelines.files.planes import white_of
from n2n_tf.pipelines.files.stacks import Planes

RESULTS = (*WRITTEN, ".npy")
# Tags that hold on after colours of a palette became RGB: descriptions, XMP, places on Earth.
_LASTING = (270, 271, 272, 305, 306, 315, 700, 33432, 33550, 33922, 34264, 34735, 34736, 34737,
            42112, 42113)  # fmt: skip


def writing(
    planes: Planes, target: str | os.PathLike, overwrite: bool = False
) -> contextlib.AbstractContextManager[Callable[[int, np.ndarray], None]]:
    """Gives a callable(index, pixels) that writes a file of the planes, in the format of `target`.

    Args:
        planes: what `open_planes` gives, open.
        target: path; with a suffix of the source's format the result is the source with other
            pixels, else what both formats know goes along, and `planes.notes` tells of the rest.
        overwrite: bool.

    Returns:
        context manager; the file appears when its block ends well.

    Raises:
        ImageFileError: if the format cannot hold the planes.
    """
    suffix = pathlib.Path(target).suffix.lower()
    if suffix in planes.suffixes and not planes.recoloured:
        return planes.rewriting(target, overwrite)
    if suffix not in RESULTS:
        raise ImageFileError(f"{target}: cannot write {suffix!r} files; use one of {RESULTS}.")
    if suffix == ".npy":
        return _writing_array(planes, target, overwrite)
    if suffix in (".tif", ".tiff"):
        return _writing_tiff(planes, target, overwrite)
    if len(planes) > 1:
        raise ImageFileError(
            f"{target}: {suffix} holds one plane, not {len(planes)}; write a .tif or .npy."
        )
    return _writing_picture(planes, target, overwrite)


@contextlib.contextmanager
def _writing_picture(planes, target, overwrite):
    suffix = pathlib.Path(target).suffix.lower()
    around = _turned(planes, suffix)
    _note_lost(planes, around, suffix)
    first = planes.read(0)
    opaque, white = first.colours[-1].stop, int(first.white)
    if _white_is_least(planes):
        planes.notes.append(f"its levels were turned round, as {white} is black in it")
    if opaque not in (1, 3) or len(first.colours) > 1:
        raise ImageFileError(f"{target}: holds gray or RGB, not {opaque} channels; write a .tif.")

    def write(index, pixels):
        pixels = white - pixels if _white_is_least(planes) else pixels
        turned = upright(pixels, planes.orientation)
        alpha = turned[..., -1] if pixels.shape[2] > opaque else None
        write_image(target, turned[..., :opaque], alpha, overwrite, around)

    yield write


def _white_is_least(planes):
    """Whether the least level of a DICOM is white; its numbers stay where a format can say so."""
    return getattr(planes, "white_is_least", False)


def _turned(planes, suffix):
    """`Surroundings` of the planes when they are upright; some formats describe, none comment."""
    around, on_its_side = planes.surroundings, planes.orientation >= 5
    if around.exif and not readable(around.exif):
        around = dataclasses.replace(around, exif=None, own=("damaged EXIF", *around.own))
    exif, comment = around.exif and upright_exif(around.exif), around.comment
    if comment and suffix in (".tif", ".tiff", ".webp"):
        described = with_description(exif, comment)
        exif, comment = (described, None) if described else (exif, comment)
    return dataclasses.replace(
        around,
        exif=exif,
        comment=comment,
        per_metre=around.per_metre[::-1] if around.per_metre and on_its_side else around.per_metre,
        xmp=around.xmp and upright_xmp(around.xmp),
    )


def _note_lost(planes, around, suffix):
    holds = {".webp": ("icc", "exif", "xmp"), ".jp2": (), ".bmp": (), ".npy": ()}
    holds[".png"] = "icc", "exif", "per_metre", "xmp", "comment"
    holds[".tif"] = "icc", "exif", "per_metre", "xmp", "iptc"
    names = {"icc": "colour profile", "exif": "EXIF", "per_metre": "resolution", "xmp": "XMP",
             "iptc": "IPTC", "comment": "comment"}  # fmt: skip
    holds = holds.get(suffix, tuple(names))
    lost = [text for name, text in names.items() if getattr(around, name) and name not in holds]
    if suffix in (".jpg", ".jpeg"):
        pieces = around.exif, around.xmp, around.iptc, (around.comment or "").encode()
        parts = zip(("EXIF", "XMP", "IPTC", "comment"), pieces, strict=True)
        lost += [name for name, part in parts if len(part or b"") >= LARGEST_SEGMENT]
    lost += around.own
    if lost:
        planes.notes.append(f"its {' and '.join(lost)} cannot be kept in a {suffix}")
    if {".fits", ".dcm"} & set(planes.suffixes):
        planes.notes.append(f"its header, with scales and units, is not kept in a {suffix}")
    _note_depth(planes, suffix)
    if ".tif" in planes.suffixes and _has_more(planes) and suffix not in (".tif", ".tiff"):
        planes.notes.append(f"its ImageJ, OME or GeoTIFF tags are not kept in a {suffix}")


def _note_depth(planes, suffix):
    """Numbers stay as they are; pictures of few bits are dark where others use all of them."""
    plane, dtype = planes.read(0), planes.dtype
    full = dtype.kind != "u" or plane.white == white_of(dtype)
    if not full and suffix != ".npy":
        planes.notes.append(f"its numbers stay, so white is {plane.white} of {white_of(dtype)}")


def _has_more(planes):
    """Whether a TIFF has tags that only a TIFF holds."""
    page, own = planes.first_page, set(_LASTING) - {*WORDS, XMP_TAG}
    return page.is_imagej or page.is_ome or any(code in page.tags for code in own)


@contextlib.contextmanager
def _writing_tiff(planes, target, overwrite):
    import tifffile

    around, recoloured = _turned(planes, ".tif"), planes.recoloured
    if recoloured:
        planes.notes.append("its palette became full colours")
    size = len(planes) * math.prod(planes.read(0).pixels.shape) * planes.dtype.itemsize
    large = size > 3 * 2**30
    if large and around.exif:  # is put at the end, which a BigTIFF's is not
        around = dataclasses.replace(around, exif=None, own=(*around.own, "EXIF"))
    _note_lost(planes, around, ".tif")
    tags = tiff_tags(around.exif, around.xmp, around.iptc)
    if recoloured:
        tags = [tag for tag in tags if tag[0] not in _LASTING] + _lasting_tags(planes)

    inverse = _white_is_least(planes) and planes.dtype.kind == "u"
    gray = "miniswhite" if inverse else "minisblack"
    if _white_is_least(planes) and not inverse:
        planes.notes.append("its least level is white, which a TIFF of such numbers cannot say")

    def write(index, pixels):
        plane = planes.read(index)
        opaque = plane.colours[-1].stop
        rgb = plane.colours[0].stop == 3
        pixels = upright(pixels, planes.orientation)
        extra = ["unspecified"] * (opaque - (3 if rgb else 1))
        extra += ["unassalpha"] * (pixels.shape[2] - opaque)
        file.write(
            pixels if pixels.shape[2] > 1 else pixels[..., 0],
            photometric="rgb" if rgb else gray,
            planarconfig="contig" if pixels.shape[2] > 1 else None,
            extrasamples=extra or None,
            compression="deflate",
            predictor=True,
            metadata=None,
            description=None if recoloured or index else _shape_text(planes),
            software=False,
            iccprofile=around.icc,
            extratags=() if index else tags,
            **_resolution(around),
        )

    with atomic_file(target, overwrite) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=large, byteorder="<") as file:
            yield write
        if around.exif:
            add_directories(temporary, around.exif)


def _resolution(around):
    if not around.per_metre:
        return {}
    per_centimetre = tuple(v / 100 for v in around.per_metre)
    return {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}


def _shape_text(planes):
    """Tifffile's way to name the axes of a stack, if all planes are of one."""
    outer = outer_axes(planes)
    if len(planes) == 1 or not outer:
        return None
    plane = planes.read(0).pixels.shape
    inner = plane if plane[2] > 1 else plane[:2]
    axes = "".join(outer) + "YXS"[: len(inner)]
    return json.dumps({"shape": [*outer.values(), *inner], "axes": axes})


def outer_axes(planes: Planes) -> dict[str, int]:
    """{letter: side} of the axes along which planes follow one another; empty if there are more."""
    sides = zip(planes.axes, planes.shape, strict=True)
    outer = {letter: side for letter, side in sides if letter not in "YXS"}
    return outer if math.prod(outer.values()) == len(planes) else {}


def _lasting_tags(planes):
    tags = planes.first_page.tags
    return [
        (tag.code, int(tag.dtype), tag.count, tag.value, True)
        for code in _LASTING
        if (tag := tags.get(code)) is not None
    ]


@contextlib.contextmanager
def _writing_array(planes, target, overwrite):
    around = planes.surroundings
    _note_lost(planes, around, ".npy")
    first = upright(planes.read(0).pixels, planes.orientation)
    inner = first.shape if first.shape[2] > 1 else first.shape[:2]
    outer = (*outer_axes(planes).values(),) or (len(planes),) * (len(planes) > 1)
    with atomic_file(target, overwrite) as temporary:
        start = np.lib.format.open_memmap(temporary, "w+", first.dtype, (*outer, *inner)).offset
        with open(temporary, "rb+") as file:  # a map would end the process if the disk is full

            def write(index, pixels):
                pixels = upright(pixels, planes.orientation)
                if (pixels.shape, pixels.dtype) != (first.shape, first.dtype):
                    raise ImageFileError(
                        f"{target}: its planes differ in size or type; write a .tif."
                    )
                file.seek(start + index * first.nbytes)
                file.write(np.ascontiguousarray(pixels))

            yield write
