"""The models in saved_models/: their names, which of them suits an image, whether one is whole."""

import importlib.resources
import os
import pathlib
from typing import Any

from n2n_tf.model_files.info import (
    INFO_FILE,
    NETWORK_FILE,
    ModelError,
    ModelInfo,
    read_info,
    read_json,
)
from n2n_tf.pipelines.files.checksums import file_checksum

SHIPPED = importlib.resources.files("n2n_tf.saved_models")
RESULTS_FILE, CARD_FILE = "results.json", "MODEL_CARD.md"
KINDS = {1: "gray", 3: "RGB", 4: "raw"}  # of images, by their channels
# The model for an image of which nothing else is known.
DEFAULTS = {"gray": "unet_gray_gauss5_50", "RGB": "unet_rgb_gauss5_50", "raw": "unet_raw"}


def shipped_models() -> list[str]:
    """Names of the models in `saved_models/`, sorted."""
    found = (file.parent.name for file in SHIPPED.glob(f"*/{NETWORK_FILE}"))
    return sorted(name for name in found if not name.startswith("."))


def info_of(name: str | os.PathLike) -> ModelInfo:
    """The `ModelInfo` of a shipped model.

    Raises:
        ModelError: if it is missing or damaged.
    """
    return read_info(SHIPPED / name / INFO_FILE)


def results_of(name: str | os.PathLike) -> dict[str, Any]:
    """What results.json of a shipped model holds.

    Raises:
        ModelError: if it is missing or damaged.
    """
    return read_json(SHIPPED / name / RESULTS_FILE)


def check_whole(path: pathlib.Path, info: ModelInfo) -> ModelInfo:
    """Refuses a network that is not the one its model.json was written for.

    Args:
        path: `pathlib.Path` of the network; a training run's own states no checksum and passes.
        info: its `ModelInfo`.

    Returns:
        `ModelInfo` without the checksum, which is this file's and no export's.

    Raises:
        ModelError: if the checksum differs.
    """
    said = info.sha256
    if said and file_checksum(path) != said:
        raise ModelError(
            f"{path}: is damaged or not the network that {INFO_FILE} beside it describes: its "
            f"SHA-256 is {file_checksum(path)[:12]}..., not {str(said)[:12]}.... Fetch both files "
            "again."
        )
    return info.but(sha256=None)


def table() -> list[str]:
    """Lines of a table of all shipped models, for a terminal."""
    rows = [("name", "images", "noise", "MAC/pixel", "PSNR in dB, noisy -> denoised")]
    for name in shipped_models():
        info = info_of(name)
        default = " (default)" if name in DEFAULTS.values() else ""
        kind = KINDS[info.channels] + default
        cost = f"{info.multiply_adds:,}"
        results = results_of(name)
        rows.append((name, kind, results["noise"], cost, headline(results)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def headline(results: dict[str, Any]) -> str:
    """The figures of a model's own noise in one line: of Kodak, or whatever was measured."""
    own = [row for row in results["results"] if row["noise"] == results["noise"]]
    row = next((row for row in own if row["data"] == "Kodak"), own[0])
    return f"{row['psnr_noisy']:.2f} -> {row['psnr']:.2f} ({row['data']})"
