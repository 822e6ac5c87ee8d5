"""How right `estimate_noise` is for twelve noises, what weak noise costs, and how long it takes.

    python benchmarks/noise_estimate.py FOLDER_OF_CLEAN_IMAGES [EVERY [gray]]

takes every EVERY-th image, as a gray one if told so. Errors are those of all channels of all
images. Gaussian noise: of the standard deviation at the median level, in 255ths; photon noise: of
the gain, in per cent. PSNR: of the denoised image less that of the noisy one, by the shipped model
for the image's channels, for weak noise, for 8 bits and for JPEG files of noisy images.
`n2n-evaluate --estimate` gives the four noises of the paper through the same path.
"""

import pathlib
import sys
import time

import cv2
import numpy as np

from n2n_tf import Denoiser, estimate_noise
from n2n_tf.evaluation.metrics import psnr
from n2n_tf.model_files.shipped import DEFAULTS
from n2n_tf.pipelines.files.image_files import list_images, read_image

GAUSS = 0.5, 1, 2, 5, 10, 25, 50
PHOTONS = 5, 10, 30, 100, 1000
WEAK = 0.5, 1, 2, 3
IN_8_BITS = 25, 50  # rounded, and cut off at black and white
JPEG = 80, 90, 95  # quality
BEFORE_JPEG = 0, 3, 6, 12, 25
SIDE = 256  # pixels of the middle that is denoised


def main(folder, every=1, gray=""):
    """Prints the tables."""
    paths = list_images(pathlib.Path(folder))[:: int(every)]
    images = [read_image(path).pixels.astype(np.float64) for path in paths]
    if gray:
        images = [(image @ [0.299, 0.587, 0.114])[..., None] for image in images]
    print(f"{len(images)} images\n| noise | median | worst | within |\n| --- | --- | --- | --- |")
    seconds = pixels = 0
    rows = [(f"gauss{sigma}", sigma, None) for sigma in GAUSS]
    rows += [(f"poisson{photons}", None, photons) for photons in PHOTONS]
    for name, sigma, photons in rows:
        errors = []
        for number, clean in enumerate(images):
            noisy = made_noisy(clean, sigma, photons, number)
            begun = time.process_time()
            estimate = estimate_noise(noisy)
            seconds += time.process_time() - begun
            pixels += clean[..., 0].size
            if sigma:
                found = estimate.deviation(np.median(clean, axis=(0, 1)))
                errors.extend((found - sigma).tolist())
            else:
                errors.extend((100 * (np.array(estimate.gain) * photons / 255 - 1)).tolist())
        bound = (max(0.05 * sigma, 0.5)) if sigma else 10
        errors = np.array(errors)
        worst = errors[np.argmax(np.abs(errors))]
        within = np.sum(np.abs(errors) <= bound)
        unit = "" if sigma else " %"
        print(
            f"| {name} | {np.median(errors):+.2f}{unit} | {worst:+.2f}{unit} "
            f"| {within} of {len(errors)} within {bound:g}{unit} |"
        )
    print(f"{1e6 * seconds / pixels:.2f} CPU seconds per megapixel")
    middles = [middle(image) for image in images]
    denoise = Denoiser.load(DEFAULTS["RGB" if images[0].shape[2] == 3 else "gray"])
    print("\n| noise | dB gained, mean | least |\n| --- | --- | --- |")
    for sigma in WEAK:
        pairs = [(clean, weak(clean, sigma, number)) for number, clean in enumerate(middles)]
        gained(f"gauss{sigma}", denoise, pairs)
    for sigma in IN_8_BITS:
        pairs = [(clean, eight_bits(clean, sigma, number)) for number, clean in enumerate(middles)]
        gained(f"gauss{sigma}, in 8 bits", denoise, pairs)
    for quality in JPEG:
        for sigma in BEFORE_JPEG:
            pairs = [(clean, jpeg(clean, sigma, quality, n)) for n, clean in enumerate(middles)]
            gained(f"gauss{sigma}, then JPEG {quality}", denoise, pairs)


def made_noisy(clean, sigma, photons, seed):
    """The image in 0..255 with noise that is neither clipped nor rounded."""
    random = np.random.default_rng(seed)
    if sigma:
        return clean + random.normal(0, sigma, clean.shape)
    return random.poisson(clean / 255 * photons) / photons * 255


def middle(image):
    """Its middle of SIDE x SIDE pixels at most."""
    top, left = ((side - SIDE) // 2 if side > SIDE else 0 for side in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]


def weak(clean, sigma, seed):
    """With noise, as float32."""
    return np.float32(made_noisy(clean, sigma, None, seed))


def eight_bits(clean, sigma, seed):
    """With noise, as uint8."""
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return np.uint8((clean + noise).round().clip(0, 255))


def jpeg(clean, sigma, quality, seed):
    """With noise, as a JPEG file of uint8 whose colours have half the resolution."""
    pixels = eight_bits(clean, sigma, seed)
    _, file = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    kind = cv2.IMREAD_COLOR if clean.shape[2] == 3 else cv2.IMREAD_GRAYSCALE
    read = cv2.imdecode(file, kind).reshape(clean.shape)
    return np.ascontiguousarray(read[..., ::-1])


def gained(name, denoise, pairs):
    """Prints what denoising does to images (clean, noisy)."""
    gains = [psnr(c, denoise(noisy), 255) - psnr(c, noisy, 255) for c, noisy in pairs]
    print(f"| {name} | {np.mean(gains):+.2f} | {min(gains):+.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
