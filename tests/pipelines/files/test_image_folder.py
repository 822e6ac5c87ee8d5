"""A folder of images: what is in it, what was skipped and why, and the same pixels for ever."""

import os
import pathlib
import shutil
import threading
import weakref

import numpy as np
import pytest
import skimage.data
import tifffile

from n2n_tf.pipelines.files import image_folder
from n2n_tf.pipelines.files.image_files import ImageFileError, read_image, to_channels, write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder

PHOTOS = pathlib.Path(skimage.data.__file__).parent


def write(root, name, pixels, alpha=None):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels, alpha, overwrite=True)
    return path


@pytest.fixture
def folder(tmp_path, rng):
    """Four images of 12 x 10 x 3 bytes: 360 each."""
    for name in ("b.png", "a/c.bmp", "a/b.tif", "z.png"):
        write(tmp_path, name, rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
    return tmp_path


def test_images_come_in_the_order_of_their_names_as_floats(folder):
    images = ImageFolder(folder)
    assert len(images) == 4 and images.channels == 3 and images.skipped == []
    assert images.names == ["a/b.tif", "a/c.bmp", "b.png", "z.png"]
    assert images.paths == [folder / name for name in images.names]
    for i, path in enumerate(images.paths):
        loaded = images.load(i)
        assert loaded.dtype == np.float32 and loaded.shape == (12, 10, 3)
        expected = read_image(path).pixels.astype(np.float64) / 255
        np.testing.assert_allclose(loaded, expected, rtol=1e-7)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_a_crop_is_a_part_of_the_image(folder, cache_bytes):
    write(folder, "wide.png", np.arange(60, dtype=np.uint8).reshape(4, 15, 1))
    images = ImageFolder(folder, cache_bytes=cache_bytes)
    assert images.sizes == [(12, 10)] * 3 + [(4, 15), (12, 10)]
    crop = images.crop(3, 1, 5, 2, 7)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, images.load(3)[1:3, 5:12])
    expected = 15 * np.arange(1, 3)[:, None] + np.arange(5, 12)
    np.testing.assert_allclose(crop, expected[..., None] / np.full(3, 255), rtol=1e-6)


def test_numpy_integers_index_like_ints(folder):
    for cache_bytes in (0, 1 << 20):
        images = ImageFolder(folder, cache_bytes=cache_bytes)
        np.testing.assert_array_equal(images.load(np.int64(2)), images.load(2))


def test_real_photos_of_all_kinds(tmp_path):
    for name in ("chelsea.png", "rocket.jpg", "camera.png", "logo.png", "multipage.tif"):
        shutil.copy(PHOTOS / name, tmp_path)
    for channels in (1, 3):
        images = ImageFolder(tmp_path, channels)
        assert images.names == [
            *("camera.png", "chelsea.png", "logo.png", "multipage.tif[0]", "multipage.tif[1]"),
            "rocket.jpg",
        ]
        assert images.skipped == []
        for i, path in enumerate(images.paths):
            if path.name == "multipage.tif":
                continue
            loaded = images.load(i)
            expected = to_channels(read_image(path).pixels, channels) / 255
            assert loaded.shape[2] == channels
            np.testing.assert_allclose(loaded, expected, rtol=1e-6)


def test_alpha_is_dropped_and_not_kept_in_memory(tmp_path, rng):
    pixels = rng.integers(0, 256, (12, 10, 4)).astype(np.uint8)
    write(tmp_path, "a.png", pixels[..., :3], pixels[..., 3])
    write(tmp_path, "b.png", pixels[..., :1], pixels[..., 3])
    images = ImageFolder(tmp_path, channels=3)
    np.testing.assert_allclose(images.load(0), pixels[..., :3] / 255, rtol=1e-6)
    np.testing.assert_allclose(images.load(1), pixels[..., [0, 0, 0]] / 255, rtol=1e-6)
    assert all(p.base is None for p in images._cache.values())  # no view of something larger


def test_white_level(tmp_path):
    write(tmp_path, "a.png", np.full((4, 4, 1), 1023, np.uint16))
    assert ImageFolder(tmp_path, 1, white_level=1023).load(0).max() == 1
    assert ImageFolder(tmp_path, 1).load(0).max() == np.float32(1023 / 65535)


def test_unusable_files_are_skipped_each_once_with_its_reason(folder, rng):
    whole = (folder / "b.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.tif").write_bytes(b"hello")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    write(folder, "small.png", np.zeros((7, 20, 3), np.uint8))
    write(folder, "large.png", np.zeros((12, 21, 3), np.uint8))
    shown = []

    def progress(items, total):
        shown.append(total)
        for item in items:
            shown.append(item)
            yield item

    images = ImageFolder(folder, min_side=8, max_side=20, progress=progress)
    assert images.names == ["a/b.tif", "a/c.bmp", "b.png", "z.png"]
    reasons = {s.path.relative_to(folder).as_posix(): s.reason for s in images.skipped}
    assert len(images.skipped) == 6
    assert "damaged or truncated PNG" in reasons["a/cut.png"]
    assert reasons["empty.jpg"] == "the file is empty."
    assert reasons["text.tif"].startswith("not a PNG, JPEG, BMP, WebP, JPEG 2000, TIFF, FITS")
    assert "No such file" in reasons["link.png"]
    assert reasons["small.png"] == "20 x 7 pixels, below 8."
    assert reasons["large.png"] == "21 x 12 pixels, above 20."
    assert not any(str(folder) in reason for reason in reasons.values())  # the path stands beside
    assert shown[0] == 10 and len(shown) == 11


