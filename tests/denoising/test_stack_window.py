"""Neighbouring planes: which they are, what their mean holds, and where they play no part."""

import cv2
import numpy as np
import pytest
import tifffile

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.files import denoise_file
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.stack_window import EACH, blended, of_mean, runs_of, windows
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.pipelines.files.image_limits import ImageFileError

SIGMA = 10.0
LAW = NoiseEstimate((0.0,), (SIGMA**2,))


def means_of_two(image, *_, **how):
    """Half of a picture's noise is gone: the mean over rows two by two."""
    image = np.asarray(image, np.float32)
    return (image + np.roll(image, 1, 0)) / 2


def smooth(planes, rng):
    """Noisy planes of a scene at rest, and each of them as a perfect network sees it."""
    clean = np.full((64, 48, 1), 100, np.float32)
    noisy = [np.float32(clean + rng.normal(0, SIGMA, clean.shape)) for _ in range(planes)]
    return clean, noisy, [clean] * planes


@pytest.mark.parametrize("planes", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("each", [1, 2])
def test_every_plane_is_taken_once_and_seen_with_those_around_it(planes, each):
    taken = []
    made = list(windows((taken.append(i) or i for i in range(planes)), each))
    assert taken == list(range(planes)) and len(made) == planes
    for index, (at, around) in enumerate(made):
        assert around == list(range(max(0, index - each), min(planes, index + each + 1)))
        assert around[at] == index


def test_only_a_few_planes_are_held():
    taken = []
    for index, _ in enumerate(windows(taken.append(i) or i for i in range(50))):
        assert len(taken) == min(50, index + EACH + 1)


def test_neighbours_lie_along_time_or_else_depth_and_never_across_channels():
    assert runs_of({"T": 3}) == [[0, 1, 2]]
    assert runs_of({"Z": 2, "C": 2}) == [[0, 2], [1, 3]]
    assert runs_of({"T": 2, "Z": 3}) == [[0, 3], [1, 4], [2, 5]]
    assert runs_of({"C": 3}) is None and runs_of({"I": 3}) is None and runs_of({}) is None


def test_a_scene_at_rest_is_the_denoised_mean_of_its_planes(rng):
    _, noisy, alone = smooth(5, rng)
    laws = []

    def denoise(mean, law):
        laws.append(law)
        return means_of_two(mean)

    result = blended(noisy, alone, 2, LAW, denoise)
    np.testing.assert_allclose(result, means_of_two(np.mean(noisy, 0)), rtol=1e-5)
    assert laws == [of_mean(LAW, 5)] and laws[0].read == pytest.approx((SIGMA**2 / 5,))


def test_the_noise_of_a_mean_is_what_planes_share_and_a_part_of_the_rest(rng):
    """Variance of the mean of n planes that share s of their noise: s + (1 - s) / n."""
    law = NoiseEstimate((2.0,), (-3.0,))
    for shared in (0.0, 0.3, 1.0):
        common = np.sqrt(shared) * rng.normal(size=(1, 200_000))
        planes = common + np.sqrt(1 - shared) * rng.normal(size=(4, 200_000))
        expected = planes.mean(0).var()
        made = of_mean(law, 4, shared)
        assert made.gain[0] == pytest.approx(2 * expected, rel=0.02)
        assert made.read[0] == pytest.approx(-3 * expected, rel=0.02)


def test_copies_of_one_plane_are_known_to_hold_its_noise(rng):
    _, noisy, alone = smooth(1, rng)
    laws = []
    blended(noisy * 5, alone * 5, 2, LAW, lambda mean, law: laws.append(law) or mean)
    assert laws[0].read == pytest.approx(LAW.read)


def test_what_moves_stays_as_it_was_and_what_is_far_from_it_gains(rng):
    clean, noisy, alone = smooth(5, rng)
    alone = [plane.copy() for plane in alone]
    for index in range(5):
        spot = np.s_[20:30, 10 + 4 * index : 16 + 4 * index]
        noisy[index][spot] += 90
        alone[index][spot] += 90
    result = blended(noisy, alone, 2, LAW, lambda mean, law: mean)
    moving = np.s_[20:30, 10:32]
    assert np.abs(np.mean(noisy, 0) - alone[2])[moving].max() > 20
    np.testing.assert_allclose(result[moving], alone[2][moving], atol=SIGMA / 20)
    far = np.ones(clean.shape[:2], bool)
    far[2:48, :] = False
    np.testing.assert_allclose(result[far], np.mean(noisy, 0)[far], rtol=1e-5)


def test_units_do_not_matter(rng):
    _, noisy, alone = smooth(3, rng)
    alone = [plane + np.float32(shift) for plane, shift in zip(alone, (0, 1, 2), strict=True)]
    alone[0][:30] += 9
    plain = blended(noisy, alone, 1, LAW, means_of_two)
    law = NoiseEstimate((0.0,), (SIGMA**2 / 64,))
    noisy, alone = ([plane / 8 + 32 for plane in planes] for planes in (noisy, alone))
    np.testing.assert_allclose(blended(noisy, alone, 1, law, means_of_two), plain / 8 + 32, 1e-5)


def test_nan_stays_where_it_is(rng):
    _, noisy, alone = smooth(3, rng)
    alone = [plane.copy() for plane in alone]
    alone[1][30, 20] = noisy[1][30, 20] = alone[0][5, 5] = noisy[0][5, 5] = np.nan
    result = blended(noisy, alone, 1, LAW, lambda mean, law: np.nan_to_num(mean))
    assert np.isnan(result[30, 20]) and np.isnan(result).sum() == 1


# Whole files


def model(kind="gray"):
    """A network that blurs, for noise of known strength."""

    def blur(image):
        return cv2.blur(image[0], (7, 7))[None, ..., None]

    return Denoiser(blur, ModelInfo(channels=1, size_multiple=1, halo=3, noise_level=(0.02, 0.2)))


def stack_of(shape, rng, dtype=np.uint16):
    x = np.arange(shape[-1])
    return np.round(1000 + 300 * np.sin(x / 15) + rng.normal(0, 60, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
def test_a_file_gets_what_its_planes_give_in_memory(tmp_path, rng, dtype):
    stack = stack_of((4, 96, 96), rng, dtype)
    np.save(tmp_path / "a.npy", stack)
    denoise_file(
        tmp_path / "a.npy",
        tmp_path / "b.npy",
        model,
        axes="TYX",
        stack_window=True,
        noise=NoiseEstimate((0.0,), (3600.0,)),
    )
    law, denoise = NoiseEstimate((0.0,), (3600.0,)), model()
    noisy = [np.float32(plane[..., None]) for plane in stack]
    alone = [denoise(plane, noise=law) for plane in noisy]
    result = np.load(tmp_path / "b.npy")
    for index in range(4):
        near = slice(max(0, index - EACH), index + EACH + 1)
        expected = blended(
            noisy[near], alone[near], index - near.start, law, lambda m, law: denoise(m, noise=law)
        )
        step = 0.51 if np.dtype(dtype).kind in "ui" else 1e-3
        np.testing.assert_allclose(result[index], expected[..., 0], rtol=0, atol=step)
        assert np.abs(expected - alone[index]).max() > 10  # there was something to gain


def test_channels_get_no_help_from_one_another_and_frames_do(tmp_path, rng):
    """ImageJ's planes go through the channels first: two scenes at rest, apart by their level."""
    stack = stack_of((5, 2, 128, 128), rng)
    stack[:, 1] += 5000
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    results, steps = [], []
    for window in (False, True):
        target = tmp_path / f"{window}.tif"
        denoise_file(
            tmp_path / "a.tif",
            target,
            lambda kind: model(),
            stack_window=window,
            progress=(lambda *step: steps.append(step)) if window else None,
        )
        with tifffile.TiffFile(target) as tiff:
            assert tiff.series[0].axes == "TCYX"
            results.append(tiff.asarray())
    x = np.arange(128)
    clean = 1000 + 300 * np.sin(x / 15) + np.array([0, 5000]).reshape(1, 2, 1, 1)
    plain, helped = (np.square(result - clean).mean((2, 3)) for result in results)
    assert (helped < 0.6 * plain).all()
    assert steps == sorted(steps) and steps[-1][0] <= steps[-1][1]


def test_planes_of_several_axes_come_in_order_in_a_file_of_another_kind(tmp_path, rng):
    stack = stack_of((4, 2, 96, 96), rng)
    stack[:, 1] += 5000
    np.save(tmp_path / "a.npy", stack)
    for name in ("b.npy", "b.tif"):
        denoise_file(tmp_path / "a.npy", tmp_path / name, model, "TCYX", stack_window=True)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.series[0].axes == "TCYX"
        np.testing.assert_array_equal(tiff.asarray(), np.load(tmp_path / "b.npy"))


def test_planes_that_are_no_frames_are_refused_and_a_single_one_is_told(tmp_path, rng):
    stack = stack_of((3, 40, 40), rng)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(ImageFileError, match=r"a\.tif: --stack_window is for planes along T"):
        denoise_file(tmp_path / "a.tif", tmp_path / "b.tif", model, stack_window=True)
    assert not (tmp_path / "b.tif").exists()
    tifffile.imwrite(tmp_path / "one.tif", stack[0])
    _, notes = denoise_file(tmp_path / "one.tif", tmp_path / "b.tif", model, stack_window=True)
    assert notes == ["it holds one plane, which has no neighbours"]
