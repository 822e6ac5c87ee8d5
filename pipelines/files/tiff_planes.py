"""TIFF files as sequences of planes, and the same files with other pixels.

A result is a copy of its source in which only strips and tiles are replaced, so that pages, axes,
layout, compression, colour profile, EXIF, resolution, the metadata of ImageJ, OME and MetaMorph,
GeoTIFF tags and tags that nobody here has heard of stay to the bit. Planes that a file keeps in one
directory (ImageJ beyond 4 GB, MetaMorph) are found by its metadata, never by a count of samples.
"""

import contextlib
import dataclasses
import io
import math
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from n2n_tf.pipelines.files import captions, image_limits
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.exif import XMP_TAG, exif_of_tiff
from n2n_tf.pipelines.files.image_limits import (
    ImageFileError,
    check_tiff_page,
    check_tiff_tags,
    errors_named,
    name_of,
)
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, channels, fingerprint, white_of
from n2n_tf.pipelines.files.tiff_axes import read_as
from n2n_tf.pipelines.files.tiff_segments import encode_segments, read_page

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGEST_CLASSIC = 2**32  # bytes of a TIFF that is no BigTIFF
_SURROUNDING = ("InterColorProfile", "XResolution", "YResolution", "ResolutionUnit")
_SMOOTH = 65535 // 16  # largest step between neighbours of a LUT
_LAYERS = 37724  # Photoshop's ImageSourceData
ALPHA = ("ASSOCALPHA", "UNASSALPHA")


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a plane is: its page, and which of the planes behind one another there."""

    page: int
    part: int = 0


class TiffPlanes:
    """The planes of an open TIFF.

    Args:
        path: for messages, and to copy from.
        axes: None, or the axes in the user's words, e.g. "ZYXS": S for samples that are RGB, C for
            samples that are channels, see `tiff_axes.read_as`.
        data: None, or the bytes of the file.

    Attributes:
        axes, shape: of the file's first series of planes, as its metadata say.
        dtype: of the pixels.
        notes: what a result will not keep, in words.

    Raises:
        ImageFileError: for a page that cannot be read or written again, or `axes` that are not the
            file's.
    """

    suffixes = (".tif", ".tiff", ".stk", ".lsm")

    def __init__(
        self, path: str | os.PathLike, axes: str | None = None, data: bytes | None = None
    ) -> None:
        import tifffile

        self.path, self.notes = path, []
        self._before = {}  # fingerprints of planes
        self._source = io.BytesIO(data) if data is not None else str(path)
        with errors_named(path, "TIFF"), contextlib.ExitStack() as opened:
            self._check_tags()
            self._tiff = opened.enter_context(tifffile.TiffFile(self._source, _multifile=False))
            self._read_structure(axes)
            opened.pop_all()

    def _check_tags(self):
        if self._in_memory:
            return check_tiff_tags(self._source.getvalue())
        with open(self.path, "rb") as file:
            check_tiff_tags(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Closes the file."""
        self._tiff.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._reading.pages)

    def _read_structure(self, axes):
        tiff, self._places, self._reduced = self._tiff, [], {}
        file_bytes, first = tiff.filehandle.size, None
        for index, page in enumerate(self._pages()):
            if index >= image_limits.MAX_PAGES:
                raise ImageFileError(f"has more than {image_limits.MAX_PAGES} pages.")
            if page.is_mask:
                continue
            check_tiff_page(page, file_bytes)
            if page.is_reduced and self._places:
                self._reduced.setdefault(self._places[-1].page, []).append(index)
                continue
            first = first or page
            self._places.append(_Place(index))
        if first is None:
            raise ImageFileError("holds no image.")
        self.dtype = np.dtype(first.dtype)
        if _LAYERS in first.tags:
            self.notes.append("its layers, which only Photoshop shows, stay the source's")
        self._facts(first)
        self._reading = read_as(
            axes, self.axes, self.shape, first.samplesperpixel, len(self._places)
        )
        self.axes, self.shape = self._reading.axes, self._reading.shape
        self.recoloured = any(_is_true_palette(self._page(p.page)) for p in self._places[:1])

    def _pages(self):
        """All pages of the chain, one at a time."""
        pages = self._tiff.pages
        pages.useframes = False
        return iter(pages)

    def _facts(self, first):
        """Axes from the metadata, and planes that they promise behind a page's own."""
        import tifffile

        with tifffile.TiffFile(self._reopened(), _multifile=False) as tiff:
            series = tiff.series[0]
            self.axes, self.shape = series.axes, series.shape
            behind = series.size // max(1, math.prod(first.shape)) if series.is_truncated else 1
            missing = tiff.is_imagej and series.kind != "imagej" and _promised(tiff)
        if missing and missing > len(self._places):
            raise ImageFileError(
                f"damaged or truncated TIFF (ImageJ says {missing} planes; it holds "
                f"{len(self._places)})."
            )
        if behind > 1:
            if not first.is_contiguous:
                raise ImageFileError("keeps several planes in one page, compressed; save it anew.")
            end = first.dataoffsets[0] + behind * first.nbytes
            if end > self._tiff.filehandle.size:
                raise ImageFileError(f"damaged or truncated TIFF ({behind} planes are not in it).")
            self._places = [_Place(self._places[0].page, part) for part in range(behind)]

    def _reopened(self):
        return io.BytesIO(self._source.getvalue()) if self._in_memory else self._source

    @property
    def _in_memory(self):
        return isinstance(self._source, io.BytesIO)

    def _page(self, index):
        self._tiff.pages.useframes = False
        return self._tiff.pages.get(index, aspage=True)

    def read(self, index: int) -> Plane:
        """Reads plane `index` -> `Plane`; black is 0, palettes of colours are RGB.

        Raises:
            ImageFileError: if it is damaged.
        """
        with errors_named(self.path, "TIFF"):
            read = [self._read(self._places[page]) for page in self._reading.pages[index]]
            (page, pixels), *others = read
            if others:
                pixels = np.concatenate([part for _, part in read], axis=2)
            self._before[index] = fingerprint(pixels)
            return self._plane(page, pixels)

    def _read(self, place):
        page = self._page(place.page)
        file = self._tiff.filehandle
        pixels = _read_part(file, page, place.part) if place.part else read_page(file, page)
        if name_of(page.photometric) == "MINISWHITE":
            pixels[..., 0] = white_of(page.dtype, page.bitspersample) - pixels[..., 0]
        if _is_true_palette(page):
            pixels = _looked_up(pixels, page)
        return page, pixels

    def _plane(self, page, pixels):
        samples, extra = pixels.shape[2], [name_of(e) for e in page.extrasamples]
        alpha = len(extra) > 0 and extra[-1] in ALPHA
        opaque = samples - alpha
        rgb = name_of(page.photometric) in ("RGB", "YCBCR", "PALETTE") and samples >= 3
        rgb &= not self._tiff.is_lsm  # which calls a microscope's channels so
        if self._reading.rgb is not None:
            rgb = self._reading.rgb and opaque >= 3
        colours = (slice(0, 3), *channels(3, opaque)) if rgb else channels(0, opaque)
        white = white_of(pixels.dtype, page.bitspersample if page.bitspersample < 16 else None)
        return Plane(pixels, colours, white, _nodata(page), alpha and extra[-1] == "ASSOCALPHA")

    @property
    def first_page(self) -> Any:
        """The `tifffile.TiffPage` of the first plane."""
        return self._page(self._places[0].page)

    @property
    def surroundings(self) -> Surroundings:
        """`Surroundings` of the first page."""
        tags = self.first_page.tags
        found = {name: tags[name].value for name in _SURROUNDING if name in tags}
        icc, resolution = found.get("InterColorProfile"), None
        metre = {2: 1 / 0.0254, 3: 100}.get(found.get("ResolutionUnit", 2))
        if metre and {"XResolution", "YResolution"} <= set(found):
            pairs = found["XResolution"], found["YResolution"]
            resolution = tuple(metre * over / max(1, under) for over, under in pairs)
        icc, xmp = bytes(icc) if icc else None, _bytes_of(tags, XMP_TAG) or None
        among, own = captions.iptc_of(captions.resources(_bytes_of(tags, captions.PHOTOSHOP_TAG)))
        iptc = captions.iptc_of_tag(_bytes_of(tags, captions.IPTC_TAG)) or among
        return Surroundings(icc, self._exif(), resolution, xmp, iptc, own=own)

    def _exif(self):
        source = self._reopened()
        with source if self._in_memory else open(source, "rb") as file:
            return exif_of_tiff(file, self.first_page)

    @property
    def orientation(self) -> int:
        """1..8, see `Surroundings`."""
        tag = self.first_page.tags.get("Orientation")
        return tag.value if tag and tag.value in range(1, 9) else 1

    @contextlib.contextmanager
    def rewriting(
        self, target: str | os.PathLike, overwrite: bool = False
    ) -> Iterator[Callable[[int, np.ndarray], None]]:
        """Gives a callable(index, pixels) that puts other pixels into a copy of the file.

        Planes that were read and have not changed stay to the byte, and so do their thumbnails. The
        copy takes the name `target` when the block ends well; otherwise nothing is left.

        Raises:
            FileExistsError, OSError: as `atomic_file`.
        """
        import tifffile

        with atomic_file(target, overwrite) as temporary:
            if self._in_memory:
                temporary.write_bytes(self._source.getvalue())
            else:
                shutil.copyfile(self.path, temporary)
            with tifffile.TiffFile(temporary, mode="r+", _multifile=False) as copy:
                copy.pages.useframes = False
                changed = []

                def write(index, pixels):
                    if fingerprint(pixels) == self._before.get(index):
                        return
                    changed.append(index)
                    pages = self._reading.pages[index]
                    for page, part in zip(pages, np.split(pixels, len(pages), axis=2), strict=True):
                        self._write(copy, self._places[page], part)

                yield write
            if not changed:
                self.notes.clear()

    def _write(self, copy, place, pixels):
        page = copy.pages.get(place.page, aspage=True)
        if name_of(page.photometric) == "MINISWHITE":
            pixels = pixels.copy()
            pixels[..., 0] = white_of(page.dtype, page.bitspersample) - pixels[..., 0]
        if place.part:
            order = page.parent.byteorder
            copy.filehandle.seek(page.dataoffsets[0] + place.part * page.nbytes)
            copy.filehandle.write(_as_stored(page, pixels).astype(page.dtype.newbyteorder(order)))
            return
        _replace(copy.filehandle, page, pixels)
        reduced = [copy.pages.get(i, aspage=True) for i in self._reduced.get(place.page, [])]
        for small in [*reduced, *(p for p in page.pages or [] if not p.is_mask)]:
            self._replace_reduced(copy.filehandle, page, small, pixels)

    def _replace_reduced(self, file, page, small, pixels):
        """A smaller copy of the page, in a pyramid or as a thumbnail, made anew from the result."""
        alike = (small.samplesperpixel, small.dtype, small.photometric)
        try:
            check_tiff_page(small, file.size)
        except ImageFileError:
            alike = None
        if alike != (page.samplesperpixel, page.dtype, page.photometric):
            note = "its thumbnail is of another kind and stays the source's"
            self.notes += [note] if note not in self.notes else []
            return
        _replace(file, small, _resized(pixels, small.imagelength, small.imagewidth))


