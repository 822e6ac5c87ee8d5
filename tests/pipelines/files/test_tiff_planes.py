"""TIFFs of every kind: each plane once, and the same file with other pixels and nothing else."""

import itertools
import re
import struct

import numpy as np
import pytest
import tifffile

from n2n_tf.pipelines.files import tiff_segments
from n2n_tf.pipelines.files.image_limits import ImageFileError
from n2n_tf.pipelines.files.tiff_planes import TiffPlanes

POSITIONS = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}


def pixels_of(path):
    with TiffPlanes(path) as planes:
        return [planes.read(index).pixels for index in range(len(planes))]


def flipped(path, target, axes=None):
    """Writes the file upside down, plane by plane; returns what was read."""
    with TiffPlanes(path, axes) as planes, planes.rewriting(target) as write:
        read = [planes.read(index) for index in range(len(planes))]
        for index, plane in enumerate(read):
            write(index, plane.pixels[::-1])
    return read


def tags_of(path):
    """All tags of all pages but the places of the pixels."""
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        tiff.pages.useframes = False
        pages = [page for page in tiff.pages]
        return [
            {t.code: (t.dtype, t.count, t.value) for t in page.tags if t.name not in POSITIONS}
            for page in pages
        ]


def assert_same_tags(path, other):
    for tags, others in zip(tags_of(path), tags_of(other), strict=True):
        assert tags.keys() == others.keys()
        for code, entry in tags.items():
            np.testing.assert_equal(others[code], entry)


def random(rng, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


LAYOUTS = [{}, {"tile": (16, 32)}, {"rowsperstrip": 7}]
COMPRESSIONS = [
    {},
    {"compression": "lzw"},
    {"compression": "zlib", "predictor": True},
    {"compression": "packbits"},
    {"compression": "zstd"},
    {"compression": "lzma"},
]
COLOURS = {
    "gray": ((40, 50), {"photometric": "minisblack"}),
    "rgb": ((40, 50, 3), {"photometric": "rgb"}),
    "apart": ((3, 40, 50), {"photometric": "rgb", "planarconfig": "separate"}),
    "pages": ((3, 40, 50), {"photometric": "minisblack"}),
}


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "f2", "f4", "f8"])
def test_any_layout_and_compression_holds_other_pixels(tmp_path, rng, dtype, colours):
    shape, options = COLOURS[colours]
    for number, (layout, compression, order) in enumerate(
        itertools.product(LAYOUTS, COMPRESSIONS, "<>")
    ):
        path, target = tmp_path / f"{number}.tif", tmp_path / f"{number}_new.tif"
        pixels = random(rng, shape, dtype)
        tifffile.imwrite(path, pixels, byteorder=order, **options, **layout, **compression)
        flipped(path, target)
        result = tifffile.imread(target)
        assert result.dtype.newbyteorder("=") == pixels.dtype
        upside_down = pixels[::-1] if shape[0] == 40 else pixels[:, ::-1]
        np.testing.assert_array_equal(result, upside_down)
        assert_same_tags(path, target)


