"""Makes the picture at the top of README.md with a shipped model.

  python docs/picture.py      (writes docs/images/denoised.png and prints its figures)

Gaussian noise with sigma 25 is added to a photograph that scikit-image ships.
"""

import pathlib
import sys

import cv2
import numpy as np

from n2n_tf import Denoiser
from n2n_tf.evaluation.protocol import SEED, evaluate
from n2n_tf.pipelines.files.embedded_photos import embedded_photo
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.noise.synthetic import parse_noise

MODEL, NOISE = "unet_rgb_gauss5_50", "gauss25"
PHOTO, TOP, LEFT, SIDE = "coffee", 65, 120, 260  # the part that is shown, in pixels
TARGET = pathlib.Path(__file__).parent / "images" / "denoised.png"


def main(target):
    """Noise, network, three labelled crops side by side."""
    photos = [(PHOTO, embedded_photo(PHOTO))]
    noise, generator = parse_noise(NOISE), np.random.RandomState(SEED)
    (result,) = evaluate(Denoiser.load(MODEL), photos, noise, generator)
    clean, noisy, denoised = result.images
    cells = [
        _cell(noisy, f"noisy, {result.psnr_noisy:.1f} dB"),
        _cell(denoised, f"denoised, {result.psnr:.1f} dB"),
        _cell(clean, "clean"),
    ]
    write_image(target, np.concatenate(cells, axis=1), overwrite=True)
    print(f"{MODEL}, {NOISE}, {PHOTO}: {result.psnr_noisy:.2f} -> {result.psnr:.2f} dB")
    print(f"wrote {target}, {target.stat().st_size // 1000} kB")


def _cell(image, label):
    crop = image[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    bar = np.full((24, SIDE, 3), 255, np.uint8)
    cv2.putText(bar, label, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, crop])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else TARGET)
