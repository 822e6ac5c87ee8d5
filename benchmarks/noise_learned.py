"""Whether a law of noise learnt on the picture beats the estimated line, and what it costs.

    python benchmarks/noise_learned.py [STEPS]

Noise2VST learns any rising curve on the noisy picture itself; `n2n-denoise` estimates variance =
gain * level + read and uses a closed form. Both are around the shipped gray model, on the middle of
an embedded photograph. PSNR in dB, and CPU seconds.
"""

import sys
import time

import numpy as np

from n2n_tf import Denoiser
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.method.noise2vst import noise2vst
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.pipelines.files.embedded_photos import embedded_photo
from n2n_tf.pipelines.files.image_files import to_channels

SIDE = 256


def sensor(light, photons, read, random):
    """Photon noise and read noise on light in [0, 1]."""
    return random.poisson(light * photons) / photons + random.normal(0, read, light.shape)


def developed(clean, random):
    """Noise of a sensor, seen after a gamma of 2.2 and clipping."""
    return sensor(clean**2.2, 200, 0.01, random).clip(0, 1) ** (1 / 2.2)


def hump(clean, random):
    """Noise that is strongest at middle levels, which no sensor has."""
    return clean + random.normal(0, 0.02 + 0.08 * np.sin(np.pi * clean))


NOISES = {
    "photons and read noise": lambda clean, random: sensor(clean, 50, 0.02, random),
    "the same, developed with gamma 2.2": developed,
    "strongest at middle levels": hump,
}


def main(steps="300"):
    """Prints the table."""
    denoise = Denoiser.load(DEFAULTS["gray"])
    photo = to_channels(embedded_photo("astronaut"), 1)
    top, left = ((side - SIDE) // 2 for side in photo.shape[:2])
    clean = photo[top : top + SIDE, left : left + SIDE] / 255.0
    ways = {
        "estimated": denoise,
        f"learnt in {steps} steps": lambda noisy: noise2vst(
            denoise.network, noisy, int(steps), denoise.bare
        ),
    }
    print(f"| noise | noisy | {' | '.join(ways)} |\n| --- |{' --- |' * (1 + len(ways))}")
    for name, noise in NOISES.items():
        noisy = np.float32(noise(clean, np.random.default_rng(0)))
        cells = [f"{psnr(clean, noisy, 1):.2f}"]
        for way in ways.values():
            begun = time.process_time()
            result = way(noisy)
            seconds = time.process_time() - begun
            cells.append(f"{psnr(clean, result, 1):.2f} in {seconds:.1f} s")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
