"""SIDD's files: read the right way up or refused by name, and written as the server reads them."""

import base64

import h5py
import numpy as np
import pytest
import scipy.io
from sidd_samples import COLOURS, mosaic_of, write_galaxy_metadata, write_phone_metadata, write_v73

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.sidd import files as sidd_files

SHAPE = (40, 32, 4, 6)  # as the real blocks, but small, and not square


def random_blocks(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


# Raw images


def test_a_raw_image_is_read_rows_first(tmp_path):
    mosaic = np.random.default_rng(0).random((12, 16), np.float32)
    path = tmp_path / "0013_NOISY_RAW_010.MAT"
    write_v73(path, x=mosaic)
    assert scipy.io.matlab.matfile_version(path) == (2, 0)  # the file is what the test says
    result = sidd_files.read_raw(path)
    np.testing.assert_array_equal(result, mosaic)
    assert result.dtype == np.float32 and result.flags.c_contiguous


@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_colours_land_in_their_planes(tmp_path, pattern):
    write_v73(tmp_path / "raw.MAT", x=mosaic_of(pattern, 12, 16))
    planes = bayer.pack(sidd_files.read_raw(tmp_path / "raw.MAT"), pattern)
    expected = np.float32([COLOURS["R"], COLOURS["G1"], COLOURS["G2"], COLOURS["B"]])
    np.testing.assert_array_equal(planes, np.broadcast_to(expected, (6, 8, 4)))


def test_without_the_transposition_grbg_would_read_as_gbrg(tmp_path):
    write_v73(tmp_path / "raw.MAT", x=mosaic_of("GRBG", 12, 16))
    with h5py.File(tmp_path / "raw.MAT", "r") as file:
        as_stored = file["x"][()]
    swapped = bayer.pack(as_stored, "GRBG")[0, 0]
    assert swapped[0] == COLOURS["B"] and swapped[3] == COLOURS["R"]
    as_gbrg = bayer.pack(as_stored, "GBRG")[0, 0]
    assert as_gbrg[0] == COLOURS["R"] and as_gbrg[3] == COLOURS["B"]


def test_a_missing_raw_image_is_named(tmp_path):
    with pytest.raises(sidd_files.SiddError, match=r"0001_GT_RAW_010\.MAT: no such file; download"):
        sidd_files.read_raw(tmp_path / "0001_GT_RAW_010.MAT")


def test_damaged_raw_images_are_named(tmp_path):
    path = tmp_path / "bad.MAT"
    write_v73(path, x=np.random.default_rng(0).random((64, 64), np.float32))
    whole = path.read_bytes()
    with h5py.File(path, "r") as file:
        chunk = file["x"].id.read_direct_chunk((0, 0))[1]
    for damaged in (
        whole[: len(whole) // 2],  # an interrupted download
        whole.replace(chunk, bytes(len(chunk))),  # a bad sector
        b"<html>404</html>",
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(sidd_files.SiddError, match=r"bad\.MAT: not a whole MATLAB v7\.3 file"):
            sidd_files.read_raw(path)


def test_sub_images_of_other_tools_are_refused(tmp_path):
    scipy.io.savemat(tmp_path / "sub.mat", {"x": mosaic_of("GRBG", 8, 8)})
    with pytest.raises(sidd_files.SiddError, match=r"sub\.mat.*transposed: cut them anew"):
        sidd_files.read_raw(tmp_path / "sub.mat")


@pytest.mark.parametrize(
    "value, message",
    [
        (np.zeros((4, 4), np.uint16), r"Received: uint16 \(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), r"Received: float32 \(4, 4, 3\)"),
        (np.zeros((4, 5), np.float32), r"Received: float32 \(4, 5\)"),
        (np.full((4, 4), 1023, np.float32), r"normalised to \[0, 1\].*1023"),
        (np.full((4, 4), np.nan, np.float32), "normalised"),
    ],
)
def test_other_arrays_are_refused(tmp_path, value, message):
    write_v73(tmp_path / "raw.MAT", x=value)
    with pytest.raises(sidd_files.SiddError, match=message):
        sidd_files.read_raw(tmp_path / "raw.MAT")


def test_a_file_without_x_is_refused(tmp_path):
    write_v73(tmp_path / "raw.MAT", y=np.zeros((4, 4), np.float32))
    with pytest.raises(sidd_files.SiddError, match=r"raw\.MAT: has no variable `x`"):
        sidd_files.read_raw(tmp_path / "raw.MAT")


def test_a_mosaic_that_claims_more_than_is_admitted_is_refused_unread(tmp_path):
    with h5py.File(tmp_path / "raw.MAT", "w") as file:  # 40 GB of zeros, stored as nothing
        file.create_dataset("x", (100_000, 100_000), np.float32, chunks=(1000, 1000))
    with pytest.raises(sidd_files.SiddError, match=r"raw\.MAT: 100000 x 100000 pixels, more than"):
        sidd_files.read_raw(tmp_path / "raw.MAT")


def test_a_group_named_x_is_refused(tmp_path):
    with h5py.File(tmp_path / "raw.MAT", "w") as file:
        file.create_group("x")
    with pytest.raises(sidd_files.SiddError, match="must be a float32 matrix"):
        sidd_files.read_raw(tmp_path / "raw.MAT")


# Metadata


def test_tags_of_the_main_directory(tmp_path):
    write_galaxy_metadata(tmp_path / "m.MAT")
    tags = sidd_files.read_metadata(tmp_path / "m.MAT")
    assert (tags.model, tags.pattern, tags.iso, tags.orientation) == ("SM-G920I", "GRBG", 3200, 3)
    np.testing.assert_array_equal(tags.black_level, [0, 0, 0, 0])
    np.testing.assert_array_equal(tags.white_level, [1023])
    np.testing.assert_array_equal(tags.as_shot_neutral, [0.53, 1, 0.72])
    np.testing.assert_array_equal(tags.noise_profile, [[4.79e-4, 0]] * 3)


def test_tags_of_subdirectories(tmp_path):
    write_phone_metadata(tmp_path / "m.MAT")
    tags = sidd_files.read_metadata(tmp_path / "m.MAT")
    assert (tags.model, tags.pattern, tags.iso, tags.orientation) == ("iPhone 7", "RGGB", 800, 1)
    np.testing.assert_array_equal(tags.black_level, [528])
    np.testing.assert_array_equal(tags.white_level, [4095])
    np.testing.assert_array_equal(tags.noise_profile, [[3e-4, 2e-6]])


@pytest.mark.parametrize("pattern", bayer.PATTERNS)
def test_every_pattern_is_recognised(tmp_path, pattern):
    write_galaxy_metadata(tmp_path / "m.MAT", cfa=["RGB".index(letter) for letter in pattern])
    assert sidd_files.read_metadata(tmp_path / "m.MAT").pattern == pattern


def test_missing_tags_are_none(tmp_path):
    scipy.io.savemat(tmp_path / "m.MAT", {"metadata": {"Width": 5328.0}})
    assert sidd_files.read_metadata(tmp_path / "m.MAT") == sidd_files.Metadata(*[None] * 8)


def test_a_pattern_that_is_not_bayer_is_refused(tmp_path):
    write_galaxy_metadata(tmp_path / "m.MAT", cfa=(0, 1, 1, 1))
    with pytest.raises(
        sidd_files.SiddError, match=r"m\.MAT: CFAPattern \[0\.0, 1\.0, 1\.0, 1\.0\]"
    ):
        sidd_files.read_metadata(tmp_path / "m.MAT")


def test_other_metadata_files_are_named(tmp_path):
    path = tmp_path / "m.MAT"
    with pytest.raises(sidd_files.SiddError, match=r"m\.MAT: no such file"):
        sidd_files.read_metadata(path)
    write_galaxy_metadata(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        sidd_files.SiddError, match=r"m\.MAT: damaged MATLAB v5 file, download it again"
    ):
        sidd_files.read_metadata(path)
    scipy.io.savemat(path, {"x": 1.0})
    with pytest.raises(sidd_files.SiddError, match=r"m\.MAT: has no variable `metadata`"):
        sidd_files.read_metadata(path)
    scipy.io.savemat(path, {"metadata": 1.0})
    with pytest.raises(sidd_files.SiddError, match=r"m\.MAT: `metadata` must be a struct"):
        sidd_files.read_metadata(path)
    write_v73(path, metadata=np.zeros((2, 2), np.float32))
    with pytest.raises(sidd_files.SiddError, match=r"m\.MAT: is MATLAB v7\.3, expected v5"):
        sidd_files.read_metadata(path)


# Blocks


def test_blocks_are_read_by_the_name_of_the_file(tmp_path):
    blocks, path = random_blocks(), tmp_path / "ValidationNoisyBlocksRaw.mat"
    scipy.io.savemat(path, {"ValidationNoisyBlocksRaw": blocks}, do_compression=True)
    result = sidd_files.read_blocks(path, SHAPE)
    np.testing.assert_array_equal(result, blocks)
    assert result.dtype == np.float32
    with pytest.raises(sidd_files.SiddError, match=r"\(40, 32, 256, 256\).*\(40, 32, 4, 6\)"):
        sidd_files.read_blocks(path)
    path.rename(tmp_path / "renamed.mat")
    with pytest.raises(sidd_files.SiddError, match="no variable `renamed`; keep the file's name"):
        sidd_files.read_blocks(tmp_path / "renamed.mat", SHAPE)


@pytest.mark.parametrize("value", [np.nan, np.inf, 300.0])
def test_blocks_that_are_not_raw_are_refused(tmp_path, value):
    blocks, path = random_blocks(), tmp_path / "ValidationGtBlocksRaw.mat"
    blocks[3, 2, 1, 0] = value
    scipy.io.savemat(path, {"ValidationGtBlocksRaw": blocks})
    with pytest.raises(sidd_files.SiddError, match=r"ValidationGtBlocksRaw\.mat"):
        sidd_files.read_blocks(path, SHAPE)


def test_srgb_blocks_are_refused(tmp_path):
    path = tmp_path / "ValidationGtBlocksSrgb.mat"
    scipy.io.savemat(path, {path.stem: np.zeros((*SHAPE, 3), np.uint8)})
    with pytest.raises(sidd_files.SiddError, match=r"Received: uint8 \(40, 32, 4, 6, 3\)"):
        sidd_files.read_blocks(path, SHAPE)


# Submissions


def test_the_csv_holds_every_block_in_order(tmp_path):
    blocks = random_blocks()
    sidd_files.write_submit_csv(tmp_path / "SubmitRaw.csv", blocks, SHAPE)
    header, *rows = (tmp_path / "SubmitRaw.csv").read_bytes().decode("ascii").split("\n")[:-1]
    assert header == "ID,BLOCK"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(1280)]
    decoded = [np.frombuffer(base64.b64decode(row.split(",")[1]), np.float32) for row in rows]
    for index in range(1280):
        np.testing.assert_array_equal(decoded[index].reshape(4, 6), blocks[index // 32, index % 32])


def test_the_mat_file_is_a_cell_array_of_matlab(tmp_path):
    blocks, path = random_blocks(), tmp_path / "SubmitRaw.mat"
    sidd_files.write_submit_mat(path, blocks, 0.25, {"MethodName": "Naïve", "Venue": ""}, SHAPE)
    start = path.read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file, Platform: ") and start[124:128] == b"\x00\x02IM"
    assert start[128:512] == bytes(384) and start[512:520] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path, "r") as file:
        cells = file["DenoisedBlocksRaw"]
        assert cells.shape == (32, 40) and cells.attrs["MATLAB_class"] == b"cell"
        for i, j in [(0, 0), (0, 1), (1, 0), (39, 31), (17, 5)]:
            block = file[cells[j, i]]  # DenoisedBlocksRaw{i + 1, j + 1}
            assert block.attrs["MATLAB_class"] == b"single" and block.dtype == np.float32
            assert block.name.startswith("/#refs#/") and block.shape == (6, 4)
            np.testing.assert_array_equal(block[()].T, blocks[i, j])
        addresses = {h5py.h5o.get_info(file[cell].id).addr for cell in cells[()].flat}
        assert len(addresses) == 1280
        time = file["TimeMPRaw"]
        assert time.attrs["MATLAB_class"] == b"double" and time[()].tolist() == [[0.25]]
        optional = file["OptionalData"]
        assert optional.attrs["MATLAB_class"] == b"struct"
        method = optional["MethodName"]
        assert method.attrs["MATLAB_class"] == b"char" and method.attrs["MATLAB_int_decode"] == 2
        assert method.shape == (5, 1) and "".join(map(chr, method[:, 0])) == "Naïve"
        assert optional["Venue"].shape == (1, 1)


@pytest.mark.parametrize("name", ["write_submit_csv", "write_submit_mat"])
def test_a_failed_submission_leaves_the_old_file_alone(tmp_path, monkeypatch, name):
    path = tmp_path / "Submit"
    write = getattr(sidd_files, name)
    arguments = {"shape": SHAPE} | ({"seconds_per_megapixel": 1.0} if "mat" in name else {})
    path.write_text("old")
    for blocks, message in (
        (random_blocks((40, 31, 4, 6)), r"Received: float32 \(40, 31, 4, 6\)"),
        (np.zeros(SHAPE, np.uint8), "Received: uint8"),
        (np.full(SHAPE, np.nan), "NaN or infinity"),
    ):
        with pytest.raises(sidd_files.SiddError, match=message):
            write(path, blocks, **arguments)

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sidd_files.base64, "b64encode", fail)
    monkeypatch.setattr(sidd_files, "_write_cells", fail)
    with pytest.raises(KeyboardInterrupt):
        write(path, random_blocks(), **arguments)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["Submit"]


def test_submissions_are_single_precision_whatever_comes_in(tmp_path):
    blocks = random_blocks()
    sidd_files.write_submit_csv(tmp_path / "a.csv", blocks, SHAPE)
    sidd_files.write_submit_csv(
        tmp_path / "b.csv", blocks.astype(np.float64)[..., ::-1][..., ::-1], SHAPE
    )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
