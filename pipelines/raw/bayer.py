"""Bayer mosaics: pattern names, packing to four planes, phase-preserving padding and augmentation.

A mosaic is `[..., H, W]` without a channel axis: one number per photosite, colours repeating in
2 x 2 cells. A pattern names the cell row by row: RGGB has red at (0, 0), green at (0, 1) and
(1, 0), blue at (1, 1). Every function takes NumPy arrays and TensorFlow tensors of any dtype,
eagerly or inside `tf.data`, with H and W known or not.
"""

import sys
from typing import Any

import numpy as np

from n2n_tf.pipelines.padding import reflected

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")

# Where R, G1 (green in the red rows), G2 (green in the blue rows) and B lie in the 2 x 2 cell.
_PLANE_POSITIONS = {
    "RGGB": ((0, 0), (0, 1), (1, 0), (1, 1)),
    "BGGR": ((1, 1), (1, 0), (0, 1), (0, 0)),
    "GRBG": ((0, 1), (0, 0), (1, 1), (1, 0)),
    "GBRG": ((1, 0), (1, 1), (0, 0), (0, 1)),
}


def plane_positions(pattern: str) -> tuple[tuple[int, int], ...]:
    """Positions (row, column) in the 2 x 2 cell of R, G1, G2 and B.

    Raises:
        ValueError: the pattern is not one of `PATTERNS`.

    >>> plane_positions("GRBG")
    ((0, 1), (0, 0), (1, 1), (1, 0))
    """
    if pattern not in _PLANE_POSITIONS:
        raise ValueError(f"`pattern` must be one of {', '.join(PATTERNS)}. Received: {pattern!r}.")
    return _PLANE_POSITIONS[pattern]


def phase_shift(pattern: str, target: str = "RGGB") -> tuple[int, int]:
    """How many rows and columns (0 or 1 each) to skip until `pattern` reads as `target`.

    >>> phase_shift("BGGR", "RGGB")
    (1, 1)
    """
    (row, column), (target_row, target_column) = (
        plane_positions(name)[0] for name in (pattern, target)
    )
    return (row - target_row) % 2, (column - target_column) % 2


def pack(mosaic: Any, pattern: str) -> Any:
    """Splits a mosaic into its four colour planes, always in the order R, G1, G2, B.

    Args:
        mosaic: `[..., H, W]`, any dtype, H and W even (see `pad_to_cells`).
        pattern: one of `PATTERNS`.

    Returns:
        planes `[..., H/2, W/2, 4]`, same dtype and kind. G1 is the green of the red rows.

    Raises:
        ValueError: unknown pattern, or odd H or W; inside a graph an odd size that is not known
            in advance raises `tf.errors.InvalidArgumentError`.

    >>> pack(np.array([[10, 20], [30, 40]]), "BGGR").tolist()
    [[[40, 30, 20, 10]]]
    """
    positions = plane_positions(pattern)
    mosaic = _require_even(mosaic)
    planes = [mosaic[..., row::2, column::2] for row, column in positions]
    tf = _tensorflow_of(mosaic)
    return tf.stack(planes, axis=-1) if tf else np.stack(planes, axis=-1)


def unpack(planes: Any, pattern: str, size: tuple[int, int] | None = None) -> Any:
    """Puts four colour planes back into a mosaic; the exact inverse of `pack`.

    Args:
        planes: `[..., h, w, 4]` in the order R, G1, G2, B, any dtype.
        pattern: one of `PATTERNS`, the pattern of the mosaic to make.
        size: (H, W) of the mosaic before `pad_to_cells`; None keeps all 2h x 2w pixels.

    Returns:
        mosaic `[..., 2h, 2w]`, or `[..., H, W]` if `size` is given.

    >>> unpack(np.array([[[40, 30, 20, 10]]]), "BGGR").tolist()
    [[10, 20], [30, 40]]
    """
    positions = plane_positions(pattern)
    cell = [planes[..., positions.index(place)] for place in ((0, 0), (0, 1), (1, 0), (1, 1))]
    tf = _tensorflow_of(planes)
    xp = tf or np
    rows = [_interleave_columns(xp, cell[0], cell[1]), _interleave_columns(xp, cell[2], cell[3])]
    stacked = xp.stack(rows, axis=-2)  # [..., h, 2, 2w]
    shape = _shape(stacked)
    mosaic = xp.reshape(stacked, _join(shape[:-3], [2 * shape[-3], shape[-1]]))
    return mosaic if size is None else mosaic[..., : size[0], : size[1]]


