"""The paper's evaluation: synthetic noise from one seeded stream, 8-bit PSNR and SSIM."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from n2n_tf.evaluation.metrics import psnr, ssim
from n2n_tf.pipelines.files.image_files import to_float, to_integer
from n2n_tf.pipelines.noise.synthetic import RAW_KINDS, Noise, add_noise, add_noise_numpy
from n2n_tf.pipelines.padding import reflect_pad, round_up

SEED = 101
PAPER_REPEATS = {"Kodak": 10, "BSD300": 3, "Set14": 20}  # noise realisations per image
PAPER_SQUARE = 32  # images are mirror-padded to a square with sides of a multiple of this


@dataclasses.dataclass(frozen=True)
class Result:
    """One image, one noise realisation.

    PSNR in dB; `images` are (clean, noisy, denoised) of the clean image's type, or None if dropped.
    """

    name: str
    repeat: int
    psnr_noisy: float
    ssim_noisy: float
    psnr: float
    ssim: float
    images: tuple[np.ndarray, np.ndarray, np.ndarray] | None

    def figures(self) -> list[float]:
        """The four numbers in the order of `FIGURES`."""
        return [getattr(self, name) for name in FIGURES]


# Shows that results are being made: callable(results, how many, a text) -> the same results.
Progress = Callable[[Iterable[Result], int, str], Iterable[Result]]
FIGURES = ("psnr_noisy", "ssim_noisy", "psnr", "ssim")


def evaluate(
    denoise: Callable[[np.ndarray], np.ndarray] | None,
    images: Sequence[tuple[str, np.ndarray]],
    noise: Noise,
    generator: np.random.RandomState,
    repeats: int = 1,
    square: bool = True,
) -> Iterator[Result]:
    """Adds noise to clean images, denoises and scores them, in the official order.

    For each repeat, for each image: noise from `generator` in float64, neither clipped nor rounded;
    mirror-padding at the bottom and right to a square of a multiple of 32; the network; cropping;
    clipping and rounding to the integers of the clean image; PSNR and SSIM on those.

    Args:
        denoise: callable, float32 [H, W, C] -> the same shape; None scores the noisy image itself.
        images: list of (name, uint8 or uint16 array [H, W, C]). Floats are compared as floats,
            with peak 1: rounding raw data to 8 bits would cost decibels.
        noise: `n2n_tf.pipelines.noise.synthetic.Noise`.
        generator: `numpy.random.RandomState(101)` for the paper's protocol; several data sets
            share one, in the order Kodak, BSD300, Set14.
        repeats: noise realisations of each image.
        square: whether `denoise` is given the padded square; what is no network has no need
            of it, and takes the image itself.

    Yields:
        `Result`.

    Source: the official train.py, validation part.
    """
    for repeat in range(repeats):
        for name, clean in images:
            if noise.kind in RAW_KINDS:
                # NumPy's stream seeds TensorFlow's: these noises exist there alone.
                seed = generator.randint(2**31, size=2)
                noisy = np.asarray(add_noise(clean, noise, seed))
            else:
                noisy = add_noise_numpy(to_float(clean), noise, generator)
            denoised = noisy
            if denoise is not None:
                denoised = _denoise_as_square(denoise, noisy) if square else denoise(noisy)
            noisy, denoised, peak = _comparable(clean, noisy, denoised)
            before = psnr(clean, noisy, peak), ssim(clean, noisy, peak)
            after = before
            if denoise is not None:
                after = psnr(clean, denoised, peak), ssim(clean, denoised, peak)
            yield Result(name, repeat, *before, *after, (clean, noisy, denoised))


def _comparable(clean, *images):
    """Images in the type of the clean one, and its peak: integers rounded, floats as they are."""
    if clean.dtype.kind == "f":
        return *images, 1.0
    return *(to_integer(image, clean.dtype) for image in images), np.iinfo(clean.dtype).max


def _denoise_as_square(denoise, noisy):
    height, width = noisy.shape[:2]
    side = round_up(max(height, width), PAPER_SQUARE)
    return denoise(reflect_pad(noisy, side, side))[:height, :width]


def average(results: Iterable[Result]) -> dict[str, float]:
    """Means over images and repeats: dict with the names of `FIGURES`."""
    means = np.mean([result.figures() for result in results], axis=0)
    return dict(zip(FIGURES, means.tolist(), strict=True))


def strip(clean: np.ndarray, noisy: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """The three uint8 or uint16 images side by side, for looking at."""
    return np.concatenate([clean, noisy, denoised], axis=1)