def _promised(tiff):
    meta = tiff.imagej_metadata or {}
    return int(meta.get("images", 1))


def _is_true_palette(page):
    """Whether a palette holds colours: not if it is a display's LUT, through which levels are seen.

    Its ramps rise or fall all along, or are smooth.
    """
    if name_of(page.photometric) != "PALETTE" or page.colormap is None:
        return False
    if page.parent.is_imagej:
        return False
    steps = np.diff(page.colormap.astype(np.int64), axis=1)
    smooth = np.abs(steps).max() <= _SMOOTH
    return not (smooth or (steps >= 0).all() or (steps <= 0).all())


def _looked_up(pixels, page):
    table = page.colormap.T  # [entries, 3], uint16
    if (table % 257 == 0).all() or (table & 255 == 0).all():
        table = (table >> 8).astype(np.uint8)
    return table[np.minimum(pixels[..., 0], len(table) - 1)]


def _bytes_of(tags, code):
    value = tags[code].value if code in tags else b""
    return value if isinstance(value, bytes) else b""


def _nodata(page):
    """GDAL's value for places without data."""
    tag = page.tags.get(42113)
    try:
        return float(tag.value) if tag else None
    except (TypeError, ValueError):
        return None


def _read_part(file, page, part):
    """A plane behind the page's own, stored like it: [height, width, samples]."""
    file.seek(page.dataoffsets[0] + part * page.nbytes)
    data = file.read(page.nbytes)
    stored = np.frombuffer(data, page.dtype.newbyteorder(page.parent.byteorder))
    pixels = stored.astype(page.dtype)
    if name_of(page.planarconfig) == "SEPARATE":
        apart = pixels.reshape(page.samplesperpixel, page.imagelength, page.imagewidth)
        return np.ascontiguousarray(np.moveaxis(apart, 0, -1))
    return pixels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _as_stored(page, pixels):
    return np.moveaxis(pixels, -1, 0) if name_of(page.planarconfig) == "SEPARATE" else pixels


