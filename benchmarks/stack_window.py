"""What neighbouring planes would gain in denoising stacks: PSNR in dB, and beside plane by plane.

  python benchmarks/stack_window.py

Stacks of scikit-image's pictures, 192 x 192 pixels: at rest, drifting, deforming, with objects that
move over a ground at rest, and moving fast. The gains are those of `n2n-denoise --stack_window`,
with the shipped models for gray and RGB pictures.
"""

import cv2
import numpy as np
from skimage import data

from n2n_tf import Denoiser, estimate_noise
from n2n_tf.denoising.stack_window import EACH, blended
from n2n_tf.model_files.shipped import DEFAULTS

SIDE, PLANES, AT = 192, 9, 4
PICTURES = {"gray": ("camera", "coins", "moon", "brick"), "RGB": ("astronaut", "coffee")}
NOISES = {"gauss10": 10, "gauss25": 25, "poisson": None}
_PHOTON = 4.0  # levels of one photon


def scenes(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Clean stacks float32 [PLANES, SIDE, SIDE, channels] of a picture, by their motion."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) + 100
    wave = 1.5 * np.sin(y / 20)
    times = np.arange(PLANES, dtype=np.float32) - AT

    def moved(right: np.ndarray, down: np.ndarray) -> np.ndarray:
        seen = cv2.remap(picture, x + right, y + down, cv2.INTER_CUBIC)
        return seen.reshape(SIDE, SIDE, -1)

    still = moved(0 * x, 0 * y)
    inside = (np.hypot(y - 196, x - 196) < 40)[..., None]
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


def estimates(stack: np.ndarray, denoise: Denoiser) -> tuple[np.ndarray, np.ndarray]:
    """The plane AT denoised by itself, and with the help of its neighbours."""
    noisy = list(stack[AT - EACH : AT + EACH + 1])
    laws = [estimate_noise(plane) for plane in noisy]
    alone = [denoise(plane, noise=law) for plane, law in zip(noisy, laws, strict=True)]
    made = blended(noisy, alone, EACH, laws[EACH], lambda mean, law: denoise(mean, noise=law))
    return alone[EACH], made


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """In dB, for levels 0..255."""
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2, dtype=np.float64)))


def main() -> None:
    """Prints a table: gains over plane by plane, mean and least of the pictures."""
    print("| motion | noise | gray, plane by plane | gain | RGB, plane by plane | gain |")
    print("| --- | --- | --- | --- | --- | --- |")
    models = {kind: Denoiser.load(DEFAULTS[kind]) for kind in PICTURES}
    for motion in scenes(np.zeros((512, 512, 1), np.float32)):
        for noise, sigma in NOISES.items():
            cells = []
            for kind, names in PICTURES.items():
                rows = []
                for name in names:
                    picture = np.atleast_3d(np.float32(getattr(data, name)()))
                    clean = scenes(picture)[motion]
                    stack = noisy(clean, sigma, np.random.default_rng(0))
                    rows.append([psnr(p, clean[AT]) for p in estimates(stack, models[kind])])
                alone, made = np.transpose(rows)
                gain = made - alone
                cells += [f"{alone.mean():.2f}", f"{gain.mean():+.2f} ({gain.min():+.2f})"]
            print(f"| {motion} | {noise} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
