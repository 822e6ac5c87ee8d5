"""Plain pictures of raws, for judging a result with the eye and for embedded previews."""

import io
import os

import numpy as np
import rawpy

from n2n_tf.pipelines.raw.camera_files import read_raw
from n2n_tf.pipelines.raw.dng import encode_dng
from n2n_tf.pipelines.raw.frame import RawFileError, RawFrame


def develop(
    source: str | os.PathLike | RawFrame,
    mosaic: np.ndarray | None = None,
    *,
    half_size: bool = False,
    rotate: bool = True,
) -> np.ndarray:
    """Develops a raw plainly, so that two developed pictures differ only where their raws do.

    Camera white balance, sRGB, no automatic brightness, and the clip level of the frame as white,
    never adjusted to the brightest pixel.

    Args:
        source: a raw file, or a frame.
        mosaic: uint16 `[H, W]` to develop instead of the frame's own (a frame only).
        half_size: one output pixel per 2 x 2 cell, without demosaicing.
        rotate: turn the picture upright; False keeps it as the sensor read it, as `write_dng`
            wants its preview.

    Returns:
        uint8 sRGB `[h, w, 3]`.

    Raises:
        RawFileError: the file cannot be read.
    """
    frame = source if isinstance(source, RawFrame) else read_raw(source)
    if isinstance(source, RawFrame):
        pixels = frame.mosaic if mosaic is None else mosaic
        readable = io.BytesIO(encode_dng(frame, pixels, compress=False))
    else:
        readable = os.fspath(source)
    with rawpy.imread(readable) as raw:
        return raw.postprocess(
            use_camera_wb=True,
            gamma=(2.4, 12.92),  # sRGB
            no_auto_bright=True,
            output_bps=8,
            user_sat=int(frame.white - min(frame.black)),  # LibRaw counts it from black
            half_size=half_size,
            user_flip=None if rotate else 0,
        )


def develop_side_by_side(
    source: str | os.PathLike | RawFrame, result_path: str | os.PathLike, gap: int = 8
) -> np.ndarray:
    """Source left, result right, developed alike, for judging with the eye.

    Args:
        source: the noisy raw file or frame.
        result_path: the DNG made from it.
        gap: white pixels between the two.

    Returns:
        uint8 sRGB `[h, 2 * w + gap, 3]`.

    Raises:
        RawFileError: a file cannot be read, or the two differ in size.
    """
    left, right = develop(source), develop(result_path)
    if left.shape != right.shape:
        raise RawFileError(
            f"{result_path} develops to {list(right.shape)}, its source to {list(left.shape)}: "
            "give the DNG that was made from this source."
        )
    return np.concatenate([left, np.full((len(left), gap, 3), 255, np.uint8), right], axis=1)
