"""The evaluation against a literal transcription of the official loop, and what it refuses."""

import cv2
import numpy as np
import pytest

from n2n_tf.evaluation.clean_images import load_clean
from n2n_tf.evaluation.protocol import (
    FIGURES,
    PAPER_REPEATS,
    SEED,
    Result,
    average,
    evaluate,
    strip,
)
from n2n_tf.pipelines.files.image_files import ImageFileError, write_image
from n2n_tf.pipelines.noise.synthetic import parse_noise

# Wide, tall (padding longer than the image: mirrored several times), exact, and one pixel over.
SHAPES = [(40, 70, 3), (100, 20, 3), (64, 64, 3), (33, 31, 3)]


def pictures(shapes, seed=0):
    """Smooth colourful uint8 images with dark and bright parts."""
    generator = np.random.default_rng(seed)
    images = []
    for height, width, channels in shapes:
        coarse = generator.integers(0, 256, (4, 4, channels), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        images.append(image.reshape(height, width, channels))
    return images


def blur(image):
    """A denoiser that depends on the padding and leaves [0, 1] now and then."""
    return cv2.blur(image, (5, 5), borderType=cv2.BORDER_CONSTANT) * np.float32(1.1)


# The official train.py, literally, but for its network and its reading of files.


def official_noise(x, style):
    kind, params = style
    shape = x.shape
    if kind == "gauss_fix":
        return np.array(x + np.random.normal(size=shape) * params[0], dtype=np.float32)
    if kind == "gauss_range":
        std = np.random.uniform(low=params[0], high=params[1], size=(1, 1, 1))
        return np.array(x + np.random.normal(size=shape) * std, dtype=np.float32)
    if kind == "poisson_fix":
        return np.array(np.random.poisson(params[0] * x) / params[0], dtype=np.float32)
    lam = np.random.uniform(low=params[0], high=params[1], size=(1, 1, 1))
    return np.array(np.random.poisson(lam * x) / lam, dtype=np.float32)


def official_psnr(target, ref):
    diff = np.array(target, dtype=np.float32) - np.array(ref, dtype=np.float32)
    return 10.0 * np.log10(255.0**2 / np.mean(np.square(diff)))


def official_ssim_of_channel(img1, img2):
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    img1, img2 = img1.astype(np.float64), img2.astype(np.float64)
    kernel = cv2.getGaussianKernel(11, 1.5)
    window = np.outer(kernel, kernel.transpose())
    mu1 = cv2.filter2D(img1, -1, window)[5:-5, 5:-5]
    mu2 = cv2.filter2D(img2, -1, window)[5:-5, 5:-5]
    mu1_sq, mu2_sq, mu1_mu2 = mu1**2, mu2**2, mu1 * mu2
    sigma1_sq = cv2.filter2D(img1**2, -1, window)[5:-5, 5:-5] - mu1_sq
    sigma2_sq = cv2.filter2D(img2**2, -1, window)[5:-5, 5:-5] - mu2_sq
    sigma12 = cv2.filter2D(img1 * img2, -1, window)[5:-5, 5:-5] - mu1_mu2
    ssim_map = ((2 * mu1_mu2 + c1) * (2 * sigma12 + c2)) / (
        (mu1_sq + mu2_sq + c1) * (sigma1_sq + sigma2_sq + c2)
    )
    return ssim_map.mean()


def official_ssim(target, ref):
    return np.mean([official_ssim_of_channel(target[..., i], ref[..., i]) for i in range(3)])


def official_loop(sets, style, network):
    """sets: [(images, repeats)] -> [(psnr, ssim) of noisy and denoised] of every image."""
    np.random.seed(101)
    rows = []
    for valid_images, repeat_times in sets:
        for _ in range(repeat_times):
            for im in valid_images:
                origin255 = im.copy()
                im = np.array(im, dtype=np.float32) / 255.0
                noisy_im = official_noise(im, style)
                noisy255 = np.clip(noisy_im.copy() * 255.0 + 0.5, 0, 255).astype(np.uint8)
                height, width = noisy_im.shape[0], noisy_im.shape[1]
                val_size = (max(height, width) + 31) // 32 * 32
                noisy_im = np.pad(
                    noisy_im, [[0, val_size - height], [0, val_size - width], [0, 0]], "reflect"
                )
                prediction = network(noisy_im)[:height, :width, :].clip(0, 1)
                pred255 = np.clip(prediction * 255.0 + 0.5, 0, 255).astype(np.uint8)
                rows.append(
                    [
                        official_psnr(origin255, noisy255),
                        official_ssim(origin255, noisy255),
                        official_psnr(origin255, pred255),
                        official_ssim(origin255, pred255),
                    ]
                )
    return rows


@pytest.mark.parametrize(
    "name, style",
    [
        ("gauss25", ("gauss_fix", [25.0 / 255.0])),
        ("gauss5_50", ("gauss_range", [5.0 / 255.0, 50.0 / 255.0])),
        ("poisson30", ("poisson_fix", [30.0])),
        ("poisson5_50", ("poisson_range", [5.0, 50.0])),
    ],
)
def test_figures_are_those_of_the_official_loop(name, style):
    first, second = pictures(SHAPES), pictures(SHAPES[:2], seed=9)
    sides = set()

    def network(image):
        sides.add(image.shape)
        return blur(image)

    expected = official_loop([(first, 2), (second, 1)], style, network)
    assert sides == {(64, 64, 3), (96, 96, 3), (128, 128, 3)}

    stream = np.random.RandomState(SEED)
    results = []
    for images, repeats in ((first, 2), (second, 1)):
        named = [(f"{i}.png", image) for i, image in enumerate(images)]
        results += evaluate(network, named, parse_noise(name), stream, repeats)
    assert sides == {(64, 64, 3), (96, 96, 3), (128, 128, 3)}, "the network saw other squares"
    got = [result.figures() for result in results]
    np.testing.assert_allclose(got, expected, rtol=2e-6)
    order = [f"{i}.png" for i in (0, 1, 2, 3, 0, 1, 2, 3, 0, 1)]
    assert [r.name for r in results] == order
    assert [r.repeat for r in results] == [0] * 4 + [1] * 4 + [0] * 2
    # Both repeats of one image have noise of their own.
    assert got[0] != got[4]


def test_without_a_denoiser_the_noisy_image_itself_is_scored():
    images = [(str(i), image) for i, image in enumerate(pictures(SHAPES))]
    noise = parse_noise("gauss25")
    plain = list(evaluate(None, images, noise, np.random.RandomState(SEED)))
    with_blur = list(evaluate(blur, images, noise, np.random.RandomState(SEED)))
    for alone, both in zip(plain, with_blur, strict=True):
        assert (alone.psnr, alone.ssim) == (alone.psnr_noisy, alone.ssim_noisy)
        assert (alone.psnr_noisy, alone.ssim_noisy) == (both.psnr_noisy, both.ssim_noisy)
        np.testing.assert_array_equal(alone.images[1], alone.images[2])
        np.testing.assert_array_equal(alone.images[1], both.images[1])
    # Clipping takes a little of the noise away: above the 20.17 dB of sigma 25.
    assert 20.2 < average(plain)["psnr_noisy"] < 22


def test_seeds_decide_the_figures():
    images, noise = [("a", pictures(SHAPES[:1])[0])], parse_noise("poisson5_50")
    scores = [
        [r.figures() for r in evaluate(blur, images, noise, np.random.RandomState(seed), 2)]
        for seed in (101, 101, 102)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_sixteen_bits_are_scored_on_sixteen():
    (eight,) = pictures(SHAPES[:1])
    deep, noise = eight.astype(np.uint16) * 257, parse_noise("gauss25")
    results = [
        next(evaluate(blur, [("a", image)], noise, np.random.RandomState(SEED)))
        for image in (eight, deep)
    ]
    assert [image.dtype for image in results[1].images] == [np.uint16] * 3
    assert np.unique(results[1].images[1]).size > 256
    # The same noise in relation to white; only the rounding differs.
    np.testing.assert_allclose(results[0].figures(), results[1].figures(), rtol=2e-3)
    assert results[0].figures() != results[1].figures()


def test_a_perfect_denoiser_is_perfect():
    (clean,) = pictures([(64, 32, 3)])

    def oracle(square):
        assert square.shape == (64, 64, 3)
        return np.pad(clean / np.float32(255), ((0, 0), (0, 32), (0, 0)))

    result = next(
        evaluate(oracle, [("a", clean)], parse_noise("gauss50"), np.random.RandomState(0))
    )
    assert result.psnr == np.inf and result.ssim == 1.0
    np.testing.assert_array_equal(result.images[2], clean)
    assert np.isfinite(result.psnr_noisy) and result.ssim_noisy < 1


def test_average_is_over_images_and_repeats():
    results = [Result("a", i, 10.0 * i, 0.1 * i, 20.0 * i, 0.2 * i, None) for i in (1, 2, 6)]
    expected = {"psnr_noisy": 30.0, "ssim_noisy": 0.3, "psnr": 60.0, "ssim": 0.6}
    assert average(results) == pytest.approx(expected)
    assert tuple(average(results)) == FIGURES


def test_the_papers_repeats():
    assert PAPER_REPEATS == {"Kodak": 10, "BSD300": 3, "Set14": 20}


def test_strip_is_clean_noisy_denoised():
    clean, noisy, denoised = (np.full((2, 3, 1), v, np.uint8) for v in (1, 2, 3))
    assert strip(clean, noisy, denoised)[0, :, 0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


# Reading


def test_load_clean_reads_in_the_order_of_paths(tmp_path):
    image = pictures([(12, 14, 3)])[0]
    gray16 = image[..., :1].astype(np.uint16) * 257
    (tmp_path / "b").mkdir()
    for name, pixels in (("c.png", image), ("a.tif", gray16), ("b/x.png", image)):
        write_image(tmp_path / name, pixels)
    loaded = load_clean(tmp_path, 3)
    first = load_clean(tmp_path, 3, most=2)
    assert [name for name, _ in first] == [name for name, _ in loaded[:2]]
    assert [name for name, _ in loaded] == ["a.tif", "b/x.png", "c.png"]
    np.testing.assert_array_equal(loaded[2][1], image)
    np.testing.assert_array_equal(loaded[0][1], np.repeat(gray16, 3, axis=2))
    assert [pixels.shape for _, pixels in load_clean(tmp_path, 1)] == [(12, 14, 1)] * 3


def test_load_clean_refuses_to_score_fewer_images_than_there_are(tmp_path):
    with pytest.raises(ImageFileError, match="no such folder"):
        load_clean(tmp_path / "nothing", 3)
    with pytest.raises(ImageFileError, match="no image"):
        load_clean(tmp_path, 3)
    good = pictures([(12, 14, 3)])[0]
    write_image(tmp_path / "good.png", good)
    assert len(load_clean(tmp_path, 3)) == 1
    for name, pixels, words in (
        ("small.png", good[:10], "14 x 10 pixels; SSIM needs 11"),
        ("float.tif", good.astype(np.float32) / 255, "float32 pixels; only 8- and 16-bit files"),
    ):
        write_image(tmp_path / name, pixels)
        with pytest.raises(ImageFileError, match=words) as caught:
            load_clean(tmp_path, 3)
        assert str(tmp_path / name) in str(caught.value)
        (tmp_path / name).unlink()
    (tmp_path / "damaged.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"damaged\.png"):
        load_clean(tmp_path, 3)
    with pytest.raises(ValueError, match="Received: channels=2"):
        load_clean(tmp_path, 2)


def test_photographs_are_scored_as_raw_in_floats(tmp_path):
    (photo,) = pictures([(45, 61, 3)])
    write_image(tmp_path / "a.png", photo)
    loaded = load_clean(tmp_path, 4)
    ((name, clean),) = loaded
    assert (name, clean.dtype, clean.shape) == ("a.png", np.float32, (22, 30, 4))
    np.testing.assert_array_equal(load_clean(tmp_path, 4)[0][1], clean)

    noise = parse_noise("raw:0.01,0.001")
    results = [
        next(evaluate(lambda x: x * 0.5, loaded, noise, np.random.RandomState(SEED)))
        for _ in range(2)
    ]
    assert results[0].figures() == results[1].figures()
    _, noisy, denoised = results[0].images
    np.testing.assert_array_equal(denoised, noisy * 0.5)  # neither rounded nor clipped
    for image, figure in ((noisy, results[0].psnr_noisy), (denoised, results[0].psnr)):
        assert figure == pytest.approx(-10 * np.log10(np.mean((clean - image) ** 2)), rel=1e-5)
    # Variance 0.01 x + 0.001, of each intensity x.
    expected = -10 * np.log10(np.mean(0.01 * clean + 0.001))
    assert results[0].psnr_noisy == pytest.approx(expected, abs=0.5)


def test_a_photograph_too_small_for_raw_is_named(tmp_path):
    write_image(tmp_path / "a.png", pictures([(21, 40, 3)])[0])
    assert len(load_clean(tmp_path, 3)) == 1
    with pytest.raises(ImageFileError, match=r"a\.png: 40 x 21 pixels; SSIM needs 22"):
        load_clean(tmp_path, 4)
