"""Mirror padding of arrays; `n2n_tf.networks.padding` does it inside a graph."""

import numpy as np


def round_up(size, multiple):
    """Smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


def reflect_pad(image, height, width):
    """Mirrors an array [h, w, channels] at its bottom and right border up to height x width pixels.

    Like `np.pad(mode="reflect")`: the border pixel itself is not repeated, a side that is too short
    is mirrored again and again, and a single pixel is repeated.

    Example:
        >>> reflect_pad(np.arange(3).reshape(1, 3, 1), 1, 8)[0, :, 0].tolist()
        [0, 1, 2, 1, 0, 1, 2, 1]
    """
    for axis, padded in enumerate((height, width)):
        size = image.shape[axis]
        if padded != size:
            period = max(2 * (size - 1), 1)
            index = np.arange(padded) % period
            image = np.take(image, np.minimum(index, period - index), axis)
    return image