def test_the_side_filters_are_inclusive(tmp_path):
    for height, width in [(8, 20), (20, 8), (7, 12), (12, 21), (8, 8), (20, 20)]:
        write(tmp_path, f"{height}x{width}.png", np.zeros((height, width, 1), np.uint8))
    images = ImageFolder(tmp_path, 1, min_side=8, max_side=20)
    assert images.names == ["20x20.png", "20x8.png", "8x20.png", "8x8.png"]


def test_a_folder_without_a_usable_image_is_an_error(tmp_path):
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(ImageFileError) as caught:
        ImageFolder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: none of its 2 images is usable; "
        "the first: a.png: not a PNG, JPEG, BMP, WebP, JPEG 2000, TIFF, FITS, DICOM or .npy file; "
        "convert it to PNG or TIFF."
    )
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(ImageFileError, match="no image in this folder"):
        ImageFolder(empty)
    with pytest.raises(ImageFileError, match="no such folder"):
        ImageFolder(tmp_path / "missing")


@pytest.mark.parametrize("cache_bytes, kept", [(0, 0), (359, 0), (360, 1), (1079, 2), (1440, 4)])
def test_the_memory_bound_is_kept_and_changes_no_pixel(folder, monkeypatch, cache_bytes, kept):
    everything = ImageFolder(folder)
    images = ImageFolder(folder, cache_bytes=cache_bytes)
    assert sum(p.nbytes for p in images._cache.values()) <= cache_bytes
    reads = []
    honest = image_folder.open_planes
    monkeypatch.setattr(image_folder, "open_planes", lambda *p: (reads.append(p), honest(*p))[1])
    for _ in range(2):
        for i in range(4):
            np.testing.assert_array_equal(images.load(i), everything.load(i))
    assert len(reads) == 2 * (4 - kept)  # those in memory are never read again
    assert images.fingerprint == everything.fingerprint


def test_smaller_images_use_the_room_that_a_larger_one_left(folder):
    write(folder, "a/a.png", np.zeros((40, 40, 3), np.uint8))  # first, but it does not fit
    images = ImageFolder(folder, cache_bytes=1440)
    assert sorted(images._cache) == [1, 2, 3, 4]
    assert images.load(0).shape == (40, 40, 3)


def test_the_pixels_in_memory_cannot_be_changed_by_a_caller(folder):
    images = ImageFolder(folder)
    before = images.load(0).copy()
    images.load(0)[:] = 7
    np.testing.assert_array_equal(images.load(0), before)


def test_each_file_is_read_once_when_the_folder_is_opened(folder, monkeypatch):
    """Pixels and checksum are of the same bytes, even while someone changes the file."""
    reads, lock, read_bytes = [], threading.Lock(), pathlib.Path.read_bytes

    def counted(path):
        with lock:
            reads.append(path)
        return read_bytes(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", counted)
    images = ImageFolder(folder)
    assert sorted(reads) == sorted(images.paths)


def test_the_fingerprint_follows_names_and_contents_only(folder, tmp_path_factory, rng):
    original = ImageFolder(folder).fingerprint
    assert ImageFolder(folder).fingerprint == original
    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes(b"no image")
    assert ImageFolder(folder, 1, cache_bytes=0).fingerprint == original
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, elsewhere)
    assert ImageFolder(elsewhere).fingerprint == original

    seen = {original}

    def assert_new():
        fingerprint = ImageFolder(folder).fingerprint
        assert fingerprint not in seen
        seen.add(fingerprint)

    pixels = read_image(folder / "b.png").pixels.copy()
    pixels[3, 4, 1] ^= 1
    write(folder, "b.png", pixels)  # one bit of one pixel
    assert_new()
    (folder / "z.png").rename(folder / "y.png")
    assert_new()
    first, second = (folder / "b.png").read_bytes(), (folder / "y.png").read_bytes()
    (folder / "b.png").write_bytes(second)
    (folder / "y.png").write_bytes(first)  # the same names, the same contents, exchanged
    assert_new()
    write(folder, "new.png", pixels)
    assert_new()
    (folder / "new.png").unlink()
    (folder / "y.png").unlink()
    assert_new()


def test_names_that_are_no_unicode_go(tmp_path, rng):
    name = os.fsdecode(b"caf\xe9.png")  # Latin-1, as old archives have
    try:
        write(tmp_path, name, np.zeros((4, 4, 3), np.uint8))
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    images = ImageFolder(tmp_path, cache_bytes=0)
    assert images.names == [name] and images.load(0).shape == (4, 4, 3)
    (tmp_path / name).rename(tmp_path / os.fsdecode(b"caf\xe8.png"))
    assert ImageFolder(tmp_path).fingerprint != images.fingerprint


