"""A packed-raw network on whole camera frames: sensor integers in, sensor integers out."""

import numpy as np

from n2n_tf.denoising.given_back import with_detail_kept
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.raw.frame import denormalise, normalise

LEVEL_SIGMA = 8.0  # pixels of a plane
LEVEL_REACH = 24


def denoise_frame(denoise, frame, progress=None, keep_levels=True, keep_detail=True):
    """Denoises a camera frame.

    Only the file's own levels normalise it, never a statistic of the picture or of a tile, so
    optical-black rows or a bright sky change nothing elsewhere (but for the estimate of the noise
    in `n2n_tf.denoising.given_back`, made unless the file has a NoiseProfile; the result lies
    between noisy and denoised whatever it is). A mosaic of another pattern is mirrored by one
    pixel where needed to begin on red, as the network was trained, and cut back.

    Args:
        denoise: `Denoiser` of a model with four channels.
        frame: `n2n_tf.pipelines.raw.frame.RawFrame`.
        progress: None or callable(tiles done, tiles in all).
        keep_levels: bool, see `with_levels_kept`.
        keep_detail: bool, see `n2n_tf.denoising.given_back.with_detail_kept`.

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
    noise = _noise_by_level(frame.noise_profile) if frame.noise_profile else None
    keeps = {"keep_levels": keep_levels, "keep_detail": keep_detail, "noise": noise}
    values = denoise_mosaic(denoise, normalise(frame), frame.pattern, progress, **keeps)
    return denormalise(values, frame)


def denoise_mosaic(denoise, values, pattern, progress=None, **keeps):
    """The same for normalised float values [H, W] of any size and Bayer pattern -> float32.

    `keeps`: as `denoise_planes` takes them.
    """
    unified = bayer.unify(np.asarray(values, np.float32), pattern, how="pad")
    planes = denoise_planes(denoise, bayer.pack(unified, "RGGB"), progress, **keeps)
    return bayer.undo_unify(bayer.unpack(planes, "RGGB"), pattern, np.shape(values))


def denoise_planes(denoise, noisy, progress=None, keep_levels=True, keep_detail=True, noise=None):
    """The same for packed raw [h, w, 4] in RGGB order -> float32.

    `noise`: its variance by level, if known, see `n2n_tf.denoising.given_back.with_detail_kept`.
    """
    planes = denoise(noisy, progress=progress)
    if keep_levels:
        planes = with_levels_kept(noisy, planes)
    return with_detail_kept(noisy, planes, noise) if keep_detail else planes


def _noise_by_level(profile):
    """A DNG's NoiseProfile, variance = shot * level + read, as levels and variances of a line."""
    shot, read = np.mean(profile, axis=0)
    read = max(read, 1e-12)  # nothing is divided by zero
    return (0.0, 1.0), (read, shot + read)


def with_levels_kept(noisy, denoised):
    """Gives a denoised image the local brightness and colour that the noisy one has.

    Noise has mean zero, so over an area the noisy image is right about the level, and a network's
    error there is a shift of brightness or colour, worst in the shadows. What was taken away is
    blurred and added again: a Gaussian of sigma 8 leaves less than a thousandth of the noise's
    energy in it. Local: nothing reaches farther than `LEVEL_REACH` planes' pixels.

    Args:
        noisy, denoised: float32 [h, w, channels].

    Returns:
        float32 [h, w, channels].
    """
    import cv2

    size = 2 * LEVEL_REACH + 1
    removed = np.ascontiguousarray(noisy - denoised)
    blurred = cv2.GaussianBlur(removed, (size, size), LEVEL_SIGMA, borderType=cv2.BORDER_REFLECT)
    return denoised + blurred.reshape(denoised.shape)


def remaining_noise(frame, mosaic):
    """The source's NoiseProfile, scaled to the noise that is still in the denoised mosaic.

    Both variances shrink by one factor, the ratio of the noise energies of result and source, each
    estimated by the median absolute second difference along the rows of the packed planes, where
    most of a photograph is smooth.

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
    planes = bayer.pack(bayer.unify(mosaic.astype(np.float32), pattern, how="pad"), "RGGB")
    return float(np.median(np.abs(np.diff(planes, 2, axis=1)))) if planes.shape[1] > 2 else 0.0
