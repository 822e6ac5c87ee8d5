"""An experiment's record as one HTML page that needs no other file: tables, plots, sliders."""

import html
import pathlib

import cv2

from n2n_tf.denoising import compare_html
from n2n_tf.denoising.compare_html import data_uri
from n2n_tf.experiments import tables
from n2n_tf.experiments.plan import NOISES, Experiment

ZOOM, SCALE = 64, 4  # side of the enlarged window in pixels, and how much it is enlarged
_STYLE = """
:root{--ink:#1d1d1f;--soft:#6b6b70;--line:#e2e2e6;--ours:#2a6fdb;--paper:#c9ccd3}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);max-width:1100px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.6rem}h2{margin-top:2.5rem;font-size:1.2rem}
p{color:var(--soft)}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{padding:.3rem .4rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}td.paper{color:var(--soft)}
td.missing{white-space:normal;text-align:left;overflow-wrap:anywhere}
.panels figure{margin:0}figure{margin:1.5rem 0}figcaption{font-size:.85rem;color:var(--soft)}
.panels{margin-top:1.5rem;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(min(256px,45%),1fr))}
.panels img{width:100%;image-rendering:pixelated;display:block}
.compare{max-width:768px;margin:1rem 0}.stack{position:relative}
.compare img{display:block;width:100%}.slider{width:100%}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
"""
_SCRIPT = """
for (const pick of document.querySelectorAll(".compare select"))
  pick.addEventListener("change", () => {
    pick.closest(".compare").querySelector(".after").src = document.getElementById(pick.value).src;
  });
"""


def page(record: dict, experiment: Experiment, folder: pathlib.Path) -> str:
    """The page of a record.

    Args:
        record: what `n2n_tf.experiments.run.run_experiment` returns.
        experiment: the one it is of.
        folder: of the pictures that the record names.

    Returns:
        HTML text.
    """
    parts = [f"<h1>{_text(record['title'])}</h1>", f"<p>{_text(tables.caption(record))}</p>"]
    for noise in tables.noises(record):
        parts.append(f"<h2>{_text(NOISES.get(noise, noise))}</h2>")
        figures = [_table(record, experiment, noise), _plot(record, experiment, noise)]
        figures.append(_ceilings(noise, tables.sets_of(record)))
        pictures = [_panels(record, noise, folder)]
        parts += pictures + figures if experiment.panels else figures + pictures
    parts.append(f"<p>{_text(tables.conditions(record))}</p>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{compare_html.POLICY}'
        f"<title>{_text(record['title'])}</title><style>{compare_html.STYLE}{_STYLE}</style>"
        f"<body>{''.join(parts)}<script>{compare_html.SCRIPT}{_SCRIPT}</script></body></html>\n"
    )


def _table(record, experiment, noise):
    names = tables.sets_of(record)
    head = "".join(f"<th>{_text(name)}</th><th>paper</th>" for name in names)
    rows = []
    for row, of_sets in tables.cells(record, experiment, noise):
        figures = "".join(
            f'<td>{tables.measured_text(measured)}</td><td class="paper">'
            f"{tables.paper_text(printed)}</td>"
            for _, measured, printed in of_sets
        )
        if "missing" in row:
            figures = f'<td class="missing" colspan="{2 * len(names)}">{_text(row["missing"])}</td>'
        steps = f"{row['steps']:,}" if "steps" in row else "-"
        rows.append(
            f"<tr><td>{_text(row['label'])}</td>{figures}<td>{steps}</td>"
            f"<td>{_text(row.get('regime', '-'))}</td><td>{tables.seconds_text(row)}</td></tr>"
        )
    return (
        f'<div class="wide"><table><tr><th></th>{head}<th>steps</th><th>noise</th>'
        f"<th>seconds</th></tr>{''.join(rows)}</table></div>"
    )


def _plot(record, experiment, noise):
    """Bars of the first set's PSNR, the paper's behind ours."""
    bars = []
    for row, of_sets in tables.cells(record, experiment, noise):
        _, measured, printed = of_sets[0] if of_sets else (None, None, None)
        if measured:
            bars.append((row["label"], measured["psnr"], printed[0] if printed else None))
    if not bars:
        return ""
    values = [value for _, *pair in bars for value in pair if value is not None]
    low, high = min(values) - 1, max(values) + 0.3
    lines = []
    for number, (label, ours, printed) in enumerate(bars):
        top = 26 * number + 4
        lines.append(f'<text x="0" y="{top + 14}">{_text(label)}</text>')
        for value, colour, height in ((printed, "paper", 20), (ours, "ours", 10)):
            if value is not None:
                width = 560 * (value - low) / (high - low)
                lines.append(
                    f'<rect x="270" y="{top + (20 - height) / 2:.0f}" width="{width:.1f}" '
                    f'height="{height}" fill="var(--{colour})"/>'
                )
        x = 276 + 560 * (max(ours, printed or ours) - low) / (high - low)
        told = f"{ours:.2f}" + (f" ({printed:.2f})" if printed is not None else "")
        lines.append(f'<text x="{x:.0f}" y="{top + 14}">{told}</text>')
    name = tables.sets_of(record)[0]
    height = 26 * len(bars) + 8
    return (
        f'<figure><svg viewBox="0 0 960 {height}" role="img" aria-label="PSNR on {_text(name)}">'
        f"{''.join(lines)}</svg><figcaption>PSNR in dB on {_text(name)}: measured (narrow, blue); "
        f"the paper's (broad, grey). The bars begin at {low:.1f} dB.</figcaption></figure>"
    )


