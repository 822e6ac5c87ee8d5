"""What a training step costs: with and without the regularisation, by network and crop.

  python benchmarks/step_cost.py [--seconds 5]

Prints microseconds of processor time per pixel of a batch, how many times cheaper a step is while
gamma is 0, which leaves out the pass f(y) over the whole image (--gamma_delay), and how many times
cheaper two steps would be of which only one has that pass. Making the batches is not counted.

Then, of the paper's U-Net and 4 crops of 256 x 256, milliseconds of parts of a step: f(y) in
several precisions, and taking one pixel of each cell by tf.gather, as it is done, and by tf.where.
"""

import functools
import statistics
import time

from absl import app, flags

from n2n_tf.cli import program

SECONDS = flags.DEFINE_float("seconds", 5.0, "How long each row is timed.", 0.1)

# network, features, side of a crop in pixels, crops in a batch
ROWS = [
    ("unet", 48, 256, 4),
    ("unet_residual", 24, 128, 8),
    ("unet_bias_free", 24, 128, 8),
]


def seconds_per_step(model, noisy):
    """Mean time of a step, after two that compile it."""
    import tensorflow as tf

    step = tf.function(model.train_step)
    for _ in range(2):
        step(noisy)
    start, count = time.process_time(), 0
    while time.process_time() - start < SECONDS.value:
        float(step(noisy)["loss"])
        count += 1
    return (time.process_time() - start) / count


def chosen_by_where(images, position, k=2):
    """`take_pixels` without tf.gather."""
    import tensorflow as tf

    rows, columns = (k * (side // k) for side in images.shape[1:3])
    taken = images[:, :rows:k, :columns:k]
    for i in range(1, k * k):
        other = images[:, i // k : rows : k, i % k : columns : k]
        taken = tf.where(position[..., None] == i, other, taken)
    return taken


def parts():
    """Prints what parts of a step cost, run in turns."""
    import keras
    import tensorflow as tf

    from n2n_tf.method.subsamplers import draw_neighbor_pairs, take_pixels
    from n2n_tf.networks.unet import unet

    images = tf.random.stateless_uniform((4, 256, 256, 3), (1, 2))
    position = draw_neighbor_pairs(4, 256, 256, (1, 2))[0]
    works = {}
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        works[f"f(y), {policy}"] = functools.partial(tf.function(unet(channels=3)), images)
    keras.config.set_dtype_policy("float32")
    for name, take in (("tf.gather", take_pixels), ("tf.where", chosen_by_where)):
        works[f"taking pixels by {name}"] = functools.partial(tf.function(take), images, position)
    taken = {name: [] for name in works}
    for turn in range(4):  # the first compiles
        for name, work in works.items():
            begun = time.process_time()
            work()
            taken[name] += [time.process_time() - begun] if turn else []
    print(
        "\n" + "\n".join(f"{n:26} {1e3 * statistics.median(t):8.1f} ms" for n, t in taken.items())
    )


def main(_):
    """Prints the table."""
    program.import_tensorflow()
    import keras
    import tensorflow as tf

    from n2n_tf.method.trainer import Neighbor2Neighbor
    from n2n_tf.training.recipes import Recipe, build_network

    print(f"{'network':14} features   crops            gamma 0   gamma 2   ratio   every second")
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
            f"{costs[1]:6.2f} us {costs[1] / costs[0]:7.2f} {2 * costs[1] / sum(costs):11.2f}",
            flush=True,
        )
    parts()


if __name__ == "__main__":
    app.run(main)