def _replace(file, page, pixels):
    """Puts the segments of a page where they were, or at the end of the file if they grew."""
    offsets, lengths = list(page.dataoffsets), list(page.databytecounts)
    taken = set()
    for index, data in encode_segments(file, page, pixels):
        room = lengths[index] if offsets[index] not in taken else 0
        if len(data) > room:
            file.seek(0, 2)
            offsets[index] = file.tell() + file.tell() % 2
            if offsets[index] + len(data) >= LARGEST_CLASSIC and not page.parent.is_bigtiff:
                raise ImageFileError("the result would exceed 4 GB; save the source as BigTIFF.")
        taken.add(offsets[index])
        file.seek(offsets[index])
        file.write(data)
        if name_of(page.compression) != "NONE":
            lengths[index] = len(data)
            file.write(bytes(max(0, room - len(data))))  # nothing of the source stays behind
    _retag(page, (324, 273), offsets, page.dataoffsets)
    _retag(page, (325, 279), lengths, page.databytecounts)


def _retag(page, codes, values, before):
    """Writes the offsets or lengths of a page's segments, if they changed."""
    if tuple(values) == tuple(before):
        return
    tag = next(page.tags[code] for code in codes if code in page.tags)
    short = tag.dtype == 3 and max(values) > 65535
    tag.overwrite(tuple(values), dtype=4 if short else tag.dtype)


def _resized(pixels, height, width):
    """Area average, the filter of pyramids, in double precision."""
    import cv2

    small = [
        cv2.resize(np.float64(pixels[..., c]), (width, height), interpolation=cv2.INTER_AREA)
        for c in range(pixels.shape[2])
    ]
    small = np.stack(small, axis=-1)
    return (np.floor(small + 0.5) if pixels.dtype.kind in "ui" else small).astype(pixels.dtype)