def _panels(record, noise, folder):
    """Enlarged windows of one photograph, PSNR and SSIM of all of it under each, and a slider."""
    rows = [r for r in record["rows"] if r["noise"] == noise and r.get("pictures")]
    rows = [row for row in rows if (folder / row["pictures"]["denoised"]).exists()]
    if not rows:
        return ""
    first = rows[0]["pictures"]
    noisy = f"{first['psnr_noisy']:.2f} / {first['ssim_noisy']:.3f}"
    shown = [("clean", "", first["clean"]), ("noisy", noisy, first["noisy"])]
    shown += [
        (row["label"], f"{p['psnr']:.2f} / {p['ssim']:.3f}", p["denoised"])
        for row in rows
        if row["kind"] != "noisy"
        for p in [row["pictures"]]
    ]
    panels = "".join(
        f'<figure><img alt="" src="{_window(folder / file)}"><figcaption>{_text(label)}'
        f"<br>{figures}</figcaption></figure>"
        for label, figures, file in shown
    )
    scores = [row["pictures"]["psnr"] for row in rows if row["kind"] != "noisy"]
    best = scores.index(max(scores)) if scores else 0
    told = (
        f"{first['image']}: its middle, {ZOOM} x {ZOOM} pixels, {SCALE} times enlarged; under each "
        "the PSNR in dB and the SSIM of the whole photograph."
    )
    return (
        f'<div class="panels">{panels}</div><p>{_text(told)}</p>'
        f"{_slider(shown, best, folder, noise)}"
    )


def _slider(shown, best, folder, noise):
    """The whole photograph: noisy on the left, one of the denoised on the right."""
    choices = shown[2:] or shown[:1]
    sources = [
        (f"{noise}-{i}", ", ".join(filter(None, (label, figures))), file)
        for i, (label, figures, file) in enumerate(choices)
    ]
    name, _, first = sources[best if shown[2:] else 0]
    held = "".join(
        f'<img hidden id="{_text(value)}" alt="" src="{_whole(folder / file)}">'
        for value, _, file in sources
    )
    options = "".join(
        f'<option value="{_text(value)}"{" selected" if value == name else ""}>'
        f"{_text(label)}</option>"
        for value, label, _ in sources
    )
    return (
        f'{held}<div class="compare"><div class="stack">'
        f'<img alt="noisy" src="{_whole(folder / shown[1][2])}">'
        f'<img class="after" alt="denoised" src="{_whole(folder / first)}"></div>'
        f"{compare_html.slider('noisy to denoised')}"
        f'noisy, and <select aria-label="denoised by">{options}</select></div>'
    )


def _ceilings(noise, sets):
    text = tables.ceilings(noise, sets)
    if not text:
        return ""
    *lines, _, source = text.split("\n")
    rows = [line.strip("| ").split(" | ") for line in lines if not line.startswith("| ---")]
    rows = [row for row in rows if not set("".join(row)) <= set("- |")]
    body = "".join("<tr>" + "".join(f"<td>{_text(c)}</td>" for c in row) + "</tr>" for row in rows)
    body = body.replace("td>", "th>", 2 * len(rows[0]))  # the first row is the head
    return f'<div class="wide"><table>{body}</table></div><p>{_text(source)}</p>'


def _window(path):
    """The middle of a picture, enlarged, as a data URI."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    top, left = ((side - ZOOM) // 2 if side > ZOOM else 0 for side in pixels.shape[:2])
    part = pixels[top : top + ZOOM, left : left + ZOOM]
    large = cv2.resize(part, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)
    return data_uri(bytes(cv2.imencode(".png", large)[1]), "png")


def _whole(path):
    """The whole picture as a data URI: a JPEG of high quality, a tenth of the PNG's size."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return data_uri(bytes(jpeg), "jpeg")


def _text(value):
    return html.escape(str(value))
