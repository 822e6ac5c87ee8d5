"""DNG files for tests, written by tifffile, so that our own writer is not its own judge."""

import numpy as np
import tifffile

COLOR_MATRIX = np.array(
    [[0.6988, -0.1384, -0.0714], [-0.5631, 1.3410, 0.2447], [-0.1485, 0.2204, 0.7318]]
)  # CIE XYZ to camera, D65; that of no particular camera
NEUTRAL = (0.5, 1.0, 0.625)


def colour_labels(pattern, height, width):
    """Letters R, G, B as int codes, [height, width]."""
    cell = np.array([ord(letter) for letter in pattern]).reshape(2, 2)
    return np.tile(cell, (height // 2 + 1, width // 2 + 1))[:height, :width]


def random_mosaic(height, width, low=0, high=4095, seed=0):
    """uint16 [height, width] with both extremes present."""
    mosaic = np.random.default_rng(seed).integers(low, high + 1, (height, width), dtype=np.uint16)
    mosaic[0, 0], mosaic[-1, -1] = high, low
    return mosaic


def dng_tags(pattern="RGGB", black=(64, 64, 64, 64), white=4095, orientation=1):
    """The tags of a plain Bayer DNG, for tifffile's `extratags`."""
    ratios = np.stack([np.rint(COLOR_MATRIX.ravel() * 10000), np.full(9, 10000)], axis=1)
    neutral = [part for value in NEUTRAL for part in (round(value * 1000), 1000)]
    cell = bytes("RGB".index(letter) for letter in pattern)
    side = round(len(pattern) ** 0.5)
    return [
        (50706, "B", 4, b"\1\4\0\0", True),
        (50707, "B", 4, b"\1\1\0\0", True),
        (50708, "s", 0, "Acme Test 1", True),
        (271, "s", 0, "Acme", True),
        (272, "s", 0, "Test 1", True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (side, side), True),
        (33422, "B", len(cell), cell, True),
        (50710, "B", 3, b"\0\1\2", True),
        (50711, "H", 1, 1, True),
        (50713, "H", 2, (2, 2), True),
        (50714, "H", 4, tuple(black), True),
        (50717, "I", 1, white, True),
        (50721, 10, 9, tuple(ratios.ravel().astype(int).tolist()), True),
        (50778, "H", 1, 21, True),
        (50728, 5, 3, tuple(neutral), True),
        (33434, 5, 1, (1, 60), True),
        (34855, "H", 1, 3200, True),
    ]


def write_sample(path, mosaic, *, byteorder="<", photometric=32803, more=(), without=(), **levels):
    """Writes a DNG with tifffile; `more` tags replace the plain ones, `without` drops codes."""
    replaced = {tag[0] for tag in more} | set(without)
    tags = [tag for tag in dng_tags(**levels) if tag[0] not in replaced]
    tifffile.imwrite(
        path,
        mosaic,
        photometric=photometric,
        subfiletype=0,
        byteorder=byteorder,
        metadata=None,
        software=None,
        extratags=[*tags, *more],
    )
    return path
