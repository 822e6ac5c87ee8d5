"""How often the check for correlated noise is right.

    python benchmarks/noise_check.py

Independent noise on photographs of scikit-image, as it is and after what spreads it: demosaicing,
blurring, doubling the size, JPEG. The training warns below the limit.
"""

import cv2
import numpy as np
import skimage.data

from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, SECOND_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import to_float
from n2n_tf.pipelines.noise.independence import LIMIT, neighbour_ratio
from n2n_tf.pipelines.noise.synthetic import add_noise, parse_noise

GRAY = "brick camera cell coins grass gravel moon page".split()
NOISES = "gauss5 gauss10 gauss25 gauss50 poisson30 poisson5".split()
QUALITIES = 50, 75, 90, 95


def demosaiced(image):
    """Bilinear, of an RGGB mosaic; gray images have no mosaic."""
    if image.shape[2] == 1:
        return None
    pixels = np.uint8(255 * np.clip(image, 0, 1) + 0.5)
    mosaic = pixels[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = pixels[::2, ::2, 0], pixels[1::2, 1::2, 2]
    return to_float(cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB))


def jpeg(image, quality):
    """Through a JPEG file."""
    pixels = np.uint8(255 * np.clip(image, 0, 1) + 0.5)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return to_float(cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(image.shape)[..., ::-1])


def blurred(image):
    """By a box of 3 x 3 pixels."""
    return cv2.blur(image, (3, 3)).reshape(image.shape)


def doubled(image):
    """To twice the size, bilinear."""
    return cv2.resize(image, None, fx=2, fy=2).reshape(
        2 * image.shape[0], 2 * image.shape[1], image.shape[2]
    )


WAYS = {
    "independent": lambda image: [image],
    "demosaiced": lambda image: [demosaiced(image)],
    "blurred 3 x 3": lambda image: [blurred(image)],
    "doubled": lambda image: [doubled(image)],
    "JPEG": lambda image: [jpeg(image, quality) for quality in QUALITIES],
}


def main():
    """Counts warnings for each kind of image and way."""
    colour = [to_float(embedded_photo(name)) for name in (*FIRST_SET, *SECOND_SET)]
    gray = [to_float(getattr(skimage.data, name)()[:512, :512, None]) for name in GRAY]
    print(f"| images | warned: {' | '.join(WAYS)} |\n|{' --- |' * (1 + len(WAYS))}")
    for kind, photos in (("colour", colour), ("gray", gray)):
        cells = []
        for way in WAYS.values():
            warned = [
                neighbour_ratio(image) < LIMIT
                for number, photo in enumerate(photos)
                for noise in NOISES
                for image in way(np.asarray(add_noise(photo, parse_noise(noise), [number, 1])))
                if image is not None
            ]
            cells.append(f"{sum(warned)} of {len(warned)}")
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
