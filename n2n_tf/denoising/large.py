"""Pictures whose noise is known: at once, or large ones row of tiles by row of tiles.

What is done before and after the network takes some 60 bytes for a sample. Of a picture of many
samples only a band of rows is in hand at a time; each tile still goes through the network once.
What is a matter of the whole picture, its noise and scale, is found before, from bands of rows that
are spread over it. The result is that of the whole picture at once, but for that scale.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from n2n_tf.denoising.given_back import nudges, taken_of
from n2n_tf.denoising.known_noise import SIDE, Before, Stages, denoise_known, repeated
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.tiling import Tile, Tiling, denoise_tiled, denoised_rows, image_window

SAMPLES = 16_000_000  # of a picture that is large
REACH = 16  # pixels, of the filters before the network,
ACROSS_HOLES = 64  # and where pixels are missing
NEAR = 36  # at least that of those behind it,
BEHIND = 2 * NEAR  # with as much again for `finish`
PREPARED = 1_000_000  # samples prepared at a time, and more for those around them
FINISHED = 2_000_000  # samples finished at a time: those around are computed again for the next
_BAND = 64  # rows of a sample


def sampled_rows(image: np.ndarray) -> np.ndarray:
    """Bands of rows, evenly spread, of an image [H, W, channels]; all of it, if it is not large."""
    every = math.ceil(4 * image.size / SAMPLES)
    if image.size <= SAMPLES or len(image) < 2 * _BAND * every:
        return image
    starts = range(0, len(image) - _BAND + 1, _BAND * every)
    return np.concatenate([image[start : start + _BAND] for start in starts])


def as_made(given: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The `finish` that changes nothing: what the network made."""
    return made


def denoise_picture(
    run: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    law: NoiseEstimate,
    levels: tuple[float, float] | None,
    tiling: Tiling,
    out: Callable[[slice, np.ndarray], None],
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[np.ndarray, np.ndarray], np.ndarray] = as_made,
) -> float:
    """Denoises one image with noise of a known law, in bands if it is large.

    Args:
        run: callable, float32 [1, h, w, channels] -> the same shape, of the sides of a tile; in
            the units of the image, unless there are `levels`.
        image: array [H, W, channels].
        law: its noise.
        levels: as for `denoise_known`.
        tiling: `Tiling` of the network.
        out: callable(rows, float32 [rows, W, channels]), called once for all rows, from the top.
            It may write to `image`.
        progress: as for `n2n_tf.denoising.tiling.denoise_tiled`.
        finish: callable(what the network was given, what it made of it) -> what is taken for that,
            all float32 [h, w, channels] in its units. No pixel may depend on others farther than
            36 pixels; it gets pictures that begin at multiples of 4 pixels.

    Returns:
        the mean share of what the network took away that was given back.
    """
    if image.size > SAMPLES:
        stages = Stages.of(np.float32(sampled_rows(image)), law, levels)
        if stages is not None:
            return denoise_large(run, image, stages, tiling, out, progress, finish)
        out(slice(None), image)
        return 0.0

    def network(given: np.ndarray) -> np.ndarray:
        return finish(given, denoise_tiled(run, given, tiling, progress))

    result, given_back = denoise_known(network, np.float32(image), law, levels)
    out(slice(None), result)
    return given_back


