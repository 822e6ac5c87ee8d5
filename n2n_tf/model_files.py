"""Models as files: the Keras network, and the model.json that says how to run it on pictures."""

import json
import zipfile

import keras

from n2n_tf.networks import NETWORKS

NETWORK_FILE, INFO_FILE = "network.keras", "model.json"
# What model.json must say, and within what bounds.
REQUIRED = {"channels": (1, 64), "size_multiple": (1, 512), "halo": (0, 4096)}


class ModelError(ValueError):
    """A model that cannot be used; the message names the file and what to do."""


def describe(network, **more):
    """What model.json says about a network: what tiling needs, and anything in `more`.

    Args:
        network: functional `keras.Model`.
        **more: further entries; `size_multiple` and `halo` in pixels for a network not in
            `n2n_tf.networks.NETWORKS`.

    Raises:
        ModelError: if the network takes no image of any size or returns another shape, or is none
            of ours and `more` does not give `size_multiple` and `halo`.
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
    info = {"network": network.name, "channels": shape[-1]}
    if network.name in NETWORKS:
        _, info["size_multiple"], info["halo"] = NETWORKS[network.name]
    info |= more
    if missing := REQUIRED.keys() - info.keys():
        raise ModelError(
            f"Network {network.name!r} is none of ours: save it as {NETWORK_FILE} and say its "
            f"channels, size_multiple and halo in a {INFO_FILE} beside it (missing: "
            f"{', '.join(sorted(missing))})."
        )
    return info


def info_path(path):
    """Where the model.json of an exported file lies: model.tflite -> model.tflite.json."""
    return path.with_name(f"{path.name}.json")


def read_info(path):
    """Reads and checks a model.json.

    Raises:
        ModelError: if it is missing, damaged or lacks something.
    """
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; it was written beside the model, copy both.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}).") from error
    for key, (low, high) in REQUIRED.items():
        value = info.get(key) if isinstance(info, dict) else None
        if type(value) is not int or not low <= value <= high:
            raise ModelError(
                f"{path}: {key!r} must be a whole number in {low}..{high}, is {value!r:.50}."
            )
    return info


def load_network(path):
    """Reads a `.keras` file; code stored in such a file is never run.

    Raises:
        ModelError: if it is damaged or asks for code to be run.
    """
    import n2n_tf.model  # noqa: F401, lets Keras know the class of a saved trainer

    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: damaged, truncated or no .keras file at all.")
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types on damaged files
        raise ModelError(
            f"{path}: cannot be loaded as a Keras model ({first_line(error)})."
        ) from error
    return as_float32(getattr(network, "network", network))


def as_float32(network):
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


def first_line(error):
    """The first line of an error's message, shortened, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
