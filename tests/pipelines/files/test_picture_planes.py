"""PNG, JPEG, BMP, WebP, JPEG 2000 and .npy: what surrounds their pixels stays; what cannot is told.

Pillow is the independent reader and writer.
"""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import PIL.IptcImagePlugin
import pytest
import tifffile

from n2n_tf.pipelines.files.conversions import writing
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_limits import ImageFileError
from n2n_tf.pipelines.files.metadata import exif_orientation, png_chunks
from n2n_tf.pipelines.files.stacks import open_planes

PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("LAB")).tobytes() * 40


def exif(orientation=6):
    made = PIL.Image.Exif()
    made[0x0112], made[0x010F], made[0x0132] = orientation, "Maker", "2026:01:02 03:04:05"
    made[0x8769] = {0x8827: 3200, 0x9003: "2026:01:02 03:04:05", 0x927C: bytes(range(9))}
    made[0x8825] = {1: "N", 2: (48.0, 8.0, 15.0)}
    loaded = PIL.Image.Exif()  # Pillow puts only such into a TIFF
    loaded.load(made.tobytes())
    return loaded


def exif_of(path):
    """EXIF but for what is about pixels and places in the file, as Pillow reads it."""
    with PIL.Image.open(path) as image:
        found = image.getexif()
        words = {code: found[code] for code in (0x010F, 0x0132)}
        return words, dict(found.get_ifd(0x8769)), dict(found.get_ifd(0x8825))


def photo(size=(60, 40)):
    y, x = np.mgrid[: size[1], : size[0]]
    return np.uint8(np.stack([3 * x, 5 * y, 200 - x - y], axis=-1))


def rewritten(path, target, change=lambda pixels: pixels):
    """Writes each plane, changed, into `target`; returns the notes."""
    with open_planes(path) as planes, writing(planes, target) as write:
        for index in range(len(planes)):
            write(index, change(planes.read(index).pixels))
    return planes.notes


def touched(pixels):
    """The same pixels but for one bit: what does not change at all is copied byte by byte."""
    pixels = pixels.copy()
    pixels[0, 0, 0] ^= 1
    return pixels


def save(path, image=None, **options):
    PIL.Image.fromarray(photo() if image is None else image).save(path, **options)


def info_of(path):
    with PIL.Image.open(path) as image:
        kept = {
            k: v for k, v in image.info.items() if k in ("icc_profile", "gamma", "comment", "xmp")
        }
        kept["exif"] = dict(image.getexif())
        dpi = image.info.get("dpi")
        return kept | {"dpi": dpi and tuple(round(v) for v in dpi)}


