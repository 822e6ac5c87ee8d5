"""The warning about correlated noise: on noisy photographs as they are, and after processing."""

import cv2
import numpy as np
import pytest

from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, SECOND_SET, embedded_photo
from n2n_tf.pipelines.noise.independence import LIMIT, correlation_warning, neighbour_ratio

NOISE = {
    "gauss5": lambda x, rng: x + rng.normal(size=x.shape) * 5 / 255,
    "gauss25": lambda x, rng: x + rng.normal(size=x.shape) * 25 / 255,
    "poisson30": lambda x, rng: rng.poisson(30 * x) / 30,
}


def in_8_bits(image):
    return np.uint8(np.clip(image, 0, 1) * 255 + 0.5) / np.float32(255)


def jpeg(image, quality):
    pixels = np.uint8(np.clip(image, 0, 1) * 255 + 0.5)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR) / 255


def demosaiced(image):
    mosaic = np.empty(image.shape[:2])
    for top, left, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[top::2, left::2] = image[top::2, left::2, channel]
    levels = np.uint16(np.clip(mosaic * 50000 + 8000, 0, 65535))
    return (cv2.demosaicing(levels, cv2.COLOR_BayerBG2RGB) - 8000.0) / 50000


PROCESSED = {
    "demosaiced": demosaiced,
    "jpeg95": lambda x: jpeg(x, 95),
    "jpeg75": lambda x: jpeg(x, 75),
    "doubled": lambda x: cv2.resize(x, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR),
    "blurred": lambda x: cv2.blur(x, (3, 3)),
}


class Folder:
    """Looks like an `ImageFolder`."""

    def __init__(self, images, suffix=".png"):
        self.images, self.sizes = images, [image.shape[:2] for image in images]
        self.names = [f"{i}{suffix}" for i in range(len(images))]

    def __len__(self):
        return len(self.images)

    def crop(self, index, top, left, height, width):
        return self.images[index][top : top + height, left : left + width]


def noisy_photos(kind):
    rng = np.random.default_rng(7)
    return [NOISE[kind](embedded_photo(n) / 255.0, rng) for n in (*FIRST_SET, *SECOND_SET)]


@pytest.mark.parametrize("kind", NOISE)
def test_independent_noise_is_not_warned_of(kind):
    photos = noisy_photos(kind)
    assert [neighbour_ratio(in_8_bits(p)) > LIMIT for p in photos] == [True] * len(photos)
    assert correlation_warning(Folder(photos)) is None


@pytest.mark.parametrize("processing", PROCESSED)
@pytest.mark.parametrize("kind", NOISE)
def test_correlated_noise_is_warned_of(kind, processing):
    photos = [PROCESSED[processing](p) for p in noisy_photos(kind)[::2]]
    warning = correlation_warning(Folder(photos))
    assert warning and "not independent from pixel to pixel" in warning


def test_gray_jpegs_are_known_by_their_name(rng):
    white = [rng.normal(0.5, 0.1, (64, 64, 1)) for _ in range(3)]
    assert correlation_warning(Folder(white)) is None
    assert "3 of 3 are JPEG files" in correlation_warning(Folder(white, ".JPG"))


def test_packed_raw_is_judged_plane_by_plane(rng):
    noise = rng.normal(0.2, 0.05, (128, 128, 4))
    assert neighbour_ratio(noise) > LIMIT
    noise[..., 2] = cv2.blur(noise[..., 2], (3, 3))
    assert neighbour_ratio(noise) < LIMIT


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3)), np.ones((16, 64, 1))])
def test_without_noise_or_room_nothing_is_said(image):
    assert np.isnan(neighbour_ratio(image))
    assert correlation_warning(Folder([image])) is None
