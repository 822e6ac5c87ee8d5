"""What a step of n2n-train costs beside the step itself, and what the optimizer costs in it.

  python benchmarks/host_time.py [--steps 300]

A run in a folder, as `n2n-train` makes it, in which every step is followed by one of the bare
`train_step` function of an equal model on a kept batch. The figures are medians of the differences,
in milliseconds: of wall clock, and of the processor time of the thread that runs the loop, which
does not count what other programs take. The images are so small that the input never waits.

The second table is the processor time of an update with moving averages, of the paper's U-Net.
"""

import functools
import itertools
import pathlib
import statistics
import tempfile
import time

from absl import app, flags

from n2n_tf.cli import program

STEPS = flags.DEFINE_integer("steps", 300, "Steps that are timed.", 20)
CASES = {  # name: changes of the recipe
    "unet": {},
    "unet, averaged weights": {"ema_decay": 0.998},
    "unet, bfloat16": {"precision": "mixed_bfloat16"},
    "unet_bias_free": {"network": "unet_bias_free", "features": 24},
}


def host_times(recipe, images, folder):
    """Medians of what a step costs more than the bare function.

    Args:
        recipe: `n2n_tf.training.recipes.Recipe`.
        images: images to train on.
        folder: for the run's files.

    Returns:
        (more wall clock, more processor time of the loop's thread, the bare step), milliseconds.
    """
    import tensorflow as tf

    from n2n_tf.method import METHODS
    from n2n_tf.pipelines.training.holdout import Subset
    from n2n_tf.training import run
    from n2n_tf.training.data import batches_of

    batch = next(iter(batches_of(Subset(images, ()).rest(), recipe, 1)))
    other = run._model(recipe)
    bare = tf.function(other.train_step, reduce_retracing=True)
    clocks = []

    class Watched(METHODS[recipe.method]):
        """Takes the time between two steps, and within it that of a bare step."""

        def make_train_function(self, force=False):
            super().make_train_function(force)
            inner = self.train_function

            def train_function(iterator):
                times = [time.perf_counter(), time.thread_time()]
                bare(batch)
                clocks.append([*times, time.perf_counter(), time.thread_time()])
                return inner(iterator)

            self.train_function = train_function

    ours, METHODS[recipe.method] = METHODS[recipe.method], Watched
    try:
        run.train(recipe, images, folder, report=lambda line: None)
    finally:
        METHODS[recipe.method] = ours
    differences = []
    for (wall, own, after, own_after), (next_wall, next_own, *_) in itertools.pairwise(clocks[10:]):
        bare_wall = after - wall
        own_more = (next_own - own_after) - (own_after - own)
        differences.append((next_wall - after - bare_wall, own_more, bare_wall))
    return [1e3 * statistics.median(column) for column in zip(*differences, strict=True)]


def write_images(folder):
    """As many small gray-to-colour noise images as there are steps."""
    import numpy as np

    from n2n_tf.pipelines.files.image_files import write_image

    rng = np.random.default_rng(0)
    for i in range(20):
        write_image(folder / f"{i:02d}.png", rng.integers(0, 256, (32, 32, 3), np.uint8))


def table(steps):
    """Prints and returns the figures of all cases, each of about so many steps."""
    import dataclasses

    from n2n_tf.pipelines.files.image_folder import ImageFolder
    from n2n_tf.pipelines.processors import computes_in_bfloat16
    from n2n_tf.training.recipes import Recipe

    print(f"{'host time per step':26} {'wall':>9} {'loop':>9} {'bare step':>11}")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        data.mkdir()
        write_images(data)
        images = ImageFolder(data)
        shared = Recipe("none", batch_size=1, patch_size=32, holdout=0.0, epochs=2, init_scale=1.0)
        shared = dataclasses.replace(shared, crops_per_image=-(-steps // 40))
        for i, (name, changes) in enumerate(CASES.items()):
            if "precision" in changes and not computes_in_bfloat16():
                continue
            recipe = dataclasses.replace(shared, **changes)
            wall, loop, bare = host_times(recipe, images, pathlib.Path(folder) / str(i))
            print(f"{name:26} {wall:6.2f} ms {loop:6.2f} ms {bare:8.2f} ms", flush=True)
            figures[name] = {"wall_ms": wall, "loop_ms": loop, "bare_step_ms": bare}
    return figures


def optimizers(steps):
    """Prints and returns milliseconds of processor time of an update, by Keras's Adam and ours."""
    import keras
    import tensorflow as tf

    from n2n_tf.networks.unet import unet
    from n2n_tf.training.fused_adam import FusedAdam

    updates, taken = {}, {}
    for kind in (keras.optimizers.Adam, FusedAdam):
        variables = unet(channels=3).trainable_variables
        optimizer = kind(use_ema=True, ema_momentum=0.99)
        optimizer.build(variables)
        gradients = [tf.random.stateless_normal(v.shape, (1, 2)) for v in variables]
        updates[kind.__name__] = tf.function(
            functools.partial(optimizer.apply, gradients, variables)
        )
    for number in range(steps + 3):
        for name, update in updates.items():
            before = time.process_time()
            update()
            if number >= 3:
                taken.setdefault(name, []).append(time.process_time() - before)
    medians = {name: 1e3 * statistics.median(times) for name, times in taken.items()}
    print("\n" + "\n".join(f"{name:26} {ms:6.2f} ms" for name, ms in medians.items()))
    return medians


def main(_):
    """Prints the tables."""
    program.import_tensorflow()
    table(STEPS.value)
    optimizers(50)


if __name__ == "__main__":
    app.run(main)
