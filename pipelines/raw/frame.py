"""One camera frame: the integers of the sensor and what is needed to read and rewrite them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from n2n_tf.pipelines.raw.bayer import phase_shift, plane_positions, unify, unpack
from n2n_tf.pipelines.raw.tiff_tags import Tag

_ROWS = 16  # an even number, computed in float64 at a time
_CELLS = 16  # rows of them, of which a plane fits into a processor's cache


class RawFileError(ValueError):
    """A file that cannot be used as a Bayer raw; the message names it and what to do."""


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A Bayer mosaic with its levels, colours and camera data.

    Attributes:
        mosaic: uint16 `[H, W]`, the visible area of the sensor, H and W may be odd.
        pattern: one of `n2n_tf.pipelines.raw.bayer.PATTERNS`, for the pixel (0, 0) of `mosaic`.
        black: black level of the cell positions (0,0), (0,1), (1,0), (1,1), in raw units.
        white: the level at which pixels clip, in raw units, the same for all colours.
        orientation: EXIF orientation 1 to 8; the mosaic itself is never rotated.
        color_matrix: float64 `[3, 3]`, CIE XYZ to camera RGB for daylight D65; None if unknown.
        neutral: camera R, G, B of a neutral object as shot, green = 1; None if a DNG does not say.
        make: camera maker, "" if unknown.
        model: camera model, "" if unknown.
        iso: ISO speed, None if unknown.
        exposure_time: seconds, None if unknown.
        noise_profile: three (shot, read) pairs for R, G, B: variance = shot * x + read, where x is
            the normalised signal (DNG tag 51041); None if the file has none.
        pixel_aspect: pixel width divided by pixel height.
        tags: colour and calibration tags of the source, written again unchanged to a DNG.
        exif: EXIF tags of the source.
        gps: GPS tags of the source.
        path: the source file, "" if the frame comes from memory.
    """

    mosaic: np.ndarray
    pattern: str
    black: tuple[float, float, float, float]
    white: int
    orientation: int = 1
    color_matrix: np.ndarray | None = None
    neutral: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    make: str = ""
    model: str = ""
    iso: float | None = None
    exposure_time: float | None = None
    noise_profile: tuple[tuple[float, float], ...] | None = None
    pixel_aspect: float = 1.0
    tags: Mapping[int, Tag] = field(default_factory=dict)
    exif: Mapping[int, Tag] = field(default_factory=dict)
    gps: Mapping[int, Tag] = field(default_factory=dict)
    path: str = ""

    def __post_init__(self) -> None:
        plane_positions(self.pattern)
        name = self.path or "this frame"
        if self.mosaic.dtype != np.uint16 or self.mosaic.ndim != 2 or min(self.mosaic.shape) < 2:
            raise RawFileError(
                f"{name}: the mosaic must be uint16 [H, W], at least 2 x 2. "
                f"Received: {self.mosaic.dtype} {list(self.mosaic.shape)}."
            )
        if len(self.black) != 4:
            raise RawFileError(f"{name}: `black` must hold 4 levels. Received: {self.black}.")
        if not (min(self.black) >= 0 and max(self.black) < self.white <= 65535):
            raise RawFileError(
                f"{name}: the white level must lie above every black level and within 16 bit. "
                f"Received: black={self.black}, white={self.white}."
            )


def normalise(frame: RawFrame) -> np.ndarray:
    """Maps black to 0 and white to 1, each pixel with the black level of its cell position.

    Uses the file's levels only, never a statistic of the picture, so that a part of a frame gives
    the same numbers as the whole.

    Returns:
        float32 `[H, W]`; negative below black, above 1 where the raw exceeds the white level.

    >>> frame = RawFrame(np.array([[64, 164], [64, 1064]], np.uint16), "RGGB", (64,) * 4, 1064)
    >>> normalise(frame).round(3).tolist()
    [[0.0, 0.10000000149011612], [0.0, 1.0]]
    """
    return normalise_mosaic(frame.mosaic, frame.black, frame.white)


