"""The files of the Smartphone Image Denoising Dataset (SIDD), raw half: read in, submitted.

    0013_NOISY_RAW_010.MAT          MATLAB v7.3 (HDF5), variable x: mosaic, float32, [0, 1]
    0013_GT_RAW_010.MAT             the same without noise
    0013_METADATA_RAW_010.MAT       MATLAB v5, struct metadata: the tags of the camera's DNG
    ValidationNoisyBlocksRaw.mat    MATLAB v5, variable of the same name, [40, 32, 256, 256] float32
    SubmitRaw.csv or SubmitRaw.mat  denoised blocks, as the benchmark takes them

HDF5 hands over a MATLAB array TRANSPOSED. Left so, the GRBG mosaic of a Galaxy S6 would read as
GBRG: red and blue exchanged. Everything here is rows first.

Source: the data set's readme and example programs (Abdelhamed et al., CVPR 2018,
https://abdokamel.github.io/sidd/). Which file is of which camera: `sidd_scenes`.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.files.image_limits import ImageFileError, check_size
from n2n_tf.pipelines.raw import bayer

BLOCKS_SHAPE = (40, 32, 256, 256)  # scenes, blocks of each scene, rows, columns
CFA_PATTERN_TAG, NOISE_PROFILE_TAG = 33422, 51041  # numbers of TIFF/EP and DNG
MATLAB_HEADER = (
    b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 "
    b"HDF5 schema 1.00 .".ljust(116)
    + bytes(8)
    + b"\x00\x02IM"  # no subsystem, version 2, LE
)


class SiddError(ValueError):
    """A file of the data set is missing, damaged or not of the expected form."""


class Metadata(NamedTuple):
    """Tags of the camera's DNG; None where a file lacks one.

    Attributes:
        model: name of the camera.
        pattern: one of `bayer.PATTERNS`.
        black_level, white_level: float64 arrays, code values, one or one per place in the 2 x 2
            cell. The mosaics of the data set are already normalised by them.
        iso: sensitivity.
        orientation: EXIF code, 1 to 8. The mosaics are not rotated by it.
        as_shot_neutral: float64 [3], camera RGB of grey.
        noise_profile: float64 [planes, 2], one plane or one per colour: a pixel x in [0, 1] has the
            noise variance profile[:, 0] * x + profile[:, 1].
    """

    model: str | None
    pattern: str | None
    black_level: np.ndarray | None
    white_level: np.ndarray | None
    iso: int | None
    orientation: int | None
    as_shot_neutral: np.ndarray | None
    noise_profile: np.ndarray | None


def read_raw(path: str | Path) -> np.ndarray:
    """Reads the mosaic of a noisy or clean image, as it lay on the sensor.

    Returns:
        float32 [H, W], nominal range [0, 1], H and W even.

    Raises:
        SiddError: the file is missing, damaged, or holds something else.
    """
    path = _existing(path)
    try:
        with h5py.File(path, "r") as file:
            _check_mosaic(path, file["x"])
            stored = np.asarray(file["x"])
    except KeyError as error:
        raise SiddError(f"{path}: has no variable `x`; give a NOISY or GT raw image.") from error
    except OSError as error:
        raise SiddError(
            f"{path}: not a whole MATLAB v7.3 file; download it again. (v5 sub-images cut by "
            "other tools are transposed: cut them anew with `sidd_scenes.cut_sub_images`.)"
        ) from error
    return _normalised(path, np.ascontiguousarray(stored.T))


def read_metadata(path: str | Path) -> Metadata:
    """Reads a METADATA file; a tag missing in the main directory is sought in the SubIFDs.

    Raises:
        SiddError: the file is missing, damaged, or holds something else.
    """
    main = _load_v5(path, "metadata", simplify_cells=True)
    if not isinstance(main, dict):
        raise SiddError(f"{path}: `metadata` must be a struct; give a METADATA_RAW file.")
    ifds = [main, *_structs(main.get("SubIFDs")), *_structs(main.get("DigitalCamera"))]
    cfa = _tag(ifds, CFA_PATTERN_TAG, sizes=(4,))
    profile = _tag(ifds, NOISE_PROFILE_TAG, sizes=(2, 6, 8))
    iso, orientation = _field(ifds, "ISOSpeedRatings"), _field(ifds, "Orientation")
    return Metadata(
        model=next((str(ifd["Model"]) for ifd in ifds if "Model" in ifd), None),
        pattern=None if cfa is None else _pattern_name(path, cfa),
        black_level=_field(ifds, "BlackLevel"),
        white_level=_field(ifds, "WhiteLevel"),
        iso=None if iso is None else int(iso[0]),
        orientation=None if orientation is None else int(orientation[0]),
        as_shot_neutral=_field(ifds, "AsShotNeutral"),
        noise_profile=None if profile is None else profile.reshape(-1, 2),
    )


def read_blocks(path: str | Path, shape: tuple = BLOCKS_SHAPE) -> np.ndarray:
    """Reads validation or benchmark blocks; the variable has the name of the file.

    Args:
        path: ValidationNoisyBlocksRaw.mat, ValidationGtBlocksRaw.mat, BenchmarkNoisyBlocksRaw.mat.
        shape: (scenes, blocks, H, W) to insist on.

    Returns:
        float32 [scenes, blocks, H, W], nominal range [0, 1].

    Raises:
        SiddError: the file is missing, damaged, or holds something else.
    """
    blocks = _load_v5(path, Path(path).stem)
    return _normalised(path, _checked_blocks(path, blocks, shape))


def write_submit_csv(path: str | Path, blocks: np.ndarray, shape: tuple = BLOCKS_SHAPE) -> None:
    """Writes SubmitRaw.csv: columns ID (0, 1, ... in scene order) and BLOCK (base64 of float32).

    Taken by https://www.kaggle.com/competitions/sidd-benchmark-raw-psnr.

    Args:
        path: replaced only once the new file is complete.
        blocks: float [scenes, blocks, H, W], denoised, in the order of the noisy blocks.
        shape: what `blocks` must have.

    Raises:
        SiddError: wrong shape, or not all numbers finite.
    """
    blocks = _checked_blocks(path, blocks, shape)
    with atomic_file(path, overwrite=True) as temporary, open(temporary, "w", newline="") as file:
        file.write("ID,BLOCK\n")
        for index, block in enumerate(blocks.reshape(-1, *blocks.shape[2:])):
            file.write(f"{index},{base64.b64encode(block.tobytes()).decode()}\n")


def write_submit_mat(
    path: str | Path,
    blocks: np.ndarray,
    seconds_per_megapixel: float,
    about: Mapping[str, str] | None = None,
    shape: tuple = BLOCKS_SHAPE,
) -> None:
    """Writes SubmitRaw.mat as MATLAB's `save -v7.3` does: DenoisedBlocksRaw = cell(40, 32).

    Args:
        path, blocks, shape: as in `write_submit_csv`.
        seconds_per_megapixel: denoising time, for TimeMPRaw.
        about: fields of OptionalData; the example program has MethodName, Authors, PaperTitle
            and Venue.

    Raises:
        SiddError: wrong shape, or not all numbers finite.
    """
    blocks = _checked_blocks(path, blocks, shape)
    with atomic_file(path, overwrite=True) as temporary:
        with h5py.File(temporary, "w", userblock_size=512) as file:
            _write_cells(file, "DenoisedBlocksRaw", blocks)
            _dataset(file, "TimeMPRaw", np.full((1, 1), seconds_per_megapixel), "double")
            optional = file.create_group("OptionalData")
            optional.attrs["MATLAB_class"] = np.bytes_("struct")
            for name, text in (about or {"MethodName": "Neighbor2Neighbor"}).items():
                codes = np.array([ord(letter) for letter in text or " "], np.uint16)
                _dataset(optional, name, codes[:, None], "char", MATLAB_int_decode=np.int32(2))
        with open(temporary, "r+b") as file:
            file.write(MATLAB_HEADER)


def _write_cells(file, name, blocks):
    """A cell array of matrices: references, transposed like all of MATLAB's HDF5, into #refs#."""
    references = file.create_group("#refs#")
    empty = _dataset(references, "a", np.zeros(2, np.uint64), "canonical empty")
    empty.attrs["MATLAB_empty"] = np.uint8(1)
    cells = np.empty(blocks.shape[1::-1], h5py.ref_dtype)
    for i, j in np.ndindex(blocks.shape[:2]):
        cell = _dataset(references, f"b{i:02d}_{j:02d}", blocks[i, j].T, "single")
        cell.attrs["H5PATH"] = np.bytes_("/#refs#")
        cells[j, i] = cell.ref
    _dataset(file, name, cells, "cell")


