"""An experiment's record as Markdown: measured figures, and the paper's in columns of their own."""

from collections.abc import Iterator

from n2n_tf.evaluation.published import paper_figures
from n2n_tf.experiments.plan import NOISES, Experiment, Row, caption_of, paper_cell

ENOUGH_ALONE = 1_000  # steps on one image, below which a network has not even drawn it


def markdown(record: dict, experiment: Experiment) -> str:
    """The whole record, one table for each noise.

    Args:
        record: what `n2n_tf.experiments.run.run_experiment` returns.
        experiment: the one it is of.

    Returns:
        Markdown text.
    """
    parts = [f"# {record['title']}", caption(record)]
    for noise in noises(record):
        parts += [f"## {NOISES.get(noise, noise)}", _table(record, experiment, noise)]
        if later := ceilings(noise, sets_of(record)):
            parts.append(later)
    parts.append(conditions(record))
    return "\n\n".join(parts) + "\n"


def noises(record: dict) -> list[str]:
    """The noises of a record in order."""
    return list(dict.fromkeys(row["noise"] for row in record["rows"]))


def sets_of(record: dict) -> list[str]:
    """The data sets of a record in order."""
    return list(dict.fromkeys(name for row in record["rows"] for name in row.get("sets", {})))


def caption(record: dict) -> str:
    """What the budget means for the figures."""
    budget = record["budget"]
    images = budget["images"]
    width, alone = dict(budget["recipe"])["features"], ""
    if any(row["kind"] == "one_image" for row in record["rows"]):
        short = ", too few to denoise" if budget["one_image_steps"] < ENOUGH_ALONE else ""
        alone = f" Networks trained anew on each image had {budget['one_image_steps']:,}{short}."
    first = "image of each set is" if images == 1 else f"{images} images of each set are"
    few = f" Only the first {first} scored." if images else ""
    return (
        f"PSNR in dB / SSIM. {caption_of(budget['steps'])}{few} Every trained method had "
        f"{budget['steps']:,} steps; networks are {width} features wide.{alone} The paper's "
        "figures, in columns of their own, were measured by its authors: "
        f"{paper_figures()['source']}."
    )


def cells(record: dict, experiment: Experiment, noise: str) -> Iterator[tuple[dict, list]]:
    """Rows of one noise, each with [(set, measured or None, the paper's or None)]."""
    for row in record["rows"]:
        if row["noise"] == noise:
            planned = Row(row["key"], row["label"], noise, row["kind"])
            yield (
                row,
                [
                    (name, row.get("sets", {}).get(name), paper_cell(experiment, planned, name))
                    for name in sets_of(record)
                ],
            )


def _table(record, experiment, noise):
    heads = [f"{name} measured | {name} paper" for name in sets_of(record)]
    lines = [
        f"| | {' | '.join(heads)} | steps | noise | seconds |",
        f"|{' --- |' * (2 * len(heads) + 4)}",
    ]
    for row, of_sets in cells(record, experiment, noise):
        figures = [f"{measured_text(measured)} | {paper_text(p)}" for _, measured, p in of_sets]
        more = [f"{row['steps']:,}" if "steps" in row else "-", row.get("regime", "-")]
        lines.append(f"| {row['label']} | {' | '.join(figures + more)} | {seconds_text(row)} |")
        if "missing" in row:
            lines[-1] = f"| {row['label']} | {row['missing']} |" + " |" * (2 * len(heads) + 2)
    return "\n".join(lines)


def measured_text(figures: dict | None) -> str:
    """As "31.87 / 0.868", or a dash."""
    return f"{figures['psnr']:.2f} / {figures['ssim']:.3f}" if figures else "-"


def paper_text(figures: list[float] | None) -> str:
    """The same of what was printed; of later methods it is the PSNR alone."""
    if not figures:
        return "-"
    return f"{figures[0]:.2f}" + (f" / {figures[1]:.3f}" if len(figures) > 1 else "")


def seconds_text(row: dict) -> str:
    """Seconds of training and of denoising."""
    scored = sum(figures["seconds"] for figures in row.get("sets", {}).values())
    return f"{row.get('seconds_training', 0):.0f} + {scored:.0f}"


def ceilings(noise: str, sets: list[str]) -> str:
    """What later methods reached, as their papers say; empty if nothing is known."""
    known = paper_figures()["ceilings"]
    rows = known.get(noise, {})
    if not rows or not set(sets) & {name for row in rows.values() for name in row}:
        return ""
    lines = [f"| published later | {' | '.join(sets)} |", f"|{' --- |' * (len(sets) + 1)}"]
    for method, figures in rows.items():
        lines.append(f"| {method} | {' | '.join(paper_text(figures.get(s)) for s in sets)} |")
    return "\n".join([*lines, "", f"Source: {known['source']}."])


def versions_of(record: dict) -> list[tuple[str, list[str]]]:
    """Each package with all its versions: rows may have been measured on different days."""
    versions = {}
    for row in record["rows"]:
        for name, version in row.get("versions", {}).items():
            versions.setdefault(name, {})[version] = None
    return [(name, list(numbers)) for name, numbers in versions.items()]


def conditions(record: dict) -> str:
    """Seeds, versions and images, in one paragraph."""
    versions = ", ".join(f"{name} {' and '.join(all_)}" for name, all_ in versions_of(record))
    counts = ", ".join(f"{name}: {len(images)}" for name, images in record["data"].items())
    seeds = record["seeds"]
    precision = dict(record["budget"]["recipe"]).get("precision", "float32")
    return (
        f"Seed of the trainings {seeds['training']}, of the evaluation {seeds['evaluation']}; "
        f"trained in {precision}. "
        f"Images given: {counts or 'none'}. {versions}. Seconds: training + denoising and scoring, "
        "on the machine that ran it; a training that rows share counts for the first."
    )
