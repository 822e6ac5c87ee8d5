"""Image files: what is read is what was written, and what cannot be read says why.

Pillow and tifffile are the independent readers and writers.
"""

import fractions
import io
import itertools
import math
import os
import pathlib
import struct
import warnings
import zlib

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import skimage.data
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from n2n_tf.pipelines.files import image_limits
from n2n_tf.pipelines.files.image_files import (
    ImageFileError,
    check_format,
    list_images,
    read_image,
    to_channels,
    to_float,
    to_integer,
    write_image,
)
from n2n_tf.pipelines.files.stacks import read_file
from n2n_tf.pipelines.files.tiff_directories import TiffDirectories

PHOTOS = pathlib.Path(skimage.data.__file__).parent


def random_pixels(rng, shape, dtype):
    """All values of the type, its extremes included."""
    if np.dtype(dtype).kind == "f":
        return rng.normal(0.5, 1, shape).astype(dtype)
    pixels = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    pixels.flat[0], pixels.flat[-1] = 0, np.iinfo(dtype).max
    return pixels


def pillow(image, kind, **options):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def tiff(image, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def retagged(data, **tags):
    """A TIFF with other values in tags it has."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        for name, value in tags.items():
            opened.pages.first.tags[name].overwrite(value)
    return file.getvalue()


def png(rows, width, height, depth, colour, interlaced=0, extra=b""):
    """A PNG from its raw bytes: rows, each with its leading filter byte."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body


def saved(tmp_path, data, name="a.png"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def assert_refused(path, *reasons):
    """The error begins with the file and says why, and no warning is printed beside it."""
    with pytest.raises(ImageFileError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert all(reason in message for reason in reasons), message


# ------------------------------------------------------------------------------ round trips

KINDS = [
    (suffix, dtype, channels, alpha)
    for suffix, dtypes, alphas in [
        (".png", (np.uint8, np.uint16), (False, True)),
        (".tif", (np.uint8, np.uint16, np.float32), (False, True)),
        (".TIFF", (np.uint16,), (True,)),
        (".bmp", (np.uint8,), (False,)),
    ]
    for dtype, channels, alpha in itertools.product(dtypes, (1, 3), alphas)
]


@pytest.mark.parametrize("suffix, dtype, channels, alpha", KINDS)
@settings(max_examples=12)
@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_round_trip_is_exact_to_the_bit(
    tmp_path_factory, suffix, dtype, channels, alpha, height, width, seed
):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    pixels = random_pixels(rng, (height, width, channels), dtype)
    transparency = random_pixels(rng, (height, width), dtype) if alpha else None
    write_image(path, pixels, transparency)
    picture = read_image(path)
    assert picture.pixels.dtype == dtype and picture.pixels.shape == pixels.shape
    np.testing.assert_array_equal(picture.pixels, pixels)
    if alpha:
        assert picture.alpha.dtype == dtype
        np.testing.assert_array_equal(picture.alpha, transparency)
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("channels, alpha", [(1, False), (3, False), (1, True), (3, True)])
def test_others_read_what_we_write(tmp_path, rng, suffix, channels, alpha):
    alpha = alpha and suffix != ".bmp"
    pixels = random_pixels(rng, (5, 7, channels), np.uint8)
    transparency = random_pixels(rng, (5, 7), np.uint8) if alpha else None
    write_image(tmp_path / f"a{suffix}", pixels, transparency)
    theirs = PIL.Image.open(tmp_path / f"a{suffix}")
    assert theirs.mode == {1: "L", 3: "RGB"}[channels] + ("A" if alpha else "")
    expected = np.dstack([pixels, transparency]) if alpha else pixels.squeeze()
    np.testing.assert_array_equal(np.asarray(theirs), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tifffile_reads_our_tiffs(tmp_path, rng, dtype):
    pixels = random_pixels(rng, (5, 7, 3), dtype)
    write_image(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_we_read_what_others_write(tmp_path, rng, mode, kind):
    pixels = random_pixels(rng, (6, 5, len(mode)) if mode != "L" else (6, 5), np.uint8)
    picture = read_image(saved(tmp_path, pillow(pixels, kind)))  # the suffix does not matter
    pixels = pixels.reshape(6, 5, -1)
    colours = 3 if "RGB" in mode else 1
    np.testing.assert_array_equal(picture.pixels, pixels[..., :colours])
    assert (picture.alpha is None) == (mode in ("L", "RGB"))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, pixels[..., -1])


def test_a_view_with_other_strides_is_written_right(tmp_path, rng):
    pixels = random_pixels(rng, (7, 5, 3), np.uint8)[::-1, ::2, ::-1]
    for suffix in (".png", ".tif", ".bmp"):
        write_image(tmp_path / f"a{suffix}", pixels)
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, pixels)


def test_jpeg_keeps_a_photo_and_its_finest_colours(tmp_path, rng):
    photo = read_image(PHOTOS / "chelsea.png").pixels
    write_image(tmp_path / "photo.jpg", photo)
    error = read_image(tmp_path / "photo.jpg").pixels.astype(float) - photo
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 42
    # Colour that changes at every pixel, as noise does: halved chroma would miss by about 40.
    pixels = rng.integers(64, 192, (32, 32, 3)).astype(np.uint8)
    write_image(tmp_path / "noise.jpeg", pixels)
    assert np.abs(read_image(tmp_path / "noise.jpeg").pixels.astype(float) - pixels).mean() < 3
    write_image(tmp_path / "gray.jpg", pixels[..., :1])
    assert read_image(tmp_path / "gray.jpg").pixels.shape == (32, 32, 1)


# ---------------------------------------------------------------------------- PNG, JPEG, BMP


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_palettes_become_rgb(tmp_path, rng, kind):
    image = PIL.Image.fromarray(random_pixels(rng, (9, 8, 3), np.uint8)).quantize(7)
    assert image.mode == "P"
    image.save(tmp_path / "a.x", kind)
    picture = read_image(tmp_path / "a.x")
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    assert picture.alpha is None


def test_a_transparent_palette_entry_becomes_alpha(tmp_path, rng):
    image = PIL.Image.fromarray(random_pixels(rng, (9, 8, 3), np.uint8)).quantize(7)
    image.save(tmp_path / "a.png", transparency=2)
    index = np.asarray(image)
    assert (index == 2).any()
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").alpha, 255 * (index != 2))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_pngs_of_few_bits_use_the_full_range(tmp_path, depth):
    levels = 2**depth
    bits = "".join(f"{level:0{depth}b}" for level in range(levels))  # one pixel of each level
    row = int(bits.ljust(8 * -(-len(bits) // 8), "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    path = saved(tmp_path, png(b"\0" + row, levels, 1, depth, 0))
    expected = np.arange(levels) * 255 // (levels - 1)
    np.testing.assert_array_equal(read_image(path).pixels[0, :, 0], expected)


def test_interlaced_png(tmp_path, rng):
    pixels = random_pixels(rng, (11, 13, 3), np.uint8)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    rows = b"".join(
        b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx]
    )
    path = saved(tmp_path, png(rows, 13, 11, 8, 2, interlaced=1))
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright(tmp_path, orientation):
    image = PIL.Image.open(PHOTOS / "chelsea.png").resize((60, 40))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    expected = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(tmp_path / "a.jpg")))
    ours = read_image(tmp_path / "a.jpg").pixels
    assert ours.shape == ((40, 60, 3) if orientation < 5 else (60, 40, 3))
    np.testing.assert_allclose(ours.astype(int), expected.astype(int), atol=4)


def with_thumbnail(data):
    """A JPEG with a segment that holds a whole other one, as EXIF does, and some padding."""
    small = pillow(np.zeros((8, 8, 3), np.uint8), "jpeg")
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + b"\xff\xff\xff"
    return data[:2] + segment + data[2:]


def test_progressive_and_gray_jpegs_with_padding_and_thumbnail(tmp_path):
    photo = np.asarray(PIL.Image.open(PHOTOS / "chelsea.png"))
    data = with_thumbnail(pillow(photo, "jpeg", progressive=True, quality=95))
    path = saved(tmp_path, data, "a.jpg")
    expected = np.asarray(PIL.Image.open(path))
    np.testing.assert_allclose(read_image(path).pixels.astype(int), expected.astype(int), atol=4)
    assert_refused(saved(tmp_path, data[:-2]), "truncated JPEG (it has no end)")
    gray = saved(tmp_path, pillow(photo[..., 0], "jpeg"), "gray.jpg")
    assert read_image(gray).pixels.shape == (*photo.shape[:2], 1)


# -------------------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(tmp_path, rng, dtype):
    stored = random_pixels(rng, (5, 6, 2), dtype)
    white = np.iinfo(dtype).max
    path = saved(tmp_path, tiff(stored[..., 0], photometric="miniswhite"))
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], white - stored[..., 0])
    path = saved(
        tmp_path, tiff(stored, photometric="miniswhite", planarconfig="contig", extrasamples=[2])
    )
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels[..., 0], white - stored[..., 0])
    np.testing.assert_array_equal(picture.alpha, stored[..., 1])  # transparency is never inverted


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("size", [(5, 6), (3, 4), (4, 3), (1, 1)])
def test_planes_stored_apart(tmp_path, rng, samples, size):
    pixels = random_pixels(rng, (*size, samples), np.uint16)
    data = tiff(
        np.moveaxis(pixels, 2, 0),
        photometric="rgb",
        planarconfig="separate",
        extrasamples=[2] * (samples - 3),
    )
    picture = read_image(saved(tmp_path, data))
    np.testing.assert_array_equal(picture.pixels, pixels[..., :3])
    if samples == 4:
        np.testing.assert_array_equal(picture.alpha, pixels[..., 3])


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 16)},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "rowsperstrip": 3},
        {"metadata": {"axes": "YXS"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiff_variants(tmp_path, rng, options, dtype):
    pixels = random_pixels(rng, (20, 19, 3), dtype)
    picture = read_image(saved(tmp_path, tiff(pixels, photometric="rgb", **options)))
    assert picture.pixels.dtype == dtype
    np.testing.assert_array_equal(picture.pixels, pixels)


def test_three_gray_channels_are_no_colours(tmp_path, rng):
    pixels = random_pixels(rng, (20, 19, 3), np.uint16)
    data = tiff(pixels, photometric="minisblack", planarconfig="contig", extrasamples=[0, 0])
    assert_refused(saved(tmp_path, data), "holds 3 channels, not one gray or RGB image")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_are_turned_upright(tmp_path, rng, orientation):
    upright = random_pixels(rng, (4, 7, 3), np.uint8)
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    stored = PIL.Image.fromarray(upright)
    if orientation > 1:  # the inverse of what the reader has to do
        stored = stored.transpose(PIL.Image.Transpose[turn[orientation]])
    tags = [(274, "H", 1, orientation, True)]
    path = saved(tmp_path, tiff(np.asarray(stored), photometric="rgb", extratags=tags))
    np.testing.assert_array_equal(read_image(path).pixels, upright)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_multiplied_by_alpha_are_divided_again(tmp_path, rng, dtype):
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (rng.random((9, 8, 3)) * white).astype(dtype)
    alpha = (rng.uniform(0.5, 1, (9, 8)) * white).astype(dtype)
    alpha[0] = white
    alpha[1] = 0
    stored = pixels * (alpha[..., None] / white)
    stored = np.dstack([stored if white == 1 else np.rint(stored), alpha]).astype(dtype)
    picture = read_image(saved(tmp_path, tiff(stored, photometric="rgb", extrasamples=[1])))
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(picture.pixels[0], pixels[0])  # opaque: to the bit
    np.testing.assert_array_equal(picture.pixels[1], 0)  # transparent: no colour is left
    rounding = 1e-6 if white == 1 else 1 + 1e-9  # half a step, divided by an alpha of 0.5
    np.testing.assert_allclose(
        picture.pixels[2:].astype(float), pixels[2:].astype(float), rtol=0, atol=rounding
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_become_float32(tmp_path, rng, dtype):
    stored = rng.normal(size=(5, 6)).astype(dtype)
    pixels = read_image(saved(tmp_path, tiff(stored, photometric="minisblack"))).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[..., 0], stored.astype(np.float32))


def test_a_thumbnail_is_no_second_page_but_a_page_is(tmp_path, rng):
    pixels = random_pixels(rng, (8, 8, 3), np.uint8)
    for subfiletype in (1, 0):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(pixels, photometric="rgb")
            writer.write(pixels[::2, ::2], photometric="rgb", subfiletype=subfiletype)
        if subfiletype:
            np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)
        else:
            assert_refused(tmp_path / "a.tif", "holds 2 planes, not one image")


G = np.arange(64, dtype=np.uint8).reshape(8, 8)  # a gray image
C = np.dstack([G, G, G])
VOLUME = {"photometric": "minisblack", "volumetric": True, "tile": (2, 16, 16)}
REFUSED = {
    "pages": (tiff(np.stack([G, G]), photometric="minisblack"), "holds 2 planes"),
    "volume": (tiff(np.stack([G, G]), **VOLUME), "volume"),
    "cmyk": (tiff(np.dstack([C, G]), photometric="separated"), "4 channels"),
    "lab": (tiff(C, photometric="cielab"), "CIELAB"),
    "6 samples": (
        tiff(np.dstack([C, C]), photometric="rgb", planarconfig="contig", extrasamples=[0] * 3),
        "4 channels",
    ),
    "6 planes": (
        tiff(np.stack([G] * 6), photometric="rgb", planarconfig="separate", extrasamples=[0] * 3),
        "4 channels",
    ),
    "1 bit": (tiff(G > 9, photometric="minisblack"), "not numbers on one scale"),
    "int64": (tiff(G.astype(np.int64), photometric="minisblack"), "64 bits per sample"),
    "complex": (tiff(G.astype(np.complex64), photometric="minisblack"), "complex64"),
    "white float": (tiff(G.astype(np.float32), photometric="miniswhite"), "MINISWHITE"),
    "white RGB": (
        tiff(C, photometric="miniswhite", planarconfig="contig", extrasamples=[0, 0]),
        "3 channels",
    ),
    "NaN": (tiff(np.float32([[0, np.nan]]), photometric="minisblack"), "NaN"),
    "infinite": (tiff(np.float32([[0, -np.inf]]), photometric="minisblack"), "infinite"),
    "too large a double": (tiff(np.float64([[0, 1e300]]), photometric="minisblack"), "infinite"),
    "no page": (b"II*\0" + bytes(20), "holds no image"),
}


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_other_integers_become_floats_by_the_largest_of_their_type(tmp_path, rng, dtype):
    stored = random_pixels(rng, (5, 6), dtype)
    pixels = read_image(saved(tmp_path, tiff(stored, photometric="minisblack"))).pixels
    assert pixels.dtype == np.float32 and pixels.max() == 1
    np.testing.assert_array_equal(pixels[..., 0], np.float32(stored / np.iinfo(dtype).max))


@pytest.mark.parametrize("name", REFUSED)
def test_tiffs_that_are_no_gray_or_rgb_image_are_refused_by_name(tmp_path, name):
    data, *reasons = REFUSED[name]
    assert_refused(saved(tmp_path, data, "a.tif"), *reasons)


# ----------------------------------------------------------------------------- damaged files

PHOTO = np.asarray(PIL.Image.open(PHOTOS / "chelsea.png").resize((40, 30)))
WHOLE = {
    "png": pillow(PHOTO, "png"),
    "jpeg": pillow(PHOTO, "jpeg"),
    "progressive": pillow(PHOTO, "jpeg", progressive=True),
    "bmp": pillow(PHOTO, "bmp"),
    "tiff": tiff(PHOTO, photometric="rgb"),
    "deflate": tiff(PHOTO, photometric="rgb", compression="zlib", predictor=True),
    "lzw": tiff(PHOTO, photometric="rgb", compression="lzw"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files_are_refused_wherever_they_end(tmp_path, kind):
    data = WHOLE[kind]
    whole = read_image(saved(tmp_path, data)).pixels
    tail = {"png": 12, "lzw": 2}.get(kind, 0)  # an empty chunk, an end code: no pixel is lost
    end = len(data) - tail
    for length in {1, 2, 4, 8, 9, 14, 18, 24, 26, 30, *range(40, end, end // 25), end - 1}:
        assert_refused(saved(tmp_path, data[:length]))
    for length in range(end, len(data)):
        np.testing.assert_array_equal(read_image(saved(tmp_path, data[:length])).pixels, whole)


@pytest.mark.parametrize("kind", WHOLE)
def test_garbage_behind_a_true_beginning_is_refused(tmp_path, rng, kind):
    for size in (0, 5, 20, 300):
        garbage = rng.integers(0, 255, size, np.uint8).tobytes()
        assert_refused(saved(tmp_path, WHOLE[kind][:8] + garbage))


@pytest.mark.parametrize("kind", WHOLE)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory, kind, changes):
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[int(place**3 * len(data))] = value  # more often in the header
    path = saved(tmp_path_factory.mktemp("damaged"), data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_limits, "MAX_PIXELS", 5_000)
        try:
            pixels = read_image(path).pixels
        except ImageFileError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert pixels.ndim == 3 and pixels.shape[0] * pixels.shape[1] <= 5_000


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty"),
        (b"hello", "not a PNG, JPEG, BMP, WebP"),
        (bytes(1000), "not a PNG, JPEG, BMP, WebP, JPEG 2000, TIFF, FITS, DICOM or .npy file"),
        (pillow(PHOTO, "gif"), "is a GIF; convert it to PNG or TIFF"),
        (pillow(PHOTO, "ppm"), "is a PBM, PGM, PPM or PAM; convert it to PNG or TIFF"),
        (WHOLE["png"].replace(b"IDAT", b"IDAX"), "damaged"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, data, reason):
    assert_refused(saved(tmp_path, data), reason)


def test_a_png_with_one_wrong_bit_is_refused(tmp_path):
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 1
    assert_refused(saved(tmp_path, data), "damaged")


def test_what_is_no_file_is_refused(tmp_path):
    assert_refused(tmp_path / "missing.png", "No such file")
    assert_refused(tmp_path, "directory")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    assert_refused(tmp_path / "link.png", "No such file")
    os.mkfifo(tmp_path / "pipe.png")  # nobody will ever write to it
    assert_refused(tmp_path / "pipe.png", "empty")
    with pytest.raises(ImageFileError, match="No such file"):
        read_file(tmp_path / "missing.png")


def patched(data, offset, layout, *values):
    data = bytearray(data)
    struct.pack_into(layout, data, offset, *values)
    return bytes(data)


def jpeg_with_size(data, width, height):
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))  # baseline, progressive
    return patched(data, frame + 5, ">HH", height, width)


def with_tables_first(data):
    """A JPEG whose Huffman tables (marker 0xC4) stand before its frame (0xC0), as they may."""
    start = data.index(b"\xff\xc4")
    (length,) = struct.unpack_from(">H", data, start + 2)
    return data[:2] + data[start : start + 2 + length] + data[2:]


GRAY_TIFF = tiff(PHOTO[..., 0], photometric="minisblack", compression="zlib")
TILED_TIFF = tiff(PHOTO, photometric="rgb", compression="zlib", tile=(16, 16))
BOMBS = {
    "png": png(bytes(1000), 60_000, 60_000, 8, 2),
    "jpeg": jpeg_with_size(WHOLE["jpeg"], 60_000, 60_000),
    "jpeg with a thumbnail": with_thumbnail(jpeg_with_size(WHOLE["jpeg"], 60_000, 60_000)),
    "jpeg with tables first": with_tables_first(jpeg_with_size(WHOLE["jpeg"], 60_000, 60_000)),
    "progressive": jpeg_with_size(WHOLE["progressive"], 60_000, 60_000),
    "bmp": patched(WHOLE["bmp"], 18, "<ii", 60_000, 60_000),
    "bmp upside down": patched(WHOLE["bmp"], 18, "<ii", 60_000, -60_000),
    "old bmp": b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 60_000, 60_000, 1, 24) + bytes(99),
    "tiff": retagged(GRAY_TIFF, ImageWidth=60_000, ImageLength=60_000, RowsPerStrip=60_000),
    "tiff tile": retagged(TILED_TIFF, TileWidth=60_000, TileLength=60_000),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(
    tmp_path, monkeypatch, kind
):
    import cv2
    import imagecodecs

    def never(*_, **__):
        pytest.fail("the pixels were decoded")

    monkeypatch.setattr(cv2, "imdecode", never)
    monkeypatch.setattr(imagecodecs, "png_decode", never)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", never)
    path = saved(tmp_path, BOMBS[kind])
    assert_refused(path, "60000 x 60000 pixels, more than the 400 megapixels allowed")


@pytest.mark.parametrize("kind", WHOLE)
def test_the_bound_on_pixels_is_inclusive(tmp_path, monkeypatch, kind):
    path = saved(tmp_path, WHOLE[kind])
    monkeypatch.setattr(image_limits, "MAX_PIXELS", 1200)
    assert read_image(path).pixels.shape == (30, 40, 3)
    monkeypatch.setattr(image_limits, "MAX_PIXELS", 1199)
    assert_refused(path, "40 x 30 pixels, more than the 0.001199 megapixels")


# -------------------------------------------------------------------------------- conversions


def test_rounding_is_the_official_one():
    p = np.linspace(-0.6, 1.6, 2_000_001, dtype=np.float32)
    p = np.concatenate([p, np.arange(-3, 520, dtype=np.float32) / 510])  # halves of a step too
    official = np.clip(255 * p + 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(to_integer(p, np.uint8), official)
    exact = np.clip(np.floor(255 * p.astype(np.float64) + 0.5), 0, 255)
    differs = to_integer(p, np.uint8) != exact
    assert differs.mean() < 1e-4  # only where float32 cannot tell a half from its neighbour
    assert np.abs(255 * p[differs].astype(np.float64) % 1 - 0.5).max(initial=0) < 2e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_survive_floats(dtype):
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    floats = to_float(values)
    assert floats.dtype == np.float32 and floats[0] == 0 and floats[-1] == 1
    assert (np.diff(floats) > 0).all()
    back = to_integer(floats, dtype)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("white", [1, 100, 1023, 4095, 16383, 65534, 65535])
def test_a_white_level_becomes_one_and_back(white):
    values = np.arange(white + 1).astype(np.uint16)
    floats = to_float(values, white)
    np.testing.assert_allclose(floats, np.arange(white + 1) / white, rtol=1e-7)
    np.testing.assert_array_equal(to_integer(floats, np.uint16, white), values)
    above = to_integer(np.float32([1.2, 9, -1]), np.uint16, white)
    expected = np.clip(np.floor(np.float32([1.2, 9, -1]) * np.float32(white) + 0.5), 0, 65535)
    np.testing.assert_array_equal(above, expected)  # the type's largest value is the only bound
    np.testing.assert_allclose(to_float(np.float32([white / 2]), white), [0.5])


def test_a_white_level_above_the_type_clips_and_never_wraps():
    image = np.float32([0.05, 0.1, 1.0])
    np.testing.assert_array_equal(to_integer(image, np.uint8, 4095), [205, 255, 255])


def test_floats_pass_unclipped():
    image = np.float32([-0.5, 0.25, 1.5])
    np.testing.assert_array_equal(to_float(image), image)
    np.testing.assert_allclose(to_float(np.float64([0.1])), np.float32([0.1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_of_integers_is_exact_with_halves_up(rng, dtype):
    rgb = random_pixels(rng, (3000, 1, 3), dtype)
    ties = [(r, g, b) for r, g, b in itertools.product(range(0, 200, 7), repeat=3)
            if (299 * r + 587 * g + 114 * b) % 1000 == 500]  # fmt: skip
    assert len(ties) > 5
    rgb = np.concatenate([rgb, np.array(ties, dtype)[:, None]])
    half = fractions.Fraction(1, 2)
    expected = [
        math.floor(fractions.Fraction(299 * int(r) + 587 * int(g) + 114 * int(b), 1000) + half)
        for r, g, b in rgb[:, 0]
    ]
    gray = to_channels(rgb, 1)
    assert gray.dtype == dtype and gray.shape == (len(rgb), 1, 1)
    np.testing.assert_array_equal(gray[:, 0, 0], expected)


def test_luma_of_floats(rng):
    rgb = rng.normal(0.5, 1, (30, 20, 3)).astype(np.float32)
    gray = to_channels(rgb, 1)
    expected = rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert gray.dtype == np.float32 and gray.shape == (30, 20, 1)
    np.testing.assert_allclose(gray[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_to_rgb_and_back_is_the_identity_for_every_value(dtype):
    gray = np.arange(np.iinfo(dtype).max + 1).astype(dtype)[:, None, None]
    rgb = to_channels(gray, 3)
    assert rgb.shape == (len(gray), 1, 3) and (rgb == gray).all()
    np.testing.assert_array_equal(to_channels(rgb, 1), gray)
    assert to_channels(gray, 1) is gray and to_channels(rgb, 3) is rgb


# ------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_an_existing_file_is_replaced_only_when_asked(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    write_image(path, black)
    with pytest.raises(FileExistsError, match=f"{path} exists"):
        write_image(path, white)
    np.testing.assert_array_equal(read_image(path).pixels, black)
    write_image(path, white, overwrite=True)
    np.testing.assert_array_equal(read_image(path).pixels, white)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, suffix, exists
):
    path = tmp_path / f"a{suffix}"
    old = np.zeros((4, 4, 3), np.uint8)
    if exists:
        write_image(path, old)

    def half(file, *_, **__):
        with open(file, "wb") as opened:
            opened.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "imwrite", half)
        patch.setattr(pathlib.Path, "write_bytes", half)
        with pytest.raises(OSError, match="No space left"):
            write_image(path, old + 9, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] * exists
    if exists:
        np.testing.assert_array_equal(read_image(path).pixels, old)


def test_a_folder_that_cannot_be_written_to_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in ("missing", "file"):
        with pytest.raises(OSError, match=folder):
            write_image(tmp_path / folder / "a.png", np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "name, dtype, alpha, message",
    [
        ("a.jpg", np.uint16, False, ".jpg holds no uint16 pixels; write a .png or .tiff"),
        ("a.jpeg", np.uint8, True, ".jpeg holds no transparency; write a .png or .tiff"),
        ("a.bmp", np.float32, False, ".bmp holds no float32 pixels"),
        ("a.BMP", np.uint8, True, ".bmp holds no transparency"),
        ("a.png", np.float32, False, ".png holds no float32 pixels; write a .tiff"),
        ("a.tif", np.float64, False, "no float64 pixels are written"),
        ("a.tiff", np.int16, False, "no int16 pixels are written"),
        ("a.gif", np.uint8, False, "cannot write '.gif' files"),
        ("a", np.uint8, False, "cannot write '' files"),
    ],
)
def test_formats_refuse_what_they_cannot_hold(tmp_path, name, dtype, alpha, message):
    pixels = np.zeros((4, 4, 3), dtype)
    for attempt in (
        lambda: check_format(tmp_path / name, dtype, alpha),
        lambda: write_image(tmp_path / name, pixels, pixels[..., 0] if alpha else None),
    ):
        with pytest.raises(ImageFileError) as caught:
            attempt()
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 4), (1, 4, 4, 3)])
def test_arrays_that_are_no_image_are_refused(tmp_path, shape):
    with pytest.raises(ImageFileError, match=r"must be \[H, W, 1 or 3\]"):
        write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("alpha", [np.zeros((4, 4), np.float32), np.zeros((4, 5), np.uint8)])
def test_alpha_must_be_like_the_pixels(tmp_path, alpha):
    with pytest.raises(ImageFileError, match=r"`alpha` must be uint8 \(4, 4\)"):
        write_image(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8), alpha)
    assert not list(tmp_path.iterdir())


def test_an_image_too_wide_for_its_format_is_refused(tmp_path):
    with pytest.raises(ImageFileError, match=r"a\.jpg"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------ listing


def test_images_are_listed_recursively_in_the_order_of_their_relative_paths(tmp_path):
    wanted = ["B.PNG", "a.jpeg", "a/b.tif", "a/z/c.bmp", "a0.jpg", "z.TIFF", "ä.png"]
    for name in [*wanted, "notes.txt", "a/list.csv", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    for root in (tmp_path, str(tmp_path)):
        found = [p.relative_to(tmp_path).as_posix() for p in list_images(root)]
        assert found == sorted(wanted)  # by code points: the same on every machine


def test_hidden_files_are_left_out_and_dead_links_are_not(tmp_path):
    root = tmp_path / ".cache" / "photos"  # the root itself may be hidden
    (root / ".thumbnails").mkdir(parents=True)
    for name in ("a.png", "._a.png", ".0123abcd.png", ".thumbnails/a.png"):
        (root / name).write_bytes(b"x")
    (root / "link.png").symlink_to(root / "nowhere")
    assert [p.name for p in list_images(root)] == ["a.png", "link.png"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ImageFileError, match="no such folder"):
        list_images(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ImageFileError, match=r"a\.txt: is a file; give a folder"):
        list_images(tmp_path / "a.txt")
    with pytest.raises(ImageFileError, match=r"no image in this folder \(looked for \.png"):
        list_images(tmp_path)


# Kinds of JPEG and TIFF that are sound but not read, or leave something out


JPEGS_NOT_READ = {
    "12 bits": (
        lambda gray: imagecodecs.jpeg8_encode(gray, bitspersample=12),
        "a JPEG of 12 bits per sample, and only 8 are read; save it as a PNG or TIFF of 16 bits.",
    ),
    "lossless, 16 bits": (
        lambda gray: imagecodecs.jpeg8_encode(gray, lossless=True, bitspersample=16),
        "a JPEG of 16 bits per sample",
    ),
    "lossless": (
        lambda gray: marked(imagecodecs.jpeg8_encode(gray.astype(np.uint8)), 0xC7),
        "damaged, or a lossless JPEG, which is not read; save it as a PNG.",
    ),
    "JPEG-LS": (imagecodecs.jpegls_encode, "a JPEG"),
    "JPEG-LS, 8 bits": (
        lambda gray: imagecodecs.jpegls_encode(gray.astype(np.uint8)),
        "a JPEG-LS file, which is not read; save it as a PNG.",
    ),
}


def marked(data, process):
    """A JPEG whose frame says that it is of another process."""
    return data.replace(b"\xff\xc0", bytes((0xFF, process)), 1)


@pytest.mark.parametrize("name", JPEGS_NOT_READ)
def test_unusual_jpegs_are_called_what_they_are(tmp_path, name):
    encode, message = JPEGS_NOT_READ[name]
    gray = (np.arange(64 * 64).reshape(64, 64) % 4096).astype(np.uint16)
    (tmp_path / "a.jpg").write_bytes(encode(gray))
    with pytest.raises(ImageFileError) as caught:
        read_image(tmp_path / "a.jpg")
    assert str(caught.value).startswith(f"{tmp_path}/a.jpg: {message}")


def without_tag(data, code):
    """A TIFF that has another, unknown tag in the place of this one."""
    tiff, data = TiffDirectories(data), bytearray(data)
    step, begin = (20, tiff.first + 8) if data[2] == 43 else (12, tiff.first + 2)
    place = [entry.code for entry in tiff.read(tiff.first)[0]].index(code)
    struct.pack_into("<H", data, begin + step * place, 65000)
    return bytes(data)


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_that_leaves_out_what_has_a_default(tmp_path, big):
    """Without a Compression tag pixels are uncompressed, by the standard."""
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, gray, bigtiff=big, metadata=None, photometric="minisblack")
    whole = path.read_bytes()
    for code in (259, 277, 278):  # compression, samples per pixel, rows per strip
        path.write_bytes(without_tag(whole, code))
        np.testing.assert_array_equal(read_image(path).pixels[..., 0], gray)
    for code, message in ((262, "does not say its colours"), (256, "an image of 0 x 6 pixels")):
        path.write_bytes(without_tag(whole, code))
        with pytest.raises(ImageFileError, match=message):
            read_image(path)
