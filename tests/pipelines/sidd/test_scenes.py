"""Scenes of SIDD: names, patterns, lists, and sub-images that begin on red."""

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidd_samples import COLOURS, S6_SCENE, mosaic_of, write_galaxy_metadata, write_scene, write_v73

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.sidd import scenes as sidd_scenes
from n2n_tf.pipelines.sidd.files import SiddError

MEDIUM = {  # one scene of each camera, of the Medium set
    S6_SCENE: "GRBG",
    "0017_001_GP_00100_00060_5500_N": "BGGR",
    "0022_001_N6_00100_00060_5500_N": "BGGR",
    "0025_001_G4_00100_00060_5500_L": "BGGR",
    "0028_001_IP_00100_00160_5500_N": "RGGB",
}


def test_a_scene_name_is_taken_apart():
    scene = sidd_scenes.parse_scene(S6_SCENE)
    assert scene == (13, 1, "S6", 3200, 1250, 3200, "L")
    assert scene.pattern == "GRBG"


@pytest.mark.parametrize(
    "name",
    ["", "Data", "0013_001_S7_03200_01250_3200_L", "0013_001_S6_3200_1250_3200_L", S6_SCENE + "2"],
)
def test_other_names_are_refused(name):
    with pytest.raises(SiddError, match="not a scene name; keep the data set's folder names"):
        sidd_scenes.parse_scene(name)


def test_held_out_scenes_are_forty_in_order_and_of_all_cameras():
    scenes = [sidd_scenes.parse_scene(name) for name in sidd_scenes.HELD_OUT_SCENES]
    instances = [scene.instance for scene in scenes]
    assert len(instances) == 40 and instances == sorted(set(instances))
    assert {scene.camera for scene in scenes} == set(sidd_scenes.CAMERA_PATTERNS)
    assert not {int(name[:4]) for name in MEDIUM} & set(instances)
    # Instance numbers stand in blocks of one scene and camera: neighbours agree on the scene.
    assert [scene.scene for scene in scenes] == sorted(scene.scene for scene in scenes)


def test_the_medium_layout_is_listed_without_the_held_out_scenes(tmp_path):
    data = tmp_path / "SIDD_Medium_Raw" / "Data"
    for name, pattern in MEDIUM.items():
        write_scene(data, name, pattern)
    write_scene(tmp_path / "SIDD_Benchmark_Data", sidd_scenes.HELD_OUT_SCENES[0], frames=("010",))
    (data / "readme.txt").write_text("")
    noisy = sidd_scenes.list_noisy(tmp_path)
    assert noisy == sorted(noisy) and len(noisy) == 10
    assert noisy[0] == data / S6_SCENE / "0013_NOISY_RAW_010.MAT"
    assert len(sidd_scenes.list_noisy(tmp_path, without=())) == 11


def test_clean_images_are_not_needed_for_training(tmp_path):
    noisy = write_scene(tmp_path, frames=("010",))
    noisy.with_name("0013_GT_RAW_010.MAT").unlink()
    assert sidd_scenes.list_noisy(tmp_path) == [noisy]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SiddError, match=r"no NNNN_NOISY_RAW_010\.MAT in or below it; unpack"):
        sidd_scenes.list_noisy(tmp_path / "nothing")


@pytest.mark.parametrize("name, pattern", MEDIUM.items())
def test_every_camera_is_unified_to_rggb(tmp_path, name, pattern):
    path = write_scene(tmp_path, name, pattern, size=(12, 16))
    assert sidd_scenes.bayer_pattern(path) == pattern
    mosaic = sidd_scenes.read_rggb(path)
    assert min(mosaic.shape) >= 10 and mosaic.shape[0] % 2 == mosaic.shape[1] % 2 == 0
    np.testing.assert_array_equal(mosaic, mosaic_of("RGGB", *mosaic.shape) + np.float32(0.01))


def test_unification_moves_no_pixel(tmp_path):
    mosaic = np.random.default_rng(0).random((12, 16), np.float32)
    path = tmp_path / S6_SCENE / "0013_NOISY_RAW_010.MAT"
    write_v73(path, x=mosaic)
    np.testing.assert_array_equal(sidd_scenes.read_rggb(path), mosaic[:, 1:15])


