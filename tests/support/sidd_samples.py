"""Writes small files of exactly the structures of SIDD's, for the tests."""

import h5py
import numpy as np
import scipy.io

S6_SCENE = "0013_001_S6_03200_01250_3200_L"  # GRBG, the pattern that a transposition spoils
COLOURS = {"R": 0.125, "G1": 0.5, "G2": 0.625, "B": 0.875}  # green of the red rows, of the blue


def mosaic_of(pattern, height, width):
    """A mosaic whose every pixel tells its colour, by a formula of its own."""
    mosaic = np.empty((height, width), np.float32)
    for row in range(height):
        letters = pattern[:2] if row % 2 == 0 else pattern[2:]
        for column in range(width):
            letter = letters[column % 2]
            if letter == "G":
                letter = "G1" if "R" in letters else "G2"
            mosaic[row, column] = COLOURS[letter]
    return mosaic


def write_v73(path, **variables):
    """MATLAB v7.3 with a 512-byte user block, every array transposed and compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            dataset = file.create_dataset(name, data=np.asarray(value).T, compression="gzip")
            dataset.attrs["MATLAB_class"] = np.bytes_("single")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_scene(root, name=S6_SCENE, pattern="GRBG", size=(12, 16), frames=("010", "011")):
    """A scene of the Medium layout without metadata; the noisy mosaic is the clean one + 0.01."""
    clean = mosaic_of(pattern, *size)
    for frame in frames:
        write_v73(root / name / f"{name[:4]}_GT_RAW_{frame}.MAT", x=clean)
        write_v73(root / name / f"{name[:4]}_NOISY_RAW_{frame}.MAT", x=clean + np.float32(0.01))
    return root / name / f"{name[:4]}_NOISY_RAW_{frames[0]}.MAT"


def unknown_tags(*tags):
    """MATLAB's struct array of the tags that imfinfo has no name for: n x 1, ID Offset Value."""
    array = np.empty((len(tags), 1), [("ID", object), ("Offset", object), ("Value", object)])
    for index, (number, value) in enumerate(tags):
        array[index, 0] = (float(number), 8.0, np.atleast_2d(value))
    return array


def cell(*items):
    """A MATLAB cell array, 1 x n."""
    array = np.empty((1, len(items)), object)
    array[0, :] = items
    return array


def write_galaxy_metadata(path, cfa=(1, 0, 2, 1), profile=(4.79e-4, 0.0) * 3):
    """Tags in the main directory, as of a Samsung Galaxy S6."""
    metadata = {
        "Model": "SM-G920I",
        "Width": 5328.0,
        "Height": 3000.0,
        "Orientation": 3.0,
        "BlackLevel": [0.0, 0.0, 0.0, 0.0],
        "WhiteLevel": 1023.0,
        "ISOSpeedRatings": 3200.0,
        "AsShotNeutral": [0.53, 1.0, 0.72],
        "UnknownTags": unknown_tags(
            (33421, np.float64([2, 2])),
            (33422, np.float64(cfa)),
            (51041, np.float64(profile)),
        ),
    }
    scipy.io.savemat(path, {"metadata": metadata})


def write_phone_metadata(path):
    """Tags in SubIFDs and DigitalCamera and an 8-entry preview CFA tag, as of an iPhone 7."""
    raw = {
        "BlackLevel": 528.0,
        "WhiteLevel": 4095.0,
        "UnknownTags": unknown_tags((33422, np.float64([0, 1, 1, 2]))),
    }
    metadata = {
        "Model": "iPhone 7",
        "Orientation": 1.0,
        "BlackLevel": np.zeros((0, 0)),
        "AsShotNeutral": [0.6, 1.0, 0.5],
        "DigitalCamera": {"ISOSpeedRatings": 800.0},
        "SubIFDs": cell(raw, {"Width": 256.0}),
        "UnknownTags": unknown_tags(
            (33422, np.arange(8.0)), (51041, np.float64([3e-4, 2e-6])), (50000, "text")
        ),
    }
    scipy.io.savemat(path, {"metadata": metadata})
