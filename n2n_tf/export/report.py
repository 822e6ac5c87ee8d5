"""report.md: one table of what all TFLite files of a folder are worth, and how a frame is cut."""

import math
import os
import pathlib

from n2n_tf.denoising.tiling import Tiling, plan_tiles
from n2n_tf.export.measure import Figures
from n2n_tf.model_files.info import ModelInfo, read_info
from n2n_tf.pipelines.files.atomic_files import atomic_file
from n2n_tf.pipelines.padding import round_up
from n2n_tf.pipelines.processors import available_processors

REPORT_FILE = "report.md"
_COLUMNS = (
    "file",
    "MB",
    "max / mean difference",
    "tiling",
    "PSNR noisy -> Keras -> file",
    "XNNPACK takes",
    "left to others",
    "GPU check",
    "ms per MP",
    "peak MB",
)


def report(folder: str | os.PathLike, refused: dict[str, Figures]) -> str:
    """Writes report.md on all TFLite files of a folder, from the model.json beside each.

    Args:
        folder: where the files are.
        refused: dict, name -> `Figures` of files that were measured and not written.

    Returns:
        The table as text, "" if there are no files.
    """
    rows = [
        _row(path.name.removesuffix(".json"), Figures(**info.measured))
        for path in sorted(pathlib.Path(folder).glob("*.tflite.json"))
        if (info := read_info(path)).measured
    ]
    rows += [_row(f"{name}: refused", figures) for name, figures in refused.items()]
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in [_COLUMNS, *rows]) for i in range(len(_COLUMNS))]
    lines = [_COLUMNS, ["-" * width for width in widths], *rows]
    cells = (" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    table = "\n".join(f"| {line} |" for line in cells)
    text = (
        f"{table}\n\nDifferences are to the Keras network, images in [0, 1]; `tiling` is what "
        "cutting a picture into\nsuch tiles adds. PSNR in dB over noisy photographs that did not "
        "calibrate the file; milliseconds\nand memory of LiteRT on the machine of the export "
        f"({available_processors()} threads).\n"
    )
    with atomic_file(pathlib.Path(folder) / REPORT_FILE, overwrite=True) as temporary:
        temporary.write_text(text)
    return table


def _row(name, f):
    quality = "-"
    if f.psnr is not None:
        quality = f"{f.psnr_noisy:.2f} -> {f.psnr_keras:.2f} -> {f.psnr:.2f} ({-f.psnr_drop:+.3f})"
    return (
        name,
        f"{f.megabytes:.2f}",
        f"{f.max_difference:.1e} / {f.mean_difference:.1e}",
        f"{f.tiling_difference:.1e}",
        quality,
        f.delegated(),
        ", ".join(sorted(f.not_delegated)) if len(f.not_delegated) < 5 else "most",
        "-" if f.gpu_warnings is None else "warns" if f.gpu_warnings else "passes",
        f"{f.milliseconds_per_megapixel:.0f}",
        f"{f.peak_megabytes:.0f}",
    )


def tile_plan(info: ModelInfo, height: int, width: int) -> str:
    """How a frame is cut for a file of one size, as text.

    Args:
        info: `ModelInfo` of the file.
        height: of the frame in pixels; of a sensor mosaic that begins on a red pixel.
        width: likewise.
    """
    cell = 2 if info.input == "bayer_mosaic" else 1
    tiling = Tiling.of(info, 0)
    multiple, tile, halo = info.size_multiple, info.tile, info.halo
    sides = [round_up(-(-side // cell), multiple) for side in (height, width)]
    sides = [max(side, least) for side, least in zip(sides, tile, strict=True)]
    tiles = plan_tiles(*sides, tiling)
    rows, columns = (sorted({getattr(t, name) for t in tiles}) for name in ("top", "left"))
    kept_rows = [next(t.keep[:2] for t in tiles if t.top == row) for row in rows]
    computed = len(tiles) * math.prod(tile) / math.prod(side / cell for side in (height, width))
    return "\n".join(
        (
            f"A frame of {height} x {width} pixels, mirrored at its end to {cell * sides[0]} x "
            f"{cell * sides[1]}:",
            f"  windows of {cell * tile[0]} x {cell * tile[1]} that overlap by at least "
            f"{2 * cell * halo} pixels: {len(rows)} rows x {len(columns)} columns = {len(tiles)}",
            f"  rows begin at {_numbers(cell * row for row in rows)}",
            f"  columns begin at {_numbers(cell * column for column in columns)}",
            f"  rows kept of the first three: "
            f"{_numbers(f'{cell * a}..{cell * b - 1}' for a, b in kept_rows[:3])}",
            f"  {computed:.2f} times the frame's pixels are computed",
        )
    )


def _numbers(values):
    return ", ".join(map(str, values))
