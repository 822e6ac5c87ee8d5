"""Noisy training images in any units, each brought to what denoising will bring pictures to."""

import threading
from typing import Any

import numpy as np

from n2n_tf.denoising.noise_level import NoiseEstimate, estimate_noise
from n2n_tf.denoising.stabilise import Scale, stabilise

SIDE = 512  # pixels of an image's middle in which its noise and range are looked for


class ScaledByNoise:
    """A folder's images, scaled by their own noise, so that units and offsets do not matter.

    As `n2n_tf.denoising.known_noise` scales the pictures that the trained network will get: each
    fills [0, 1], unless its noise is then outside `noise_level`; photon noise becomes alike at all
    levels. An image's scale is found when it is first read.

    Args:
        plain: `ImageFolder`.

    Attributes:
        plain: the argument, to which all other attributes belong.
        noise_level: standard deviations of the weakest and the strongest noise, for model.json.
        fingerprint: of the images and of how they are read.
    """

    noise_level = 0.01, 0.2

    def __init__(self, plain: Any) -> None:
        self.plain, self.fingerprint = plain, f"{plain.fingerprint}-by-noise"
        self._scales, self._lock = {}, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def __len__(self) -> int:
        return len(self.plain)

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, channels]."""
        with self._lock:
            if index not in self._scales:
                self._scales[index] = self._scale(index)
        return self._scales[index].apply(self.plain.crop(index, top, left, height, width))

    def _scale(self, index: int) -> Scale:
        sides = [min(side, SIDE) for side in self.plain.sizes[index]]
        whole = self.plain.sizes[index]
        corner = [(side - cut) // 2 for side, cut in zip(whole, sides, strict=True)]
        image = self.plain.crop(index, *corner, *sides)
        finite = np.isfinite(image)
        image = np.where(finite, image, np.median(image[finite]) if finite.any() else 0)
        law = estimate_noise(image)
        if law.nothing:
            least = max(self.noise_level[0] * float(np.ptp(image)), 1e-12)
            law = NoiseEstimate((0.0,) * image.shape[2], (least**2,) * image.shape[2])
        return stabilise(image, law, self.noise_level)[1]
