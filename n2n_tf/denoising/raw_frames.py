"""A packed-raw network on whole camera frames: sensor integers in, sensor integers out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.large import as_made
from n2n_tf.denoising.local_means import local_mean
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.noise_notes import parse_law
from n2n_tf.denoising.raw_noise import estimate_raw_noise
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.frame import RawFrame, denormalised_planes, normalised_planes

LEVEL_SIGMA = 8.0  # pixels of a plane
LEVEL_REACH = 36
ENOUGH = 1 << 21  # pixels, whose median has no error to speak of


def denoise_frame(
    denoise: Denoiser,
    frame: RawFrame,
    progress: Callable[[int, int], None] | None = None,
    keep_levels: bool = True,
    noise: str | NoiseEstimate = "auto",
    strength: float = 1.0,
    tell: Callable[[NoiseEstimate, float], None] | None = None,
) -> np.ndarray:
    """Denoises a camera frame.

    Only the file's own levels normalise it, never a statistic of the picture or of a tile, so
    optical-black rows or a bright sky change nothing elsewhere (but for the estimate of the noise,
    made unless the file has a NoiseProfile; it only decides how much may be taken away). A mosaic
    of another pattern is mirrored by one pixel where needed to begin on red, as the network was
    trained, and cut back.

    Args:
        denoise: `Denoiser` of a model with four channels.
        frame: `n2n_tf.pipelines.raw.frame.RawFrame`.
        progress: None or callable(tiles done, tiles in all).
        keep_levels: see `with_levels_kept`.
        noise: as for `denoise_planes`; "auto" is the frame's NoiseProfile, if it has one.
        strength: as for `denoise_planes`.
        tell: as for `denoise_planes`.

    Returns:
        uint16 [H, W], the size, levels and pattern of the frame; clipped pixels stay clipped.

    Raises:
        ValueError: if the model is none for raw.
    """
    if denoise.channels != 4:
        raise ValueError(
            f"this model denoises images of {denoise.channels} channels; a camera raw needs a "
            "model trained on raw (4 channels)."
        )
    if noise == "auto" and frame.noise_profile:
        red, green, blue = frame.noise_profile
        noise = NoiseEstimate(*zip(red, green, green, blue, strict=True))
    how = {"keep_levels": keep_levels, "noise": noise, "strength": strength, "tell": tell}
    planes = normalised_planes(frame)
    planes = denoise_planes(denoise, planes, progress, **how, out=planes)
    return denormalised_planes(planes, frame)


def denoise_mosaic(
    denoise: Denoiser,
    values: np.ndarray,
    pattern: str,
    progress: Callable[[int, int], None] | None = None,
    **how: Any,
) -> np.ndarray:
    """The same for normalised float values [H, W] of any size and Bayer pattern -> float32.

    `how`: as `denoise_planes` takes it.
    """
    planes = denoise_planes(denoise, _packed(values, pattern), progress, **how)
    return _unpacked(planes, pattern, np.shape(values))


def _packed(values, pattern):
    """A mosaic of floats as planes that begin on red."""
    return bayer.pack(bayer.unify(np.asarray(values, np.float32), pattern, how="pad"), "RGGB")


def _unpacked(planes, pattern, shape):
    """The mosaic [H, W] of such planes."""
    return bayer.undo_unify(bayer.unpack(planes, "RGGB"), pattern, shape)


def denoise_planes(
    denoise: Denoiser,
    noisy: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
    keep_levels: bool = True,
    noise: str | NoiseEstimate = "auto",
    strength: float = 1.0,
    tell: Callable[[NoiseEstimate, float], None] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The same for packed raw [h, w, 4] in RGGB order -> float32.

    Args:
        denoise: as for `denoise_frame`.
        noisy: float32 [h, w, 4].
        progress: as for `denoise_frame`.
        keep_levels: as for `denoise_frame`.
        noise: "auto" to estimate it from the planes, "none" to take the network's word for it, or
            a `NoiseEstimate` of one channel or four, or the like in words, such as "gauss:0.01".
        strength: by how much the noise is taken to be stronger.
        tell: None or callable(noise assumed, share that was given back).
        out: array for the result, which may be `noisy`. Default: a new one.
    """
    noise = parse_law(noise) if isinstance(noise, str) else noise
    finish = with_levels_kept if keep_levels else as_made
    if noise == "none" and denoise.info.noise_level:
        raise ValueError(
            "this model is one for Gaussian noise, to which it must be told a raw's noise; "
            "let it be estimated, or give it."
        )
    if noise == "none":
        return finish(noisy, denoise(noisy, progress=progress, noise="none"))
    law = estimate_raw_noise(noisy) if noise == "auto" else noise
    law = law.of_channels(*range(4)).scaled(strength)
    planes = np.empty(noisy.shape, np.float32) if out is None else out
    given_back = denoise.known(noisy, law, planes, progress=progress, finish=finish)
    if tell:
        tell(law, given_back)
    return planes


def with_levels_kept(noisy: np.ndarray, denoised: np.ndarray) -> np.ndarray:
    """Gives a denoised image the local brightness and colour that the noisy one has.

    Noise has mean zero, so over an area the noisy image is right about the level, and a network's
    error there is a shift of brightness or colour, worst in the shadows. What was taken away is
    blurred and added again: a Gaussian of sigma 8 leaves little more than a thousandth of the
    noise's energy in it. Local: nothing reaches farther than `LEVEL_REACH` planes' pixels.

    Args:
        noisy: float32 [h, w, channels].
        denoised: of the same shape and type.

    Returns:
        float32 [h, w, channels].
    """
    kept = local_mean(noisy - denoised, LEVEL_SIGMA)
    kept += denoised
    return kept


def remaining_noise(frame: RawFrame, mosaic: np.ndarray) -> tuple[tuple[float, float], ...] | None:
    """The source's NoiseProfile, scaled to the noise that is still in the denoised mosaic.

    Both variances shrink by one factor, the ratio of the noise energies of result and source, each
    estimated by the median absolute second difference along rows of the packed planes, where most
    of a photograph is smooth; of large frames along some of the rows.

    Args:
        frame: `RawFrame` of the source.
        mosaic: uint16 [H, W], the result, in the same raw units.

    Returns:
        three (shot, read) pairs, or None if the source has no profile.
    """
    if frame.noise_profile is None:
        return None
    before, after = (_noise_deviation(m, frame.pattern) for m in (frame.mosaic, mosaic))
    scale = min(1.0, (after / before) ** 2) if before > 0 else 1.0
    return tuple((shot * scale, read * scale) for shot, read in frame.noise_profile)


def _noise_deviation(mosaic, pattern):
    rows = mosaic.shape[0] // 2
    every = 2 * max(1, mosaic.size // ENOUGH)
    cells = np.concatenate([mosaic[top : top + 2] for top in range(0, 2 * rows, every)] or [mosaic])
    planes = bayer.pack(bayer.unify(cells.astype(np.float32), pattern, how="pad"), "RGGB")
    return float(np.median(np.abs(np.diff(planes, 2, axis=1)))) if planes.shape[1] > 2 else 0.0
