"""PNG, JPEG, BMP, WebP and JPEG 2000 files as one plane, and the same files with other pixels."""

import contextlib
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np

from n2n_tf.pipelines.files import codecs, metadata
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import errors_named, jpeg_frame
from n2n_tf.pipelines.files.metadata import Surroundings
from n2n_tf.pipelines.files.planes import Plane, channels, fingerprint, white_of

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "WebP": (".webp",),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc"),
}
_BARE, _CODESTREAM = (".j2k", ".j2c", ".jpc"), b"\xff\x4f"


class PicturePlanes:
    """The one plane of a picture file.

    Args:
        path: for messages.
        kind: key of `codecs.KINDS`.
        data: bytes of the file.

    Attributes: as `n2n_tf.pipelines.files.tiff_planes.TiffPlanes`.
    """

    recoloured = False

    def __init__(self, path: str | os.PathLike, kind: str, data: bytes) -> None:
        self.path, self._kind, self._data, self.notes = path, kind, data, []
        self.suffixes = SUFFIXES[kind]
        with errors_named(path, kind):
            pixels = codecs.KINDS[kind][1](data)
            self._pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        self.shape, self.dtype = self._pixels.shape, self._pixels.dtype
        self.axes = "YXS"
        self.notes += _changes(kind, data, samples=self.shape[2])

    def __len__(self) -> int:
        return 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, index: int = 0) -> Plane:
        """-> `Plane`, as stored: not turned upright."""
        samples = self.shape[2]
        opaque = samples - (samples in (2, 4))
        colours = (slice(0, 3),) if opaque == 3 else channels(0, opaque)
        bits = codecs.jpeg2000_bits(self._data) if self._kind == "JPEG 2000" else None
        return Plane(self._pixels, colours, white_of(self.dtype, bits))

    @property
    def surroundings(self) -> Surroundings:
        """`Surroundings` of the pixels."""
        if self._kind == "PNG":
            return metadata.png_surroundings(self._data)
        if self._kind == "JPEG":
            return metadata.jpeg_surroundings(self._data)
        if self._kind == "WebP":
            exif = self._webp_info.get("exif") or b""
            exif = exif.removeprefix(metadata.EXIF_START) or None
            return Surroundings(
                self._webp_info.get("icc_profile"), exif, xmp=self._webp_info.get("xmp")
            )
        return Surroundings()

    @property
    def _webp_info(self):
        import PIL.Image

        with PIL.Image.open(io.BytesIO(self._data)) as image:
            return image.info

    @property
    def orientation(self) -> int:
        """EXIF's 1..8: 1 is upright."""
        exif = self.surroundings.exif
        return metadata.exif_orientation(exif) if exif else 1

    @contextlib.contextmanager
    def rewriting(
        self, target: str | os.PathLike, overwrite: bool = False
    ) -> Iterator[Callable[[int, np.ndarray], None]]:
        """As `n2n_tf.pipelines.files.tiff_planes.TiffPlanes.rewriting`.

        If no pixel changed, neither does a byte: JPEGs would lose a little otherwise.
        """
        before = fingerprint(self._pixels)  # of pixels that may be overwritten
        suffixes = [pathlib.Path(path).suffix.lower() for path in (self.path, target)]
        bare = self._is_bare if suffixes[0] == suffixes[1] else suffixes[1] in _BARE

        def write(index: int, pixels: np.ndarray) -> None:
            if fingerprint(pixels) == before and bare == self._is_bare:
                self.notes.clear()
                temporary.write_bytes(self._data)
            else:
                temporary.write_bytes(self._encoded(pixels, bare))

        with atomic_file(target, overwrite) as temporary:
            yield write

    @property
    def _is_bare(self):
        """Whether it is a JPEG 2000 without a file around it."""
        return self._data.startswith(_CODESTREAM)

    def _encoded(self, pixels, bare):
        data = self._data
        if self._kind == "PNG":
            return metadata.png_surrounded_like(codecs.encode_png(pixels), data)
        if self._kind == "JPEG":
            encoded = codecs.encode_jpeg(pixels, data)
            return metadata.jpeg_surrounded_like(encoded, data, profile=not _inks(data))
        if self._kind == "BMP":
            return codecs.encode_bmp(pixels, data)
        if self._kind == "WebP":
            return codecs.encode_webp(pixels, codecs.webp_without_loss(data), self.surroundings)
        alone, bits = bare or not self._is_bare, codecs.jpeg2000_bits(data)
        encoded = codecs.encode_jpeg2000(pixels, bits, codestream=alone)
        return metadata.jp2_surrounded_like(encoded, data) if alone and not bare else encoded


def _inks(data):
    """Whether a JPEG has four components."""
    return data[jpeg_frame(data) + 9] == 4


def _changes(kind, data, samples):
    """What a result of the same kind will not keep of the bytes `data`, in words."""
    if kind == "PNG":
        few, palette = data[24] < 8, data[25] == 3
        became = "full colours" if samples >= 3 else "levels of gray"
        yield from [f"its palette became {became}"] * palette
        yield from [f"its {data[24]}-bit samples became 8-bit ones"] * (few and not palette)
        names = {name for name, _ in metadata.png_chunks(data)}
        transparent = b"tRNS" in names
        yield from ["its transparent colour became alpha"] * (transparent and not palette)
        yield from ["its background colour was left out"] * (
            b"bKGD" in names and (few or palette or transparent)
        )
        yield from ["sBIT was left out, as all bits of a result count"] * (b"sBIT" in names)
    if kind == "JPEG":
        yield from ["its CMYK inks, and their profile, became RGB"] * _inks(data)
        if metadata.behind_jpeg(data):
            yield "what follows its picture (previews, depth, a film) was left out"
    if kind == "BMP":
        old = data[14] == 12  # the header of OS/2
        few, fields = data[24 if old else 28] < 16, not old and data[30] in (3, 6)
        yield from ["its palette became full colours"] * (few and samples == 3)
        if data[14] == 124 and data[70:74] == b"DEBM":
            yield "its colour profile was left out"
        yield from ["its colours have 8 bits each now, in the usual order"] * fields
