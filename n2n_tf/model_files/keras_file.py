"""Keras networks as files: described, written and read; code stored in one is never run."""

import concurrent.futures
import json
import math
import os
import pathlib
import re
import zipfile
from typing import Any

import keras

from n2n_tf.model_files.info import INFO_FILE, NETWORK_FILE, ModelError, ModelInfo, first_line
from n2n_tf.networks import REACH
from n2n_tf.networks.reach import reach
from n2n_tf.pipelines.files.atomic_files import atomic_file, write_json

# Of a .keras file. Keras stores them uncompressed; a network of images has no other assets.
MEMBERS = ["config.json", "metadata.json", "model.weights.h5"]
MAX_CONFIG_BYTES = 16 << 20  # the paper's U-Net takes 43 KiB
_MODULES = re.compile(
    r"keras|builtins|n2n_tf\.(model|method\.trainer)|keras\.(src\.)?(activations|constraints|dtype_policies|initializers"
    r"|layers|losses|metrics|models|ops|optimizers|random|regularizers)(\..*)?"
)
# Layers that run code, or read files that the configuration names.
_REFUSED = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer",
            "StringLookup", "IntegerLookup", "TextVectorization", "Hashing"}  # fmt: skip


def describe(network: keras.Model, **more: Any) -> ModelInfo:
    """What is known of a network: its channels, and its reach, read from its layers.

    Args:
        network: functional `keras.Model`.
        **more: further entries of `ModelInfo`; `size_multiple` and `halo` in pixels for a network
            whose reach its layers do not tell.

    Raises:
        ModelError: if the network takes no image of any size or returns another shape, or its reach
            cannot be found and `more` does not give it.
    """
    shape = getattr(network, "input_shape", None)
    images = isinstance(shape, tuple) and len(shape) == 4 and isinstance(shape[3], int)
    if not images or shape[:3] != (None, None, None):
        raise ModelError(
            f"Network {network.name!r} must take images [batch, height, width, channels] of any "
            f"height and width. Received: input_shape={shape}."
        )
    if network.output_shape != shape:
        raise ModelError(
            f"Network {network.name!r} must return images of the shape it takes. Received: "
            f"input_shape={shape}, output_shape={network.output_shape}."
        )
    if not more.keys() >= {"size_multiple", "halo"}:
        more = _reach(network) | more
    return ModelInfo(network=network.name, channels=shape[-1], **more)


def _reach(network):
    if network.name in REACH:
        return dict(REACH[network.name])
    try:
        size_multiple, halo = reach(network)
    except ValueError as error:
        raise ModelError(
            f"Network {network.name!r}: {error}. Save it as {NETWORK_FILE} and say its channels, "
            f"size_multiple and halo in a {INFO_FILE} beside it."
        ) from error
    return {"size_multiple": size_multiple, "halo": halo}


def save_network(
    network: keras.Model, folder: pathlib.Path, info: ModelInfo, overwrite: bool = False
) -> None:
    """Writes network.keras and model.json into a folder, each whole or not at all.

    Raises:
        FileExistsError: if there is a network and `overwrite` is false.
    """
    with atomic_file(folder / NETWORK_FILE, overwrite) as temporary:
        network.save(temporary)
    write_json(folder / INFO_FILE, info.to_json())


def load_network(path: str | os.PathLike) -> keras.Model:
    """Reads a `.keras` file; code stored in such a file is never run.

    Raises:
        ModelError: if it is damaged, asks for code to be run, or declares more than it holds.
    """
    import n2n_tf.method.trainer  # noqa: F401, lets Keras know the class of a saved trainer

    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: damaged, truncated or not a .keras file at all.")
    try:
        _check_archive(path)
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except Exception as error:  # Keras raises many types on damaged files
        raise ModelError(
            f"{path}: cannot be loaded as a Keras model ({first_line(error)})."
        ) from error
    return as_float32(getattr(network, "network", network))


def _check_archive(path):
    """Refuses a .keras file that could do harm before Keras sees it."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sorted(member.filename for member in archive.infolist()) != MEMBERS:
            raise ModelError(
                f"cannot be loaded as a Keras model: it must hold {', '.join(MEMBERS)} and nothing "
                "else."
            )
        if any(m.compress_type != zipfile.ZIP_STORED for m in members.values()):
            raise ModelError("its members are compressed, which Keras never does; save it again.")
        if sum(m.file_size for m in members.values()) > os.path.getsize(path):
            raise ModelError("declares members larger than the file.")
        if members["config.json"].file_size > MAX_CONFIG_BYTES:
            raise ModelError(f"its config.json has more than {MAX_CONFIG_BYTES} bytes.")
        config = json.loads(archive.read("config.json"))
    _check_objects(config)
    _check_weights(config, members["model.weights.h5"].file_size)


def _check_objects(config):
    """Every object that a configuration names must be one of Keras, or our trainer."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        waiting += item.values() if isinstance(item, dict) else item if type(item) is list else []
        if not isinstance(item, dict) or "class_name" not in item:
            continue
        module, name = str(item.get("module") or "keras"), str(item["class_name"])
        if not _MODULES.fullmatch(module) or name in _REFUSED:
            raise ModelError(
                f"cannot be loaded as a Keras model: it asks for {module:.60}.{name:.60}, which "
                "could run code or read other files. Save a network of plain Keras layers."
            )


def _check_weights(config, stored_bytes):
    """Weights that a configuration declares must be in the file: they take memory when built."""
    # Keras remembers, per thread, variables without a value, and gives them one (and memory) later.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        numbers = thread.submit(_declared_weights, config).result()
    if numbers > stored_bytes:
        raise ModelError(f"declares {numbers} weights and stores {stored_bytes} bytes of them.")


def _declared_weights(config):
    """How many numbers the weights of a configuration's network are, without making them."""
    with keras.StatelessScope(initialize_variables=False):  # variables get a shape, and no memory
        network = keras.saving.deserialize_keras_object(config | {"compile_config": None})
        return sum(math.prod(weight.shape) for weight in network.weights)


def as_float32(network: keras.Model) -> keras.Model:
    """A network of mixed precision as one that computes in float32; any other as it is.

    The weights are float32 in both. Lower precision pays off in training on a GPU; elsewhere it is
    slower, and TFLite has no bfloat16 operations.
    """
    config = json.dumps(keras.saving.serialize_keras_object(network))
    plain = json.loads(config, object_hook=_float32_policy)
    if json.dumps(plain) == config:
        return network
    converted = keras.saving.deserialize_keras_object(plain)
    converted.set_weights(network.get_weights())
    return converted


def _float32_policy(config):
    """A serialised dtype policy of mixed precision -> float32's; anything else as it is."""
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"].startswith("mixed_"):
        return config | {"config": {"name": "float32"}}
    return config