@pytest.mark.parametrize("bits", range(1, 17))
def test_packed_integers_are_what_they_were(rng, bits):
    rows = rng.integers(0, 2**bits, (7, 13)).astype("u1" if bits < 9 else "u2")
    packed = tiff_segments.packed_integers(rows, bits)
    assert len(packed) == 7 * -(-13 * bits // 8)  # rows begin with a new byte
    digits = np.unpackbits(np.frombuffer(packed, np.uint8).reshape(7, -1), axis=1)
    digits = digits[:, : 13 * bits].reshape(7, 13, bits)
    assert (digits @ (1 << np.arange(bits)[::-1]) == rows).all()


@pytest.mark.parametrize("bits", [4, 10, 12, 14])
@pytest.mark.parametrize("samples", [1, 3])
def test_packed_bits_stay_packed(tmp_path, rng, bits, samples):
    shape = (9, 13, samples) if samples > 1 else (9, 13)  # rows that do not end on a byte
    pixels = rng.integers(0, 2**bits, shape).astype("u1" if bits < 9 else "u2")
    photometric = "rgb" if samples > 1 else "minisblack"
    try:
        tifffile.imwrite(tmp_path / "a.tif", pixels, bitspersample=bits, photometric=photometric)
    except NotImplementedError:
        pytest.skip("the newest imagecodecs for this Python does not pack integers")
    (plane,) = flipped(tmp_path / "a.tif", tmp_path / "b.tif")
    assert plane.white == 2**bits - 1
    np.testing.assert_array_equal(plane.pixels.reshape(shape), pixels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels[::-1])
    assert (tmp_path / "a.tif").stat().st_size == (tmp_path / "b.tif").stat().st_size
    assert_same_tags(tmp_path / "a.tif", tmp_path / "b.tif")


def imagej(path, planes, **options):
    tifffile.imwrite(path, planes, imagej=True, **options)


def one_directory(path, planes):
    """ImageJ beyond 4 GB, made small: one directory, the planes behind one another."""
    text = f"ImageJ=1.54f\nimages={len(planes)}\nslices={len(planes)}\nloop=false\n"
    tifffile.imwrite(
        path, planes[0], description=text, metadata=None, photometric="minisblack", byteorder=">"
    )
    with open(path, "ab") as file:
        file.write(planes[1:].astype(">u2").tobytes())


def metamorph(path, planes):
    """A MetaMorph .stk: one directory with the tags UIC1 to UIC4."""
    count = len(planes)
    numbers = [v for i in range(count) for v in (0, 1, 2451545, 1000 * i, 2451545, 1000 * i)]
    tags = [
        (33628, 4, 4, (1, 0, 2, 255), True),
        (33629, 5, 3 * count, numbers, True),
        (33630, 5, count, [1, 1] * count, True),
        (33631, 4, count, [0] * count, True),
    ]
    tifffile.imwrite(path, planes[0], metadata=None, photometric="minisblack", extratags=tags)
    data = path.read_bytes()
    # Theirs are counts of pairs, and of planes of six numbers each.
    for code, kind, ours, theirs in ((33628, 4, 4, 2), (33629, 5, 3 * count, count)):
        entry = struct.pack("<HHI", code, kind, ours)
        data = data.replace(entry, entry[:4] + struct.pack("<I", theirs))
    path.write_bytes(data + planes[1:].tobytes())


STACKS = {
    "plain": lambda path, planes: tifffile.imwrite(path, planes, photometric="minisblack"),
    "bigtiff": lambda path, planes: tifffile.imwrite(path, planes, bigtiff=True, metadata=None),
    "separate pages": lambda path, planes: [
        tifffile.imwrite(path, plane, append=True, metadata=None) for plane in planes
    ],
    "imagej": lambda path, planes: imagej(
        path, planes, resolution=(9.5, 9.5), metadata={"axes": "ZYX", "unit": "um", "spacing": 0.4}
    ),
    "ome": lambda path, planes: tifffile.imwrite(
        path, planes, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 0.1}
    ),
    "one directory": one_directory,
    "truncated": lambda path, planes: tifffile.imwrite(path, planes, truncate=True),
    "metamorph": metamorph,
}
AXES = {"imagej": "ZYX", "one directory": "ZYX", "ome": "TYX", "metamorph": "TYX"}


@pytest.mark.parametrize("kind", STACKS)
def test_every_plane_of_a_stack_comes_once_and_goes_back(tmp_path, rng, kind):
    name = "a.ome.tif" if kind == "ome" else "a.tif"
    planes = random(rng, (5, 24, 31), np.uint16)
    STACKS[kind](tmp_path / name, planes)
    read = flipped(tmp_path / name, tmp_path / f"b{name}")
    np.testing.assert_array_equal([p.pixels[..., 0] for p in read], planes)
    np.testing.assert_array_equal(pixels_of(tmp_path / f"b{name}"), planes[:, ::-1, :, None])
    assert_same_tags(tmp_path / name, tmp_path / f"b{name}")
    with (
        tifffile.TiffFile(tmp_path / name) as before,
        tifffile.TiffFile(tmp_path / f"b{name}") as after,
    ):
        assert (
            before.series[0].axes == after.series[0].axes == AXES.get(kind, before.series[0].axes)
        )
        np.testing.assert_array_equal(after.series[0].asarray().squeeze(), planes[:, ::-1])
        assert before.imagej_metadata == after.imagej_metadata
        assert before.ome_metadata == after.ome_metadata


