"""The shipped models beside the figures of the paper: the table in README.md."""

from n2n_tf.evaluation.published import paper_figures
from n2n_tf.model_files import shipped
from n2n_tf.model_files.shipped import KINDS

PAPER_MULTIPLY_ADDS = 297_074  # per pixel, of its U-Net of 48 features
BEGIN, END = "<!-- written by n2n-models cards -->", "<!-- end -->"


def beside_the_paper() -> str:
    """A Markdown table: PSNR of every shipped RGB model under the noises of the paper's table 1."""
    measured = [
        (name, info.multiply_adds, _figures(shipped.results_of(name)))
        for name in shipped.shipped_models()
        if KINDS[(info := shipped.info_of(name)).channels] == "RGB"
    ]
    paper = {noise: rows["neighbor2neighbor"] for noise, rows in paper_figures()["table1"].items()}
    sets = [s for s in paper["gauss25"] if any(s in rows for _, _, rows in measured)]
    lines = [
        f"| noise | model | {' | '.join(sets)} | MAC/pixel |",
        f"| --- | --- | {' | '.join('---' for _ in sets)} | --- |",
    ]
    for noise, published in paper.items():
        cells = " | ".join(f"{published[data][0]:.2f}" for data in sets)
        lines.append(f"| {noise} | *the paper's U-Net* | {cells} | {PAPER_MULTIPLY_ADDS:,} |")
        for name, cost, rows in measured:
            own = {data: rows[data][noise] for data in sets if noise in rows.get(data, {})}
            if own:
                cells = " | ".join(f"{own[data]:.2f}" if data in own else "-" for data in sets)
                lines.append(f"| | `{name}` | {cells} | {cost:,} |")
    return "\n".join(lines)


def _figures(results):
    """{data set: {noise: PSNR in dB}} of a results.json."""
    table = {}
    for row in results["results"]:
        table.setdefault(row["data"], {})[row["noise"]] = row["psnr"]
    return table


def with_table(text: str) -> str:
    """A document with the table between its two marks, which it must have."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{beside_the_paper()}\n\n{END}{after}"
