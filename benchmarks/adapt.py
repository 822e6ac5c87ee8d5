"""What --adapt gains on pictures of one texture and on photographs: PSNR in dB, sigma 15.

.venv/bin/python benchmarks/adapt.py [STEPS]
"""

import sys

import numpy as np
from skimage import data

from n2n_tf import Denoiser
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.training.adapt import Crops, adapt

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
SIGMA = 15


def main():
    """Prints the table."""
    print("| picture | noisy | denoised | adapted | standard errors |")
    print("| --- | --- | --- | --- | --- |")
    for picture in ("brick", "grass", "camera", "moon"):
        clean = getattr(data, picture)() / 255.0
        noise = np.random.default_rng(0).normal(0, SIGMA / 255, clean.shape)
        noisy = np.float32(clean + noise)
        denoiser = Denoiser.load(DEFAULTS["gray"], engine="keras")
        crops = Crops(denoiser)
        crops.recorder(noisy)
        before = psnr(clean, denoiser(noisy), 1)
        adapted = adapt(denoiser, crops.kept, STEPS)
        after = psnr(clean, denoiser(noisy), 1)
        figures = f"{psnr(clean, noisy, 1):.2f} | {before:.2f} | {after:.2f}"
        told = f"{adapted.certainty:.1f}{'' if adapted.kept else ', not kept'}"
        print(f"| {picture} | {figures} | {told} |", flush=True)


if __name__ == "__main__":
    main()