def test_hyperstacks_are_planes_whatever_their_axes_count(tmp_path, rng):
    """Three channels, three slices or four times three are no colours."""
    for axes, shape in (("CYX", (3, 9, 8)), ("TZCYX", (2, 3, 4, 9, 8)), ("ZCYX", (3, 3, 9, 8))):
        planes = random(rng, shape, np.uint16)
        imagej(tmp_path / f"{axes}.tif", planes, metadata={"axes": axes})
        with TiffPlanes(tmp_path / f"{axes}.tif") as opened:
            assert (opened.axes, opened.shape) == (axes, shape)
            assert len(opened) == np.prod(shape[:-2])
            assert opened.read(0).colours == (slice(0, 1),)
        pixels = np.reshape(pixels_of(tmp_path / f"{axes}.tif"), shape)
        np.testing.assert_array_equal(pixels, planes)


def test_a_stack_that_lacks_planes_is_refused(tmp_path, rng):
    planes = random(rng, (5, 24, 31), np.uint16)
    for kind in ("one directory", "metamorph", "truncated"):
        path = tmp_path / f"{kind}.tif"
        STACKS[kind](path, planes)
        path.write_bytes(path.read_bytes()[:-800])
        with pytest.raises(ImageFileError, match="damaged or truncated TIFF"):
            TiffPlanes(path)


def colours_of(path, axes=None):
    with TiffPlanes(path, axes) as planes:
        return [(c.start, c.stop) for c in planes.read(0).colours]


