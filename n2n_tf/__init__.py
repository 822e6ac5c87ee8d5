"""Neighbor2Neighbor: self-supervised image denoising from single noisy images.

Read three files of `method/` first: `subsamplers.py` (which pixels), `losses.py` (equation 7),
`trainer.py` (Algorithm 1). Importing this package is cheap: TensorFlow is loaded at the first use
of a name, with TensorFlow as the backend of Keras, whatever else the environment chooses.
"""

import importlib
import os
import sys
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Denoiser": "denoising.denoiser",
    "Neighbor2Neighbor": "method.trainer",
    "PaperSchedule": "method.schedules",
    "estimate_noise": "denoising.noise_level",
    "n2n_loss": "method.losses",
    "unet": "networks.unet",
}
__all__ = list(_HOMES)

if "keras" not in sys.modules:
    os.environ["KERAS_BACKEND"] = "tensorflow"  # it overrules keras.json too


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"n2n_tf.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'n2n_tf' has no attribute {name!r}")