def pad_to_cells(mosaic: Any) -> Any:
    """Completes the last 2 x 2 cells of a mosaic of odd size by reflection.

    A missing row H becomes a copy of row H-2, which has the same colours, so the pattern stays
    the same. `unpack(planes, pattern, size=(H, W))` takes the added row and column off again.

    Args:
        mosaic: `[..., H, W]`, any dtype, H and W at least 2.

    >>> pad_to_cells(np.array([[1, 2, 3], [4, 5, 6]])).tolist()
    [[1, 2, 3, 2], [4, 5, 6, 5]]
    """
    height, width = _size(mosaic)
    return _reflect(mosaic, (0, height % 2), (0, width % 2))


def unify(mosaic: Any, pattern: str, target: str = "RGGB", how: str = "crop") -> Any:
    """Turns a mosaic of any Bayer pattern into one of the target pattern, without moving a pixel.

    Neighbouring pixels stay neighbours, unlike in a mosaic whose colours are re-ordered.
    Source: Liu et al. 2019, arXiv 1904.12945, "Bayer pattern unification": cropping for training,
    padding and later removal (`undo_unify`) for testing.

    Args:
        mosaic: `[..., H, W]`, any dtype, H and W at least 2 (3 for cropping).
        pattern: the pattern of the mosaic.
        target: the pattern wanted.
        how: "crop" drops a first row and column where needed and then makes H and W even;
            "pad" reflects instead, so that nothing is lost.

    Returns:
        mosaic of the target pattern with even H and W.

    >>> unify(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), "GRBG").tolist()
    [[2, 3], [6, 7]]
    """
    top, left = phase_shift(pattern, target)
    height, width = _size(mosaic)
    if how == "pad":
        return _reflect(mosaic, (top, (height + top) % 2), (left, (width + left) % 2))
    if how != "crop":
        raise ValueError(f'`how` must be "crop" or "pad". Received: {how!r}.')
    bottom = top + (height - top) // 2 * 2
    right = left + (width - left) // 2 * 2
    return mosaic[..., top:bottom, left:right]


def undo_unify(mosaic: Any, pattern: str, size: tuple[int, int], target: str = "RGGB") -> Any:
    """Removes what `unify(..., how="pad")` added.

    Args:
        mosaic: `[..., H', W']` of pattern `target`.
        pattern: the pattern of the mosaic before `unify`.
        size: (H, W) before `unify`.
        target: the pattern it was unified to.

    >>> padded = unify(np.arange(9).reshape(3, 3), "GBRG", how="pad")
    >>> undo_unify(padded, "GBRG", (3, 3)).tolist()
    [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    """
    top, left = phase_shift(pattern, target)
    return mosaic[..., top : top + size[0], left : left + size[1]]


def augment(
    mosaic: Any, flip_rows: Any, flip_cols: Any, transpose: Any, pattern: str = "RGGB"
) -> Any:
    """Transposes and flips a mosaic, then crops so that its Bayer pattern is what it was.

    A flip moves the colours by one pixel; the crop starts one pixel later where that happened.
    Two rows and two columns go in every case, so that the size never depends on the choice.
    Source: Liu et al. 2019, arXiv 1904.12945, "Bayer preserving augmentation".

    Args:
        mosaic: `[..., H, W]`, any dtype, H and W even and at least 4.
        flip_rows: bool (or scalar bool tensor): reverse the order of the rows, after transposing.
        flip_cols: the same for the columns.
        transpose: the same: exchange rows and columns first.
        pattern: the pattern of the mosaic.

    Returns:
        mosaic `[..., H-2, W-2]` of the same pattern (`[..., W-2, H-2]` when transposed).

    >>> augment(np.arange(16).reshape(4, 4), True, False, False).tolist()  # rows 3 2 1 0 -> 2 1
    [[8, 9], [4, 5]]
    """
    transposition_moves = plane_positions(pattern)[0] in ((0, 1), (1, 0))  # GRBG <-> GBRG
    mosaic = _require_even(mosaic)
    mosaic = _when(transpose, _transposed, mosaic)
    mosaic = _when(flip_rows, lambda m: m[..., ::-1, :], mosaic)
    mosaic = _when(flip_cols, lambda m: m[..., ::-1], mosaic)
    moved = transpose if transposition_moves else False
    top, left = _odd(flip_rows, moved), _odd(flip_cols, moved)
    height, width = _size(mosaic)
    return mosaic[..., top : top + height - 2, left : left + width - 2]


