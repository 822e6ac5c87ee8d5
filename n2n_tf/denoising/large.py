"""Pictures whose noise is known: at once, or large ones row of tiles by row of tiles.

What is done before and after the network takes some 60 bytes for a sample. Of a picture of many
samples only a band of rows is in hand at a time; each tile still goes through the network once.
What is a matter of the whole picture, its noise and scale, is found before, from bands of rows that
are spread over it. The result is that of the whole picture at once, but for that scale.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np

from n2n_tf.denoising.given_back import nudges, taken_of
from n2n_tf.denoising.known_noise import Stages, denoise_known
from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.tiling import Tile, Tiling, denoise_tiled, denoised_rows, image_window

SAMPLES = 16_000_000  # of a picture that is large
REACH = 64  # pixels, of the filters before the network, and more than that of those behind it
ROWS = 128  # finished at a time
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
        progress: as for `n2n_tf.denoising.tiling.denoise_tiled`.
        finish: callable(what the network was given, what it made of it) -> what is taken for that,
            all float32 [h, w, channels] in its units. No pixel may depend on others farther than
            `REACH` less the 32 pixels that the filters behind it see.

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
    """The same in bands; `stages` are those of the whole image."""
    height, total, done = len(image), 0.0, 0
    asks = 1 + stages.asks_twice
    more = _nudges_at(stages, image.shape[2])
    shape = (*image.shape[:2], asks * image.shape[2])
    seen, first = np.empty((0, *shape[1:]), np.float32), 0  # rows from the network

    def network(windows: np.ndarray) -> np.ndarray:
        """Once for every picture that lies behind another in the channels."""
        parts = np.split(windows[0], asks, axis=-1)
        return np.concatenate([run(stages.shown(p)[None])[0] for p in parts], -1)[None]

    def finished(around: slice, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The result of some rows and the share given back, of which the inner ones are right."""
        part = np.float32(image[around])
        before, nudge = stages.before(part), [0, more(around, slice(0, shape[1]))][:asks]
        denoised, *nudged = (
            stages.back(m if finish is as_made else finish(stages.shown(before.scaled + n), m))
            for n, m in zip(nudge, np.split(made, asks, axis=-1), strict=True)
        )
        taken = [taken_of(nudge[1], denoised, n) for n in nudged]
        return stages.after(part, before, denoised, *taken)

    window = _scaled_window(image, stages, more)
    for row, band in denoised_rows(network, shape, window, tiling, progress):
        seen = np.concatenate([seen[max(0, done - REACH - first) :], band])
        first = row + len(band) - len(seen)
        ready = height if row + len(band) == height else max(done, row + len(band) - REACH)
        for top, bottom in itertools.pairwise([*range(done, ready, ROWS), ready]):
            around = slice(max(0, top - REACH), min(height, bottom + REACH, first + len(seen)))
            made = seen[around.start - first : around.stop - first]
            result, share = finished(around, made)
            inside = slice(top - around.start, bottom - around.start)
            out(slice(top, bottom), result[inside])
            total += float(share[inside].sum(dtype=np.float64))
        done = ready
    return total / image.size


def _nudges_at(stages, channels):
    """Callable(rows, columns) -> what is added there for the second time; one pattern repeats."""
    side = 1021
    pattern = nudges((side, side, channels), stages.scale.level, stages.estimate.correlation)

    def at(rows, columns):
        places = (np.arange(s.start, s.stop) % side for s in (rows, columns))
        return pattern[np.ix_(*places)]

    return at


def _scaled_window(image, stages, more):
    """What the network sees of a tile, computed when it is needed."""
    height, width = image.shape[:2]

    def window(tile):
        top, left = max(0, tile.top - REACH), max(0, tile.left - REACH)
        bottom = min(height, tile.top + tile.height + REACH)
        right = min(width, tile.left + tile.width + REACH)
        scaled = stages.before(np.float32(image[top:bottom, left:right])).scaled
        if stages.asks_twice:
            nudged = scaled + more(slice(top, bottom), slice(left, right))
            scaled = np.concatenate([scaled, nudged], axis=-1)
        inner = scaled[tile.top - top :, tile.left - left :]
        return image_window(inner)(Tile(0, 0, tile.height, tile.width, tile.keep))

    return window