@pytest.mark.parametrize(
    "harm", ["vanished", "truncated", "emptied", "replaced by a folder", "resized"]
)
def test_a_file_that_is_harmed_after_opening_is_named(folder, harm):
    kept, images = ImageFolder(folder), ImageFolder(folder, cache_bytes=0)
    before, path = kept.load(2), folder / "b.png"
    data = path.read_bytes()
    path.unlink()
    if harm == "truncated":
        path.write_bytes(data[:60])
    elif harm == "emptied":
        path.write_bytes(b"")
    elif harm == "replaced by a folder":
        path.mkdir()
    elif harm == "resized":  # its noise and its crops were planned for the old size
        write(folder, "b.png", np.zeros((12, 11, 3), np.uint8))
    with pytest.raises(ImageFileError, match=f"^{path}: "):
        images.load(2)
    images.load(1)  # the others go on
    np.testing.assert_array_equal(kept.load(2), before)  # what is in memory needs no file


def test_images_that_do_not_fit_are_freed_while_a_slow_file_holds_up_the_others(
    folder, monkeypatch
):
    rest, alive, seen = threading.Barrier(2), weakref.WeakSet(), []

    class Pixels(np.ndarray):
        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    def decode(self, path, plane, number, orientation):
        pixels = np.zeros((4, 4, 3), np.uint8).view(Pixels)
        if path.name == "b.tif":  # the first in order, the last to be ready
            rest.wait(timeout=30)
            seen.append(len(alive))
        else:
            alive.add(pixels)
        if path.name == "z.png":
            threading.Timer(0.2, rest.wait).start()
        return pixels

    monkeypatch.setattr(image_folder, "available_processors", lambda: 2)
    monkeypatch.setattr(ImageFolder, "_pixels", decode)
    assert len(ImageFolder(folder, cache_bytes=0)) == 4
    assert seen == [0]


@pytest.mark.parametrize("cache_bytes", [0, 2 << 30])
def test_every_plane_and_channel_of_a_stack_is_an_image(tmp_path, rng, cache_bytes):
    stack = rng.integers(0, 65535, (4, 24, 31)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    channels = rng.integers(0, 65535, (2, 24, 31)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "c.tif", channels, photometric="minisblack", planarconfig="separate"
    )
    write_image(tmp_path / "a.png", np.uint8(255 * rng.random((24, 31, 1))))
    images = ImageFolder(tmp_path, channels=1, cache_bytes=cache_bytes)
    names = ["b.tif[0]", "b.tif[1]", "b.tif[2]", "b.tif[3]", "c.tif[0]", "c.tif[1]"]
    assert images.names == ["a.png", *names] and len(images) == 7
    assert images.sizes == [(24, 31)] * 7
    for index, plane in enumerate([*stack, *channels], 1):
        np.testing.assert_array_equal(images.load(index)[..., 0], np.float32(plane / 65535))


@pytest.mark.parametrize("cache_bytes", [0, 2 << 30])
def test_axes_that_the_user_names_hold_for_all_files(tmp_path, rng, cache_bytes):
    stack = rng.integers(0, 65535, (3, 24, 31)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    np.save(tmp_path / "b.npy", stack)
    planes = ImageFolder(tmp_path, 1, cache_bytes=cache_bytes, axes="ZYX")
    assert planes.names == [f"{name}[{n}]" for name in ("a.tif", "b.npy") for n in range(3)]
    for index in range(6):
        np.testing.assert_array_equal(
            planes.load(index)[..., 0], np.float32(stack[index % 3] / 65535)
        )
    colours = ImageFolder(tmp_path, 3, cache_bytes=cache_bytes, axes="SYX")
    assert colours.names == ["a.tif", "b.npy"]
    for index in range(2):
        expected = np.float32(np.moveaxis(stack, 0, -1) / 65535)
        np.testing.assert_array_equal(colours.load(index), expected)
    without = ImageFolder(tmp_path, 1)
    assert without.names == ["a.tif[0]", "a.tif[1]", "a.tif[2]"]
    assert "name them, e.g. --axes=ZYX" in without.skipped[0].reason
    assert len({planes.fingerprint, colours.fingerprint, without.fingerprint}) == 3


def test_numbers_of_other_types_are_kept_when_white_is_said(tmp_path, rng):
    hounsfield = rng.integers(-1000, 3000, (24, 31)).astype(np.int16)
    tifffile.imwrite(tmp_path / "a.tif", hounsfield)
    images = ImageFolder(tmp_path, channels=1, white_level=1000)
    np.testing.assert_allclose(images.load(0)[..., 0], hounsfield / 1000, rtol=1e-6)
    images = ImageFolder(tmp_path, channels=1)
    np.testing.assert_allclose(images.load(0)[..., 0], hounsfield / 32767, rtol=1e-6)
