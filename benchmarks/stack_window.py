"""What neighbouring planes would gain in denoising stacks: PSNR in dB, and beside plane by plane.

  python benchmarks/stack_window.py [PLANES_ON_EACH_SIDE]

Stacks of scikit-image's pictures, 192 x 192 pixels: at rest, drifting, deforming, with objects that
move over a ground at rest, and moving fast. Every estimator ends with the shipped gray model, and
needs no training. "averaged": before the network, where the difference of two planes is no more
than noise explains, seen in the noisy planes or in those denoised one by one. "blended": the
denoised mean of all planes, where none of them differs by more, in variances of the noise, and the
denoised plane elsewhere.
"""

import dataclasses
import sys

import cv2
import numpy as np
from skimage import data

from n2n_tf import Denoiser, estimate_noise
from n2n_tf.model_files.shipped import DEFAULTS

SIDE, PLANES, AT = 192, 9, 4
PICTURES = ("camera", "coins", "moon", "brick")
NOISES = {"gauss10": 10, "gauss25": 25, "poisson": None}
WINDOW = 2.0  # pixels, of the area over which differences are looked at
BLENDED = 0.1, 0.3, 0.6  # differences up to which the mean of all planes is taken
_PHOTON = 4.0  # levels of one photon


def scenes(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Clean stacks float32 [PLANES, SIDE, SIDE] of a gray picture, by the name of their motion."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) + 100
    wave = 1.5 * np.sin(y / 20)
    times = np.arange(PLANES, dtype=np.float32) - AT

    def moved(right: np.ndarray, down: np.ndarray) -> np.ndarray:
        return cv2.remap(picture, x + right, y + down, cv2.INTER_CUBIC)

    still = moved(0 * x, 0 * y)
    inside = np.hypot(y - 196, x - 196) < 40
    return {
        "at rest": np.stack([still for _ in times]),
        "0.1 px a plane": np.stack([moved(0.1 * t + 0 * x, 0.05 * t + 0 * y) for t in times]),
        "0.5 px a plane": np.stack([moved(0.5 * t + 0 * x, 0.2 * t + 0 * y) for t in times]),
        "deforming": np.stack([moved(wave * np.sin(t / 4), wave * t / 8) for t in times]),
        "objects": np.stack([np.where(inside, moved(3 * t + 0 * x, 0 * y), still) for t in times]),
        "7 px a plane": np.stack([moved(7 * t + 0 * x, 3 * t + 0 * y) for t in times]),
    }


def noisy(clean: np.ndarray, sigma: float | None, rng: np.random.Generator) -> np.ndarray:
    """The stack with Gaussian noise, or with that of photons."""
    if sigma is None:
        return np.float32(rng.poisson(np.maximum(clean, 0) / _PHOTON) * _PHOTON)
    return np.float32(clean + rng.normal(0, sigma, clean.shape))


def differences(seen, law, each):
    """Mean squares of neighbours' differences from the plane AT, in variances of the noise.

    Args:
        seen: float32 [planes, height, width], in which they are looked at.
        law: noise of a plane.
        each: how many planes on each side.

    Returns:
        float32 [2 * each + 1, height, width], the planes around AT and it itself.
    """
    level = cv2.GaussianBlur(seen[AT], (0, 0), WINDOW)[..., None]
    variance = np.maximum(law.deviation(level)[..., 0] ** 2, 1e-6)
    near = seen[AT - each : AT + each + 1]
    return np.stack(
        [cv2.GaussianBlur((p - seen[AT]) ** 2, (0, 0), WINDOW) / variance for p in near]
    )


def of_planes(law, planes):
    """The noise of a mean of so many planes."""
    parts = {name: tuple(v / planes for v in getattr(law, name)) for name in ("gain", "read")}
    return dataclasses.replace(law, **parts)


def estimates(stack: np.ndarray, denoise: Denoiser, each: int) -> dict[str, np.ndarray]:
    """The plane AT by every estimator."""
    law = estimate_noise(stack[AT])
    alone = np.stack([denoise(plane, noise=law) for plane in stack])
    near = stack[AT - each : AT + each + 1]
    found = {"plane by plane": alone[AT]}
    for name, seen, limit in (("averaged, noisy", stack, 2.2), ("averaged, denoised", alone, 0.3)):
        alike = np.float32(differences(seen, law, each) < limit)
        count = alike.sum(0)
        mean = (alike * near).sum(0) / count
        found[name] = denoise(mean, noise=of_planes(law, count.mean()))
    together = denoise(near.mean(0), noise=of_planes(law, len(near)))
    most = differences(alone, law, each).max(0)
    for limit in BLENDED:
        share = cv2.GaussianBlur(np.float32(most < limit), (0, 0), WINDOW)
        found[f"blended, {limit}"] = alone[AT] + share * (together - alone[AT])
    return found


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """In dB, for levels 0..255."""
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2, dtype=np.float64)))


def main(each: int = 2) -> None:
    """Prints a table: gains over plane by plane, mean and least of the pictures."""
    denoise, rows = Denoiser.load(DEFAULTS["gray"]), {}
    for name in PICTURES:
        for motion, clean in scenes(np.float32(getattr(data, name)())).items():
            for noise, sigma in NOISES.items():
                made = estimates(noisy(clean, sigma, np.random.default_rng(0)), denoise, each)
                row = {how: psnr(plane, clean[AT]) for how, plane in made.items()}
                rows.setdefault((motion, noise), []).append(row)
    names = list(next(iter(rows.values()))[0])
    print("| motion | noise |", " | ".join(names), "|")
    print("| --- " * (2 + len(names)) + "|")
    for (motion, noise), found in rows.items():
        alone = np.array([row[names[0]] for row in found])
        cells = [f"{alone.mean():.2f}"]
        for name in names[1:]:
            gain = np.array([row[name] for row in found]) - alone
            cells.append(f"{gain.mean():+.2f} ({gain.min():+.2f})")
        print(f"| {motion} | {noise} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
