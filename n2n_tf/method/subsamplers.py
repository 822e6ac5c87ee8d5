"""Neighbor sub-samplers: which pixels of every k x k cell become g1(y) and g2(y).

Choosing positions and applying them are two separate steps, because the same map must sample the
noisy image and its denoised version (paper, figure 1: "the neighbor sub-sampler G that appears
twice represents the same neighbor sub-sampler").

    first, second = draw_neighbor_pairs(batch, height, width, seed)
    sub_input, sub_target = take_pixels(noisy, first), take_pixels(noisy, second)

A position is the row-major index of a pixel in its cell, so for k=2: 0 1
                                                                      2 3

Source: Huang et al., "Neighbor2Neighbor", CVPR 2021, section 4.1 and appendix B.
"""

import numpy as np
import tensorflow as tf

Size = int | tf.Tensor  # known when a graph is traced, or a scalar when it runs


def neighbor_pairs(k: int = 2) -> np.ndarray:
    """Returns every ordered pair of horizontally or vertically adjacent positions of a cell.

    Args:
        k: side of the cell in pixels, at least 2.

    Returns:
        int32 array [2 * 2 * k * (k - 1), 2]; 8 rows for k=2, in the official code's order.

    Raises:
        ValueError: if `k` is smaller than 2.

    Example:
        >>> neighbor_pairs(2).tolist()
        [[0, 1], [0, 2], [1, 3], [2, 3], [1, 0], [2, 0], [3, 1], [3, 2]]
    """
    if k < 2:
        raise ValueError(f"`k`, the side of a cell, must be at least 2. Received: k={k}.")
    index = np.arange(k * k, dtype=np.int32).reshape(k, k)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], -1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], -1)
    pairs = np.concatenate([across, down])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return np.concatenate([pairs, pairs[:, ::-1]])


def fixed_pairs(k: int = 2) -> np.ndarray:
    """Returns every ordered pair of two different positions of a cell, adjacent or not.

    Args:
        k: side of the cell in pixels, at least 2.

    Returns:
        int32 array [k**2 * (k**2 - 1), 2]; 12 rows for k=2.

    Raises:
        ValueError: if `k` is smaller than 2.
    """
    if k < 2:
        raise ValueError(f"`k`, the side of a cell, must be at least 2. Received: k={k}.")
    first, second = np.divmod(np.arange(k**4, dtype=np.int32), np.int32(k * k))
    return np.stack([first, second], -1)[first != second]


