"""What a `.tflite` file takes and returns: float images, 8-bit pixels or a sensor mosaic.

`encode` and `decode` translate between that and the network's own domain, float images in [0, 1].
"""

from typing import Any

import numpy as np

from n2n_tf.model_files.info import ModelInfo
from n2n_tf.pipelines.noise.anscombe import ROOT, missing_photons
from n2n_tf.pipelines.raw.bayer import plane_positions

INPUTS = {
    "image": "float32 [1, H, W, channels] in nominal range [0, 1], which noise may leave",
    "rgb_uint8": "uint8 [1, H, W, 3], sRGB pixels; the same comes back, rounded and clipped",
    "bayer_mosaic": (
        "sensor mosaic [1, H, W, 1] in raw units that begins on a red pixel, uint16 or float32; "
        "the same comes back, rounded and clipped to [0, white level]; shot and read, if they are "
        "inputs, say the noise: variance shot * x + read at the level x in 0..1"
    ),
}


# Folds 2x2 cells into channels and back. As convolutions they also exist in int16 kernels and in
# every delegate, which space-to-depth does not; planes are then R, G1, G2, B of an RGGB mosaic.
CELLS = np.zeros((2, 2, 1, 4), np.float32)
for _plane, _place in enumerate(plane_positions("RGGB")):
    CELLS[(*_place, 0, _plane)] = 1


CALIBRATED = "int8", "int16x8"  # precisions in integer arithmetic, with ranges from noisy images


# For files whose levels are inputs: what `encode` uses, with room for noise below black.
USUAL_LEVELS = {"black_level": [1024.0] * 4, "white_level": 16383.0}
USUAL_PROFILE = 0.004, 2e-5  # the same for files that take the noise: shot and read


def levels_of(info: ModelInfo) -> tuple[np.ndarray, np.float32]:
    """The levels (black [4], white) that a mosaic file is run with."""
    levels = USUAL_LEVELS if info.levels == "inputs" else info.levels
    black = np.asarray(levels["black_level"], np.float32)
    return black, np.float32(levels["white_level"])


def encode(noisy: np.ndarray, info: ModelInfo) -> dict[str, np.ndarray]:
    """Translates a noisy image into what a file takes.

    Args:
        noisy: float32 [1, h, w, channels], nominal range [0, 1]; packed RGGB for raw models.
        info: `ModelInfo` of the file.

    Returns:
        dict of arrays, the arguments of the signature `denoise`.
    """
    kind = info.input
    if kind == "rgb_uint8":
        return {"noisy": np.uint8(np.clip(noisy, 0, 1) * 255 + 0.5)}
    if kind == "image":
        return {"noisy": np.ascontiguousarray(noisy, np.float32)}
    black, white = levels_of(info)
    raw = noisy * (white - black) + black
    batch, height, width, _ = raw.shape
    cells = raw.reshape(batch, height, width, 2, 2).transpose(0, 1, 3, 2, 4)
    mosaic = cells.reshape(batch, 2 * height, 2 * width, 1)
    if info.dtype == "uint16":
        mosaic = np.clip(np.rint(mosaic), 0, 65535)
    arguments = {"noisy": mosaic.astype(info.dtype)}
    if info.levels == "inputs":
        arguments |= {"black_level": black, "white_level": white[None]}
    if info.takes_noise_profile:
        arguments |= {"shot": np.float32(USUAL_PROFILE[:1]), "read": np.float32(USUAL_PROFILE[1:])}
    return arguments


class Stabilised:
    """Normalised raw with noise of one variance at all levels, black at 0 and white at 1.

    The generalised Anscombe transform and the closed form of its exact unbiased inverse, after
    M. Mäkitalo, A. Foi, IEEE TIP 22(1), 2013. A network without biases needs no other scaling: it
    finds the noise by itself.

    Args:
        shot, read: the noise has the variance shot * x + read at the level x in 0..1; scalars or
            tensors, shot above 0.
        xp: `numpy` or `tensorflow`, of the arrays that it is given.
    """

    def __init__(self, shot: Any, read: Any, xp: Any = np) -> None:
        self._shot, self._read, self._xp = shot, read, xp
        self._black, white = self._root(0.0), self._root(1.0)
        self._width = white - self._black

    def apply(self, planes: Any) -> Any:
        """Levels, an array of any shape -> the same after the transform."""
        return (self._root(planes) - self._black) / self._width

    def undo(self, denoised: Any) -> Any:
        """The levels whose noisy values have these means after the transform."""
        mean = self._xp.maximum(denoised * self._width + self._black, ROOT)
        photons = mean * mean / 4 - 0.375 + self._xp.maximum(missing_photons(mean), 0.0)
        return photons * self._shot - self._read / self._shot

    def _root(self, level):
        photons = (level + self._read / self._shot) / self._shot
        return 2 * self._xp.sqrt(self._xp.maximum(photons, 0.0) + 0.375)


def decode(values: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Translates what a file returns, or its argument `noisy`, into an image in [0, 1].

    The inverse of `encode`, but for rounding and clipping.
    """
    kind = info.input
    if kind == "rgb_uint8":
        return values.astype(np.float32) / 255
    if kind == "image":
        return np.asarray(values, np.float32)
    black, white = levels_of(info)
    batch, height, width, _ = values.shape
    cells = values.astype(np.float32).reshape(batch, height // 2, 2, width // 2, 2)
    planes = cells.transpose(0, 1, 3, 2, 4).reshape(batch, height // 2, width // 2, 4)
    return (planes - black) / (white - black)


def rounding_step(info: ModelInfo) -> float:
    """How far apart the values lie that a file returns, in units of the image's [0, 1]."""
    if info.input == "rgb_uint8":
        return 1 / 255
    if info.input == "bayer_mosaic" and info.dtype == "uint16":
        black, white = levels_of(info)
        return 1 / float(white - black.max())
    return 0.0


def finish(denoised: np.ndarray, noisy: np.ndarray, info: ModelInfo) -> np.ndarray:
    """What a file does to the network's result before it returns it, but for rounding.

    Args:
        denoised: float32 [1, h, w, channels] in nominal range [0, 1].
        noisy: the same of what the network took.
        info: `ModelInfo` of the file.
    """
    kind = info.input
    if kind == "image":
        return denoised
    if kind == "rgb_uint8":
        return np.clip(denoised, 0, 1)
    black, white = levels_of(info)
    denoised = np.clip(denoised, -black / (white - black), 1)
    return np.where(noisy >= 1, noisy, denoised) if info.keeps_clipped else denoised
