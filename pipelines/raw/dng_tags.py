"""Which tags of a source raw a DNG made from it carries on, and what its noise profile says.

Source: Adobe DNG specification 1.7, chapter 4.
"""

import math
from collections.abc import Sequence

import numpy as np

from n2n_tf.pipelines.raw import tiff_tags
from n2n_tf.pipelines.raw.tiff_tags import Directory, Metadata, Tag, tag_values

DEFAULT_SCALE, DEFAULT_CROP_ORIGIN, DEFAULT_CROP_SIZE = 50718, 50719, 50720
COLOR_MATRIX_1, COLOR_MATRIX_2, ILLUMINANT_1 = 50721, 50722, 50778
UNIQUE_CAMERA_MODEL, AS_SHOT_NEUTRAL, ORIGINAL_NAME = 50708, 50728, 50827

AS_SHOT_WHITE_XY = 50729  # the same as a chromaticity, instead of it
# Description, firmware or program, date, artist, copyright: carried from every raw.
_DESCRIPTIVE = {270, tiff_tags.SOFTWARE, 306, 315, 33432}
# Carried from DNGs, where they are defined: camera name, matrices, calibration, white balance,
# baseline exposure and sharpness, camera profile. Not: digests, private data, previews, and what is
# said of the noise.
_CAMERA = {UNIQUE_CAMERA_MODEL, *range(50721, 50729), 50730, 50732, 50734, 50739}
_CAMERA |= {50778, 50779, 50931, 50932, 50933, *range(50936, 50943), 50964, 50965, 50981, 50982}
# Serial number, lens; CinemaDNG: time codes, frame rate, T-stop, reel, camera label.
_CAMERA |= {50735, 50736, 51043, 51044, 51058, 51081, 51105}
_CAMERA |= {51107, 51108, 51109, 51110, 52529, 52530, 52531, 52532, 52536}
# The same, but they belong beside the pixels: scale, crop, green split, chroma blur, anti-alias
# strength, and opcode lists 2 and 3 (lens shading, distortion), whose places count from the
# visible area and so stay right. Not: opcode list 1, levels, sizes.
_BESIDE_PIXELS = {DEFAULT_SCALE, DEFAULT_CROP_ORIGIN, DEFAULT_CROP_SIZE}
_BESIDE_PIXELS |= {50733, 50737, 50738, 50780, 51009, 51022, 51125}


def tags_to_carry(metadata: Metadata) -> Directory:
    """The descriptive, colour and calibration tags of a source that a DNG repeats unchanged."""
    codes = set(_DESCRIPTIVE)
    if metadata.find(tiff_tags.DNG_VERSION) is not None:
        codes |= _CAMERA | _BESIDE_PIXELS
        if metadata.find(AS_SHOT_NEUTRAL) is None:
            codes.add(AS_SHOT_WHITE_XY)
    found = {code: metadata.find(code) for code in sorted(codes)}
    return {code: tag for code, tag in found.items() if tag is not None}


def split_carried(tags: Directory, shape: tuple[int, int]) -> tuple[Directory, Directory]:
    """Divides carried tags into those of the camera and those beside the pixels.

    A default crop that reaches beyond `shape`, (H, W), is left out.
    """
    camera = {code: tag for code, tag in tags.items() if code not in _BESIDE_PIXELS}
    beside = {code: tag for code, tag in tags.items() if code in _BESIDE_PIXELS}
    origin = tag_values(beside.get(DEFAULT_CROP_ORIGIN))  # x, y
    size = tag_values(beside.get(DEFAULT_CROP_SIZE))  # width, height
    known = len(origin) == len(size) == 2
    if not (known and origin[0] + size[0] <= shape[1] and origin[1] + size[1] <= shape[0]):
        beside.pop(DEFAULT_CROP_ORIGIN, None)
        beside.pop(DEFAULT_CROP_SIZE, None)
    return camera, beside


def read_noise_profile(tag: Tag | None) -> tuple[tuple[float, float], ...] | None:
    """NoiseProfile as three (shot, read) pairs for R, G, B; None if absent or malformed.

    One pair stands for all colours; of four pairs the two greens are averaged.

    >>> read_noise_profile(tiff_tags.make_tag(tiff_tags.DOUBLE, [1e-3, 1e-6]))
    ((0.001, 1e-06), (0.001, 1e-06), (0.001, 1e-06))
    """
    values = tag_values(tag)
    if len(values) not in (2, 6, 8) or not all(0 <= value < math.inf for value in values):
        return None
    pairs = np.asarray(values, np.float64)
    pairs = pairs.reshape(-1, 2)
    if len(pairs) == 4:
        pairs = np.stack([pairs[0], (pairs[1] + pairs[2]) / 2, pairs[3]])
    return tuple((float(shot), float(read)) for shot, read in np.broadcast_to(pairs, (3, 2)))


def make_noise_profile(noise_profile: Sequence[tuple[float, float]]) -> Tag:
    """One (shot, read) pair, or three for R, G, B, as a NoiseProfile tag.

    Raises:
        ValueError: another number of pairs, or a negative one.
    """
    pairs = np.asarray(noise_profile, np.float64)
    if pairs.shape not in ((2,), (1, 2), (3, 2)) or not (pairs >= 0).all():
        raise ValueError(
            "`noise_profile` must be one (shot, read) pair or three, none negative. "
            f"Received: {noise_profile}."
        )
    return tiff_tags.make_tag(tiff_tags.DOUBLE, pairs.ravel())