FORMATS = {
    ".png": {"dpi": (300, 300)},
    ".jpg": {"dpi": (240, 240), "comment": b"said", "quality": 92},
    ".webp": {"lossless": True, "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"},
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_profile_exif_and_resolution_stay(tmp_path, suffix):
    path, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save(path, icc_profile=PROFILE, exif=exif(), **FORMATS[suffix])
    assert rewritten(path, target) == []
    assert info_of(target) == info_of(path)
    assert info_of(path)["icc_profile"] == PROFILE and info_of(path)["exif"][0x0112] == 6
    with PIL.Image.open(path) as before, PIL.Image.open(target) as after:
        assert after.size == before.size
        shown = [np.asarray(PIL.ImageOps.exif_transpose(i), int) for i in (before, after)]
    assert np.abs(shown[0] - shown[1]).max() <= 12 * (suffix == ".jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "suffix, other",
    [(".jpg", ".png"), (".png", ".jpg"), (".png", ".tif"), (".tif", ".jpg"), (".webp", ".tif")],
)
def test_between_formats_the_picture_is_turned_upright(tmp_path, suffix, other, orientation):
    path, target = tmp_path / f"a{suffix}", tmp_path / f"b{other}"
    save(path, icc_profile=PROFILE, exif=exif(orientation), dpi=(254, 127))
    notes = rewritten(path, target)
    with PIL.Image.open(path) as before, PIL.Image.open(target) as after:
        shown = [np.asarray(PIL.ImageOps.exif_transpose(i), int) for i in (before, after)]
        assert after.info["icc_profile"] == PROFILE
        if suffix != ".webp":
            dpi = [254, 127] if orientation < 5 else [127, 254]
            assert [round(v) for v in after.info["dpi"]] == dpi
        assert after.getexif().get(0x0112, 1) == 1
    assert exif_of(target) == exif_of(path)
    assert shown[0].shape == shown[1].shape
    assert np.abs(shown[0] - shown[1]).mean() < 3
    assert notes == []


def test_xmp_goes_with_the_picture_and_is_turned_with_it(tmp_path):
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation='6'/></x:xmpmeta>"
    save(tmp_path / "a.webp", xmp=xmp, exif=exif(6))
    for source, target in (("a.webp", "b.png"), ("b.png", "c.jpg"), ("c.jpg", "d.tif"),
                           ("d.tif", "e.webp")):  # fmt: skip
        assert rewritten(tmp_path / source, tmp_path / target) == []
    with open_planes(tmp_path / "e.webp") as planes:
        assert planes.surroundings.xmp == xmp.replace(b"6", b"1")
    assert exif_of(tmp_path / "e.webp") == exif_of(tmp_path / "a.webp")


def test_every_chunk_of_a_png_that_is_not_about_pixels_stays(tmp_path):
    file = io.BytesIO()
    save(file, format="png", transparency=(1, 2, 3))
    data = file.getvalue()

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    extra = {b"gAMA": struct.pack(">I", 45455), b"cHRM": bytes(32), b"bKGD": bytes(6),
             b"sBIT": b"\5\6\5",
             b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(b"anything"),
             b"teSt": b"somebody's own"}  # fmt: skip
    chunks = b"".join(chunk(name, body) for name, body in extra.items())
    late = chunk(b"tEXt", b"Comment\0behind the pixels")
    (tmp_path / "a.png").write_bytes(data[:33] + chunks + data[33:-12] + late + data[-12:])
    notes = rewritten(tmp_path / "a.png", tmp_path / "b.png", touched)
    assert "its background colour was left out" in notes
    assert "sBIT was left out, as all bits of a result count" in notes
    kept = dict(png_chunks((tmp_path / "b.png").read_bytes()))
    del extra[b"bKGD"], extra[b"sBIT"]  # alpha is there now, and bits that were not
    assert {name: kept[name] for name in extra} == extra
    assert kept[b"tEXt"] == b"Comment\0behind the pixels" and b"bKGD" not in kept
    with PIL.Image.open(tmp_path / "b.png") as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("quality, expected", [(70, 90), (93, 93), (98, 98)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_class(tmp_path, quality, expected, subsampling):
    save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling, progressive=quality == 93)
    rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg", touched)
    save(tmp_path / "c.jpg", quality=expected, subsampling=subsampling)
    with PIL.Image.open(tmp_path / "b.jpg") as ours, PIL.Image.open(tmp_path / "c.jpg") as theirs:
        assert ours.quantization[0] == theirs.quantization[0]
        assert ours.layer == theirs.layer  # the samplings of its components
        assert bool(ours.info.get("progressive")) == (quality == 93)


def test_what_follows_the_picture_of_a_jpeg_is_left_out_aloud(tmp_path):
    save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    for rest, said in ((b"", False), (bytes(40), False), (data, True)):
        (tmp_path / "a.jpg").write_bytes(data + rest)
        notes = rewritten(tmp_path / "a.jpg", tmp_path / f"b{len(rest)}.jpg", touched)
        assert ["what follows its picture (previews, depth, a film) was left out"] * said == notes


def test_inks_of_a_jpeg_become_rgb_and_their_profile_goes(tmp_path):
    PIL.Image.fromarray(photo()).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=PROFILE)
    notes = rewritten(tmp_path / "a.jpg", tmp_path / "b.jpg", touched)
    assert notes == ["its CMYK inks, and their profile, became RGB"]
    with PIL.Image.open(tmp_path / "b.jpg") as image:
        assert image.mode == "RGB" and "icc_profile" not in image.info


def test_animations_are_refused_by_name(tmp_path):
    frames = [PIL.Image.fromarray(np.roll(photo(), n, 0)) for n in (0, 9)]
    for suffix, kind in ((".png", "animated PNG"), (".webp", "animation"), (".gif", "GIF")):
        path = tmp_path / f"a{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageFileError, match=f"{path}: is an? {kind}"):
            open_planes(path)


def bmp(width, height, bits, masks, words):
    """A BMP with bit fields behind a header of 40 bytes."""
    row = (width * bits // 8 + 3) // 4 * 4
    body = b"".join(bytes(line.tobytes()).ljust(row, b"\0") for line in words[::-1])
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 3, len(body), 3937, 3937, 0, 0)
    masks = struct.pack("<3I", *masks)
    start = 14 + 40 + 12
    return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + masks + body


def test_bit_fields_of_a_bmp_are_decoded_as_they_say(tmp_path, rng):
    values = rng.integers(0, 1024, (5, 7, 3)).astype(np.uint32)
    words = (values[..., 0] << 22 | values[..., 1] << 12 | values[..., 2]).astype("<u4")
    data = bmp(7, 5, 32, (1023 << 22, 1023 << 12, 1023), words)
    (tmp_path / "a.bmp").write_bytes(data)
    with open_planes(tmp_path / "a.bmp") as planes:
        expected = np.floor(values * 255 / 1023 + 0.5)
        np.testing.assert_array_equal(planes.read(0).pixels, expected)
    notes = rewritten(tmp_path / "a.bmp", tmp_path / "b.bmp", touched)
    expected[0, 0, 0] = int(expected[0, 0, 0]) ^ 1
    assert notes == ["its colours have 8 bits each now, in the usual order"]
    with PIL.Image.open(tmp_path / "b.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert round(image.info["dpi"][0]) == 100  # 3937 a metre
    apart = bmp(7, 5, 32, (0xFF, 0xA00, 0xFF0000), words)
    (tmp_path / "c.bmp").write_bytes(apart)
    with pytest.raises(ImageFileError, match="bits of one colour are not adjacent"):
        open_planes(tmp_path / "c.bmp")
    five_six_five = rng.integers(0, 2**16, (5, 7)).astype("<u2")
    (tmp_path / "d.bmp").write_bytes(bmp(7, 5, 16, (0xF800, 0x7E0, 0x1F), five_six_five))
    with open_planes(tmp_path / "d.bmp") as planes, PIL.Image.open(tmp_path / "d.bmp") as image:
        theirs = np.asarray(image.convert("RGB"), int)
        assert np.abs(planes.read(0).pixels.astype(int) - theirs).max() <= 4  # it repeats bits


def test_a_bmp_with_transparency_keeps_its_colours(tmp_path):
    pixels = np.dstack([photo(), photo()[..., :1] // 2 + 9])
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, 60, 40, 1, 32, 3, len(body), 3937, 3937, 0, 0)
    start = struct.pack("<2sIHHI", b"BM", 14 + 108 + len(body), 0, 0, 14 + 108)
    (tmp_path / "a.bmp").write_bytes(start + (header + masks).ljust(108, b"\0") + body)
    rewritten(tmp_path / "a.bmp", tmp_path / "b.bmp")
    with PIL.Image.open(tmp_path / "b.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_the_palette_of_an_old_bmp_is_read(tmp_path, rng):
    table = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    numbers = rng.integers(0, 256, (6, 8)).astype(np.uint8)
    start = 14 + 12 + 768
    header = struct.pack("<2sIHHIIHHHH", b"BM", start + 48, 0, 0, start, 12, 8, 6, 1, 8)
    for colours in (table, np.repeat(table[:, :1], 3, axis=1)):
        data = header + colours[:, ::-1].tobytes() + numbers[::-1].tobytes()
        (tmp_path / "a.bmp").write_bytes(data)
        with open_planes(tmp_path / "a.bmp") as planes:
            pixels = planes.read(0).pixels
        np.testing.assert_array_equal(pixels, colours[numbers][..., : pixels.shape[2]])
        assert pixels.shape[2] == (3 if colours is table else 1)
    assert "its palette became full colours" not in planes.notes


def test_what_a_picture_loses_is_said(tmp_path):
    few = PIL.Image.fromarray(photo()).convert("1")
    colours = PIL.Image.fromarray(photo()).quantize(16)
    for name, image, options, told in (
        ("bits.png", few, {}, ["its 1-bit samples became 8-bit ones"]),
        ("one.png", photo(), {"transparency": (1, 2, 3)}, ["its transparent colour became alpha"]),
        ("palette.bmp", colours, {}, ["its palette became full colours"]),
        ("gray.bmp", photo()[..., 0], {}, []),
    ):
        image = PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(tmp_path / name, **options)
        assert rewritten(tmp_path / name, tmp_path / f"result_{name}", touched) == told, name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".jp2", ".tif"])
def test_a_picture_of_which_no_pixel_changes_stays_to_the_byte(tmp_path, suffix):
    path, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save(path, **({"compression": "tiff_lzw"} if suffix == ".tif" else {}))
    with open(path, "ab") as file:
        file.write(b"what follows" * (suffix == ".jpg"))

    def in_place(pixels):
        pixels[...] = pixels[::-1][::-1]
        return pixels

    assert rewritten(path, target, in_place) == []
    assert target.read_bytes() == path.read_bytes()
    rewritten(path, tmp_path / f"c{suffix}", touched)
    assert (tmp_path / f"c{suffix}").read_bytes() != path.read_bytes()


IPTC = b"\x1c\2\x69\0\4Dawn" + b"\x1c\2\x78\0\7A hill."


def jpeg_with_iptc(path, more=b""):
    save(path)
    data, blocks = path.read_bytes(), b"Photoshop 3.0\0" + more
    blocks += b"8BIM\4\4\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
    segment = struct.pack(">BBH", 0xFF, 0xED, len(blocks) + 2) + blocks
    path.write_bytes(data[:2] + segment + data[2:])


def test_iptc_goes_between_jpeg_and_tiff(tmp_path):
    jpeg_with_iptc(tmp_path / "a.jpg")
    for source, target in (("a.jpg", "b.tif"), ("b.tif", "c.jpg")):
        assert rewritten(tmp_path / source, tmp_path / target) == []
        with PIL.Image.open(tmp_path / target) as image:
            assert PIL.IptcImagePlugin.getiptcinfo(image) == {
                (2, 105): b"Dawn",
                (2, 120): b"A hill.",
            }
    words = struct.unpack(">6I", IPTC + bytes(3))  # as some programs store it, and Photoshop
    blocks = b"8BIM\4\4\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    for tag in ((33723, 4, 6, words, True), (34377, 7, len(blocks), blocks, True)):
        tifffile.imwrite(tmp_path / "d.tif", photo(), extratags=[tag], photometric="rgb")
        with open_planes(tmp_path / "d.tif") as planes:
            assert planes.surroundings.iptc.rstrip(b"\0") == IPTC


@pytest.mark.parametrize("comment", ["a hill", "ein Hügel", "丘"])
def test_comments_and_names_go_along_in_any_language(tmp_path, comment):
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_itxt("Description", comment, zip=True)
    named = PIL.Image.Exif()
    named[315] = comment.encode()
    save(tmp_path / "a.png", pnginfo=texts, exif=named)
    for source, target in (("a.png", "b.jpg"), ("b.jpg", "c.png"), ("c.png", "d.tif"),
                           ("d.tif", "e.webp"), ("e.webp", "f.jpg")):  # fmt: skip
        assert rewritten(tmp_path / source, tmp_path / target) == []
    stored = comment.encode().decode("latin-1")  # as Pillow reads EXIF
    for name, told in (("b.jpg", None), ("c.png", None), ("d.tif", stored), ("f.jpg", stored)):
        with PIL.Image.open(tmp_path / name) as image:
            image.load()
            assert image.getexif()[315] == stored and image.getexif().get(270) == told
            if name == "b.jpg":
                assert image.info["comment"] == comment.encode()
            if name == "c.png":
                assert image.text["Comment"] == comment


def test_what_another_format_does_not_get_is_said(tmp_path):
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_text("Title", "somebody's")
    texts.add(b"gAMA", struct.pack(">I", 45455))
    save(tmp_path / "a.png", pnginfo=texts)
    notes = rewritten(tmp_path / "a.png", tmp_path / "a.jpg")
    assert notes == ["its texts (Title) and gamma cannot be kept in a .jpg"]
    described = PIL.Image.Exif()
    described[270] = "a hill"
    save(tmp_path / "b.jpg", comment="somebody's", exif=described)
    assert rewritten(tmp_path / "b.jpg", tmp_path / "b.tif") == [
        "its comment cannot be kept in a .tif"
    ]
    jpeg_with_iptc(tmp_path / "c.jpg", b"8BIM\4\6\0\0\0\0\0\1!\0")
    assert rewritten(tmp_path / "c.jpg", tmp_path / "c.png") == [
        "its IPTC and Photoshop's resources cannot be kept in a .png"
    ]
    assert rewritten(tmp_path / "c.jpg", tmp_path / "d.jpg", touched) == []
    assert b"\4\6\0\0\0\0\0\1!" in (tmp_path / "d.jpg").read_bytes()
    save(tmp_path / "f.png", exif=b"Exif\0\0something")
    for suffix in ("tif", "jpg"):
        assert rewritten(tmp_path / "f.png", tmp_path / f"f.{suffix}") == [
            f"its damaged EXIF cannot be kept in a .{suffix}"
        ]
    save(tmp_path / "e.webp", xmp=b"<x>" + bytes(70000))
    assert rewritten(tmp_path / "e.webp", tmp_path / "e.jpg") == [
        "its XMP cannot be kept in a .jpg"
    ]


def test_a_palette_of_grays_makes_a_gray_picture(tmp_path):
    image = PIL.Image.fromarray(photo()[..., 0]).quantize(16)
    image.save(tmp_path / "a.png")
    with open_planes(tmp_path / "a.png") as planes:
        assert planes.read(0).colours == (slice(0, 1),)
    notes = rewritten(tmp_path / "a.png", tmp_path / "b.png", touched)
    assert notes == ["its palette became levels of gray"]


@pytest.mark.parametrize("dtype, bits", [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_without_loss_within_its_boxes(tmp_path, rng, dtype, bits, channels):
    import imagecodecs

    pixels = rng.integers(0, 2**bits, (20, 30, channels)).astype(dtype)
    data = imagecodecs.jpeg2k_encode(pixels.squeeze(), level=0, bitspersample=bits)
    own = struct.pack(">I4s", 24, b"uuid") + b"somebody's owned"
    (tmp_path / "a.jp2").write_bytes(data + own)
    rewritten(tmp_path / "a.jp2", tmp_path / "b.jp2", lambda p: p[::-1])
    with open_planes(tmp_path / "b.jp2") as planes:
        plane = planes.read(0)
        assert plane.white == 2**bits - 1
        np.testing.assert_array_equal(plane.pixels, pixels[::-1])
    assert own in (tmp_path / "b.jp2").read_bytes()
    for source, target in (("b.jp2", "c.j2k"), ("c.j2k", "d.jpc"), ("d.jpc", "e.jp2")):
        assert rewritten(tmp_path / source, tmp_path / target) == []
        start = b"\0\0\0\x0cjP  " if target == "e.jp2" else b"\xff\x4f\xff\x51"
        assert (tmp_path / target).read_bytes().startswith(start)
        with open_planes(tmp_path / target) as planes:
            assert planes.read(0).white == 2**bits - 1
            np.testing.assert_array_equal(planes.read(0).pixels, pixels[::-1])


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i2", "u4", "f4", "f8"])
def test_arrays_in_any_order_of_axes(tmp_path, rng, dtype):
    for axes, shape in (
        ("YX", (5, 6)),
        ("TZYX", (2, 3, 5, 6)),
        ("YXT", (5, 6, 4)),
        ("SYX", (3, 5, 6)),
    ):
        array = (1000 * rng.random(shape)).astype(dtype)
        np.save(tmp_path / "a.npy", array)
        with (
            open_planes(tmp_path / "a.npy", axes) as planes,
            writing(planes, tmp_path / "b.npy", overwrite=True) as write,
        ):
            assert len(planes) == array.size // 30 // (3 if "S" in axes else 1)
            for index in range(len(planes)):
                write(index, planes.read(index).pixels[::-1])
        result = np.load(tmp_path / "b.npy")
        assert result.dtype == array.dtype
        np.testing.assert_array_equal(result, np.flip(array, axes.index("Y")))


def test_axes_of_an_array_are_never_guessed(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 40, 50), np.uint8))
    with pytest.raises(ImageFileError, match="3 x 40 x 50 does not say which axis is which"):
        open_planes(tmp_path / "a.npy")
    for axes in ("YX", "YYX", "ZTC", "ABYX", "ZXS"):
        with pytest.raises(ImageFileError, match=f"--axes={axes} does not fit"):
            open_planes(tmp_path / "a.npy", axes)
    with pytest.raises(ImageFileError, match="S is for RGB"):
        open_planes(tmp_path / "a.npy", "YXS")
    np.save(tmp_path / "b.npy", np.zeros((3, 4), np.complex64))
    with pytest.raises(ImageFileError, match="complex64"):
        open_planes(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ImageFileError, match="damaged"):
        open_planes(tmp_path / "c.npy")
    write_image(tmp_path / "a.png", photo())
    with pytest.raises(
        ImageFileError, match=r"--axes=YX is for TIFF, FITS and \.npy files; this is a P"
    ):
        open_planes(tmp_path / "a.png", "YX")


def test_a_stack_goes_into_other_formats_that_hold_it(tmp_path, rng):
    stack = rng.integers(0, 65535, (3, 8, 9)).astype(np.uint16)
    np.save(tmp_path / "a.npy", stack)
    with (
        open_planes(tmp_path / "a.npy", "ZYX") as planes,
        writing(planes, tmp_path / "a.tif") as write,
    ):
        for index in range(3):
            write(index, planes.read(index).pixels)
        with pytest.raises(ImageFileError, match="holds one plane, not 3"):
            writing(planes, tmp_path / "a.png")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), stack)
    rewritten(tmp_path / "a.tif", tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), stack)