def _dataset(group, name, values, matlab_class, **attributes):
    dataset = group.create_dataset(name, data=values)
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    dataset.attrs.update(attributes)
    return dataset


def _check_mosaic(path, stored):
    """Refuses what is no mosaic, or a larger one than is admitted, before it takes memory."""
    shape, dtype = getattr(stored, "shape", ()), getattr(stored, "dtype", "a group")
    if dtype != np.float32 or len(shape) != 2 or shape[0] % 2 or shape[1] % 2:
        raise SiddError(
            f"{path}: `x` must be a float32 matrix of even size; give a file of the raw set, not "
            f"of the sRGB set. Received: {dtype} {shape[::-1]}."
        )
    try:
        check_size(*shape)
    except ImageFileError as error:
        raise SiddError(f"{path}: {error}") from error


def _existing(path):
    if not Path(path).is_file():
        raise SiddError(f"{path}: no such file; download it or correct the path.")
    return Path(path)


def _load_v5(path, variable, **options) -> Any:
    try:
        return scipy.io.loadmat(_existing(path), variable_names=[variable], **options)[variable]
    except SiddError:
        raise
    except NotImplementedError as error:
        raise SiddError(f"{path}: is MATLAB v7.3, expected v5; in MATLAB: save -v7.") from error
    except KeyError as error:
        raise SiddError(f"{path}: has no variable `{variable}`; keep the file's name.") from error
    except Exception as error:  # scipy raises many kinds over a damaged file
        raise SiddError(f"{path}: damaged MATLAB v5 file, download it again ({error}).") from error