EXTRA = {
    "unspecified beside gray": (2, "minisblack", [0], [(0, 1), (1, 2)]),
    "three channels": (3, "minisblack", [0, 0], [(0, 1), (1, 2), (2, 3)]),
    "infrared beside RGB": (4, "rgb", [0], [(0, 3), (3, 4)]),
    "alpha": (4, "rgb", [2], [(0, 3)]),
    "alpha beside gray": (2, "minisblack", [2], [(0, 1)]),
    "infrared and alpha": (5, "rgb", [0, 2], [(0, 3), (3, 4)]),
    "inks": (4, "separated", [], [(0, 1), (1, 2), (2, 3), (3, 4)]),
}


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("name", EXTRA)
def test_colours_are_what_the_file_calls_so_and_alpha_too(tmp_path, rng, name, planar):
    samples, photometric, extra, expected = EXTRA[name]
    pixels = random(rng, (20, 21, samples), np.uint16)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric=photometric, planarconfig=planar, extrasamples=extra
    )
    assert colours_of(tmp_path / "a.tif") == expected
    flipped(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(pixels_of(tmp_path / "b.tif")[0], pixels[::-1])
    assert_same_tags(tmp_path / "a.tif", tmp_path / "b.tif")


def test_layers_of_photoshop_are_not_the_picture_and_that_is_said(tmp_path, rng):
    layers = b"Adobe Photoshop Document Data Block\0"
    tags = [(37724, 7, len(layers), layers, True)]
    tifffile.imwrite(tmp_path / "a.tif", random(rng, (5, 6), np.uint8), extratags=tags)
    with TiffPlanes(tmp_path / "a.tif") as planes:
        assert planes.notes == ["its layers, which only Photoshop shows, stay the source's"]


def test_colours_multiplied_by_alpha_are_told(tmp_path, rng):
    pixels = random(rng, (5, 6, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[1])
    with TiffPlanes(tmp_path / "a.tif") as planes:
        assert planes.read(0).premultiplied


def test_the_user_may_say_what_samples_are(tmp_path, rng):
    pixels = random(rng, (8, 9, 3), np.uint16)
    path = tmp_path / "gdal.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    assert colours_of(path, "YXS") == [(0, 3)]
    tifffile.imwrite(tmp_path / "false.tif", pixels, photometric="rgb")
    assert colours_of(tmp_path / "false.tif", "YXC") == [(0, 1), (1, 2), (2, 3)]
    for axes in ("ZYX", "SYX", "YX", "XYS"):
        with pytest.raises(ImageFileError, match=re.escape(f"--axes={axes}: its planes have")):
            TiffPlanes(path, axes)


def test_gray_pages_may_be_the_colours_of_one_picture(tmp_path, rng):
    """Pages and hyperstacks: S says which axis is RGB, the file stays pages of gray."""
    for name, shape, own, said, read in (
        ("pages", (3, 9, 8), None, "SYX", (1, "YXS")),
        ("channels", (3, 9, 8), "CYX", "SYX", (1, "YXS")),
        ("movie", (2, 3, 9, 8), "TCYX", "TSYX", (2, "TYXS")),
        ("outer", (3, 2, 9, 8), "TZYX", "SZYX", (2, "ZYXS")),
    ):
        planes, path = random(rng, shape, np.uint16), tmp_path / f"{name}.tif"
        imagej(path, planes, metadata={"axes": own}) if own else STACKS["separate pages"](
            path, planes
        )
        with TiffPlanes(path, said) as opened:
            assert (len(opened), opened.axes) == read
            assert opened.read(0).colours == (slice(0, 3),)
        result = flipped(path, tmp_path / f"{name}_b.tif", said)
        colours = np.moveaxis(planes, said.index("S"), -1).reshape(-1, 9, 8, 3)
        np.testing.assert_array_equal([plane.pixels for plane in result], colours)
        assert_same_tags(path, tmp_path / f"{name}_b.tif")
        pixels = np.reshape(pixels_of(tmp_path / f"{name}_b.tif"), shape)
        np.testing.assert_array_equal(pixels, planes[..., ::-1, :])


def test_axes_of_pages_that_do_not_fit_are_told_with_the_remedy(tmp_path, rng):
    STACKS["separate pages"](tmp_path / "a.tif", random(rng, (5, 9, 8), np.uint16))
    tifffile.imwrite(tmp_path / "b.tif", random(rng, (9, 8), np.uint16))
    for name, axes, told in (
        ("a.tif", "SYX", "S is for RGB, .* here it has 5. --axes=CYX takes each as an image"),
        ("b.tif", "SYX", "here it has 1"),
        ("a.tif", "YX", r"the axes IYX \(5 x 9 x 8\); give a letter for each: .*--axes=ZYX\."),
        ("a.tif", "YXS", "e.g. --axes=ZYX"),
    ):
        with pytest.raises(ImageFileError, match=told):
            TiffPlanes(tmp_path / name, axes)
    for name in ("a.tif", "b.tif"):  # a stack of one plane is one too
        with TiffPlanes(tmp_path / name, "TYX") as planes:
            assert len(planes) == (5 if name == "a.tif" else 1)


def palette(gray):
    return np.stack([gray] * 3).astype(np.uint16)


def test_a_palette_that_only_shows_levels_is_no_colour(tmp_path, rng):
    ramp, nothing = np.arange(256) * 257, np.zeros(256)
    pixels = random(rng, (9, 8), np.uint8)
    tables = {
        "gray": palette(ramp),
        "inverted": palette(ramp[::-1]),
        "green": np.stack([nothing, ramp, nothing]).astype(np.uint16),
        "fire": np.stack([ramp, abs(2 * ramp - 65535), ramp[::-1]]).astype(np.uint16),
    }
    for name, table in tables.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels, photometric="palette", colormap=table)
        (plane,) = flipped(path, tmp_path / f"{name}_b.tif")
        np.testing.assert_array_equal(plane.pixels[..., 0], pixels)
        assert_same_tags(path, tmp_path / f"{name}_b.tif")
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"{name}_b.tif"), pixels[::-1])


