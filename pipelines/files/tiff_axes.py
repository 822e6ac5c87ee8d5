"""What a user says of the axes of a TIFF, held against what the file says."""

import math
from typing import NamedTuple

import numpy as np

from n2n_tf.pipelines.files.image_limits import ImageFileError


class Reading(NamedTuple):
    """How the pages of a file are to be read.

    Attributes:
        rgb: whether samples are RGB; None where the user says nothing of them.
        pages: int [planes, pages of each]; the pages of one plane become its samples.
        axes, shape: of all planes, as they are read.
    """

    rgb: bool | None
    pages: np.ndarray
    axes: str
    shape: tuple[int, ...]


def read_as(
    said: str | None, axes: str, shape: tuple[int, ...], samples: int, pages: int
) -> Reading:
    """How pages are read.

    Args:
        said: None, or the user's axes, e.g. "ZYXS": Y and X as in the file; S for samples, or
            pages, that are RGB; C for samples that are channels; other letters for planes.
        axes, shape: of the pages together, as the file says.
        samples: of each page.
        pages: how many there are.

    Raises:
        ImageFileError: for axes that are not the file's.

    Example:
        >>> read_as("TSYX", "TIYX", (2, 3, 48, 64), samples=1, pages=6).pages.tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    each = np.arange(pages)[:, None]
    if said is None:
        return Reading(None, each, axes, shape)
    said = said.upper()
    more = max(0, len(said) - len(axes))  # axes along which there is only one plane
    names, sides = "I" * more + axes, (1,) * more + tuple(shape)
    inner = _inner(names, sides, samples)
    if not _fits(said, names, inner):
        raise ImageFileError(_other_axes(said, axes, shape, inner - more if inner >= 0 else None))
    at = said.find("S")
    if at in (-1, inner):
        return Reading(at >= 0 if inner >= 0 else None, each, axes, shape)
    outer = [i for i, name in enumerate(names) if name not in "YX" and i != inner]
    if inner >= 0 or sides[at] != 3 or math.prod(sides[i] for i in outer) != pages:
        raise ImageFileError(
            f"--axes={said}: S is for RGB, of 3 samples or gray pages of one size; here it has "
            f"{sides[at]}. --axes={said.replace('S', 'C')} takes each as an image of its own."
        )
    order = np.arange(pages).reshape([sides[i] for i in outer])
    order = np.moveaxis(order, outer.index(at), -1).reshape(-1, 3)
    rest = [i for i in range(len(said)) if i != at]
    return Reading(
        True, order, "".join(said[i] for i in rest) + "S", (*(sides[i] for i in rest), 3)
    )


def _inner(names, sides, samples):
    """Which axis is that of the samples of a page; -1 for gray pages."""
    if "S" in names or samples == 1:
        return names.find("S")
    at = names.find("C")
    return at if at >= 0 and sides[at] == samples else -1


def _fits(said, names, inner):
    def fit(at, letter, own):
        if own in "YX":
            return letter == own
        return letter in ("S", "C") if at == inner else letter.isalpha() and letter not in "YX"

    if len(said) != len(names) or said.count("S") > 1:
        return False
    return all(fit(*each) for each in zip(range(len(said)), said, names, strict=True))


def _other_axes(said, axes, shape, inner):
    sides = " x ".join(map(str, shape))
    example = "".join(
        name if name in "YX" else "S" if at == inner else "Z" for at, name in enumerate(axes)
    )
    what = ["Y and X where they are"]
    what += ["S (RGB) or C (channels) for its samples"] if inner is not None else []
    what += ["any other for planes"] if "Z" in example else []
    return (
        f"--axes={said}: its planes have the axes {axes} ({sides}); give a letter for each: "
        f"{', '.join(what)}, e.g. --axes={example}."
    )
