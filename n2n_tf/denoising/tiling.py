"""Tile geometry in integers, reflection padding, cutting and stitching.

A network that halves its image n times gives the inside of a tile the values of the whole image
only if tiles lie on the grid of those halvings (`size_multiple`) and are read with a margin as wide
as the network sees (`halo`). All tiles are read with one size, so one compiled program serves all.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from n2n_tf.model_files.info import ModelInfo
from n2n_tf.pipelines.padding import reflected, round_up

AS_WELL = 1.03  # times the least that windows can cover is about as good
AHEAD = 100_000_000  # samples; windows made ahead need the memory of another row of tiles


@dataclasses.dataclass(frozen=True)
class Tile:
    """One tile: what is read and which part of the result is kept. All in pixels of the image.

    `top, left, height, width` is the window read; `keep` = (row_start, row_stop, column_start,
    column_stop) is the part of the image that this tile writes, inside the window.
    """

    top: int
    left: int
    height: int
    width: int
    keep: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How pictures are cut for a network. All in pixels of its input.

    Attributes:
        tile: (height, width) of the window read, multiples of `size_multiple`, above `2 * halo`.
            Unless `fixed`, any window of no more pixels will do.
        halo: margin between what is kept and the border of the window, except where that border is
            the image's own.
        size_multiple: windows begin, and their sides are, at multiples of this.
        fixed: whether the network takes windows of exactly `tile`; smaller images are then
            mirror-padded.
    """

    tile: tuple[int, int]
    halo: int
    size_multiple: int
    fixed: bool = False

    @classmethod
    def of(cls, info: ModelInfo, tile: int) -> "Tiling":
        """The tiling of a model: of the size its file demands, else of squares of about `tile`.

        Squares are rounded up to what the network takes, and are never so small that nothing would
        be left inside the halo.
        """
        multiple, halo = info.size_multiple, info.halo
        if info.tile:
            return cls(info.tile, halo, multiple, fixed=True)
        side = max(round_up(tile, multiple), round_up(2 * halo + multiple, multiple))
        return cls((side, side), halo, multiple)


def plan_tiles(height: int, width: int, tiling: Tiling) -> list[Tile]:
    """Plans windows that cover an image so that every pixel is written by exactly one of them.

    Args:
        height: of the image in pixels, a multiple of `tiling.size_multiple`.
        width: likewise.
        tiling: `Tiling`.

    Returns:
        list of `Tile`, row by row. An image that fits into one window has one tile. All windows
        have the same size: `tiling.tile` if it is fixed, else that of at most as many pixels with
        which about the least is denoised twice.

    Raises:
        ValueError: naming the argument that breaks a condition above.

    Example:
        >>> tiling = Tiling((96, 96), halo=16, size_multiple=32)
        >>> [t.keep for t in plan_tiles(64, 160, tiling)]
        [(0, 64, 0, 80), (0, 64, 80, 160)]
        >>> [(t.height, t.width) for t in plan_tiles(160, 256, Tiling((192, 192), 16, 32))]
        [(96, 256), (96, 256)]
    """
    (tile_height, tile_width), halo = tiling.tile, tiling.halo
    size_multiple = tiling.size_multiple
    sides = ("height", height), ("width", width), ("tile", tile_height), ("tile", tile_width)
    for name, value in sides:
        if value <= 0 or value % size_multiple:
            raise ValueError(
                f"`{name}` must be a positive multiple of {size_multiple} pixels. "
                f"Received: {name}={value}."
            )
    if not tiling.fixed:
        tile_height, tile_width = _window_size(height, width, tiling)
    rows = _plan_axis(height, tile_height, halo, size_multiple)
    columns = _plan_axis(width, tile_width, halo, size_multiple)
    window = min(tile_height, height), min(tile_width, width)
    return [
        Tile(top, left, *window, (*kept_rows, *kept_columns))
        for top, kept_rows in rows
        for left, kept_columns in columns
    ]


def _window_size(height, width, tiling):
    """The (height, width) of windows of no more pixels than `tiling.tile` that cover an image best.

    Of those that do about as well it is the smallest, which needs the least memory.
    """
    margin = round_up(2 * tiling.halo, tiling.size_multiple)  # of a window, on both sides together
    if min(tiling.tile) <= margin:
        return tiling.tile
    covered = {
        size: math.prod(size) * _count(height, size[0], margin) * _count(width, size[1], margin)
        for size in _sizes(height, width, margin, tiling)
    }
    most = AS_WELL * min(covered.values())
    return min((size for size, pixels in covered.items() if pixels <= most), key=math.prod)


