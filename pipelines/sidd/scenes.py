"""Which SIDD raw image is of which camera, and cutting the images into training sub-images.

    SIDD_Medium_Raw/Data/0013_001_S6_03200_01250_3200_L/0013_NOISY_RAW_010.MAT
                         instance, scene, camera, ISO, shutter, light, brightness

The five cameras have three Bayer patterns. Everything here gives RGGB mosaics, whatever the
camera, by cropping at most one row and column on each side.
"""

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.listing import files_below
from n2n_tf.pipelines.raw import bayer
from n2n_tf.pipelines.sidd.files import SiddError, read_metadata, read_raw

CAMERA_PATTERNS = {"GP": "BGGR", "IP": "RGGB", "S6": "GRBG", "N6": "BGGR", "G4": "BGGR"}

# The scene instances that are not in the Medium set, in the order of the blocks of the benchmark
# (the example program denoises the folders in order of their names) and of the validation set
# (so published programs take them). The files of blocks do not name them: see
# `sidd_blocks.unlike_pattern`.
HELD_OUT_SCENES = tuple(
    """
    0009_001_S6_00800_00350_3200_L 0021_001_GP_10000_05000_5500_N 0024_001_N6_03200_01500_5500_N
    0026_001_G4_00400_00160_5500_L 0031_001_IP_01600_02000_3200_N 0037_002_GP_06400_03200_3200_L
    0041_002_IP_01600_04000_5500_L 0046_002_G4_00400_00350_3200_L 0049_002_N6_00800_00800_5500_L
    0053_002_S6_03200_02000_5500_N 0056_003_N6_03200_04000_5500_N 0058_003_G4_00400_00500_5500_L
    0061_003_S6_00800_00500_4400_L 0067_003_GP_01600_01500_3200_L 0071_003_IP_02000_04000_5500_L
    0074_004_N6_00400_00040_3200_L 0079_004_G4_00800_00160_3200_N 0082_004_S6_03200_00500_4400_L
    0085_004_GP_06400_02000_4400_N 0093_004_IP_01250_00250_3200_L 0095_005_N6_00400_00200_3200_L
    0100_005_G4_00800_00400_3200_N 0103_005_S6_01600_00800_4400_L 0109_005_GP_10000_08000_4400_N
    0112_005_IP_01000_07500_5500_L 0119_006_N6_00400_00100_3200_L 0124_006_G4_00800_00350_3200_N
    0128_006_S6_03200_01600_4400_L 0131_006_GP_01600_01250_4400_N 0141_006_IP_01600_01620_3200_L
    0143_007_N6_00800_00800_4400_N 0148_007_G4_00400_00400_4400_L 0153_007_S6_03200_03200_5500_L
    0158_007_GP_03200_03200_5500_N 0162_007_IP_01600_01600_3200_L 0171_008_N6_03200_01600_4400_L
    0174_008_G4_00800_00800_4400_N 0176_008_S6_00400_00100_5500_L 0183_008_GP_06400_06400_5500_N
    0187_008_IP_01600_01600_3200_L
    """.split()
)

_SCENE = re.compile(r"(\d{4})_(\d{3})_(GP|IP|S6|N6|G4)_(\d{5})_(\d{5})_(\d{4})_([LNH])")
_NOISY = re.compile(r"(?:\d{4}_)?NOISY_RAW_\d{3}\.mat", re.IGNORECASE)


class Scene(NamedTuple):
    """What the name of a scene instance says.

    Attributes:
        instance: 1 to 200; scene: 1 to 10; camera: a key of `CAMERA_PATTERNS`.
        iso: sensitivity; shutter: N of 1/N seconds; temperature: of the light, kelvin.
        brightness: "L", "N" or "H": low, normal, high.
    """

    instance: int
    scene: int
    camera: str
    iso: int
    shutter: int
    temperature: int
    brightness: str

    @property
    def pattern(self) -> str:
        """Bayer pattern of the camera's raw images."""
        return CAMERA_PATTERNS[self.camera]


def parse_scene(name: str) -> Scene:
    """Takes a scene name apart.

    Raises:
        SiddError: not a scene name.

    >>> parse_scene("0013_001_S6_03200_01250_3200_L").pattern
    'GRBG'
    """
    match = _SCENE.fullmatch(name)
    if match is None:
        raise SiddError(
            f"{name!r} is not a scene name; keep the data set's folder names, such as "
            "0013_001_S6_03200_01250_3200_L (camera GP, IP, S6, N6 or G4; L, N or H last)."
        )
    return Scene(*(int(part) if part.isdigit() else part for part in match.groups()))


