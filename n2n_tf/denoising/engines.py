"""What runs a network: LiteRT on CPUs, Keras on GPUs.

LiteRT starts without TensorFlow, which alone takes seconds to import. Once both have started, which
is faster depends on the processor: see benchmarks/NOTES.md. Their numbers differ by at most 1e-5.
"""

import importlib.util
import os
import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from n2n_tf.model_files.info import ModelError, first_line
from n2n_tf.model_files.litert import open_tflite
from n2n_tf.model_files.litert_form import find_form, make_form
from n2n_tf.model_files.load import LoadedModel, find_model, info_beside, load_model, network_file
from n2n_tf.pipelines.processors import available_processors

if TYPE_CHECKING:
    import keras

ENGINES = "auto", "litert", "keras"
PRECISIONS = "float32", "dynamic", "int8"  # of LiteRT


def load(
    model: "str | os.PathLike | keras.Model",
    engine: str = "auto",
    before_keras: Callable[[], None] = lambda: None,
    precision: str = "float32",
) -> tuple[LoadedModel, str]:
    """Loads a model with the engine that suits it and this machine.

    Args:
        model: as `n2n_tf.model_files.load.load_model` takes it.
        engine: "auto", "litert" or "keras". "auto" is Keras if TensorFlow sees a GPU, if the model
            is a SavedModel or a network in memory, if its LiteRT form is still to be made and
            TensorFlow is imported already, or, with a warning, if it cannot be given such a form;
            else LiteRT.
        before_keras: called before Keras is imported.
        precision: "float32", or for speed, at a loss that is said, LiteRT's "dynamic" or "int8":
            such a form of the network is made when it is first asked for, and kept.

    Returns:
        the model, and in words what runs it.

    Raises:
        ModelError: if there is no such model, it is damaged or unusable, or not with this engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}. Received: {engine!r}.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}."
        )
    if engine == "keras" and precision != "float32":
        raise ModelError(f"Keras runs networks in float32; {precision} is for LiteRT.")
    if not isinstance(model, str | os.PathLike):
        if engine == "litert" or precision != "float32":
            raise ModelError("A network in memory is run with Keras; save it to use LiteRT.")
        return load_model(model), "Keras"
    path = find_model(model)
    if path.suffix == ".tflite" and not path.is_dir():
        if engine == "keras":
            raise ModelError(f"{path}: a .tflite file is run with LiteRT, not with Keras.")
        if precision != "float32":
            raise ModelError(f"{path}: has the precision that it was exported in.")
        return load_model(path), _litert()
    if engine == "keras":
        before_keras()
        return load_model(path), "Keras"
    try:
        wanted = engine == "litert" or precision != "float32"
        loaded = _with_litert(path, wanted, before_keras, precision)
        return loaded, _litert(loaded.info)
    except _Unsuited as reason:
        why, trouble = str(reason), False
    except ModelError as error:
        why, trouble = first_line(error), True
    if engine == "litert":
        raise ModelError(f"{path}: cannot be run with LiteRT: {why}.")
    before_keras()
    loaded = load_model(path)  # of a damaged network this says what is wrong
    if trouble:
        warnings.warn(f"{path}: is run with Keras, not with LiteRT: {why}.", stacklevel=3)
    return loaded, f"Keras: {why}"


class _Unsuited(Exception):
    """Why Keras is the right engine."""


def _with_litert(path, wanted, before_keras, precision):
    """The model in its LiteRT form, which is made if there is none."""
    source = network_file(path)
    if source is None:
        raise _Unsuited("it is a SavedModel")
    if not wanted and _gpu_there(before_keras):
        raise _Unsuited("there is a GPU")
    form = find_form(source, precision)
    if form is None and not wanted and "tensorflow" in sys.modules:
        raise _Unsuited("TensorFlow is loaded already, and the model's LiteRT form not made yet")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ModelError("ai-edge-litert is not installed")
    form = form or make_form(source, precision)
    info = form.info
    if precision == "float32":
        info = info_beside(source) or info
    return LoadedModel(open_tflite(form.path, info, form.content), info.but(sha256=None))


def _gpu_there(before_keras):
    """Whether TensorFlow sees a GPU; it is not imported to find out where there can be none."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if hidden or not any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
        return False
    before_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _litert(info=None):
    count = available_processors()
    threads = f"{count} thread{'s' if count > 1 else ''}"
    if info is None or info.precision in (None, "float32"):
        return f"LiteRT, {threads}"
    lost = (info.measured or {}).get("psnr_drop")
    told = "" if lost is None else f"; {max(lost, 0):.2f} dB lost on noisy photographs"
    return f"LiteRT in {info.precision}, {threads}{told}"
