"""Images held out: which, that they are not trained on, and what is told of them."""

import dataclasses
import json

import numpy as np
import pytest
from training_runs import SHORT, events, final_state, network_two, write_random_images

from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.training.holdout import Subset, choose_held_out
from n2n_tf.training.recipes import PRESETS
from n2n_tf.training.run import TrainingError, train


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with network_two():
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_random_images(tmp_path_factory.mktemp("photos"))


NAMES = [f"{i:03d}.png" for i in range(100)]


@pytest.mark.parametrize(
    ("images", "share", "count"),
    [(19, None, 0), (20, None, 1), (100, None, 3), (100, 0.0, 0), (5, 0.01, 1), (100, 0.25, 25)],
)
def test_how_many(images, share, count):
    chosen = choose_held_out(NAMES[:images], share, seed=0)
    assert len(chosen) == len(set(chosen)) == count and set(chosen) <= set(NAMES[:images])


def test_at_most_64_unasked():
    assert len(choose_held_out([str(i) for i in range(9999)], None, seed=0)) == 64


def test_the_choice_hangs_on_names_and_seed_alone():
    chosen = choose_held_out(NAMES, None, seed=1)
    assert chosen == choose_held_out(NAMES[::-1], None, seed=1)
    assert chosen != choose_held_out(NAMES, None, seed=2)


def test_something_must_be_left_to_train_on():
    with pytest.raises(ValueError, match=r"--holdout=0.9: leaves none of 1 images"):
        choose_held_out(NAMES[:1], 0.9, seed=0)


def test_a_subset_is_read_like_its_folder(photos):
    whole = ImageFolder(photos, channels=1)
    some = Subset(whole, ["1.png", "3.png"])
    rest = some.rest()
    assert rest.names == ["0.png", "2.png", "4.png"] and len(some) == 2
    np.testing.assert_array_equal(rest.crop(2, 1, 2, 8, 9), whole.crop(4, 1, 2, 8, 9))


def test_the_papers_trainings_hold_none_out():
    assert {r.holdout for name, r in PRESETS.items() if name.startswith("paper")} == {0.0}


def test_held_out_images_are_recorded_scored_and_never_trained_on(photos, tmp_path):
    recipe, said = dataclasses.replace(SHORT, holdout=0.3), []
    images = ImageFolder(photos, channels=1)
    train(recipe, images, tmp_path, report=said.append)
    held_out = json.loads((tmp_path / "run.json").read_text())["data"]["held_out"]
    assert held_out == choose_held_out(images.names, 0.3, seed=0) and len(held_out) == 2
    assert "Held out for val_loss: 2 images" in said[1]
    losses = [row["val_loss"] for row in final_state(tmp_path)[2]]
    assert losses[1] < losses[0]
    assert events(tmp_path)["val_loss"] == {i + 1: np.float32(x) for i, x in enumerate(losses)}
    assert final_state(tmp_path)[1] == 2 * 3  # three images, two crops, two per batch
    with pytest.raises(TrainingError, match=r"holdout was 0.3, is None"):
        train(SHORT, images, tmp_path, report=said.append)


def test_planes_of_one_stack_are_not_split():
    names = [f"{file}.tif[{plane}]" for file in "abcdefgh" for plane in range(10)]
    for share in (None, 0.1, 0.3):
        for seed in range(20):
            chosen = choose_held_out(names, share, seed)
            files = {name[0] for name in chosen}
            assert chosen == sorted(name for name in names if name[0] in files)
            assert len(files) == (3 if share == 0.3 else 1)
    assert choose_held_out(names[:30], None, 0) != choose_held_out(names[:30], None, 1)
    assert choose_held_out([f"a.tif[{plane}]" for plane in range(500)], None, 0) == []
    with pytest.raises(ValueError, match="leaves none of 50 images"):
        choose_held_out([f"a.tif[{plane}]" for plane in range(50)], 0.1, 0)
