"""`.tflite` files and the model.json beside and inside them."""

import json
import pathlib
import zipfile
from typing import Any

from n2n_tf.model_files.info import INFO_FILE, ModelError, ModelInfo, info_path, read_info
from n2n_tf.model_files.tflite_domain import INPUTS, levels_of
from n2n_tf.pipelines.files.atomic_files import write_json
from n2n_tf.pipelines.files.checksums import file_checksum


def write_tflite(path: pathlib.Path, content: bytes, info: ModelInfo) -> None:
    """Writes a file with its model.json inside, and the same with a checksum beside it.

    Inside, it is an associated file as TFLite's metadata format has them: a zip archive at the
    file's end, which `unzip -p x.tflite model.json` reads.

    Args:
        path: x.tflite; x.tflite.json is written beside it.
        content: bytes, the converted model.
        info: `ModelInfo` of the file.
    """
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: equal models are equal files.
        entry = zipfile.ZipInfo(INFO_FILE, (1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, json.dumps(info.to_json(), indent=2) + "\n")
    write_json(info_path(path), info.but(sha256=file_checksum(path)).to_json())


def add_measured(path: pathlib.Path, measured: dict[str, Any]) -> None:
    """Adds what a `.tflite` file is worth to the model.json beside it."""
    beside = info_path(path)
    write_json(beside, read_info(beside).but(measured=measured).to_json())


def read_tflite_info(path: pathlib.Path) -> ModelInfo:
    """Reads the model.json beside a `.tflite` file, or the one inside it if there is none.

    Raises:
        ModelError: if it is missing, damaged, lacks something or belongs to another file.
    """
    beside = info_path(path)
    info = read_info(beside) if beside.exists() else _info_inside(path)
    if info.input not in INPUTS:
        raise ModelError(
            f"{path}: 'input' must be one of {', '.join(INPUTS)}, is {info.input!r:.50}."
        )
    if info.input == "bayer_mosaic":
        _check_mosaic(path, info)
    if info.sha256 and info.sha256 != file_checksum(path):
        raise ModelError(
            f"{path}: is not the file that {beside.name} describes (another checksum): it is "
            "damaged, or one of the two was replaced."
        )
    return info


def _info_inside(path):
    try:
        with zipfile.ZipFile(path) as archive:
            held = json.loads(archive.read(INFO_FILE))
    except Exception as error:  # damaged archives raise many types
        raise ModelError(
            f"{path}: is not a .tflite file of n2n-export: it holds no {INFO_FILE}, which "
            "describes its input. Files of other programs cannot be used; give the network they "
            "were made from."
        ) from error
    return ModelInfo.from_json(held, path)


def _check_mosaic(path, info):
    levels, dtype = info.levels, info.dtype
    if info.channels != 4 or dtype not in ("uint16", "float32") or info.keeps_clipped is None:
        raise ModelError(
            f"{path}: a mosaic file has 4 channels, dtype uint16 or float32, and keeps_clipped."
        )
    try:
        black, white = levels_of(info)
        good = black.shape == (4,) and white.shape == () and (black < white).all()
    except (TypeError, KeyError, ValueError):
        good = False
    if not good:
        raise ModelError(
            f"{path}: 'levels' must be \"inputs\" or four black levels below a white level, is "
            f"{levels!r:.80}."
        )
