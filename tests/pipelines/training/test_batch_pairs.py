"""Batches of pairs: what goes with a noisy crop, and that its noise follows the law said."""

import numpy as np
import pytest

from n2n_tf.pipelines.noise.synthetic import Noise, parse_noise
from n2n_tf.pipelines.training.batches import training_batches

SIDE = 64


class Plain:
    """Images that are one value each, with a mark in the corner of every 16 x 16 square."""

    channels = 3
    names = tuple("abcd")
    sizes = ((200, 220),) * 4

    def __len__(self):
        return len(self.names)

    def crop(self, index, top, left, height, width):
        rows, columns = np.ogrid[top : top + height, left : left + width]
        marks = ((rows % 16 == 0) & (columns % 16 == 0)).astype(np.float32)
        image = np.float32(0.2 + 0.15 * index) + 0.1 * marks
        return np.repeat(image[..., None], 3, -1)


def batch(noise, parts, **settings):
    settings = {"frozen": False, "patch_size": SIDE, "seed": 3, "augment": True} | settings
    dataset = training_batches(Plain(), noise, parts=parts, **settings)
    return next(dataset.as_numpy_iterator())


RANGE = parse_noise("gauss10_60")


@pytest.mark.parametrize("frozen", [False, True])
def test_the_noisy_crop_is_the_same_whatever_goes_with_it(frozen):
    alone = batch(RANGE, "noisy", frozen=frozen)
    for parts in ("noisy_clean", "noisy_noisy", "noisy_law"):
        np.testing.assert_array_equal(batch(RANGE, parts, frozen=frozen)[0], alone)


def test_the_clean_crop_is_of_the_same_place_turned_alike():
    noisy, clean = batch(Noise("gauss", 1e-4, 1e-4), "noisy_clean")
    assert np.abs(noisy - clean).max() < 1e-3
    assert len(np.unique(clean.round(6), axis=None)) > 4  # places and images differ


def test_two_noisy_crops_have_one_level_and_independent_fields():
    _, clean = batch(RANGE, "noisy_clean", batch_size=4)
    again, other = batch(RANGE, "noisy_noisy", batch_size=4)
    first, second = again - clean, other - clean
    levels = first.std((1, 2, 3))
    assert levels.max() > 1.2 * levels.min()
    np.testing.assert_allclose(second.std((1, 2, 3)), levels, rtol=0.05)
    for one, two in zip(first, second, strict=True):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 4 / one.size**0.5


@pytest.mark.parametrize(
    "noise",
    [
        RANGE,
        Noise("gauss", 0.02, 0.2, log_levels=True, variance_factor=0.2),
        Noise("poisson", 20, 60, variance_factor=0.5),
        Noise("raw", shot=0.01, read=1e-3, variance_factor=0.25),
        Noise("poisson_gaussian", shot=0.01, read=1e-3),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_law_is_that_of_the_noise(noise, frozen):
    settings = {"batch_size": 4, "frozen": frozen, "augment": False}
    noisy, law = batch(noise, "noisy_law", **settings)
    clean = batch(noise, "noisy_clean", **settings)[1]
    assert law.dtype == np.float32 and law.shape == (4, 2)
    for crop, truth, (shot, read) in zip(noisy, clean, law, strict=True):
        # The mean of 12,288 squares has a relative standard error of 0.013.
        variance = np.mean((crop - truth) ** 2)
        assert variance == pytest.approx(np.mean(shot * truth + read), rel=0.06)


def test_raw_levels_drawn_for_each_image_are_told():
    noise = Noise("raw", variance_factor=0.2)
    noisy, law = batch(noise, "noisy_law", batch_size=4)
    clean = batch(noise, "noisy_clean", batch_size=4)[1]
    told = (law[:, 0] * clean.mean((1, 2, 3)) + law[:, 1]) ** 0.5
    np.testing.assert_allclose((noisy - clean).std((1, 2, 3)), told, rtol=0.04)
    assert len(set(law[:, 0])) == 4


def test_log_levels_come_as_often_in_every_octave():
    noise = Noise("gauss", 1 / 16, 1.0, log_levels=True)
    dataset = training_batches(
        Plain(), noise, frozen=False, patch_size=2, batch_size=400, parts="noisy_law"
    )
    _, law = next(dataset.as_numpy_iterator())
    octaves = np.bincount(np.floor(-np.log2(law[:, 1] ** 0.5)).astype(int), minlength=4)
    assert octaves.sum() == 400 and len(octaves) == 4
    assert np.abs(octaves - 100).max() < 35  # four standard deviations


def test_pairs_that_are_stored_get_no_noise_and_are_turned_alike():
    class Stored(Plain):
        def crop(self, *window):
            image = Plain.crop(self, *window)
            return np.concatenate([image, image + 0.5], axis=-1)

    settings = {"frozen": False, "patch_size": SIDE, "seed": 3, "augment": True}
    dataset = training_batches(
        Stored(), parse_noise("none"), parts="noisy_clean", paired=True, **settings
    )
    noisy, clean = next(dataset.as_numpy_iterator())
    assert noisy.shape == clean.shape == (4, SIDE, SIDE, 3)
    np.testing.assert_allclose(clean, noisy + 0.5, atol=1e-6)
    _, plain = batch(RANGE, "noisy_clean")
    np.testing.assert_array_equal(noisy, plain)  # the same places as without pairs
