"""The authors' PyTorch U-Net into the Keras one: same weights, same answers, no PyTorch.

`torch_checkpoint` reads the file; here its names and shapes meet those of `networks.unet`.

Source: TaoHuang2018/Neighbor2Neighbor, arch_unet.py, for the names in the state dict.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from n2n_tf.model_files.torch_checkpoint import CheckpointError, read_state_dict
from n2n_tf.model_files.torch_pickle import brief

if TYPE_CHECKING:
    import keras

__all__ = ["CheckpointError", "load_unet_weights", "read_state_dict", "unet_from_pth", "unet_shape"]

MAX_FEATURES = 512  # the official U-Net has 48, and 96 in its last stage
OFFICIAL = "Give a state dict of the official `UNet` of arch_unet.py with blindspot=False"


def unet_shape(state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Infers the arguments of `networks.unet.unet` from the shapes of a state dict.

    Args:
        state: dict of str -> array, as `read_state_dict` returns it.

    Returns:
        dict with the ints "channels", "features" and "tail_features": 3, 48 and 96 in the official
        RGB checkpoints.

    Raises:
        CheckpointError: A weight that tells the shape is missing or cannot be the U-Net's.

    Example:
        >>> first, last = np.zeros((48, 3, 3, 3)), np.zeros((96, 99, 3, 3))
        >>> unet_shape({"enc_conv0.weight": first, "dec_conv1a.weight": last})
        {'channels': 3, 'features': 48, 'tail_features': 96}
    """
    features, channels = _kernel_shape(state, "enc_conv0.weight")
    tail_features, _ = _kernel_shape(state, "dec_conv1a.weight")
    widest = max(channels, features, tail_features)
    if widest > MAX_FEATURES:  # the network, about to be built, grows with its square
        raise _not_the_unet(f"it has {widest} features, over the limit of {MAX_FEATURES}")
    return {"channels": channels, "features": features, "tail_features": tail_features}


def load_unet_weights(network: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Assigns a PyTorch state dict to the Keras U-Net, all of it or none.

    Both kinds of kernel turn round the same way: a convolution from (out, in, height, width) to
    (height, width, in, out), a transposed one from (in, out, height, width) to (height, width, out,
    in).

    Args:
        network: `keras.Model` of convolutions and transposed convolutions whose layers carry the
            official names, as `networks.unet.unet` builds it.
        state: dict of str -> floating array, as `read_state_dict` returns it.

    Raises:
        CheckpointError: Entries are missing, left over, wrongly shaped or not floating point; the
            message names them, and no weight has been changed.

    Example:
        >>> network = unet(channels=3, features=48, tail_features=96)  # doctest: +SKIP
        >>> load_unet_weights(network, read_state_dict("model.pth"))  # doctest: +SKIP
    """
    slots = _torch_slots(network)
    faults = _faults(slots, state)
    if faults:
        raise CheckpointError(
            f"does not fit the network '{network.name}': {'; '.join(faults)}",
            f"{OFFICIAL}, to the network that `unet_shape(state)` describes.",
        )
    for name, variable in slots.items():
        variable.assign(_turn(state[name]))


def unet_from_pth(path: str | os.PathLike) -> keras.Model:
    """Builds the Keras U-Net that a PyTorch checkpoint describes, with its weights.

    Args:
        path: str or path of a checkpoint of the official U-Net.

    Returns:
        `keras.Model` that answers as the PyTorch network did.

    Raises:
        CheckpointError: The file is refused, or its tensors are not those of the U-Net.

    Example:
        >>> network = unet_from_pth("model_gauss25_b4e100r02.pth")  # doctest: +SKIP
    """
    state = read_state_dict(path)
    try:
        shape = unet_shape(state)
        # Reading a checkpoint needs no Keras; building the network does.
        from n2n_tf.networks.unet import unet

        network = unet(**shape)
        load_unet_weights(network, state)
    except CheckpointError as error:
        raise error.in_file(path) from None
    return network


def _kernel_shape(state, name):
    """Returns (out, in) of a 3x3 convolution in a state dict."""
    if name not in state:
        raise _not_the_unet(f"`{name}` is missing")
    shape = state[name].shape
    if len(shape) != 4 or shape[2:] != (3, 3) or 0 in shape:
        raise _not_the_unet(f"`{name}` has shape {shape}, not that of a 3x3 convolution")
    return shape[:2]


def _not_the_unet(reason):
    return CheckpointError(f"is not a checkpoint of the U-Net: {reason}", f"{OFFICIAL}.")


def _torch_slots(network):
    """Returns PyTorch name -> Keras variable for each weight of a network."""
    import keras

    slots = {}
    for layer in network.layers:
        if not layer.weights:
            continue
        # In the official code each transposed convolution lies within a module of its own.
        inner = ".deconv" if isinstance(layer, keras.layers.Conv2DTranspose) else ""
        slots[f"{layer.name}{inner}.weight"] = layer.kernel
        slots[f"{layer.name}{inner}.bias"] = layer.bias  # every layer of the U-Net has one
    return slots


def _faults(slots, state):
    """Returns a sentence for each way in which a state dict does not fill the slots."""
    missing = [name for name in slots if name not in state]
    extra = [name for name in state if name not in slots]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    if extra:
        faults.append(f"extra: {', '.join(brief(name) for name in extra[:20])}")
    for name in slots.keys() & state.keys():
        shape, wanted = state[name].shape, _turned_shape(slots[name].shape)
        if shape != wanted:
            faults.append(f"{name} has shape {shape}, not {wanted}")
        elif not np.issubdtype(state[name].dtype, np.floating):
            faults.append(f"{name} is {state[name].dtype}, not floating point")
    return sorted(faults)


def _turn(array):
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _turned_shape(shape):
    """Returns the PyTorch shape of a Keras kernel or bias; `_turn` leads back."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else tuple(shape)
