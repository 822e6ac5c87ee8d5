"""How far the weights of N replicas are from those of one, after the same steps on the same data.

  python benchmarks/replicas.py [--network unet] [--steps 20] [--output differences.json]

One process for each number of replicas, which are logical devices of the CPU, forked from this one
after TensorFlow's import. Weights differ by rounding only: a mean of means is not added up in the
order of one mean. Rows without the name of an
optimizer are Adam: with moving averages, with the two mixed precisions, and "overflow", mixed
float16 with an image far beyond it in some batches, whose steps loss scaling skips, whichever
replica has it. (The scale begins at 64. At Keras's 2**15 the first steps overflow, and gradients of
a part of a batch do so a step later or earlier than those of the whole.)
"""

import dataclasses
import json
import logging
import multiprocessing
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.networks.unet import unet
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.training.batches import training_batches
from n2n_tf.training import strategies
from n2n_tf.training.fused_adam import FusedAdam

NETWORK = flags.DEFINE_enum("network", "unet", ["unet", "small"], "Paper's U-Net, or two layers.")
STEPS = flags.DEFINE_integer("steps", 20, "Steps of each training.", 1)
REPLICAS = flags.DEFINE_list("replicas", ["2", "4"], "Numbers of replicas to compare with one.")
CASES = flags.DEFINE_list("cases", None, "Rows of the table. [all]")
OUTPUT = flags.DEFINE_string("output", None, "JSON file for the differences.")

BATCH, SIDE = 8, 64
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.05),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
    "AdamW": lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.01),
    "averages": lambda: FusedAdam(1e-3, use_ema=True, ema_momentum=0.9),
}
POLICIES = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16", "overflow": "mixed_float16"}
ALL_CASES = [*OPTIMIZERS, *POLICIES]


@dataclasses.dataclass
class Waves:
    """Forty images of one slope each, as `training_batches` takes them; one may be far too bright.

    Attributes:
        bright: float, factor on image 11.
    """

    bright: float = 1.0
    channels = 1

    def __post_init__(self):
        self.names = [f"{i}.png" for i in range(40)]
        self.sizes = [(SIDE + 8, SIDE + 8)] * 40

    def __len__(self):
        return 40

    def crop(self, index, top, left, height, width):
        """float32 [height, width, 1]"""
        rows, columns = np.ogrid[top : top + height, left : left + width]
        image = 0.5 + 0.4 * np.sin((rows * (index % 7) + columns * (index % 5)) / 20 + index)
        return np.float32(image * (self.bright if index == 11 else 1.0))[..., None]


def small(channels):
    """Two convolutions; nothing to wait for."""
    noisy = keras.Input((None, None, channels))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="leaky_relu")(noisy)
    x = keras.layers.Conv2D(channels, 3, padding="same")(x)
    return keras.Model(noisy, keras.layers.Activation("linear", dtype="float32")(x))


def trained(case, strategy):
    """Trains; returns the weights, the mean loss and the number of steps not skipped."""
    keras.utils.set_random_seed(3)
    policy = POLICIES.get(case, "float32")
    keras.mixed_precision.set_global_policy(policy)
    with strategy.scope():
        network = small(1) if NETWORK.value == "small" else unet(1, features=8, init_scale=1.0)
        model = Neighbor2Neighbor(network, seed=5)
        optimizer = OPTIMIZERS.get(case, OPTIMIZERS["Adam"])()
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
        model.compile(optimizer, jit_compile=False)
        model.optimizer.build(network.trainable_variables)
    batches = strategy.distribute_datasets_from_function(
        lambda worker: training_batches(
            Waves(1e30 if case == "overflow" else 1.0),
            parse_noise("gauss25"),
            frozen=True,
            patch_size=SIDE,
            batch_size=BATCH,
            seed=5,
            worker=worker,
        )
    )
    history = model.fit(batches, steps_per_epoch=STEPS.value, verbose=0, shuffle=False).history
    taken = int(model.optimizer.iterations.numpy())
    return [*network.get_weights(), np.float64(history["loss"][0]), np.int64(taken)]


def cases():
    """Names of the rows."""
    return CASES.value or ALL_CASES


def train_all(replicas, path):
    """All cases with so many replicas in this process; the file `path` receives the results."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * replicas,
    )
    strategy = strategies.choose("mirrored", BATCH, report=lambda line: None)
    assert strategy.num_replicas_in_sync == replicas
    results = {f"{c}/{i:03d}": w for c in cases() for i, w in enumerate(trained(c, strategy))}
    np.savez(path, **results)


def by_child(replicas, path):
    """{case: results of `trained`} of a process with that many replicas."""
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=train_all, args=(int(replicas), path))
    child.start()
    child.join()
    assert child.exitcode == 0, f"the process with {replicas} replicas failed"
    with np.load(path) as file:
        return {c: [file[n] for n in sorted(file) if n.startswith(f"{c}/")] for c in cases()}


def compared(one, several):
    """Differences of a case, for JSON; weights as the largest of any weight."""
    pairs = zip(one[:-2], several[:-2], strict=True)
    return {
        "weights": float(max(np.abs(a.astype(np.float64) - b).max() for a, b in pairs)),
        "largest_weight": float(max(np.abs(a).max() for a in one[:-2])),
        "loss": float(abs(one[-2] - several[-2]) / abs(one[-2])),
        "steps_taken": [int(one[-1]), int(several[-1])],
    }


def main(_):
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {n: by_child(n, f"{folder}/{n}.npz") for n in ["1", *REPLICAS.value]}
    table = {c: {n: compared(runs["1"][c], runs[n][c]) for n in REPLICAS.value} for c in cases()}
    print(f"Largest difference of any weight from one replica's after {STEPS.value} steps")
    print(f"{'':16}{'largest weight':>16}" + "".join(f"{n:>10} x" for n in REPLICAS.value))
    for case, row in table.items():
        differences = "".join(f"{row[n]['weights']:12.1e}" for n in REPLICAS.value)
        print(f"{case:16}{next(iter(row.values()))['largest_weight']:16.2f}{differences}")
    if OUTPUT.value:
        pathlib.Path(OUTPUT.value).write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