def denoise_large(
    run: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    stages: Stages,
    tiling: Tiling,
    out: Callable[[slice, np.ndarray], None],
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[np.ndarray, np.ndarray], np.ndarray] = as_made,
) -> float:
    """The same in bands; `stages` are those of the whole image.

    `out` may write to the image, since what is finished lies above all rows that are still to be
    prepared with those around them, as `BEHIND` is no less than `REACH` and `ACROSS_HOLES`.
    """
    height, width, channels = image.shape
    total, done, asks = 0.0, 0, 1 + stages.asks_twice
    more, prepared = _nudges_at(stages, channels), _Prepared(image, stages)
    at_once = _rows_of(image, FINISHED // asks)
    seen = []  # [first row, rows from the network], all that is still needed

    def given(before: Before, rows: slice, columns: slice) -> list[np.ndarray]:
        """What the network gets of a part of the image, once or twice."""
        nudges = [more(rows, columns)] if stages.asks_twice else []
        return [before.shown, *(stages.shown_of(before.scaled + n) for n in nudges)]

    def window(tile: Tile) -> np.ndarray:
        rows = slice(tile.top, min(height, tile.top + tile.height))
        columns = slice(tile.left, min(width, tile.left + tile.width))
        before = prepared.rows(rows, min(tile.top, done - BEHIND))
        before = Before(*(part[:, columns] for part in before))
        place = Tile(0, 0, tile.height, tile.width, tile.keep)
        parts = [image_window(part)(place) for part in given(before, rows, columns)]
        return np.concatenate(parts, axis=-1)

    def network(windows: np.ndarray) -> np.ndarray:
        """Once for every picture that lies behind another in the channels."""
        return np.concatenate([run(part) for part in np.split(windows, asks, axis=-1)], -1)

    def finished(rows: slice, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The result of some rows and the share given back there; those to `end` are made."""
        behind, near = (
            slice(max(0, rows.start - reach), min(rows.stop + reach, end))
            for reach in (BEHIND, NEAR)
        )
        made, columns = np.split(_rows(seen, behind), asks, axis=-1), slice(0, width)
        if finish is not as_made:
            made = map(finish, given(prepared.rows(behind), behind, columns), made)
        denoised, *nudged = (stages.back(part[_within(near, behind)]) for part in made)
        taken = [taken_of(more(near, columns), denoised, n) for n in nudged]
        noisy, before = np.float32(image[near]), prepared.rows(near)
        return stages.after(noisy, before, denoised, *taken, rows=_within(rows, near))

    shape = height, width, asks * channels
    once_or_twice = network if stages.asks_twice else run
    for row, band in denoised_rows(once_or_twice, shape, window, tiling, progress):
        end = row + len(band)
        seen.append((row, band))
        ready = height if end == height else max(done, (end - BEHIND) // 4 * 4)
        while done < ready:
            rows = slice(done, min(ready, done + at_once))
            result, share = finished(rows, end)
            out(rows, result)
            total += float(share.sum(dtype=np.float64))
            done = rows.stop
        kept = slice(max(0, done - BEHIND), end)
        seen = [(kept.start, _rows(seen, kept))]
        del band  # before there is memory for the next
    return total / image.size


def _rows(pieces, rows):
    """A copy of rows of an image of which [(first row, rows)] are given."""
    inside = [part[max(0, rows.start - top) : max(0, rows.stop - top)] for top, part in pieces]
    return np.concatenate(inside)


def _within(rows, others):
    """Where rows lie in others."""
    return slice(rows.start - others.start, rows.stop - others.start)


def _rows_of(image, samples):
    """About how many rows hold so many samples."""
    return max(_BAND, samples // image[0].size // 4 * 4)


class _Prepared:
    """What `Stages.before` makes of the rows in hand, each of which is computed once."""

    def __init__(self, image, stages):
        self._image, self._stages, self._first, self._end = image, stages, 0, 0
        self._at_once, self._reach = _rows_of(image, PREPARED), _reach(image)
        kinds = Before(shown=np.float32, scaled=np.float32, silent=bool)
        self._kept = [np.empty((0, *image.shape[1:]), kind) for kind in kinds]
        self._scaled = np.empty((0, *image.shape[1:]), np.float32)  # of the rows around the last

    def rows(self, rows, least=0):
        """`Before` of these rows; none above `least` will be asked for again."""
        if self._end < rows.stop:
            self._grow(-(-rows.stop // self._at_once) * self._at_once, least)
        inside = slice(rows.start - self._first, rows.stop - self._first)
        return Before(*(part[inside] for part in self._kept))

    def _grow(self, end, least):
        """Prepares the rows before `end`."""
        over = min(max(0, least - self._first), self._end - self._first)
        held, end = self._end - self._first - over, min(end, len(self._image))
        for i, part in enumerate(self._kept):  # one by one: each old array goes before the next
            self._kept[i] = _moved(part, over, held, held + end - self._end)
        self._first += over
        while self._end < end:
            top, bottom = self._end, min(end, self._end + self._at_once)
            first = max(0, top - self._reach)
            new = slice(top - first, bottom - first)
            for part, rows in zip(self._kept, self._before(top, bottom), strict=True):
                part[top - self._first : bottom - self._first] = rows[new]
            self._end = bottom

    def _before(self, top, bottom):
        """`Before` of rows and of those around them, each of which is scaled once."""
        reach = self._reach
        first, last = max(0, top - reach), min(len(self._image), bottom + reach)
        image = np.float32(self._image[first:last])
        known = min(last, top + reach) - first if top else 0
        scaled = self._stages.scale.apply(image[known:])
        self._scaled = np.concatenate([self._scaled[len(self._scaled) - known :], scaled])
        return self._stages.before(image, self._scaled, first)


def _reach(image):
    """How far around rows their preparation looks."""
    bands = (image[top : top + _BAND] for top in range(0, len(image), _BAND))
    whole = image.dtype.kind == "u" or all(np.isfinite(band).all() for band in bands)
    return REACH if whole else ACROSS_HOLES


def _moved(array, start, count, size):
    """An array of at least `size` rows that begins with so many from `start`: this one, if it can.

    New memory takes longer to get than its pixels to compute; until it is used, it takes nothing.
    """
    if size > len(array):
        larger = np.empty((2 * size, *array.shape[1:]), array.dtype)
        larger[:count] = array[start : start + count]
        return larger
    flat, row = array.reshape(-1), array[0].size
    flat[: count * row] = flat[start * row : (start + count) * row]  # of one axis: in place
    return array


def _nudges_at(stages, channels):
    """Callable(rows, columns) -> what is added there for the second time; one pattern repeats."""
    level, correlation = stages.scale.level, stages.estimate.correlation
    return functools.partial(repeated, nudges((SIDE, SIDE, channels), level, correlation))
