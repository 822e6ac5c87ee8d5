"""`.tflite` files and the model.json beside and inside them."""

import hashlib
import json
import zipfile

from n2n_tf.model_files.info import INFO_FILE, ModelError, check_info, info_path, read_info
from n2n_tf.model_files.tflite_domain import INPUTS, levels_of


def write_tflite(path, content, info):
    """Writes a file with its model.json inside, and the same with a checksum beside it.

    Inside, it is an associated file as TFLite's metadata format has them: a zip archive at the
    file's end, which `unzip -p x.tflite model.json` reads.

    Args:
        path: x.tflite; x.tflite.json is written beside it.
        content: bytes, the converted model.
        info: dict for model.json.
    """
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: equal models are equal files.
        entry = zipfile.ZipInfo(INFO_FILE, (1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, json.dumps(info, indent=2) + "\n")
    info = info | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    info_path(path).write_text(json.dumps(info, indent=2) + "\n")


def add_to_info(path, more):
    """Adds entries to the model.json beside a `.tflite` file."""
    beside = info_path(path)
    info = json.loads(beside.read_text()) | more
    beside.write_text(json.dumps(info, indent=2) + "\n")


def read_tflite_info(path):
    """Reads the model.json beside a `.tflite` file, or the one inside it if there is none.

    Raises:
        ModelError: if it is missing, damaged, lacks something or belongs to another file.
    """
    beside = info_path(path)
    info = read_info(beside) if beside.exists() else _info_inside(path)
    info = {"input": "image", "tile": None} | info
    tile = info["tile"]
    sides = tile if isinstance(tile, list) and len(tile) == 2 else [0]
    if tile is not None and not all(_is_side(side, info["size_multiple"]) for side in sides):
        raise ModelError(f"{path}: 'tile' must be two sides in pixels or null, is {tile!r:.50}.")
    if info["input"] not in INPUTS:
        raise ModelError(
            f"{path}: 'input' must be one of {', '.join(INPUTS)}, is {info['input']!r:.50}."
        )
    if info["input"] == "bayer_mosaic":
        _check_mosaic(path, info)
    held = info.get("sha256")
    if held and held != hashlib.sha256(path.read_bytes()).hexdigest():
        raise ModelError(
            f"{path}: is not the file that {beside.name} describes (another checksum): it is "
            "damaged, or one of the two was replaced."
        )
    return info


def _is_side(side, multiple):
    return type(side) is int and 0 < side <= 1 << 16 and side % multiple == 0


def _info_inside(path):
    try:
        with zipfile.ZipFile(path) as archive:
            info = json.loads(archive.read(INFO_FILE))
    except Exception as error:  # damaged archives raise many types
        raise ModelError(
            f"{path}: is no .tflite file of n2n-export: it holds no {INFO_FILE}, which says what "
            "to feed it. Files of other programs cannot be used; give the network they were made "
            "from."
        ) from error
    return check_info(info, path)


def _check_mosaic(path, info):
    levels, dtype = info.get("levels"), info.get("dtype")
    if info["channels"] != 4 or dtype not in ("uint16", "float32") or "keeps_clipped" not in info:
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
