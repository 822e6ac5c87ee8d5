"""Eight orientations, each once, and back."""

import numpy as np
import pytest

from n2n_tf.denoising.self_ensemble import ORIENTATIONS, SelfEnsemble, turned, turned_back


def test_the_eight_orientations_differ_and_are_undone(rng):
    image = rng.normal(size=(5, 5, 3))
    views = [turned(image, number) for number in range(ORIENTATIONS)]
    assert len({view.tobytes() for view in views}) == ORIENTATIONS
    for number in range(ORIENTATIONS):
        wide = rng.normal(size=(4, 7, 2))
        np.testing.assert_array_equal(turned_back(turned(wide, number), number), wide)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_depends_on_the_orientation_averages_out(rng, dtype):
    """A network that adds a gradient along the columns: its mean over the views is a constant."""

    class Leaning:
        channels = 1

        def __call__(self, image, white_level=None, progress=None, **how):
            progress(1, 1)
            return (image + np.linspace(0, 10, image.shape[1])[None, :, None]).astype(image.dtype)

    image = (100 * rng.random((9, 12, 1))).astype(dtype)
    steps = []
    result = SelfEnsemble(Leaning())(image, progress=lambda *step: steps.append(step))
    assert result.dtype == dtype and SelfEnsemble(Leaning()).channels == 1
    np.testing.assert_allclose(result.astype(float), image.astype(float) + 5, atol=1)
    assert steps == [(number + 1, ORIENTATIONS) for number in range(ORIENTATIONS)]


def test_the_noise_is_estimated_once_and_told_once(rng, monkeypatch):
    asked, told, laws = [], [], []

    class Asked:
        channels = 1

        def __call__(self, image, white_level=None, progress=None, tell=None, noise="auto"):
            laws.append(noise)
            if tell:
                tell(noise, 0.0)
            return image

    def estimate(image):
        asked.append(image.shape)
        return "a law"

    monkeypatch.setattr("n2n_tf.denoising.self_ensemble.estimate_noise", estimate)
    image = rng.random((9, 12, 1), np.float32)
    SelfEnsemble(Asked())(image, tell=lambda *words: told.append(words))
    assert asked == [image.shape] and told == [("a law", 0.0)]
    assert laws == ["a law"] * ORIENTATIONS
