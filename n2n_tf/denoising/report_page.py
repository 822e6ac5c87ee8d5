"""One HTML page to look at what was done: before and after, the removed noise, and numbers."""

import dataclasses
import html
import pathlib

import numpy as np

from n2n_tf.denoising import compare_html
from n2n_tf.denoising.noise_level import estimate_noise
from n2n_tf.pipelines.files.atomic_files import atomic_file

LARGEST_SIDE = 1400  # pixels shown of a picture; of larger ones the middle
QUALITY = 92  # of the JPEGs on the page
PAGE = "report.html"


@dataclasses.dataclass(frozen=True)
class Look:
    """One picture on the page.

    Attributes:
        name: what stands above it.
        size: (height, width) of the whole picture in pixels.
        pictures: JPEGs of source, result and what was removed.
        numbers: text and value, in the units of the file.
    """

    name: str
    size: tuple[int, int]
    pictures: tuple[bytes, bytes, bytes]
    numbers: tuple[tuple[str, str], ...]


class Report:
    """Collects pictures and writes the page.

    Args:
        folder: where `report.html` goes; made if there is none.
    """

    def __init__(self, folder: pathlib.Path | str) -> None:
        self.path = pathlib.Path(folder) / PAGE
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._looks = []

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Adds a picture.

        Args:
            name: of the file, and plane.
            before: [height, width, 1 or 3].
            after: the same of the same type.
        """
        self._looks.append(look(name, before, after))

    def write(self) -> None:
        """Writes the page, whole or not at all; one that is there is replaced."""
        page = _PAGE
        for name in ("POLICY", "STYLE", "SCRIPT"):
            page = page.replace(name, getattr(compare_html, name), 1)
        parts = "\n".join(_section(n, one) for n, one in enumerate(self._looks))
        with atomic_file(self.path, overwrite=True) as temporary:
            temporary.write_text(page.replace("SECTIONS", parts), encoding="utf-8")


def look(name: str, before: np.ndarray, after: np.ndarray) -> Look:
    """Measures and draws one picture, see `Report.add`."""
    removed = before.astype(np.float64) - after
    shown = tuple(slice(max(0, n - LARGEST_SIDE) // 2, None) for n in before.shape[:2])
    shown = tuple(slice(s.start, s.start + LARGEST_SIDE) for s in shown)
    low, high = _range(before[shown])
    spread = 4 * removed.std() or 1.0
    drawn = [
        *(_to_8_bits(image[shown], low, high) for image in (before, after)),
        _to_8_bits(removed[shown], -spread, spread),
    ]
    return Look(name, before.shape[:2], tuple(map(_jpeg, drawn)), _numbers(before, after, removed))


def _range(pixels):
    """Black and white of the display: the type's, unless the picture fills little of it."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    low, high = np.quantile(finite, (0.002, 0.998)) if finite.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1.0


def _to_8_bits(pixels, low, high):
    scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8)


def _jpeg(pixels):
    from n2n_tf.pipelines.files.codecs import encode_jpeg

    return encode_jpeg(pixels, quality=QUALITY)


def _numbers(before, after, removed):
    middle = np.nanmean(before, axis=(0, 1), dtype=np.float64)
    noise = [estimate_noise(image) for image in (before, after)]
    deviations = [float(one.deviation(middle).max()) for one in noise]
    return (
        ("noise before", f"{deviations[0]:.3g}"),
        ("noise after", f"{deviations[1]:.3g}"),
        ("removed, rms", f"{np.sqrt(np.nanmean(removed**2)):.3g}"),
        ("removed, mean", f"{np.nanmean(removed):.2g}"),
        ("removed, correlation of neighbours", f"{neighbour_correlation(removed):.2f}"),
        ("removed, correlation with the picture", f"{_correlation(removed, after):.2f}"),
    )


def neighbour_correlation(image: np.ndarray) -> float:
    """Mean correlation of pixels with their right and lower neighbours; 0 for independent noise.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(200, 200, 1))
        >>> round(abs(neighbour_correlation(noise)), 1)
        0.0
    """
    pairs = (image[:, 1:], image[:, :-1]), (image[1:], image[:-1])
    return float(np.mean([_correlation(*pair) for pair in pairs if pair[0].size]))


