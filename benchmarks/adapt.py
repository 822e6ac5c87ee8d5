"""What --adapt gains on noise that a Gaussian model does not know, in dB, on embedded photographs.

.venv/bin/python benchmarks/adapt.py [STEPS]
"""

import sys

import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_channels
from n2n_tf.training.adapt import Crops, adapt

MODEL, STEPS = "unet_gray_gauss5_50", int(sys.argv[1]) if len(sys.argv) > 1 else 100

NOISES = {
    "poisson 10": lambda clean, rng: rng.poisson(10 * clean) / 10,
    "gauss 25": lambda clean, rng: clean + rng.normal(0, 25 / 255, clean.shape),
}


def psnr(image, clean):
    """PSNR in dB of floats in [0, 1]."""
    return -10 * np.log10(np.mean((np.clip(image, 0, 1) - clean) ** 2))


def main():
    """Prints one line a noise: the mean over the photographs before and after."""
    photos = [to_channels(embedded_photo(name), 1)[:256, :384] / 255 for name in SECOND_SET]
    for name, add in NOISES.items():
        rng, denoiser = np.random.default_rng(0), Denoiser.load(MODEL)
        noisy = [np.float32(add(clean, rng)) for clean in photos]
        pairs = list(zip(noisy, photos, strict=True))
        crops = Crops(denoiser)
        for image in noisy:
            crops.recorder(image)
        before = np.mean([psnr(denoiser(image), clean) for image, clean in pairs])
        adapted = adapt(denoiser, crops.kept, STEPS)
        after = np.mean([psnr(denoiser(image), clean) for image, clean in pairs])
        losses = f"held-out loss {adapted.before:.4g} -> {adapted.after:.4g}"
        print(f"{name}, {STEPS} steps: {before:.2f} -> {after:.2f} dB, {losses}")


if __name__ == "__main__":
    main()