def test_a_flat_folder_needs_the_metadata(tmp_path):
    nested = write_scene(tmp_path / "nested")
    flat = tmp_path / "flat" / nested.name
    flat.parent.mkdir()
    shutil.copy(nested, flat)
    assert sidd_scenes.list_noisy(tmp_path / "flat") == [flat]
    with pytest.raises(SiddError, match=r"unknown camera; .*0013_METADATA_RAW_010\.MAT beside it"):
        sidd_scenes.bayer_pattern(flat)
    write_galaxy_metadata(flat.with_name("0013_METADATA_RAW_010.MAT"))
    assert sidd_scenes.bayer_pattern(flat) == "GRBG"


def test_folder_and_metadata_must_agree(tmp_path):
    path = write_scene(tmp_path)
    metadata = path.with_name("0013_METADATA_RAW_010.MAT")
    write_galaxy_metadata(metadata)
    assert sidd_scenes.bayer_pattern(path) == "GRBG"
    write_galaxy_metadata(metadata, cfa=(0, 1, 1, 2))
    with pytest.raises(SiddError, match=r"GRBG by its folder, RGGB by 0013_METADATA_RAW_010\.MAT"):
        sidd_scenes.read_rggb(path)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_cuts_cover_every_pixel_and_keep_the_phase(length, size, step):
    length, size, step = 2 * max(length, size), 2 * size, 2 * step
    starts = sidd_scenes.cut_positions(length, size, step)
    assert all(start % 2 == 0 and 0 <= start <= length - size for start in starts)
    assert starts[0] == 0 and starts[-1] == length - size
    assert all(0 < b - a <= step for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("length", [512, 514, 768, 1100, 3000, 4048, 5328])
def test_cuts_are_those_of_the_papers_tool(length):
    expected = np.arange(0, length - 512 + 1, 256)
    if length > expected[-1] + 512:
        expected = np.append(expected, length - 512)
    assert sidd_scenes.cut_positions(length) == expected.tolist()


@pytest.mark.parametrize(
    "length, size, step",
    [(511, 256, 128), (512, 255, 128), (512, 256, 127), (254, 256, 2), (8, 8, 0)],
)
def test_cuts_that_would_lose_the_phase_are_refused(length, size, step):
    with pytest.raises(ValueError, match=f"Received: length={length}, size={size}, step={step}"):
        sidd_scenes.cut_positions(length, size, step)


def test_sub_images_are_the_rggb_mosaic_in_pieces(tmp_path):
    data, out = tmp_path / "Data", tmp_path / "out"
    noise = np.random.default_rng(0).random((26, 34), np.float32)
    write_v73(data / S6_SCENE / "0013_NOISY_RAW_010.MAT", x=noise)
    write_scene(data, "0017_001_GP_00100_00060_5500_N", "BGGR", size=(26, 34), frames=("011",))
    assert sidd_scenes.cut_sub_images(data, out, size=16, step=8) == 2 * 3 + 3 * 3
    names = sorted(path.name for path in out.iterdir())
    assert names[0] == "0013_NOISY_RAW_010_s001.npy" and names[-1] == "0017_NOISY_RAW_011_s006.npy"
    unified = noise[:, 1:33]  # rows 26: 0 8 10; columns 32: 0 8 16
    order = [(top, left) for top in (0, 8, 10) for left in (0, 8, 16)]
    for index, (top, left) in enumerate(order, start=1):
        part = np.load(out / f"0013_NOISY_RAW_010_s{index:03d}.npy")
        np.testing.assert_array_equal(part, unified[top : top + 16, left : left + 16])
    for path in out.glob("0017*"):
        planes = bayer.pack(np.load(path), "RGGB") - np.float32(0.01)
        expected = [COLOURS[name] for name in ("R", "G1", "G2", "B")]
        np.testing.assert_allclose(planes, np.broadcast_to(expected, (8, 8, 4)), atol=1e-6)