def _correlation(first, second):
    first, second = (np.asarray(x, np.float64).ravel() for x in (first, second))
    seen = np.isfinite(first) & np.isfinite(second)
    if seen.sum() < 2 or not (first[seen].std() and second[seen].std()):
        return 0.0
    return float(np.corrcoef(first[seen], second[seen])[0, 1])


def _section(number, one):
    before, after, removed = (compare_html.data_uri(p, "jpeg") for p in one.pictures)
    rows = "".join(
        f"<tr><td>{html.escape(text)}<td class=value>{html.escape(value)}"
        for text, value in one.numbers
    )
    height, width = one.size
    return (
        f'<section id="picture{number}" class="compare"><h2>{html.escape(one.name)}</h2>\n'
        f"<p>{width} x {height} pixels"
        f"{', the middle is shown' if max(one.size) > LARGEST_SIDE else ''}</p>\n"
        f'<div class="controls"><label>source {compare_html.slider("source to result")} result'
        '</label> <label><input type="checkbox" class="noise"> removed noise</label> '
        '<button class="out">&minus;</button><span class="zoom">100 %</span>'
        '<button class="in">+</button></div>\n'
        f'<div class="frame"><div class="stack"><img class="before" alt="source" src="{before}">'
        f'<img class="after" alt="result" src="{after}">'
        f'<img class="removed" alt="removed noise" src="{removed}"><div class="line"></div>'
        "</div></div>\n"
        f"<table>{rows}</table></section>"
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Denoised</title>
POLICY
<style>STYLE
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em; background: #fafafa; color: #222 }
section { margin-bottom: 3em }
h2 { margin: 0; font-size: 1.1em; overflow-wrap: anywhere }
p { margin: 0 0 .5em; color: #666 }
.controls { display: flex; gap: 1.5em; align-items: center; margin-bottom: .5em }
.slider { width: 20em; vertical-align: middle }
.zoom { display: inline-block; width: 4em; text-align: center }
.frame { overflow: auto; width: fit-content; max-width: 100%; max-height: 80vh; background: #ddd }
.stack { position: relative; width: max-content; cursor: ew-resize; touch-action: pinch-zoom }
.stack img { display: block; image-rendering: pixelated }
.removed { position: absolute; left: 0; top: 0; visibility: hidden }
.line { position: absolute; top: 0; bottom: 0; left: 50%; border-left: 1px solid #fff;
  mix-blend-mode: difference; pointer-events: none }
table { margin-top: .5em; border-collapse: collapse }
td { padding: .1em 1.5em .1em 0 } .value { text-align: right; font-variant-numeric: tabular-nums }
</style></head><body>
SECTIONS
<script>
"use strict";SCRIPT
for (const section of document.querySelectorAll("section")) {
  const find = (name) => section.querySelector("." + name);
  const images = [...section.querySelectorAll("img")];
  let zoom = 1;
  const scale = (factor) => {
    zoom = Math.min(16, Math.max(0.25, zoom * factor));
    for (const image of images) image.style.width = `${image.naturalWidth * zoom}px`;
    find("zoom").textContent = `${Math.round(100 * zoom)} %`;
  };
  const slider = find("slider");
  slider.addEventListener("input", () => {
    find("line").style.left = `${slider.value}%`;
  });
  const drag = (event) => {
    if (!event.buttons) return;
    event.preventDefault();
    const box = find("stack").getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    slider.dispatchEvent(new Event("input"));
  };
  find("stack").addEventListener("pointerdown", drag);
  find("stack").addEventListener("pointermove", drag);
  find("in").addEventListener("click", () => scale(2));
  find("out").addEventListener("click", () => scale(0.5));
  find("noise").addEventListener("change", (event) => {
    find("removed").style.visibility = event.target.checked ? "visible" : "hidden";
  });
}
</script></body></html>
"""