def _checked_blocks(path, blocks, shape):
    """Blocks as float32 of the right shape, all finite."""
    if np.shape(blocks) != tuple(shape) or not np.issubdtype(np.asarray(blocks).dtype, np.floating):
        raise SiddError(
            f"{path}: blocks must be floating point {tuple(shape)}. "
            f"Received: {np.asarray(blocks).dtype} {np.shape(blocks)}."
        )
    blocks = np.ascontiguousarray(blocks, np.float32)
    if not np.isfinite(blocks).all():
        raise SiddError(f"{path}: blocks hold NaN or infinity; look at the denoiser's output.")
    return blocks


def _normalised(path, values):
    low, high = values.min(), values.max()
    if not (low > -0.5 and high < 1.5):
        raise SiddError(
            f"{path}: must be normalised to [0, 1]; download it again. Received: {low}..{high}."
        )
    return values


def _structs(node):
    """The structs in a struct, a list or array of structs, or nothing."""
    if isinstance(node, dict):
        return [node]
    return [item for item in np.ravel(node) if isinstance(item, dict)] if node is not None else []


def _tag(ifds, number, sizes):
    """The value of a tag that MATLAB's imfinfo does not know by name, float64, or None."""
    for ifd in ifds:
        for tag in _structs(ifd.get("UnknownTags")):
            if tag.get("ID") == number and np.size(tag["Value"]) in sizes:
                return np.ravel(tag["Value"]).astype(np.float64)
    return None


def _field(ifds, name):
    """The first value that is there and not empty, as a float64 vector, or None."""
    found = (np.ravel(ifd[name]).astype(np.float64) for ifd in ifds if np.size(ifd.get(name, [])))
    return next(found, None)


def _pattern_name(path, cfa):
    name = "".join("RGB"[int(i)] if i in (0, 1, 2) else "?" for i in cfa)
    if name not in bayer.PATTERNS:
        raise SiddError(
            f"{path}: CFAPattern {cfa.tolist()} is not a Bayer pattern; download it again."
        )
    return name
