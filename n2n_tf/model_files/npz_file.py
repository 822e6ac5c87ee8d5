"""A U-Net's weights as `.npz`, the file in which trainers without TensorFlow hand them over.

Arrays are keyed by layer, "enc_conv0/kernel" and "enc_conv0/bias" and so on, under the names of
`networks.unet` or `networks.unet_bias_free` and in Keras's layouts: kernels [height, width, in,
out], of transposed convolutions [height, width, out, in]. float16 to float64; computed is float32.
"""

from __future__ import annotations

import math
import os
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from n2n_tf.model_files.info import ModelError, first_line

if TYPE_CHECKING:
    import keras

MAX_BYTES = 256 << 20  # the paper's U-Net takes 5 MB
MAX_FEATURES = 512


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads weights; nothing in the file is run.

    Args:
        path: path of a `.npz` file.

    Returns:
        dict of "layer/kernel" or "layer/bias" to float32 array.

    Raises:
        ModelError: if it is damaged, too large or holds anything but finite floats.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ModelError(f"{path}: declares {size} bytes of weights, over {MAX_BYTES}.")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ModelError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many types on damaged files
        raise ModelError(f"{path}: damaged or not an .npz file ({first_line(error)}).") from error
    return {name: _finite_floats(array, name, path) for name, array in arrays.items()}


def _finite_floats(array, name, path):
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":  # else it may be a member's bytes
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if np.isfinite(array).all():
            return array
    raise ModelError(f"{path}: {name!r:.60} must hold finite floats.")


def network_from_npz(path: str | os.PathLike) -> keras.Model:
    """Builds the network whose weights a file holds.

    Args:
        path: path of a `.npz` file, see the head of this module.

    Returns:
        `keras.Model` named "unet" or "unet_bias_free", of the file's channels and widths.

    Raises:
        ModelError: if the file cannot be read or holds no such weights, all of them and no more.
    """
    arrays = read_npz(path)
    network = _bias_free(arrays, path) if "down1/kernel" in arrays else _unet(arrays, path)
    slots = {w.path: w for w in network.weights}
    wrong = [
        f"{name} is {arrays[name].shape if name in arrays else 'missing'}, not {slots[name].shape}"
        if name in slots
        else f"{name!r:.60} is unknown"
        for name in sorted(slots.keys() | arrays.keys())
        if name not in slots or name not in arrays or arrays[name].shape != slots[name].shape
    ]
    if wrong:
        raise ModelError(f"{path}: not the weights of the U-Net: {'; '.join(wrong[:5])}.")
    for name, variable in slots.items():
        variable.assign(arrays[name])
    return network


def _unet(arrays, path):
    features, tail = (_kernel(arrays, name, path) for name in ("enc_conv0", "dec_conv1a"))
    _check_widths(path, *features[2:], tail[3])
    from n2n_tf.networks.unet import unet  # reading the file needs no Keras

    return unet(*features[2:], tail[3])


def _bias_free(arrays, path):
    channels, features = _kernel(arrays, "head", path)[2], _kernel(arrays, "down1", path)[3]
    _check_widths(path, channels, features)
    from n2n_tf.networks.unet_bias_free import unet_bias_free

    return unet_bias_free(channels, features)


def _check_widths(path, *widths):
    if max(widths) > MAX_FEATURES:
        raise ModelError(f"{path}: {max(widths)} features, over {MAX_FEATURES}.")


def _kernel(arrays, layer, path):
    """Shape of a layer's kernel, which tells the network's widths."""
    shape = arrays[f"{layer}/kernel"].shape if f"{layer}/kernel" in arrays else ()
    if len(shape) != 4 or not math.prod(shape):
        raise ModelError(f"{path}: not the weights of the U-Net: {layer}/kernel is {shape}.")
    return shape
