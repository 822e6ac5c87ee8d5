"""Anscombe's transform 2 sqrt(photons + 3/8), after which photon noise has one variance.

Source: M. Mäkitalo, A. Foi, "A closed-form approximation of the exact unbiased inverse of the
Anscombe variance-stabilizing transformation", IEEE TIP 20(9), 2011.
"""

import math
from typing import TypeVar

ROOT = math.sqrt(1.5)  # the transform of no photon
_Numbers = TypeVar("_Numbers")


def missing_photons(mean: _Numbers) -> _Numbers:
    """What the algebraic inverse mean^2 / 4 - 3/8 of a mean of transformed counts is too low by.

    Args:
        mean: number, NumPy array or TensorFlow tensor, at least `ROOT`.

    Returns:
        1/4 + sqrt(3/2) / 4 r - 11/8 r^2 + 5/8 sqrt(3/2) r^3 for r = 1 / mean: 0 at `ROOT`, 1/4 for
        many photons.

    Example:
        >>> round(missing_photons(100.0), 4), round(missing_photons(ROOT), 9)
        (0.2529, 0.0)
    """
    r = 1 / mean
    return 0.25 + r * (ROOT / 4 + r * (r * (5 * ROOT / 8) - 11 / 8))