def test_axes_hold_in_other_formats_wherever_they_were(tmp_path, rng):
    for axes, shape, theirs in (
        ("YXT", (5, 6, 4), "TYX"),
        ("TSYX", (2, 3, 5, 6), "TYXS"),
        ("TZYXS", (2, 2, 5, 6, 3), "TZYXS"),
    ):
        array = rng.integers(0, 9999, shape).astype(np.uint16)
        np.save(tmp_path / "a.npy", array)
        moved = array.transpose([axes.index(letter) for letter in theirs])
        for target in (tmp_path / f"{axes}.tif", tmp_path / f"{axes}_.npy"):
            with open_planes(tmp_path / "a.npy", axes) as planes:
                planes.suffixes = ()  # as of another kind
                with writing(planes, target) as write:
                    for index in range(len(planes)):
                        write(index, planes.read(index).pixels)
        with tifffile.TiffFile(tmp_path / f"{axes}.tif") as tiff:
            assert tiff.series[0].axes == theirs
            np.testing.assert_array_equal(tiff.asarray(), moved)
        np.testing.assert_array_equal(np.load(tmp_path / f"{axes}_.npy"), moved)


def test_planes_that_differ_do_not_make_an_array(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for pixels in (photo()[..., 0], photo()[:9, :9, 0]):
            file.write(pixels, metadata=None)
    with pytest.raises(ImageFileError, match="its planes differ in size or type"):
        rewritten(tmp_path / "a.tif", tmp_path / "b.npy")
    assert not (tmp_path / "b.npy").exists()


def test_channels_that_a_picture_does_not_hold(tmp_path):
    pixels = np.dstack([photo(), photo()[..., :1]])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    with pytest.raises(ImageFileError, match=r"holds gray or RGB, not 4 channels; write a \.tif"):
        rewritten(tmp_path / "a.tif", tmp_path / "b.png")


def test_a_palette_of_colours_in_a_tiff_becomes_rgb_aloud(tmp_path, rng):
    table = (rng.integers(0, 256, (3, 256)) * 257).astype(np.uint16)
    pixels = rng.integers(0, 256, (9, 8)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=table,
                     description="said", metadata=None)  # fmt: skip
    notes = rewritten(tmp_path / "a.tif", tmp_path / "b.tif")
    assert notes == ["its palette became full colours"]
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages.first.photometric.name == "RGB"
        assert tiff.pages.first.description == "said"
        np.testing.assert_array_equal(tiff.asarray(), (table // 257).T[pixels])


def test_exif_of_any_bytes_has_an_orientation():
    for data in (b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", bytes(20), b"II*\0\x08\0\0\0\xff\xff"):
        assert exif_orientation(data) == 1
    assert exif_orientation(exif(8).tobytes().removeprefix(b"Exif\0\0")) == 8


@pytest.mark.parametrize(
    ("start", "advice"),
    [
        (bytes(208) + b"MAP ", "is an MRC map"),
        (b"\x1f\x8b\x08", "is packed by gzip; unpack it"),
        (b"P3 ", "is a PBM, PGM, PPM or PAM"),
        (b"\0\0\0\x20ftypheic", "is a HEIF, AVIF or film; convert it to PNG or TIFF"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    ],
)
def test_files_of_kinds_not_read_are_called_what_they_are(tmp_path, start, advice):
    (tmp_path / "a.dat").write_bytes(start + bytes(100))
    with pytest.raises(ImageFileError, match=f"a.dat: {advice}"):
        open_planes(tmp_path / "a.dat")
