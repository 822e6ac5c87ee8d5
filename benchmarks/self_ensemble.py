"""What --self_ensemble gains: PSNR of shipped models with and without it, on embedded photographs.

.venv/bin/python benchmarks/self_ensemble.py
"""

import numpy as np

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.self_ensemble import SelfEnsemble
from n2n_tf.pipelines.files.embedded_photos import SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_channels

MODELS = {"unet_rgb_gauss5_50": 3, "unet_gray_gauss5_50": 1}
SIGMAS = 10, 25, 50  # of 255


def psnr(image, clean):
    """PSNR in dB of 8-bit images."""
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - clean) ** 2))


def main():
    """Prints one line a model and noise level: the mean over the photographs."""
    for name, channels in MODELS.items():
        denoiser = Denoiser.load(name)
        for sigma in SIGMAS:
            plain, eight = [], []
            for seed, photo in enumerate(SECOND_SET):
                clean = to_channels(embedded_photo(photo)[:256, :256], channels)
                noise = np.random.default_rng(seed).normal(0, sigma / 255, clean.shape)
                noisy = np.float32(clean / 255 + noise)
                plain.append(psnr(255 * np.clip(denoiser(noisy), 0, 1), clean))
                eight.append(psnr(255 * np.clip(SelfEnsemble(denoiser)(noisy), 0, 1), clean))
            gain = np.mean(eight) - np.mean(plain)
            print(f"{name} sigma {sigma}: {np.mean(plain):.2f} dB, eight {gain:+.2f} dB")


if __name__ == "__main__":
    main()
