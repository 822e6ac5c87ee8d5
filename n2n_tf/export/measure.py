"""What a TFLite file is worth: measured beside the Keras network.

A conversion that reports success can still be wrong: without its weights, with operations that
phones do not have, or with an integer arithmetic that ruins the picture. So every file is run by
LiteRT in a process of its own, on photographs that did not calibrate it.
"""

import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from n2n_tf.denoising.tiling import Tiling, denoise_tiled
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.export import litert_probe
from n2n_tf.export.sample_images import judging_cases, photos, with_noise
from n2n_tf.model_files.info import ModelInfo
from n2n_tf.model_files.tflite_domain import (
    USUAL_PROFILE,
    Stabilised,
    decode,
    encode,
    finish,
)
from n2n_tf.networks.reach import reach
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET
from n2n_tf.pipelines.padding import reflect_pad, round_up
from n2n_tf.pipelines.processors import available_processors

# Signs of a graph that is no static one, or that runs nowhere but beside TensorFlow.
FOREIGN = "Flex", "CUSTOM", "READ_VARIABLE", "VAR_HANDLE", "ASSIGN_VARIABLE", "CALL_ONCE"


NOT_STATIC = "SHAPE", "PACK", "STRIDED_SLICE"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a file is worth; images in [0, 1], PSNR in dB over noisy photographs.

    `operations` and `not_delegated` count them by name, the latter those that XNNPACK leaves;
    `gpu_warnings` is None for a file of no fixed size, which no GPU delegate takes. `psnr` and
    `psnr_keras` are None where nothing clean is at hand. `tiling_difference` is the largest that
    cutting a picture into this file's tiles makes, whatever the precision. `peak_megabytes` are
    those above an idle process.
    """

    megabytes: float
    operations: dict
    not_delegated: dict
    gpu_warnings: list | None
    max_difference: float
    mean_difference: float
    tiling_difference: float
    psnr_noisy: float | None
    psnr_keras: float | None
    psnr: float | None
    milliseconds_per_megapixel: float
    peak_megabytes: float

    @property
    def psnr_drop(self) -> float:
        """How much worse than the Keras network, in dB; 0 where it cannot be said."""
        return 0.0 if self.psnr is None else self.psnr_keras - self.psnr

    def delegated(self) -> str:
        """How many of the operations the XNNPACK delegate took: "25/25"."""
        total = sum(self.operations.values())
        return f"{total - sum(self.not_delegated.values())}/{total}"

    def summary(self) -> str:
        """One line for the terminal."""
        quality = "" if self.psnr is None else f", {-self.psnr_drop:+.3f} dB"
        return (
            f"differs from the network by at most {self.max_difference:.1e}{quality}, "
            f"XNNPACK takes {self.delegated()} operations, "
            f"{self.milliseconds_per_megapixel:.0f} ms per megapixel here"
        )


def measure(network: keras.Model, file: str | os.PathLike, info: ModelInfo) -> Figures:
    """Runs a file and the Keras network on the same noisy photographs.

    Args:
        network: functional `keras.Model` in float32.
        file: the `.tflite` file.
        info: its `ModelInfo`.

    Returns:
        `Figures`.

    Raises:
        RuntimeError: if the file does not run.
    """
    images = list(judging_cases(info))
    arguments = [encode(noisy[None], info) for noisy, _ in images]
    results, seen = _run_apart(file, arguments)
    differences, scores = [], []
    for (noisy, clean), given, result in zip(images, arguments, results, strict=True):
        taken = decode(given["noisy"], info)
        expected = finish(_denoised(network, taken, info), taken, info)
        got = decode(result, info)
        comparable = got.shape == expected.shape and np.isfinite(got - expected).all()
        differences.append(np.abs(got - expected) if comparable else np.full(1, math.inf))
        if clean is not None:
            trio = (noisy[None], expected, got) if comparable else (noisy[None], expected, noisy)
            clean = np.clip(clean, 0, 1)
            scores.append(
                [psnr(clean, np.clip(image, 0, 1).reshape(clean.shape), 1.0) for image in trio]
            )
    means = np.mean(scores, axis=0).tolist() if scores else [None] * 3
    pixels = math.prod(arguments[-1]["noisy"].shape[1:3])
    return Figures(
        pathlib.Path(file).stat().st_size / 1e6,
        seen["operations"],
        seen["not_delegated"],
        _gpu_warnings(file) if info.tile else None,
        float(max(d.max() for d in differences)),
        float(np.mean([d.mean() for d in differences])),
        _tiling_difference(network, info.channels, Tiling.of(info, 0)) if info.tile else 0.0,
        *means,
        seen["milliseconds"] / pixels * 1e6,
        seen["peak_megabytes"],
    )


def _denoised(network, taken, info):
    """What the network makes of an image in [0, 1], on the way that the file goes."""
    if not info.takes_noise_profile:
        return run_network(network, taken, info.size_multiple)
    stable = Stabilised(*USUAL_PROFILE)
    scaled = np.float32(stable.apply(taken))
    return np.float32(stable.undo(run_network(network, scaled, info.size_multiple)))


@functools.lru_cache(maxsize=8)
def _tiling_difference(network, channels, tiling):
    """Largest difference of the Keras network in tiles to itself on a whole noisy photograph."""
    with contextlib.suppress(ValueError):  # raised for layers whose reach is not known
        if tiling.halo >= reach(network)[1]:
            return 0.0
    info = ModelInfo(channels, tiling.size_multiple, tiling.halo)
    photo = photos(SECOND_SET[:1], info)[0]
    noisy = with_noise(photo, info, 0) if info.channels in (1, 3, 4) else photo
    sides = (round_up(side + side // 2, info.size_multiple) for side in tiling.tile)
    noisy = reflect_pad(noisy, *sides)
    run = functools.partial(run_network, network, multiple=info.size_multiple)
    tiled = denoise_tiled(run, noisy, tiling)
    return float(np.abs(tiled - run(noisy[None])[0]).max())


def _run_apart(file, arguments):
    """Results of a file for each dict of arguments, and what `litert_probe` saw."""
    with tempfile.TemporaryDirectory() as folder:
        given, returned = (f"{folder}/{name}.npz" for name in ("arguments", "results"))
        named = {f"{i}/{name}": a for i, case in enumerate(arguments) for name, a in case.items()}
        np.savez(given, **named)
        command = [sys.executable, "-I", litert_probe.__file__, str(file), given, returned]
        command.append(str(available_processors()))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise RuntimeError(f"it does not run with LiteRT ({reason:.200})")
        with np.load(returned) as results:
            outputs = [results[str(i)] for i in range(len(arguments))]
        return outputs, json.loads(done.stdout.strip().splitlines()[-1])


def run_network(network: keras.Model, images: np.ndarray, multiple: int) -> np.ndarray:
    """The network's own result for images [1, h, w, c] of any size."""
    height, width = images.shape[1:3]
    padded = reflect_pad(images[0], round_up(height, multiple), round_up(width, multiple))
    return np.asarray(network(padded[None], training=False))[:, :height, :width]


def _gpu_warnings(file):
    """What TensorFlow's own checker says against running a file on a GPU delegate."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        tf.lite.experimental.Analyzer.analyze(model_path=str(file), gpu_compatibility=True)
    return [line.strip() for line in said.getvalue().splitlines() if "GPU COMPAT" in line]


def foreign_operations(figures: Figures, info: ModelInfo) -> list[str]:
    """Operations that a file must not have: none of TFLite's own, or of an unknown size's."""
    banned = FOREIGN + (NOT_STATIC if info.tile else ())
    return sorted(name for name in figures.operations if name.startswith(banned))