def test_a_palette_of_colours_is_read_as_rgb(tmp_path, rng):
    table = (rng.integers(0, 256, (3, 256)) * 257).astype(np.uint16)
    pixels = random(rng, (9, 8), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=table)
    with TiffPlanes(tmp_path / "a.tif") as planes:
        assert planes.recoloured
        np.testing.assert_array_equal(planes.read(0).pixels, (table // 257).T[pixels])


@pytest.mark.parametrize(("depth", "channels"), [(5, 1), (3, 3)])
def test_channels_of_an_lsm_are_no_colours_and_its_thumbnails_no_planes(
    tmp_path, rng, depth, channels
):
    path, fields = tmp_path / "a.lsm", tifffile.TIFF.CZ_LSMINFO
    info = np.zeros((), [(name, f"<{kind}") for name, kind in fields])
    facts = {"MagicNumber": 67127628, "StructureSize": info.nbytes, "DataType": 1}
    facts |= {"DimensionX": 64, "DimensionY": 48, "DimensionZ": depth, "DimensionTime": 1}
    facts |= {"DimensionChannels": channels, "ThumbnailX": 16, "ThumbnailY": 16}
    for name, value in facts.items():
        info[name] = value
    tag = 34412, 1, info.nbytes, info.tobytes(), True  # CZ_LSMINFO
    written = rng.integers(0, 255, (depth, channels, 48, 64), dtype=np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        for index, plane in enumerate(written):
            how = {"photometric": "minisblack"}
            if channels > 1:
                how = {"photometric": "rgb", "planarconfig": "separate"}
            page = plane if channels > 1 else plane[0]
            tiff.write(page, metadata=None, extratags=[tag] if index == 0 else [], **how)
            small = np.full((16, 16, 3), index, np.uint8)
            tiff.write(small, photometric="rgb", subfiletype=1, metadata=None)
    with TiffPlanes(path) as planes:
        read = [planes.read(index) for index in range(len(planes))]
    np.testing.assert_array_equal([np.moveaxis(p.pixels, 2, 0) for p in read], written)
    alone = tuple(slice(c, c + 1) for c in range(channels))
    assert [plane.colours for plane in read] == [alone] * depth


def test_white_is_zero_and_stays_so(tmp_path, rng):
    pixels = random(rng, (9, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    (plane,) = flipped(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(plane.pixels[..., 0], 65535 - pixels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels[::-1])


@pytest.mark.parametrize("options", [{}, {"subsampling": (2, 2)}, {"tile": (32, 32)}])
def test_jpegs_within_stay_jpegs_of_that_sampling(tmp_path, options):
    y, x = np.mgrid[:70, :90]
    smooth = np.uint8(np.stack([x + y, 2 * x, 200 - y], axis=-1))
    path, target = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(path, smooth, photometric="ycbcr", compression="jpeg", **options)
    (plane,) = flipped(path, target)
    assert plane.colours == (slice(0, 3),)
    result = tifffile.imread(target).astype(int)
    assert np.abs(result - plane.pixels[::-1].astype(int)).mean() < 2
    assert_same_tags(path, target)


PICTURES = {  # codec: types and samples that it holds
    "jpeg2000": [("u1", 1), ("u2", 3), ("u1", 4), ("i2", 1)],
    "webp": [("u1", 3), ("u1", 4)],
    "jpegxl": [("u1", 1), ("u2", 3), ("u1", 4), ("f4", 1)],
    "lerc": [("u1", 1), ("u2", 3), ("f4", 1), ("i4", 1)],
}


@pytest.mark.parametrize("codec", PICTURES)
def test_codecs_of_pictures_stay_and_lose_nothing(tmp_path, rng, codec):
    for dtype, samples in PICTURES[codec]:
        pixels = random(rng, (40, 50, samples), dtype)
        photometric = "rgb" if samples > 1 else "minisblack"
        layout = LAYOUTS[1] if samples == 3 else {}
        pixels, path = (pixels if samples > 1 else pixels[..., 0]), tmp_path / f"{dtype}{samples}"
        if samples == 4:
            pixels[..., 3] = 255  # some codecs leave such transparency out
        tifffile.imwrite(path, pixels, compression=codec, photometric=photometric, **layout)
        flipped(path, path.with_suffix(".out"))
        np.testing.assert_array_equal(tifffile.imread(path.with_suffix(".out")), pixels[::-1])
        assert_same_tags(path, path.with_suffix(".out"))


def test_lerc_stays_in_what_it_was_packed(tmp_path, rng):
    pixels = rng.random((40, 50), np.float32)
    for packing in ("deflate", "zstd"):
        arguments = {"compression": packing}
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression="lerc", compressionargs=arguments)
        flipped(tmp_path / "a.tif", tmp_path / f"{packing}.tif")
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"{packing}.tif"), pixels[::-1])


@pytest.mark.parametrize("codec", PICTURES)
def test_a_picture_larger_than_its_tile_is_not_decoded(tmp_path, rng, codec):
    for side in (48, 300, 301):
        path = tmp_path / f"{side}.tif"
        pixels = random(rng, (side, side, 3), np.uint8)
        tifffile.imwrite(path, pixels, compression=codec, photometric="rgb")
        with tifffile.TiffFile(path, mode="r+") as tiff:
            for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tiff.pages[0].tags[tag].overwrite(side - 1)
        with TiffPlanes(path) as planes, pytest.raises(ImageFileError, match="larger than its t"):
            planes.read(0)


def test_pyramids_and_thumbnails_are_made_from_the_result(tmp_path, rng):
    pixels = random(rng, (64, 64), np.uint16)
    for name, subifds in (("chain.tif", 0), ("subifds.tif", 2)):
        with tifffile.TiffWriter(tmp_path / name) as file:
            file.write(pixels, tile=(16, 16), subifds=subifds, metadata=None)
            for step in (2, 4):
                file.write(pixels[::step, ::step], tile=(16, 16), subfiletype=1, metadata=None)
        with TiffPlanes(tmp_path / name) as planes:
            assert len(planes) == 1
        flipped(tmp_path / name, tmp_path / f"new_{name}")
        with tifffile.TiffFile(tmp_path / f"new_{name}") as tiff:
            page = tiff.pages.first
            small = page.pages[0] if subifds else tiff.pages[1]
            cells = pixels[::-1].reshape(32, 2, 32, 2).mean((1, 3))
            np.testing.assert_allclose(small.asarray(), cells, atol=0.51)


def test_pages_that_do_not_change_lose_nothing(tmp_path):
    y, x = np.mgrid[:64, :64]
    path, target = tmp_path / "a.tif", tmp_path / "b.tif"
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2, 3):
            pixels = np.uint8(np.stack([step * x, 2 * y, 99 + (x ^ y)], axis=-1))
            file.write(pixels, photometric="rgb", compression="jpeg", subifds=1)
            file.write(pixels[::2, ::2], photometric="rgb", compression="jpeg", subfiletype=1)
    before = pixels_of(path)
    with TiffPlanes(path) as planes, planes.rewriting(target) as write:
        for index in range(3):
            pixels = planes.read(index).pixels
            write(index, pixels[::-1] if index == 1 else pixels)
    after = pixels_of(target)
    assert (after[0] == before[0]).all() and (after[2] == before[2]).all()
    assert np.abs(after[1] - before[1][::-1].astype(int)).mean() < 9
    with tifffile.TiffFile(path) as old, tifffile.TiffFile(target) as new:
        small = [[page.pages[0].asarray() for page in tiff.pages] for tiff in (old, new)]
    assert [(a == b).all() for a, b in zip(*small, strict=True)] == [True, False, True]


def test_tags_that_nobody_knows_and_those_of_places_stay(tmp_path, rng):
    tags = [
        (33550, "d", 3, (10.0, 10.0, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0), True),
        (42113, "s", 0, "0", True),
        (65001, "s", 0, "somebody's own", True),
    ]
    pixels = random(rng, (30, 31), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=tags, resolution=(300, 300),
                     resolutionunit="INCH", compression="zlib", iccprofile=b"p" * 200)  # fmt: skip
    (plane,) = flipped(tmp_path / "a.tif", tmp_path / "b.tif")
    assert plane.blank == 0
    assert_same_tags(tmp_path / "a.tif", tmp_path / "b.tif")


def test_blank_tiles_that_gdal_does_not_store_stay_unstored(tmp_path, rng):
    pixels = random(rng, (32, 32), np.uint16)
    pixels[:16, :16] = 0
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(16, 16), metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tags = tiff.pages.first.tags
        for name in ("TileOffsets", "TileByteCounts"):
            tags[name].overwrite((0, *tags[name].value[1:]))
    with TiffPlanes(tmp_path / "a.tif") as planes:
        np.testing.assert_array_equal(planes.read(0).pixels[..., 0], pixels)
        with planes.rewriting(tmp_path / "b.tif") as write:
            write(0, planes.read(0).pixels)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_result_that_grows_is_still_whole(tmp_path, rng):
    """Segments that compress worse than before go to the end; the file stays readable."""
    flat = np.zeros((400, 300), np.uint16)
    noise = random(rng, flat.shape, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", flat, compression="zlib", rowsperstrip=50, metadata=None)
    with TiffPlanes(tmp_path / "a.tif") as planes, planes.rewriting(tmp_path / "b.tif") as write:
        write(0, noise[..., None])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), noise)


def test_nothing_is_left_of_a_result_that_fails(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", random(rng, (9, 8), np.uint8))
    with (
        TiffPlanes(tmp_path / "a.tif") as planes,
        pytest.raises(KeyboardInterrupt),
        planes.rewriting(tmp_path / "b.tif"),
    ):
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
