"""One picture denoised in its eight orientations, and the mean of the results turned back."""

from collections.abc import Callable
from typing import Any

import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.mosaics import is_mosaic
from n2n_tf.denoising.noise_level import estimate_noise

ORIENTATIONS = 8


class SelfEnsemble:
    """A `Denoiser` asked eight times: its errors differ with the orientation, and average out.

    Args:
        denoiser: `Denoiser` of pictures. The planes of a camera raw have places within their cell,
            which turning would mix up.

    Example:
        >>> same = lambda image, *_, **how: image
        >>> same.channels = 1
        >>> SelfEnsemble(same)(np.arange(6, dtype=np.uint8).reshape(2, 3)).tolist()
        [[0, 1, 2], [3, 4, 5]]
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(
        self,
        image: np.ndarray,
        white_level: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        **how: Any,
    ) -> np.ndarray:
        """As `Denoiser.__call__`, in eight times its time; of the first one, `tell` hears."""
        if how.get("noise", "auto") == "auto" and not is_mosaic(image):  # once, not eight times
            how["noise"] = estimate_noise(image)
        how.pop("in_place", None)
        total = np.zeros(image.shape, np.float64)
        for number in range(ORIENTATIONS):
            step = progress and _of_eight(progress, number)
            denoised = self._denoiser(turned(image, number), white_level, step, **how)
            total += turned_back(denoised, number)
            how.pop("tell", None)
        mean = total / ORIENTATIONS
        if image.dtype.kind in "ui":
            mean = np.floor(mean + 0.5)
        return mean.astype(denoised.dtype)


def _of_eight(progress, number):
    return lambda done, tiles: progress(number * tiles + done, ORIENTATIONS * tiles)


def turned(image: np.ndarray, number: int) -> np.ndarray:
    """Orientation 0..7 of an image [height, width, ...]: quarter turns, from 4 on mirrored too."""
    image = image[:, ::-1] if number >= 4 else image
    return np.ascontiguousarray(np.rot90(image, number % 4))


def turned_back(image: np.ndarray, number: int) -> np.ndarray:
    """Undoes `turned`."""
    image = np.rot90(image, -(number % 4))
    return image[:, ::-1] if number >= 4 else image
