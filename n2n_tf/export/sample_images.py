"""Noisy images that calibrate and judge exported files."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from n2n_tf.evaluation.clean_images import load_clean
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.tflite_domain import USUAL_PROFILE, encode
from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_channels, to_float
from n2n_tf.pipelines.noise.synthetic import Noise, add_noise, parse_noise
from n2n_tf.pipelines.padding import reflect_pad
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.cache import list_raws
from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.frame import normalise
from n2n_tf.pipelines.raw.unprocess import raw_planes_of_photo, rooted_planes_of_photo
from n2n_tf.pipelines.training.sources import holds_raws

CALIBRATION_IMAGES = 32


CROPS_PER_PHOTO = 3  # of those that a file is judged on


DYNAMIC_SIZE = 192, 176  # what a file without a size of its own is calibrated and timed on


class Uint8Arguments(dict):
    """Arguments in [0, 1] of a function whose int8 file is to take and return uint8 pixels."""


def calibration_arguments(
    info: ModelInfo, folder: str | os.PathLike | None = None
) -> list[dict[str, np.ndarray]]:
    """Noisy images for the ranges of integer arithmetic, as arguments of the file's function.

    Args:
        info: `ModelInfo` of the file.
        folder: clean photographs, which get the network's noise; or noisy ones or camera raws, if
            the network was trained on images noisy already. None: embedded photographs.

    Raises:
        ValueError: if there are none.
    """
    clean = _folder_images(folder, info.channels) if folder else photos(FIRST_SET, info)
    as_they_are = folder and noise_of(info) is None
    height, width = info.tile or DYNAMIC_SIZE
    arguments = []
    for number in range(CALIBRATION_IMAGES):
        image = _crop(clean[number % len(clean)], height, width, number)
        noisy = image if as_they_are else with_noise(image, info, number)
        arguments.append(encode(noisy[None], info))
    if info.input == "rgb_uint8" and info.precision == "int8":
        # Black and white, so that the range is [0, 1] exactly and its 255 steps are the pixels.
        ends = [np.full((1, height, width, 3), value, np.uint8) for value in (0, 255)]
        pixels = [a["noisy"] for a in arguments] + ends
        return [Uint8Arguments(noisy=p.astype(np.float32) / np.float32(255)) for p in pixels]
    return arguments


def noise_of(info: ModelInfo) -> Noise | None:
    """The noise that a network was trained on; None if its images were noisy already."""
    noise = parse_noise(info.noise)
    return None if noise.kind in ("none", "profile") else noise


def with_noise(clean: np.ndarray, info: ModelInfo, seed: int) -> np.ndarray:
    """Noise of the network's own domain, or of the usual one where that is not known."""
    if info.takes_noise_profile:
        shot, read = USUAL_PROFILE
        return np.asarray(
            add_noise(clean, Noise("raw", shot=shot, read=read), [7, seed]), np.float32
        )
    noise = noise_of(info) or parse_noise("raw" if info.channels == 4 else "gauss25")
    return np.asarray(add_noise(clean, noise, [7, seed]), np.float32)


def photos(names: Sequence[str], info: ModelInfo) -> list[np.ndarray]:
    """Embedded photographs as clean float images; random ones for unusual channels."""
    channels = info.channels
    if channels in (1, 3):
        return [to_float(to_channels(embedded_photo(name), channels)) for name in names]
    if channels == 4:
        rooted = info.noise_level and not info.takes_noise_profile
        planes = rooted_planes_of_photo if rooted else raw_planes_of_photo
        return [_as_raw(embedded_photo(name), planes, i) for i, name in enumerate(names)]
    generator = np.random.default_rng(0)
    return [generator.random((256, 256, channels), np.float32) for _ in names]


def _as_raw(photo, planes, seed):
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    return np.asarray(planes(to_float(photo[:height, :width]), [11, seed]))


def _folder_images(folder, channels):
    if channels == 4 and holds_raws(folder):
        frames = [read_raw(path) for path in list_raws(folder)[:CALIBRATION_IMAGES]]
        return [bayer.pack(bayer.unify(normalise(f), f.pattern), "RGGB") for f in frames]
    return [to_float(image) for _, image in load_clean(folder, channels, CALIBRATION_IMAGES)]


def _crop(image, height, width, seed):
    """A window at a random place, mirrored where the image is smaller."""
    image = reflect_pad(image, max(height, image.shape[0]), max(width, image.shape[1]))
    free = image.shape[0] - height, image.shape[1] - width
    top, left = np.random.default_rng(seed).integers(0, [free[0] + 1, free[1] + 1])
    return image[top : top + height, left : left + width]


def judging_cases(info: ModelInfo) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Noisy images that did not calibrate, with the clean ones; the last is timed."""
    multiple, tile = info.size_multiple, info.tile
    if not tile:
        generator = np.random.default_rng(0)
        for height, width in ((2 * multiple + 1, 3 * multiple - 1), (1, multiple + 1)):
            yield generator.random((height, width, info.channels), np.float32), None
    known = info.channels in (1, 3, 4)
    for number, photo in enumerate(CROPS_PER_PHOTO * photos(SECOND_SET, info)):
        clean = _crop(photo, *(tile or DYNAMIC_SIZE), number)
        noisy = with_noise(clean, info, 1000 + number) if known else clean
        yield noisy, clean if known else None
