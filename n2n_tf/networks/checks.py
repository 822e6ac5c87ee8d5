"""Whether a network is one that can be trained and run here: one image in, one like it out."""

from typing import Any

import keras

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.reach import reach


def check_network(network: Any) -> None:
    """Refuses what is no network of images of any size.

    Args:
        network: functional `keras.Model`, [batch, height, width, channels] -> the same shape.

    Raises:
        ValueError: in one line, for anything else.
    """
    remedy = "build it with keras.Model(x, y) from x = keras.Input((None, None, channels))"
    if not isinstance(network, keras.Model):
        raise ValueError(f"`network` must be a keras.Model. Received: {type(network).__name__}.")
    if not getattr(network, "inputs", None):
        raise ValueError(
            f"`network` must be a functional model; {remedy}. Received: {type(network).__name__}"
            f"{' without an Input' if isinstance(network, keras.Sequential) else ''}."
        )
    taken, returned = network.input_shape, network.output_shape
    one = isinstance(taken, tuple) and isinstance(returned, tuple)
    if not one or len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "`network` must take one image and return one. Received: "
            f"{len(network.inputs)} inputs, {len(network.outputs)} outputs."
        )
    if len(taken) != 4 or not isinstance(taken[-1], int) or taken[1:3] != (None, None):
        raise ValueError(
            "`network` must take images [batch, height, width, channels], channels last, of any "
            f"height and width; {remedy}. Received: input_shape={taken}."
        )
    if len(returned) != 4 or returned[-1] != taken[-1]:
        raise ValueError(
            "`network` must return as many channels as it takes. Received: "
            f"{taken[-1]} in, {returned[-1]} out."
        )


def size_multiple_of(network: keras.Model) -> int:
    """The multiple of pixels that the sides of a network's images must be.

    Raises:
        ValueError: if neither its layers nor its name tell.
    """
    try:
        return reach(network)[0]
    except ValueError as error:
        if network.name in NETWORKS:
            return NETWORKS[network.name][1]
        raise ValueError(
            f"`size_multiple` must be given for network {network.name!r}: {error}."
        ) from error