def normalised_planes(frame: RawFrame) -> np.ndarray:
    """`normalise` and `bayer.pack` of `bayer.unify(..., how="pad")`, in one pass over the pixels.

    Returns:
        float32 `[h, w, 4]` in R, G, G, B order.

    >>> frame = RawFrame(np.array([[64, 164], [64, 1064]], np.uint16), "RGGB", (64,) * 4, 1064)
    >>> normalised_planes(frame).round(3).tolist()
    [[[0.0, 0.10000000149011612, 0.0, 1.0]]]
    """
    mosaic = unify(frame.mosaic, frame.pattern, how="pad")
    top, left = phase_shift(frame.pattern)
    planes = np.empty((len(mosaic) // 2, mosaic.shape[1] // 2, 4), np.float32)
    for first in range(0, len(planes), _CELLS):
        cells = slice(first, first + _CELLS)
        for plane, (row, column) in enumerate(plane_positions("RGGB")):
            level = frame.black[2 * ((row + top) % 2) + (column + left) % 2]
            values = mosaic[row::2, column::2][cells].astype(np.float32)
            values -= np.float32(level)
            values /= np.float32(frame.white - level)
            planes[cells, :, plane] = values
    return planes


def normalise_mosaic(mosaic: np.ndarray, black: Sequence[float], white: float) -> np.ndarray:
    """`normalise` for a bare mosaic: (raw - black) / (white - black) by cell position.

    Args:
        mosaic: integers `[H, W]`.
        black: 4 levels, for the cell positions (0,0), (0,1), (1,0), (1,1) of this mosaic.
        white: the clip level.

    Returns:
        float32 `[H, W]`.
    """
    values = mosaic.astype(np.float32)
    levels, columns = np.reshape(np.float64(black), (2, 2)), np.arange(values.shape[1]) % 2
    for row in (0, 1):  # whole rows, which is faster than every second pixel of them
        cells = values[row::2]
        cells -= np.float32(levels[row])[columns]
        cells /= np.float32(white - levels[row])[columns]
    return values


def denormalise(values: np.ndarray, frame: RawFrame) -> np.ndarray:
    """Maps a denoised mosaic back to the integers of the sensor.

    Rounds to the nearest integer and clips to [0, white]. A pixel that was clipped in the frame
    is white again afterwards: were only some colours of a highlight pulled below white, it would
    turn violet when developed.

    Args:
        values: float `[H, W]`, normalised as by `normalise`.
        frame: the frame the values come from; gives the levels and the clipped pixels.

    Returns:
        uint16 `[H, W]`.

    Raises:
        ValueError: another size than the frame, or values that are not finite.
    """
    values = np.asarray(values)
    if values.shape != frame.mosaic.shape:
        raise ValueError(
            f"`values` must have the size of the frame, {list(frame.mosaic.shape)}. "
            f"Received: {list(values.shape)}."
        )
    result = np.empty(values.shape, np.uint16)
    for top in range(0, len(values), _ROWS):
        result[top : top + _ROWS] = _integers(values[top : top + _ROWS], top, frame)
    return result


def denormalised_planes(planes: np.ndarray, frame: RawFrame) -> np.ndarray:
    """`denormalise` of the mosaic of such planes as `normalised_planes` makes, in one pass.

    Args:
        planes: float `[h, w, 4]` in R, G, G, B order.
        frame: the frame the planes come from.

    Returns:
        uint16 `[H, W]`.

    Raises:
        ValueError: values that are not finite.

    >>> frame = RawFrame(np.array([[64, 164], [64, 1064]], np.uint16), "RGGB", (64,) * 4, 1064)
    >>> denormalised_planes(normalised_planes(frame), frame).tolist()
    [[64, 164], [64, 1064]]
    """
    top, left = phase_shift(frame.pattern)
    height, width = frame.mosaic.shape
    result = np.empty((height, width), np.uint16)
    for first in range(0, height, _ROWS):
        rows = result[first : first + _ROWS]
        cells = planes[first // 2 : (first + len(rows) + top + 1) // 2]
        values = unpack(cells, "RGGB")[top : top + len(rows), left : left + width]
        rows[:] = _integers(values, first, frame)
    return result


def _integers(values, top, frame):
    """Rows of the sensor's integers from their values, of which the first is row `top`."""
    if not np.isfinite(values).all():
        raise ValueError("`values` must be finite. Received NaN or infinite pixels.")
    raw = values.astype(np.float64)
    black = np.reshape(frame.black, (2, 2))[:, np.arange(raw.shape[1]) % 2]
    for row in (0, 1):
        cells = raw[row::2]
        cells *= frame.white - black[(top + row) % 2]
        cells += black[(top + row) % 2]
    np.rint(raw, out=raw)
    np.clip(raw, 0, frame.white, out=raw)
    raw[frame.mosaic[top : top + len(raw)] >= frame.white] = frame.white
    return raw
