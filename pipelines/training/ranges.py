"""What of the range [0, 1] the images of a training use, said before it starts."""

from typing import Any

import numpy as np

IMAGES, SIDE = 12, 1024  # at most so many images, of each at most so many pixels a side
LITTLE = 0.01  # range of values below which an image uses too little of it
BEYOND = 0.5  # by how much noise may leave [0, 1]


def range_lines(images: Any, scaled: bool = False) -> list[str]:
    """Looks at some of the training images.

    Args:
        images: `ImageFolder` or anything else with its `names`, `sizes` and `crop`.
        scaled: whether each will be scaled by its own noise, so that no range is wrong.

    Returns:
        lines for the user: the range of values, and a warning for images that a network for [0, 1]
        cannot learn from, with the remedy.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, IMAGES).round().astype(int))
    ranges = np.array([_range(images, index) for index in chosen])
    low, high = ranges[:, 0], ranges[:, 1]
    lines = [
        f"Values of {len(chosen)} of {len(images)} images, 1 being white: {low.min():.4g} to "
        f"{high.max():.4g}."
    ]
    if scaled:
        return [*lines, "Each is scaled by its own noise, so units and offsets do not matter."]
    beyond = (low < -BEYOND) | (high > 1 + BEYOND)
    little = (high - low < LITTLE) & ~beyond
    for wrong, what in ((beyond, "leave 0..1"), (little, f"use less than {LITTLE:.0%} of 0..1")):
        if wrong.any():
            worst = np.flatnonzero(wrong)[0]
            lines.append(
                f"Warning: {wrong.sum()} of them {what}, like {images.names[chosen[worst]]}, "
                f"{low[worst]:.4g} to {high[worst]:.4g}; give the value of white with "
                "--white_level, and take an offset off before."
            )
    return lines


def _range(images, index):
    height, width = images.sizes[index]
    rows, columns = min(height, SIDE), min(width, SIDE)
    corner = (height - rows) // 2, (width - columns) // 2
    values = images.crop(int(index), *corner, rows, columns)
    return np.quantile(values[np.isfinite(values)], (0.001, 0.999))
