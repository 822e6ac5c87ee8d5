"""Scores a denoiser on the validation blocks of SIDD, and denoises those of the benchmark.

    noisy = read_blocks("ValidationNoisyBlocksRaw.mat")
    clean = read_blocks("ValidationGtBlocksRaw.mat")
    patterns = block_patterns()
    evaluate_blocks(denoise, noisy, clean, patterns)           {"psnr": ..., "ssim": ...}
    write_submit_csv("SubmitRaw.csv", denoise_blocks(denoise, benchmark, patterns))

PSNR and SSIM are taken on floats in [0, 1]. Raw images are dark: rounding the clean block to
8 bits first, as for sRGB, limits every result to about 51 dB and costs a good one decibels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from skimage.metrics import structural_similarity

from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.sidd.files import SiddError
from n2n_tf.pipelines.sidd.scenes import HELD_OUT_SCENES, parse_scene


def block_patterns(scenes: Sequence[str] | str | Path = HELD_OUT_SCENES) -> list[str]:
    """The Bayer pattern of each scene's blocks, which the files of blocks do not tell.

    Args:
        scenes: scene names in the order of the blocks; or a text file with one a line; or a
            folder of scene folders (SIDD_Benchmark_Data), taken in order of their names.

    Raises:
        SiddError: missing file, or something that is not a scene name.

    >>> block_patterns()[:5]
    ['GRBG', 'BGGR', 'BGGR', 'BGGR', 'RGGB']
    """
    if isinstance(scenes, str | Path):
        path = Path(scenes)
        if path.is_dir():
            scenes = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
        elif path.is_file():
            scenes = path.read_text().split()
        else:
            raise SiddError(f"{path}: no such file or folder of scene names; correct the path.")
    return [parse_scene(name).pattern for name in scenes]


def unlike_pattern(clean: np.ndarray, patterns: Sequence[str]) -> list[int]:
    """The scenes whose clean blocks contradict their pattern: a check that the order is right.

    The two greens of a cell see nearly the same, red and blue do not. If the two sites that
    should be green differ more than the other two, the pattern is of another scene. This tells
    RGGB and BGGR from GRBG and GBRG; a grey scene under a light in which red equals blue can
    raise a false alarm.

    Args:
        clean: float [scenes, blocks, H, W].
        patterns: one for each scene.

    Returns:
        Indices of the scenes, [] if all fit.
    """
    unlike = []
    for index, (scene, pattern) in enumerate(zip(clean, patterns, strict=True)):
        red, green, other_green, blue = np.moveaxis(bayer.pack(scene, pattern), -1, 0)
        if np.abs(green - other_green).mean() > np.abs(red - blue).mean():
            unlike.append(index)
    return unlike


def denoise_blocks(
    denoise: Callable[[np.ndarray], np.ndarray], noisy: np.ndarray, patterns: Sequence[str]
) -> np.ndarray:
    """Denoises blocks of any Bayer pattern with a denoiser of packed RGGB raw.

    A block of another pattern is reflected by one pixel where needed to start on red, so the
    planes may be one pixel longer than half a block; the rim is removed afterwards.

    Args:
        denoise: float32 planes [blocks, h, w, 4] in the order R, G1, G2, B -> same shape. It is
            called once for each scene and pads to its network's multiple itself.
        noisy: float [scenes, blocks, H, W].
        patterns: one for each scene.

    Returns:
        float32 [scenes, blocks, H, W], clipped to [0, 1], where the clean blocks are.

    Raises:
        ValueError: not one pattern for each scene, or `denoise` changes the shape.
    """
    if len(noisy) != len(patterns):
        raise ValueError(
            f"`patterns` must have one entry for each of the {len(noisy)} scenes. "
            f"Received: {len(patterns)}."
        )
    return np.stack(
        [_denoise_scene(denoise, *scene) for scene in zip(noisy, patterns, strict=True)]
    )


def evaluate_blocks(
    denoise: Callable[[np.ndarray], np.ndarray],
    noisy: np.ndarray,
    clean: np.ndarray,
    patterns: Sequence[str],
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] | None = None,
) -> dict[str, float]:
    """Scores a denoiser: each metric on every block's mosaic, then the mean over all blocks.

    Args:
        denoise, noisy, patterns: as in `denoise_blocks`.
        clean: float [scenes, blocks, H, W].
        metrics: name -> function(clean block [H, W], denoised block) -> number; None takes
            "psnr" `block_psnr` and "ssim" `block_ssim`.

    Returns:
        The mean of each metric.

    Raises:
        ValueError: `clean` has not the shape of `noisy`, or as `denoise_blocks`.
    """
    if clean.shape != noisy.shape:
        raise ValueError(f"`clean` must be {noisy.shape} as `noisy`. Received: {clean.shape}.")
    metrics = metrics or {"psnr": block_psnr, "ssim": block_ssim}
    denoised = denoise_blocks(denoise, noisy, patterns)
    blocks = list(np.ndindex(clean.shape[:2]))
    return {
        name: float(np.mean([metric(clean[i], denoised[i]) for i in blocks]))
        for name, metric in metrics.items()
    }


def block_psnr(clean: np.ndarray, denoised: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two float mosaics, peak 1, dB.

    >>> round(block_psnr(np.zeros((4, 4)), np.full((4, 4), 0.01)), 6)
    40.0
    """
    error = np.asarray(clean, np.float64) - np.asarray(denoised, np.float64)
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(error**2)))


def block_ssim(clean: np.ndarray, denoised: np.ndarray) -> float:
    """Structural similarity of two float mosaics [H, W], H and W at least 11, data range 1.

    11 x 11 Gaussian window of sigma 1.5, its valid region, on the mosaic as one channel.
    Source: test_sidd_b2u.py of zejinwang/Blind2Unblind takes the same.
    """
    clean, denoised = np.asarray(clean, np.float64), np.asarray(denoised, np.float64)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(clean, denoised, data_range=1.0, **window))


def _denoise_scene(denoise, blocks, pattern):
    """Denoises the blocks [N, H, W] of one scene."""
    mosaics = bayer.unify(np.asarray(blocks, np.float32), pattern, "RGGB", how="pad")
    planes = bayer.pack(mosaics, "RGGB")
    denoised = np.asarray(denoise(planes), np.float32)
    if denoised.shape != planes.shape:
        raise ValueError(
            f"`denoise` must keep the shape {planes.shape}. Received: {denoised.shape}."
        )
    mosaics = bayer.unpack(denoised, "RGGB")
    return np.clip(bayer.undo_unify(mosaics, pattern, blocks.shape[-2:]), 0.0, 1.0)