def _sizes(height, width, margin, tiling):
    """Windows of no more pixels than the tile, each no larger than their number along axes needs.

    None is flatter than half the tile, unless the image is.
    """
    area, multiple = math.prod(tiling.tile), tiling.size_multiple
    least = max(margin + multiple, round_up(tiling.tile[0] // 2, multiple))
    for count in range(1, _count(height, least, margin) + 1):
        rows = _side(height, count, margin, multiple)
        most = area // rows // multiple * multiple
        if most >= width or most > margin:
            yield rows, _side(width, _count(width, most, margin), margin, multiple)


def _count(size, side, margin):
    """How many windows of a side an axis takes."""
    return 1 if size <= side else math.ceil((size - margin) / (side - margin))


def _side(size, count, margin, multiple):
    """The smallest side of windows of which an axis takes so many."""
    if count == 1:
        return size
    return margin + round_up(math.ceil((size - margin) / count), multiple)


def _plan_axis(size, tile, halo, size_multiple):
    """Returns [(start of the window, (first kept, end of kept))] along one axis."""
    if size <= tile:
        return [(0, (0, size))]
    step = (tile - 2 * halo) // size_multiple * size_multiple
    if step <= 0:
        raise ValueError(
            f"`tile` must exceed twice the halo by at least {size_multiple} pixels: tile >= "
            f"{math.ceil(2 * halo / size_multiple) * size_multiple + size_multiple}. "
            f"Received: tile={tile}, halo={halo}."
        )
    starts = [*range(0, size - tile, step), size - tile]
    # Neighbours overlap by at least 2 * halo: the seam may lie anywhere at least a halo inside
    # both; the middle of the overlap is farthest from both borders.
    seams = [(before + tile + after) // 2 for before, after in itertools.pairwise(starts)]
    edges = [0, *seams, size]
    return [(start, (edges[i], edges[i + 1])) for i, start in enumerate(starts)]


def denoise_tiled(
    denoise: Callable,
    image: np.ndarray,
    tiling: Tiling,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Runs a network over an image of any size, tile by tile.

    Args:
        denoise: callable, float32 [1, h, w, channels] -> array of the same shape, for h and w
            multiples of `tiling.size_multiple`.
        image: float32 array [height, width, channels], any height and width.
        tiling: `Tiling`.
        progress: None or callable(tiles done, tiles in all), called before the first tile too.

    Returns:
        float32 array of the shape of `image`.

    Raises:
        ValueError: if the network's output has another shape than its input.
    """
    result = np.empty(image.shape, np.float32)
    for row, band in denoised_rows(denoise, image.shape, image_window(image), tiling, progress):
        result[row : row + len(band)] = band
    return result


def denoised_rows(
    denoise: Callable,
    shape: tuple[int, int, int],
    window_of: Callable[[Tile], np.ndarray],
    tiling: Tiling,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """The same row of tiles by row of tiles, for images that need not be in memory.

    The network works in a thread of its own, on one tile at a time. Meanwhile the next window is
    made and the caller has the last rows, unless the image has more than `AHEAD` samples.

    Args:
        denoise: as for `denoise_tiled`.
        shape: (height, width, channels) of the image.
        window_of: callable(tile) -> float32 [tile.height, tile.width, channels].
        tiling: `Tiling`.
        progress: as for `denoise_tiled`.

    Yields:
        number of the first row, and float32 [rows, width, channels]; all rows once, from the top.
    """
    height, width = shape[:2]
    sides = (round_up(side, tiling.size_multiple) for side in (height, width))
    if tiling.fixed:
        sides = map(max, sides, tiling.tile)
    tiles = plan_tiles(*sides, tiling)
    if progress:
        progress(0, len(tiles))
    ahead = len(tiles) > 1 and math.prod(shape) <= AHEAD
    outputs = (_outputs_ahead if ahead else _outputs)(denoise, window_of, tiles)
    for done, (t, output) in enumerate(zip(tiles, outputs, strict=True), 1):
        row, row_end, column, column_end = t.keep
        row_end, column_end = min(row_end, height), min(column_end, width)
        if column == 0:
            band = np.empty((row_end - row, *shape[1:]), np.float32)
        band[:, column:column_end] = output[
            row - t.top : row_end - t.top, column - t.left : column_end - t.left
        ]
        if progress:
            progress(done, len(tiles))
        if column_end == width:
            yield row, band
            band = None


def _outputs(denoise, window_of, tiles):
    """What the network makes of the windows of tiles, one after another."""
    return (_output(denoise, window_of(tile)) for tile in tiles)


def _outputs_ahead(denoise, window_of, tiles):
    """The same; the network already works on the next one when one is given."""
    with concurrent.futures.ThreadPoolExecutor(1) as network:
        running = network.submit(_output, denoise, window_of(tiles[0]))
        for tile in tiles[1:]:
            window = window_of(tile)
            output = running.result()
            running = network.submit(_output, denoise, window)
            yield output
        yield running.result()


def _output(denoise, window):
    output = np.asarray(denoise(window[None]))[0]
    if output.shape != window.shape:
        raise ValueError(
            f"A network must return images of the shape it takes. Given: {window.shape}, "
            f"returned: {output.shape}."
        )
    return output


def image_window(image: np.ndarray) -> Callable[[Tile], np.ndarray]:
    """`window_of` for an image in memory."""
    return functools.partial(_window, image)


def _window(image, tile):
    """What a tile reads of an image; mirrored where it reaches beyond the bottom or right border.

    No whole image is padded: a large one would be in memory twice.
    """
    inside = image[tile.top :, tile.left :]
    if inside.shape[0] >= tile.height and inside.shape[1] >= tile.width:
        return inside[: tile.height, : tile.width]
    rows = reflected(np.arange(tile.top, tile.top + tile.height), image.shape[0])
    columns = reflected(np.arange(tile.left, tile.left + tile.width), image.shape[1])
    return image[rows[:, None], columns]
