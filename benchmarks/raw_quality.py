"""Quality on synthetic camera raw at three noise levels, beside OpenCV's non-local means.

  python benchmarks/raw_quality.py --model runs/raw --data_dir photos [--images 8]

Photographs are unprocessed to linear packed raw, each by one camera; figures are PSNR in dB of
floats, peak 1, mean over images. Non-local means runs on each plane as 16 bits, at the best of four
strengths for each image, which a user could not know. The last column is what n2n-denoise does for
raws without a NoiseProfile: the model, levels kept, and what is more than the estimated noise given
back.
"""

import math

import cv2
import numpy as np
from absl import app, flags

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.denoising.raw_frames import denoise_planes
from n2n_tf.evaluation.clean_images import load_clean
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.evaluation.protocol import SEED, average, evaluate
from n2n_tf.pipelines.noise.synthetic import Noise
from n2n_tf.pipelines.raw.unprocess import READ_INTERCEPT, READ_SLOPE

MODEL = flags.DEFINE_string("model", None, "Model of camera raw.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of clean photographs.", required=True)
IMAGES = flags.DEFINE_integer("images", 8, "How many of them, the first by name.", 1)

SHOTS = (0.0001, 0.001, 0.012)  # shot variances; read after Brooks et al.
STRENGTHS = (0.5, 0.75, 1.0, 1.5)  # of non-local means, times the noise's standard deviation


def non_local_means(clean, noisy, noise):
    """PSNR of the best strength."""
    deviation = math.sqrt(noise.shot * clean.mean() + noise.read)
    scaled = np.uint16(np.clip(noisy, 0, 1) * 65535)
    results = []
    for strength in STRENGTHS:
        planes = [
            cv2.fastNlMeansDenoising(
                np.ascontiguousarray(scaled[..., c]),
                h=[float(strength * deviation * 65535)],
                normType=cv2.NORM_L1,
                templateWindowSize=5,
                searchWindowSize=15,
            )
            for c in range(4)
        ]
        results.append(psnr(clean, np.stack(planes, -1) / 65535.0, 1.0))
    return max(results)


def main(_):
    """Prints one row for each noise level."""
    denoise = Denoiser.load(MODEL.value)
    images = load_clean(DATA_DIR.value, 4)[: IMAGES.value]
    print(f"{len(images)} images of {DATA_DIR.value}; PSNR in dB")
    columns = f"{'non-local means':>16} {'this model':>11} {'and kept':>9}"
    print(f"{'shot':>8} {'read':>9} {'noisy':>7} {columns}")
    for shot in SHOTS:
        noise = Noise("raw", shot=shot, read=math.exp(READ_SLOPE * math.log(shot) + READ_INTERCEPT))
        results = list(evaluate(denoise.bare, images, noise, np.random.RandomState(SEED)))
        baseline = np.mean([non_local_means(*r.images[:2], noise) for r in results])
        means = average(results)
        kept = np.mean(
            [psnr(r.images[0], denoise_planes(denoise, r.images[1]), 1.0) for r in results]
        )
        print(
            f"{shot:8} {noise.read:9.2g} {means['psnr_noisy']:7.2f} {baseline:16.2f} "
            f"{means['psnr']:11.2f} {kept:9.2f}"
        )


if __name__ == "__main__":
    app.run(main)
