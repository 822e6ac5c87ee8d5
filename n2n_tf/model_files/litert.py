"""What runs a `.tflite` file: LiteRT, on as many threads as there are processors."""

import functools
import pathlib
from collections.abc import Callable

import numpy as np

from n2n_tf.model_files.info import INFO_FILE, ModelError, ModelInfo, first_line
from n2n_tf.model_files.tflite_domain import decode, encode
from n2n_tf.pipelines.processors import available_processors

SIGNATURE = "denoise"  # of exports: denoise(noisy) -> {"denoised": ...}
_FIXED_ONCE_RUN = "dynamic", "int8"  # precisions in which XNNPACK refuses another size


def open_tflite(
    path: pathlib.Path | str, info: ModelInfo, content: bytes | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a file and tries it on the smallest image.

    Args:
        path: of the file, for LiteRT, which maps it, and for messages.
        info: `ModelInfo` of the file.
        content: its bytes, if they are read already.

    Returns:
        callable, float32 [1, height, width, channels] -> the same shape.

    Raises:
        ModelError: if it is none of our exports, or cannot be run; if LiteRT does not start or is
            not installed, as on systems that it does not exist for.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ModelError(f"LiteRT does not start ({first_line(error)}).") from error

    if info.takes_noise_profile:
        raise ModelError(
            f"{path}: takes the noise of the sensor as an input, for a camera's own program; here, "
            "denoise with the network that it was made from."
        )
    sides = info.tile or (info.size_multiple, info.size_multiple)
    given = {"model_path": str(path)} if content is None else {"model_content": content}

    def opened():
        interpreter = Interpreter(**given, num_threads=available_processors())
        return interpreter.get_signature_runner(SIGNATURE)

    try:
        signature = opened()
        taken = int(signature.get_input_details()["noisy"]["shape_signature"][-1])
        if info.input != "bayer_mosaic":
            check_channels(taken, info.channels)
        if info.precision in _FIXED_ONCE_RUN and not info.tile:
            signature = _AnySize(opened)
        run = functools.partial(_run, signature, info)
        smallest = np.zeros((1, *sides, info.channels), np.float32)
        returned = run(smallest).shape
    except ModelError:
        raise
    except Exception as error:  # LiteRT raises ValueError, RuntimeError and others
        raise ModelError(f"{path}: {not_an_export('.tflite file', error)}") from error
    if returned != smallest.shape:
        raise ModelError(f"{path}: returns {returned} for images {smallest.shape}.")
    return run


class _AnySize:
    """A signature of a file that cannot change its size once it has run: opened for each anew."""

    def __init__(self, opened):
        self._opened, self._shape, self._signature = opened, None, None

    def __call__(self, noisy):
        if noisy.shape != self._shape:
            self._signature, self._shape = self._opened(), noisy.shape
        return self._signature(noisy=noisy)


def _run(signature, info, noisy):
    return decode(signature(**encode(noisy, info))["denoised"], info)


def check_channels(taken: int, said: int) -> None:
    """Raises ModelError if a model takes other images than its model.json says."""
    if taken != said:
        raise ModelError(f"It takes {taken} channels, but its {INFO_FILE} says channels={said}.")


def not_an_export(kind: str, error: BaseException) -> str:
    """What is wrong with a file that cannot be opened as an export."""
    return f"no {kind} with a signature {SIGNATURE}(noisy) -> denoised ({first_line(error)})."