def list_noisy(root: str | Path, without: Container[str] = HELD_OUT_SCENES) -> list[Path]:
    """Finds all noisy raw images below a folder: all that training on noisy images needs.

    Args:
        root: the folder SIDD_Medium_Raw, its Data, or any other with such files, nested or flat.
        without: scene names to leave out; by default those of validation and benchmark.

    Returns:
        Paths, sorted.

    Raises:
        SiddError: there is none.
    """
    noisy = [path for path in files_below(root, [".mat"]) if _NOISY.fullmatch(path.name)]
    noisy = [path for path in noisy if path.parent.name not in without]
    if not noisy:
        raise SiddError(
            f"{root}: no NNNN_NOISY_RAW_010.MAT in or below it; unpack SIDD_Medium_Raw there."
        )
    return noisy


def bayer_pattern(path: str | Path) -> str:
    """The Bayer pattern of a raw image, by the name of its folder or by its METADATA file.

    Either will do; where both are there they must agree.

    Args:
        path: a noisy or clean raw image.

    Raises:
        SiddError: neither tells, or they disagree.
    """
    folder, metadata = Path(path).parent.name, _beside(path, "METADATA")
    named = parse_scene(folder).pattern if _SCENE.fullmatch(folder) else None
    recorded = read_metadata(metadata).pattern if metadata.is_file() else None
    if named is None and recorded is None:
        raise SiddError(
            f"{path}: unknown camera; keep the scene's folder or put {metadata.name} beside it."
        )
    if named and recorded and named != recorded:
        raise SiddError(
            f"{path}: {named} by its folder, {recorded} by {metadata.name}; one of the two "
            "belongs to another scene; unpack it again."
        )
    return named or recorded


def read_rggb(path: str | Path) -> np.ndarray:
    """Reads a raw image and crops it to start on a red pixel.

    Returns:
        float32 [H', W'], an RGGB mosaic, H' and W' even, 0 or 2 less than in the file.

    Raises:
        SiddError: as `read_raw` and `bayer_pattern`.
    """
    return bayer.unify(read_raw(path), bayer_pattern(path), "RGGB", how="crop")


def cut_positions(length: int, size: int = 512, step: int = 256) -> list[int]:
    """First rows of the sub-images: every `step`, and one that ends with the image.

    Raises:
        ValueError: one of the three is odd, so that a cut would begin on another colour, or
            the image is smaller than a sub-image.

    >>> cut_positions(1100)
    [0, 256, 512, 588]
    """
    if length % 2 or size % 2 or step % 2 or step < 2 or not 2 <= size <= length:
        raise ValueError(
            "`length`, `size` and `step` must be even and positive, `size` at most `length`. "
            f"Received: {length=}, {size=}, {step=}."
        )
    return sorted({*range(0, length - size + 1, step), length - size})


def sub_images(mosaic: np.ndarray, size: int = 512, step: int = 256) -> Iterator[np.ndarray]:
    """Cuts a mosaic [H, W] into views [size, size] of the same Bayer pattern, row by row."""
    for top in cut_positions(mosaic.shape[0], size, step):
        for left in cut_positions(mosaic.shape[1], size, step):
            yield mosaic[top : top + size, left : left + size]


def cut_sub_images(
    root: str | Path,
    folder: str | Path,
    size: int = 512,
    step: int = 256,
    without: Container[str] = HELD_OUT_SCENES,
    clean: bool = False,
) -> int:
    """Cuts all noisy images below `root` into RGGB sub-images, float32 .npy files.

    With a step of half a size each pixel is stored about four times, some 80 GB for the Medium
    set; `step=512` stores it once.

    Source: dataset_tool_raw.py of TaoHuang2018/Neighbor2Neighbor: same size, step and order.
    That one cuts the mosaics transposed and in three patterns.

    Args:
        root, without: as in `list_noisy`.
        folder: receives 0013_NOISY_RAW_010_s001.npy, ...; each appears once it is complete.
        size, step: pixels of the mosaic, even.
        clean: whether the clean images beside them are cut as well, to 0013_GT_RAW_010_s001.npy.

    Returns:
        The number of noisy sub-images written.

    Raises:
        SiddError: as `list_noisy` and `read_rggb`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = 0
    for path in list_noisy(root, without):
        if clean:
            _cut(_beside(path, "GT"), folder, size, step)
        written += _cut(path, folder, size, step)
    return written


def _cut(path, folder, size, step):
    """Cuts one raw image -> number of sub-images."""
    parts = list(sub_images(read_rggb(path), size, step))
    for index, part in enumerate(parts, start=1):
        target = Path(folder) / f"{path.stem}_s{index:03d}.npy"
        with atomic_file(target, overwrite=True) as temporary, open(temporary, "wb") as file:
            np.save(file, part)
    return len(parts)


def _beside(path, kind):
    """The file of another kind of the same image: NOISY, GT or METADATA."""
    path = Path(path)
    return path.with_name(re.sub("NOISY|GT|METADATA", kind, path.name, count=1, flags=re.I))
