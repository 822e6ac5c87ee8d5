"""What a shipped model is shipped as: weights of 16 bits, and the LiteRT form that CPUs run."""

import pathlib

import keras
import numpy as np

from n2n_tf.model_files.info import NETWORK_FILE, ModelError, ModelInfo
from n2n_tf.model_files.litert_conversion import fits_float16, litert_graph
from n2n_tf.model_files.litert_form import beside, write_form
from n2n_tf.model_files.load import load_model

# Root mean square difference that rounded weights may make on images in [0, 1]. As an error of its
# own it would cost 0.004 dB of 40.
MOST_ROUNDED = 3e-4


def in_16_bits(network: keras.Model, info: ModelInfo) -> keras.Model:
    """A network with weights rounded to numbers of 16 bits; itself if they are that or must not.

    Its LiteRT form then needs half the room and still gives the same numbers as the network.

    Args:
        network: functional `keras.Model` in float32.
        info: its `ModelInfo`.
    """
    if fits_float16(network):
        return network
    rounded = keras.models.clone_model(network)
    rounded.set_weights([np.float16(w).astype(w.dtype) for w in network.get_weights()])
    side = 4 * info.size_multiple
    noisy = np.random.default_rng(0).random((1, side, side, info.channels), np.float32)
    change = np.asarray(rounded(noisy, training=False) - network(noisy, training=False))
    return rounded if np.sqrt(np.mean(change**2)) <= MOST_ROUNDED else network


def write_litert_form(folder: pathlib.Path) -> pathlib.Path:
    """Writes the LiteRT form of a model's folder.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ModelError: if the network cannot be converted.
    """
    source = folder / NETWORK_FILE
    loaded = load_model(source)
    try:
        graph = litert_graph(loaded.network, loaded.info)
    except Exception as error:  # the converter raises many types
        raise ModelError(f"{source}: cannot be given a LiteRT form ({error}).") from error
    write_form(beside(source), graph, loaded.info, source)
    return beside(source)