def random_augment(mosaic: Any, seed: Any, pattern: str = "RGGB") -> Any:
    """One of the eight `augment` choices, drawn from a stateless seed; for `tf.data`.

    Args:
        mosaic: tensor `[..., H, W]`, H and W even; square, if results are to be batched.
        seed: int tensor `[2]`; the same seed always gives the same result.
        pattern: the pattern of the mosaic.

    Returns:
        tensor `[..., H-2, W-2]`, with both sizes swapped for a transposed non-square mosaic.
    """
    import tensorflow as tf

    return augment(tf.convert_to_tensor(mosaic), *draw_flips(seed), pattern)


def draw_flips(seed: Any) -> tuple[Any, Any, Any]:
    """Three scalar bool tensors from a seed [2]: `flip_rows, flip_cols, transpose` of `augment`."""
    import tensorflow as tf

    return tf.unstack(tf.random.stateless_uniform([3], seed, 0, 2, tf.int32, alg="philox") > 0)


def _tensorflow_of(values):
    """The tensorflow module if `values` is a tensor, else None; never imports it."""
    tf = sys.modules.get("tensorflow")
    return tf if tf is not None and tf.is_tensor(values) else None


def _shape(values):
    """Shape as a list of ints, or as an int tensor where parts are known only at run time."""
    tf = _tensorflow_of(values)
    known = values.shape.rank is not None and values.shape.is_fully_defined() if tf else True
    return [int(length) for length in values.shape] if known else tf.shape(values)


def _size(mosaic):
    """(H, W): ints, or scalar tensors where known only at run time."""
    shape = _shape(mosaic)
    height, width = shape[-2], shape[-1]
    if isinstance(height, int) and min(height, width) < 2:
        raise ValueError(f"A mosaic must be at least 2 x 2. Received: {height} x {width}.")
    return height, width


def _join(leading, trailing):
    """Concatenates two parts of a shape."""
    if isinstance(leading, list):
        return [*leading, *trailing]
    tf = sys.modules["tensorflow"]
    return tf.concat([leading, tf.stack(trailing)], axis=0)


def _require_even(mosaic):
    """Returns the mosaic, or raises where H or W is odd."""
    height, width = _size(mosaic)
    message = "H and W must be even; complete the cells with `pad_to_cells`."
    if isinstance(height, int):
        if height % 2 or width % 2:
            raise ValueError(f"{message} Received: {height} x {width}.")
        return mosaic
    tf = _tensorflow_of(mosaic)
    check = tf.debugging.assert_equal([height % 2, width % 2], [0, 0], message=message)
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(mosaic)


def _interleave_columns(xp, even, odd):
    """Two arrays `[..., h, w]` to one `[..., h, 2w]`."""
    shape = _shape(even)
    pairs = xp.stack([even, odd], axis=-1)
    return xp.reshape(pairs, _join(shape[:-1], [2 * shape[-1]]))


def _reflect(mosaic, rows, columns):
    """Reflects 0 or 1 rows (top, bottom) and columns (left, right) without repeating the edge."""
    tf = _tensorflow_of(mosaic)
    count, take = (tf.range, tf.gather) if tf else (np.arange, np.take)
    for axis, length, (before, after) in zip((-2, -1), _size(mosaic), (rows, columns), strict=True):
        if tf or before or after:
            places = reflected(count(-before, length + after), length, tf or np)
            mosaic = take(mosaic, places, axis=axis)
    return mosaic


def _transposed(mosaic):
    tf = _tensorflow_of(mosaic)
    return tf.linalg.matrix_transpose(mosaic) if tf else np.swapaxes(mosaic, -1, -2)


def _when(flag, change, mosaic):
    """`change(mosaic)` if the flag is set, else `mosaic`; the flag may be a tensor."""
    tf = _tensorflow_of(flag)
    if tf:
        return tf.cond(flag, lambda: change(mosaic), lambda: tf.identity(mosaic))
    return change(mosaic) if flag else mosaic


def _odd(first, second):
    """1 if exactly one of two flags is set, else 0; either may be a tensor."""
    tf = _tensorflow_of(first) or _tensorflow_of(second)
    if tf:
        return tf.cast(tf.not_equal(first, second), tf.int32)
    return int(bool(first) != bool(second))
