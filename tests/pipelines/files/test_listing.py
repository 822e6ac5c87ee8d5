"""One rule for which files lie below a folder, whatever is looked for."""

import numpy as np
import pytest
from dng_samples import random_mosaic, write_sample

from n2n_tf.pipelines.files.image_files import ImageFileError, list_images
from n2n_tf.pipelines.files.listing import files_below, why_none
from n2n_tf.pipelines.raw.cache import list_raws
from n2n_tf.pipelines.raw.frame import RawFileError
from n2n_tf.pipelines.sidd.scenes import list_noisy
from n2n_tf.pipelines.training.sources import MosaicFolder, RawFolder

NAMES = ["b.X", "a.x", "c.y", "a-b/a.x", "a/a.x", "a/b/a.x", ".hidden.x", ".thumbs/a.x", "x"]
NAMES += ["a/.trash/b/a.x"]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / ".home" / "root"  # what is hidden above the folder does not matter
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "folder.x").mkdir()
    (root / "link.x").symlink_to("nowhere")
    return root


def relative(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_hidden_files_and_folders_are_left_out_and_dead_links_are_not(tree):
    found = relative(files_below(tree, [".x"]), tree)
    assert found == ["a-b/a.x", "a.x", "a/a.x", "a/b/a.x", "b.X", "link.x"] == sorted(found)
    assert set(relative(files_below(str(tree)), tree)) == {*found, "c.y", "x"}
    assert files_below(tree, [".z"]) == files_below(tree / "none", [".x"]) == []


@pytest.mark.parametrize(
    "lister, suffix",
    [
        (list_images, ".png"),
        (list_raws, ".dng"),
        (list_noisy, ".mat"),
        (lambda root: MosaicFolder(root)._paths, ".npy"),
    ],
)
def test_everything_that_lists_a_folder_follows_the_rule(tmp_path, lister, suffix):
    for folder in ("a", ".trash", "a/b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "m.npy", np.zeros((4, 4), np.float32))
        for name in (f"0001_NOISY_RAW_010{suffix}", f".0001_NOISY_RAW_010{suffix}"):
            np.save(open(tmp_path / folder / name, "wb"), np.zeros((4, 4), np.float32))  # noqa: SIM115
    found = [name for name in relative(lister(tmp_path), tmp_path) if "NOISY" in name]
    assert found == [f"a/0001_NOISY_RAW_010{suffix}", f"a/b/0001_NOISY_RAW_010{suffix}"]


def test_what_is_there_instead_is_told(tree, tmp_path):
    assert why_none(tmp_path / "no", "image", [".z"]) == f"{tmp_path}/no: no such folder."
    assert why_none(tree / "x", "image", [".z"]) == f"{tree}/x: is a file; give a folder."
    assert why_none(tree, "image", [".z"]) == (
        f"{tree}: no image in this folder (looked for .z); it holds 6 .x, 1 .y, 1 without a suffix."
    )
    (tmp_path / "empty").mkdir()
    assert why_none(tmp_path / "empty", "image", [".y", ".z"]).endswith("(looked for .y, .z).")


def test_a_folder_of_raws_is_not_just_no_image(tmp_path):
    write_sample(tmp_path / "a.DNG", random_mosaic(24, 30))
    with pytest.raises(ImageFileError, match=r"no image in this folder .*; it holds 1 \.dng\."):
        list_images(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(RawFileError, match=r"no camera raw in this folder .*; it holds 1 \.png\."):
        RawFolder(tmp_path / "photos", tmp_path / "cache")
