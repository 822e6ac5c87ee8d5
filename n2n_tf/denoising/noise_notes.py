"""Noise in words: read from a flag, told in one line, printed as a table."""

from collections.abc import Iterable

import numpy as np

from n2n_tf.denoising.noise_level import NoiseEstimate

GRAMMAR = "auto, none, gauss:SIGMA or poisson_gaussian:GAIN,READ (variance = GAIN * level + READ)"
MOSTLY = 0.75  # share of what a network took away that is worth a word if it was given back


def parse_law(text: str) -> str | NoiseEstimate:
    """Reads the noise of a picture, in the picture's own units.

    Returns:
        "auto", "none" or a `NoiseEstimate` for all channels.

    Raises:
        ValueError: if the text does not follow the grammar.

    Example:
        >>> parse_law("poisson_gaussian:2,-900").gain, parse_law("gauss:5").read
        ((2.0,), (25.0,))
    """
    if text in ("auto", "none"):
        return text
    kind, _, numbers = text.partition(":")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if np.isfinite(values).all():
        if kind == "gauss" and len(values) == 1 and values[0] > 0:
            return NoiseEstimate((0.0,), (values[0] ** 2,))
        if kind == "poisson_gaussian" and len(values) == 2 and (values[0] > 0 or values[1] > 0):
            return NoiseEstimate((values[0],), (values[1],))
    raise ValueError(f"Unknown noise {text!r}: it must be {GRAMMAR}, like gauss:5.")


def notes_on(reports: Iterable[tuple[NoiseEstimate, float]]) -> list[str]:
    """What a user should know of the noise of a file's planes.

    Args:
        reports: of each plane the noise assumed and the share that was given back.

    Returns:
        Clauses; none if all was measured and is as it should be.
    """
    laws = [law for law, _ in reports]
    noisy = [law for law in laws if not law.nothing]
    if laws and not noisy:
        return ["seems to be without noise and stays as it is; otherwise give --noise"]
    notes = []
    if len(noisy) < len(laws):
        notes.append(f"{len(laws) - len(noisy)} of {len(laws)} planes seem to be without noise")
    notes += dict.fromkeys(reason for law in noisy for reason in law.assumed)
    if any(law.shared for law in noisy):
        notes.append(
            "red, green and blue share their noise, as in JPEG files and in gray pictures: the "
            "gray model denoised the luminance"
        )
    correlations = [law.correlation for law in noisy if law.correlation]
    if 2 * len(correlations) > len(noisy):
        notes.append(
            f"the noise is correlated, {np.median(correlations):.2f} between neighbours, as in "
            "developed, resized or compressed pictures: little of it can be removed; denoise the "
            "camera's raw file, or the picture before it was processed"
        )
    shares = [share for law, share in reports if not law.nothing]
    if shares and np.mean(shares) > MOSTLY:
        notes.append(
            f"{100 * np.mean(shares):.0f} % of what the network took away was more than noise and "
            "was given back"
        )
    return notes


def table_rows(law: NoiseEstimate, image: np.ndarray) -> list[str]:
    """One line for each channel of a picture [H, W, channels]: what its noise is, in its units."""
    rows = []
    for channel, (gain, read) in enumerate(zip(law.gain, law.read, strict=True)):
        values = image[..., channel]
        values = values[np.isfinite(values)]
        levels = np.quantile(values, (0.05, 0.5, 0.95)) if values.size else np.zeros(3)
        deviations = law.of_channels(channel).deviation(levels[:, None])[:, 0]
        at = "  ".join(f"{d:9.4g} at {v:<9.4g}" for d, v in zip(deviations, levels, strict=True))
        rows.append(
            f"{channel:7}  {gain:10.4g}  {read:10.4g}  {at}  {law.correlation:11.2f}  "
            f"{law.confidence:10.2f}"
        )
    return rows


TABLE_HEAD = (
    f"{'channel':>7}  {'gain':>10}  {'read':>10}  {'deviation at dark, middle, bright level':<70}"
    f"  {'correlation':>11}  {'confidence':>10}"
)
