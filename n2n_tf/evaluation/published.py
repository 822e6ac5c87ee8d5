"""Figures that the paper and later publications printed: see paper.json."""

import json
import pathlib


def paper_figures() -> dict:
    """What the paper printed, by table, and what later methods published.

    Returns:
        dict, e.g. ["table1"]["gauss25"]["neighbor2neighbor"]["Kodak"]: [PSNR in dB, SSIM].
    """
    path = pathlib.Path(__file__).with_name("paper.json")
    return json.loads(path.read_text(encoding="utf-8"))
