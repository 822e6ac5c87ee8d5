"""Detail that channels share is taken off, noise is not."""

import numpy as np
import pytest

from n2n_tf.denoising.shared_detail import own_energies


@pytest.fixture
def random():
    return np.random.default_rng(3)


def bands(detail, noise, random, factors, blocks=4000, counts=(14, 21, 21)):
    """Coefficients of three bands: a scene that falls with frequency, seen by every channel."""
    made = []
    for fall, count in zip((4.0, 2.0, 1.0), counts, strict=True):
        scene = detail * fall * random.normal(size=(blocks, count))
        made.append(
            np.stack(
                [
                    f * scene + n * random.normal(size=scene.shape)
                    for f, n in zip(factors, noise, strict=True)
                ]
            )
        )
    return made, [np.square(band).mean(2) for band in made]


@pytest.mark.parametrize("detail", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("factors", [(1, 1, 1), (0.7, 1, 1.3), (1, 1, 1, 1)])
def test_noise_is_what_remains(detail, factors, random):
    noise = np.array([1.0, 2.0, 0.8, 1.5][: len(factors)])
    made, energies = bands(detail, noise, random, factors)
    own, shared = own_energies(made, energies, np.ones(4000, bool))
    assert not shared.any()
    slack = 0.03 * (noise**2 + detail**2)
    for energy in own[1:]:
        assert (np.abs(energy.mean(1) - noise**2) < slack + 0.1 * noise**2).all()


def test_two_channels_of_equal_noise(random):
    made, energies = bands(2.0, (1, 1), random, (1, 1))
    own, _ = own_energies(made, energies, np.ones(4000, bool))
    assert own[2].mean() == pytest.approx(1, abs=0.1)


def test_white_noise_that_all_channels_share_is_noise(random):
    made = [np.stack([x, 0.5 * x, -0.0 * x + 0.8 * x]) for x in random.normal(size=(3, 4000, 21))]
    energies = [np.square(band).mean(2) for band in made]
    found, shared = own_energies(made, energies, np.ones(4000, bool))
    assert shared.all()
    for own, energy in zip(found, energies, strict=True):
        np.testing.assert_array_equal(own, energy)


def test_without_common_blocks_nothing_is_taken_off(random):
    made, energies = bands(2.0, (1, 1), random, (1, 1))
    own, shared = own_energies(made, energies, np.zeros(4000, bool))
    assert own is energies and not shared.any()
