"""The paper's evaluation: synthetic noise from one seeded stream, 8-bit PSNR and SSIM."""

import dataclasses
import pathlib

import numpy as np

from n2n_tf.metrics import SSIM_WINDOW, psnr, ssim
from n2n_tf.raw import raw_planes_of_photo
from n2n_tf.tiling import reflect_pad, round_up
from pipelines.batches import frozen_seed
from pipelines.embedded_photos import SECOND_SET, embedded_photo
from pipelines.image_files import (
    ImageFileError,
    list_images,
    read_image,
    to_channels,
    to_float,
    to_integer,
)
from pipelines.noise import RAW_KINDS, add_noise, add_noise_numpy

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

    def figures(self):
        """The four numbers in the order of `FIGURES`."""
        return [getattr(self, name) for name in FIGURES]


FIGURES = ("psnr_noisy", "ssim_noisy", "psnr", "ssim")


def load_clean(folder, channels, most=None):
    """Reads the images of a folder as [(name, clean image)], sorted by path.

    Args:
        folder: folder, searched recursively.
        channels: 1 or 3: uint8 or uint16 [H, W, channels]; gray and RGB are converted into each
            other. 4: float32 [H / 2, W / 2, 4], the photographs unprocessed to packed camera raw,
            each by a camera of its own that its name decides.
        most: int, how many are read, the first by path; None: all.

    Raises:
        ImageFileError: for a missing or empty folder, or any image that cannot be read or scored: a
            figure over fewer images than there are would be a wrong figure.
        ValueError: for another number of channels.
    """
    if channels not in (1, 3, 4):
        raise ValueError(
            f"Images are evaluated as gray, RGB or raw. Received: channels={channels}."
        )
    root = pathlib.Path(folder)
    named = [(p.relative_to(root).as_posix(), p) for p in list_images(root)[:most]]
    if channels == 4:
        return [(name, _read_as_raw(path, name)) for name, path in named]
    return [(name, _read(path, channels)) for name, path in named]


def embedded_clean(channels):
    """The same of photographs that scikit-image ships and that nothing here is trained on."""
    photos = [(name, embedded_photo(name)) for name in SECOND_SET]
    if channels == 4:
        return [(name, _as_raw(photo, name)) for name, photo in photos]
    return [(name, to_channels(photo, channels)) for name, photo in photos]


def _read_as_raw(path, name):
    return _as_raw(_read(path, 3, 2 * SSIM_WINDOW), name)


def _as_raw(photo, name):
    """A photograph as clean packed raw, unprocessed by the camera that belongs to its name."""
    rgb = to_float(photo)
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    return np.asarray(raw_planes_of_photo(rgb[:height, :width], frozen_seed(SEED, name)))


def _read(path, channels, least=SSIM_WINDOW):
    pixels = read_image(path).pixels
    if pixels.dtype.kind != "u":
        raise ImageFileError(f"{path}: {pixels.dtype} pixels; only 8- and 16-bit files are scored.")
    if min(pixels.shape[:2]) < least:
        raise ImageFileError(
            f"{path}: {pixels.shape[1]} x {pixels.shape[0]} pixels; SSIM needs {least}."
        )
    return to_channels(pixels, channels)


def evaluate(denoise, images, noise, generator, repeats=1):
    """Adds noise to clean images, denoises and scores them, in the official order.

    For each repeat, for each image: noise from `generator` in float64, neither clipped nor rounded;
    mirror-padding at the bottom and right to a square of a multiple of 32; the network; cropping;
    clipping and rounding to the integers of the clean image; PSNR and SSIM on those.

    Args:
        denoise: callable, float32 [H, W, C] -> the same shape; None scores the noisy image itself.
        images: list of (name, uint8 or uint16 array [H, W, C]). Floats are compared as floats,
            with peak 1: rounding raw data to 8 bits would cost decibels.
        noise: `pipelines.noise.Noise`.
        generator: `numpy.random.RandomState(101)` for the paper's protocol; several data sets
            share one, in the order Kodak, BSD300, Set14.
        repeats: int.

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
            denoised = noisy if denoise is None else _denoise_as_square(denoise, noisy)
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


def average(results):
    """Means over images and repeats: dict with the names of `FIGURES`."""
    means = np.mean([result.figures() for result in results], axis=0)
    return dict(zip(FIGURES, means.tolist(), strict=True))


def strip(clean, noisy, denoised):
    """The three uint8 or uint16 images side by side, for looking at."""
    return np.concatenate([clean, noisy, denoised], axis=1)