def draw_neighbor_pairs(
    batch: Size, height: Size, width: Size, seed: tf.Tensor, k: int = 2
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a random neighbor sub-sampler: one ordered pair of adjacent pixels for every cell.

    Stateless: the same arguments give the same map, eagerly, in a graph and under XLA.

    Args:
        batch: number of the images to be sub-sampled.
        height: their height in pixels. Rows and columns beyond the last whole cell are left out, as
            the paper's floor(H/k) x floor(W/k) cells say.
        width: their width in pixels.
        seed: int tensor [2].
        k: side of a cell in pixels.

    Returns:
        `first, second`: int32 [batch, height // k, width // k], positions 0 .. k*k - 1 for g1 and
        g2. All ordered pairs are equally likely and cells are independent (section 4.1, step 2).
    """
    pairs = neighbor_pairs(k)
    shape = (batch, height // k, width // k)
    drawn = tf.random.stateless_uniform(shape, seed, 0, len(pairs), tf.int32, alg="philox")
    return tf.gather(pairs[:, 0], drawn), tf.gather(pairs[:, 1], drawn)


def draw_fixed_pair(
    batch: Size, height: Size, width: Size, seed: tf.Tensor, k: int = 2
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a fix-location sub-sampler: one ordered pair per image, the same in all its cells.

    The paper's ablation (section 5.3, table 4; appendix B): two of the k*k sub-images, at random.
    Arguments and results are those of `draw_neighbor_pairs`.
    """
    pairs = fixed_pairs(k)
    drawn = tf.random.stateless_uniform((batch, 1, 1), seed, 0, len(pairs), tf.int32, alg="philox")
    everywhere = tf.zeros((batch, height // k, width // k), tf.int32)
    return tf.gather(pairs[:, 0], drawn) + everywhere, tf.gather(pairs[:, 1], drawn) + everywhere


def pairs_along_edges(images: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes neighbours along the edge that crosses a cell: across where the image changes less.

    How much the image changes is read off the cells around, never off the cell itself: chosen by
    their own noisy values, the two pixels would be ones with similar noise, and no longer
    independent. Not in the paper.

    Args:
        images: float [batch, height, width, channels], sides at least 2.
        drawn: int32 [batch, height // 2, width // 2], random numbers 0 .. 7.

    Returns:
        As `draw_neighbor_pairs` for k = 2: each of the two pairs of the better direction, and both
        orders, equally likely.
    """
    shape = tf.shape(images)
    rows, columns = shape[1] // 2, shape[2] // 2
    means = tf.nn.avg_pool2d(images[:, : 2 * rows, : 2 * columns], 2, 2, "VALID")
    around = tf.pad(means, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    # The mirrored cell beyond the border is the cell itself: there the direction is drawn.
    across = tf.reduce_sum(tf.abs(around[:, 1:-1, 2:] - around[:, 1:-1, :-2]), -1)
    down = tf.reduce_sum(tf.abs(around[:, 2:, 1:-1] - around[:, :-2, 1:-1]), -1)
    row, column = tf.range(rows)[:, None], tf.range(columns)[None, :]
    inside = (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)
    horizontal = tf.where(inside, across < down, drawn >= 4)
    pair = drawn % 4 + tf.where(horizontal, 0, 4)
    pairs = tf.constant([[0, 1], [1, 0], [2, 3], [3, 2], [0, 2], [2, 0], [1, 3], [3, 1]], tf.int32)
    return tf.gather(pairs[:, 0], pair), tf.gather(pairs[:, 1], pair)


def draw_eighths(
    batch: Size, height: Size, width: Size, seed: tf.Tensor, k: int = 2
) -> tuple[tf.Tensor]:
    """Random numbers 0 .. 7 for every cell of 2 x 2, as `pairs_along_edges` takes them.

    Raises:
        ValueError: if `k` is not 2.
    """
    if k != 2:
        raise ValueError(f"Neighbours along edges are of cells of 2 x 2 pixels. Received: k={k}.")
    shape = (batch, height // 2, width // 2)
    return (tf.random.stateless_uniform(shape, seed, 0, 8, tf.int32, alg="philox"),)


DRAW = {"random": draw_neighbor_pairs, "fixed": draw_fixed_pair, "edges": draw_eighths}


def take_pixels(images: tf.Tensor, position: tf.Tensor, k: int = 2) -> tf.Tensor:
    """Applies a position map: takes one pixel of every k x k cell, the same for all channels.

    Args:
        images: [batch, height, width, channels], any dtype. Rows and columns beyond the last whole
            cell are ignored.
        position: int [batch, height // k, width // k], row-major index of the pixel in its cell.
        k: side of a cell in pixels.

    Returns:
        [batch, height // k, width // k, channels], dtype of `images`.

    Example:
        >>> image = tf.reshape(tf.range(16), (1, 4, 4, 1))
        >>> take_pixels(image, tf.zeros((1, 2, 2), tf.int32))[0, ..., 0].numpy().tolist()
        [[0, 2], [8, 10]]
    """
    shape = tf.shape(images)
    rows, columns = shape[1] // k, shape[2] // k
    cells = images[:, : rows * k, : columns * k]  # [B, rows*k, columns*k, C]
    cells = tf.reshape(cells, (shape[0], rows, k, columns, k, images.shape[-1]))
    cells = tf.transpose(cells, (0, 1, 3, 2, 4, 5))  # [B, rows, columns, k, k, C]
    cells = tf.reshape(cells, (shape[0], rows, columns, k * k, images.shape[-1]))
    return tf.gather(cells, position, axis=3, batch_dims=3)  # [B, rows, columns, C]
