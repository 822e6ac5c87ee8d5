"""What a training step costs: with and without the regularisation, by network and crop.

  python benchmarks/step_cost.py [--seconds 5]

Prints microseconds per pixel of a batch, and how many times cheaper a step is while gamma is 0,
which leaves out the pass over the whole image (--gamma_delay). Making the batches is not counted.
"""

import time

from absl import app, flags

from n2n_tf.cli import program

SECONDS = flags.DEFINE_float("seconds", 5.0, "How long each row is timed.", 0.1)

# network, features, side of a crop in pixels, crops in a batch
ROWS = [
    ("unet_residual", 24, 128, 8),
    ("unet_residual", 24, 192, 2),
    ("unet_residual", 24, 256, 2),
    ("unet_residual", 48, 128, 8),
    ("unet_mobile", 24, 128, 8),
]


def seconds_per_step(model, noisy):
    """Mean time of a step, after two that compile it."""
    import tensorflow as tf

    step = tf.function(model.train_step)
    for _ in range(2):
        step(noisy)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS.value:
        float(step(noisy)["loss"])
        count += 1
    return (time.perf_counter() - start) / count


def main(_):
    """Prints the table."""
    program.import_tensorflow()
    import keras
    import tensorflow as tf

    from n2n_tf.method.trainer import Neighbor2Neighbor
    from n2n_tf.training.recipes import Recipe, build_network

    print(f"{'network':14} features   crops            gamma 0   gamma 2   ratio")
    for name, features, side, batch in ROWS:
        network = build_network(Recipe("none", network=name, features=features, init_scale=1.0))
        model = Neighbor2Neighbor(network)
        model.compile(optimizer=keras.optimizers.Adam(1e-4), jit_compile=False)
        noisy = tf.random.stateless_uniform((batch, side, side, 3), (1, 2))
        costs = []
        for gamma in (0.0, 2.0):
            model.gamma.assign(gamma)
            costs.append(1e6 * seconds_per_step(model, noisy) / (batch * side * side))
        print(
            f"{name:14} {features:8}   {batch} x {side} x {side:3} {costs[0]:9.2f} us "
            f"{costs[1]:6.2f} us {costs[1] / costs[0]:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
