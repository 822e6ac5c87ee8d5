"""Goes on with the training of a bias-free U-Net on a GPU that has JAX and no TensorFlow.

    python benchmarks/train_on_jax.py --start saved_models/unet_rgb_gauss5_50/network.keras \
        --photos photos --seconds 560 --output on_gpu.npz
    n2n-train --initial_model on_gpu.npz ...

What `n2n-train --method recorrupted --tau 2 --balance --augment --schedule cosine` does, for this
one network and Gaussian noise: the same pairs, loss, flips and precision. Two things are new: the
learning rate falls with the clock, so that a machine lent for ten minutes is used for ten minutes,
and gradients that are far longer than usual are shortened. The network computes what Keras's does
(to 1e-6 in float32), and `n2n-train` and `n2n-export` read what comes out. Needs this repository's
files, absl-py, h5py, jax, numpy and Pillow; on one H200 a network of 48 features sees 11,800 crops
per second.
"""

import functools
import json
import multiprocessing
import os
import pathlib
import runpy
import time
import types
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from PIL import Image

FLAGS = flags.FLAGS
flags.DEFINE_string("start", None, "network.keras, or .npz file, to start from.", required=True)
flags.DEFINE_string("photos", None, "Folder of training photographs.", required=True)
flags.DEFINE_string("output", None, "File for the averaged weights, .npz.", required=True)
flags.DEFINE_float("seconds", 560.0, "For how long to train.", 1.0)
flags.DEFINE_integer("batch_size", 32, "Crops in a batch.", 1)
flags.DEFINE_integer("patch_size", 128, "Side of the crops in pixels, of raw in cells.", 16)
flags.DEFINE_float("learning_rate", 6e-4, "Adam's, at the beginning.", 0.0)
flags.DEFINE_float("ema_decay", 0.999, "Of the moving average of the weights.", 0.0, 1.0)
flags.DEFINE_float("low", 5.0, "Least sigma, on the 0..255 scale.", 0.0)
flags.DEFINE_float("high", 50.0, "Largest sigma.", 0.0)
flags.DEFINE_boolean("log_levels", False, "Whether sigma is drawn log-uniformly.")
flags.DEFINE_integer("seed", 1, "Of everything random.")

TAU = 2.0
MID_GRAY = 0.5
LEAST_ENERGY = 1e-6
BLOCKS_DOWN, BLOCKS_UP = (0, 1, 1, 2), (1, 1, 1)
STEPS_AT_ONCE = 20
SUFFIXES = (".jpg", ".jpeg", ".png")
ROOM, SIDE = 1280, 512  # photographs and pixels of their sides: one shape, compiled once
ROOT = pathlib.Path(__file__).resolve().parents[1]
cameras = types.SimpleNamespace(**runpy.run_path(str(ROOT / "pipelines/raw/cameras.py")))
CAMERAS = 3  # that see each photograph, where the network is one for raw
WARM_UP = 300  # steps
DIVERGED = 1.2  # times the least loss of ten seconds
LOUD = 3.0  # gradients longer than this many times the usual are shortened to it


def denoise(weights, noisy, dtype=jnp.bfloat16):
    """float32 [batch, height, width, channels] -> the same, as Keras computes it."""

    def conv(x, name, strides=1):
        kernel = weights[f"{name}/kernel"].astype(dtype)
        return jax.lax.conv_general_dilated(
            x.astype(dtype),
            kernel,
            (strides, strides),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def up(x, name):
        kernel = weights[f"{name}/kernel"].astype(dtype)  # [2, 2, out, in]
        n, h, w, _ = x.shape
        y = jnp.einsum("nhwi,aboi->nhawbo", x, kernel)
        return y.reshape(n, 2 * h, 2 * w, kernel.shape[2])

    def blocks(x, count, name):
        for letter in "abcd"[:count]:
            x = x + conv(jax.nn.relu(conv(x, f"{name}{letter}1")), f"{name}{letter}2")
        return x

    x = conv(noisy - MID_GRAY, "head")
    skips = []
    for level in range(4):
        if level:
            skips.append(x)
            x = conv(x, f"down{level}", 2)
        x = blocks(x, BLOCKS_DOWN[level], f"enc{level}")
    for level in (2, 1, 0):
        x = up(x, f"up{level}") + skips[level]
        x = blocks(x, BLOCKS_UP[level], f"dec{level}")
    return noisy + conv(x, "tail").astype(jnp.float32)


def read_photos(folder, channels, seed):
    """Pixels [ROOM, SIDE, SIDE, channels], zeros beside smaller photos, and sizes [photos, 2]."""
    paths = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    with multiprocessing.get_context("fork").Pool(5) as pool:
        jobs = [(path, channels, [seed, number]) for number, path in enumerate(paths)]
        images = [image for some in pool.imap(_images_of, jobs, chunksize=8) for image in some]
    raw = channels == 4
    sizes = np.zeros((ROOM * (CAMERAS if raw else 1), 2), np.int32)
    side = SIDE // 2 if raw else SIDE
    pixels = np.zeros((len(sizes), side, side, channels), images[0].dtype)
    for number, image in enumerate(images):
        sizes[number] = image.shape[:2]
        pixels[number, : image.shape[0], : image.shape[1]] = image
    return pixels, sizes, len(images)


def _images_of(job):
    path, channels, seed = job
    photo = np.atleast_3d(np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB")))
    photo = photo[:SIDE, :SIDE]
    if channels < 4:
        return [photo]
    generator = np.random.default_rng(seed)
    return [rooted_planes(photo, generator) for _ in range(CAMERAS)]


def draw_camera(generator):
    mixture = generator.uniform(1e-8, 1, 4)
    xyz2cam = np.tensordot(mixture / mixture.sum(), np.array(cameras.XYZ_TO_CAMERAS), 1)
    rgb2cam = xyz2cam @ cameras.RGB_TO_XYZ
    rgb2cam /= rgb2cam.sum(-1, keepdims=True)
    red, blue = (generator.uniform(*gain) for gain in (cameras.RED_GAIN, cameras.BLUE_GAIN))
    dimming = cameras.DIMMING_MEAN + cameras.DIMMING_STDDEV * generator.normal()
    return np.float32(rgb2cam), np.float32(np.array([red, 1.0, blue]) / dimming)


def rooted_planes(photo, generator):
    """float16 [h, w, 4]: root of the raw of a photo, as `rooted_planes_of_photo` makes it."""
    rgb2cam, gains = draw_camera(generator)
    photo = photo[: photo.shape[0] // 2 * 2, : photo.shape[1] // 2 * 2]
    y = np.arange(256, dtype=np.float32) / 255
    table = np.maximum(0.5 - np.sin(np.arcsin(1 - 2 * y) / 3), 1e-8) ** cameras.GAMMA
    linear = table[photo].astype(np.float32)
    planes = []
    for (row, column), colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), (0, 1, 1, 2), strict=True):
        cell = linear[row::2, column::2]
        value, grey = cell @ rgb2cam[colour], cell @ rgb2cam.mean(0)
        inverse = 1 / gains[colour]
        mask = (np.maximum(grey - cameras.INFLECTION, 0) / (1 - cameras.INFLECTION)) ** 2
        planes.append(value * np.maximum(mask + (1 - mask) * inverse, inverse))
    return np.sqrt(np.clip(np.stack(planes, -1), 0, 1)).astype(np.float16)


def crop_of(pixels, sizes, images, side, key):
    """One crop, turned or mirrored; of packed raw in a way that keeps its phase."""
    raw = pixels.shape[-1] == 4
    index_key, place_key, flip_key = jax.random.split(key, 3)
    index = jax.random.randint(index_key, (), 0, images)
    window = side + raw
    free = sizes[index] - window
    share = jax.random.uniform(place_key, (2,))
    top, left = jnp.minimum(jnp.int32(share * (free + 1)), free)
    shape = (1, window, window, pixels.shape[-1])
    crop = jax.lax.dynamic_slice(pixels, (index, top, left, 0), shape)[0]
    crop = crop.astype(jnp.float32) / (1.0 if raw else 255.0)
    rows, columns, transpose = jax.random.bernoulli(flip_key, shape=(3,))
    turned = crop.transpose(1, 0, 2)
    if raw:
        turned = turned[..., jnp.array([0, 2, 1, 3])]
    crop = jnp.where(transpose, turned, crop)
    crop = jnp.where(rows, crop[::-1], crop)
    crop = jnp.where(columns, crop[:, ::-1], crop)
    if not raw:
        return crop
    by_row, by_column = rows.astype(jnp.int32), columns.astype(jnp.int32)
    planes = [
        jax.lax.dynamic_slice(crop[..., c], (row * by_row, column * by_column), (side, side))
        for c, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1)))
    ]
    return jnp.stack(planes, -1)


def pair_of(clean, levels, log_levels, key):
    """Recorrupted-to-Recorrupted: the noisy image's own noise is sigma / sqrt(1 + tau^2)."""
    level_key, noise_key, second_key = jax.random.split(key, 3)
    share = jax.random.uniform(level_key, (len(clean), 1, 1, 1))
    low, high = levels
    sigma = low * (high / low) ** share if log_levels else low + share * (high - low)
    sigma = sigma / 255 / (1 + TAU**2) ** 0.5
    noisy = clean + sigma * jax.random.normal(noise_key, clean.shape)
    z = sigma * jax.random.normal(second_key, clean.shape)
    return noisy + TAU * z, noisy - z / TAU


def loss_of(weights, source, target):
    """Mean square, each crop's divided by the deviation of its noise (`--balance`)."""
    energy = jnp.mean((source - target) ** 2, (1, 2, 3))
    error = jnp.mean((denoise(weights, source) - target) ** 2, (1, 2, 3))
    return jnp.mean(error / jnp.sqrt(energy + LEAST_ENERGY))


@functools.partial(
    jax.jit, static_argnames=("batch", "side", "levels", "log_levels"), donate_argnums=0
)
def train(state, pixels, sizes, images, rate, batch, side, levels, log_levels, ema):
    """STEPS_AT_ONCE steps of Adam; the state and the mean loss."""

    def step(state, _):
        key, crops_key, pair_key = jax.random.split(state["key"], 3)
        crop = functools.partial(crop_of, pixels, sizes, images, side)
        clean = jax.vmap(crop)(jax.random.split(crops_key, batch))
        loss, slopes = jax.value_and_grad(loss_of)(
            state["weights"], *pair_of(clean, levels, log_levels, pair_key)
        )
        length = jnp.sqrt(sum(jnp.sum(slope**2) for slope in slopes.values()))
        usual = jnp.where(state["usual"] == 0, length, state["usual"])
        factor = jnp.minimum(1.0, LOUD * usual / length)
        usual = 0.99 * usual + 0.01 * length * factor
        count = state["count"] + 1
        new = {"weights": {}, "average": {}, "first": {}, "second": {}}
        for name, slope in slopes.items():
            slope = slope * factor
            first = 0.9 * state["first"][name] + 0.1 * slope
            second = 0.999 * state["second"][name] + 0.001 * slope**2
            move = first / (1 - 0.9**count) / (jnp.sqrt(second / (1 - 0.999**count)) + 1e-7)
            warm = jnp.minimum(1.0, count / WARM_UP)
            weight = state["weights"][name] - rate * warm * move
            average = ema * state["average"][name] + (1 - ema) * weight
            new["weights"][name], new["average"][name] = weight, average
            new["first"][name], new["second"][name] = first, second
        return new | {"key": key, "count": count, "usual": usual}, loss

    state, losses = jax.lax.scan(step, state, None, STEPS_AT_ONCE)
    return state, losses.mean()


def read_weights(path):
    """float32 kernels by "layer/kernel", of an .npz file or of a network that Keras saved."""
    if path.suffix == ".npz":
        return {name: np.float32(kernel) for name, kernel in np.load(path).items()}
    weights, seen = {}, {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
        with h5py.File(file) as groups:
            for layer in layers:
                kind = {"Conv2D": "conv2d", "Conv2DTranspose": "conv2d_transpose"}.get(
                    layer["class_name"]
                )
                if kind:
                    number = seen[kind] = seen.get(kind, -1) + 1
                    group = f"layers/{kind}_{number}" if number else f"layers/{kind}"
                    weights[f"{layer['config']['name']}/kernel"] = groups[f"{group}/vars/0"][:]
    return weights


def fresh_state(weights, seed):
    zeros = {name: jnp.zeros_like(kernel) for name, kernel in weights.items()}
    copy = functools.partial(jax.tree.map, jnp.array)
    return {
        "weights": copy(weights),
        "average": copy(weights),
        "first": zeros,
        "second": copy(zeros),
        "key": jax.random.PRNGKey(seed),
        "count": jnp.float32(0),
        "usual": jnp.float32(0),
    }


def save(path, average):
    new = path.with_name(f"new_{path.name}")
    np.savez(new, **{name: np.asarray(kernel) for name, kernel in average.items()})
    os.replace(new, path)


def main(_):
    begun = time.time()
    weights = read_weights(pathlib.Path(FLAGS.start))
    channels = weights["head/kernel"].shape[2]
    pixels, sizes, images = read_photos(FLAGS.photos, channels, FLAGS.seed)
    print(f"{images} images, {jax.devices()[0].device_kind}", flush=True)
    levels = (FLAGS.low, FLAGS.high)
    settings = (FLAGS.batch_size, FLAGS.patch_size, levels, FLAGS.log_levels)
    data = (jnp.asarray(pixels), jnp.asarray(sizes), jnp.int32(images))

    def chunk(state, share):
        rate = calm * FLAGS.learning_rate * (0.5 + 0.5 * np.cos(np.pi * share))
        return train(state, *data, jnp.float32(rate), *settings, jnp.float32(FLAGS.ema_decay))

    calm, best = 1.0, np.inf
    state, loss = chunk(fresh_state(weights, FLAGS.seed), 0.0)
    loss.block_until_ready()
    start = said = saved = now = time.time()
    print(f"compiled after {start - begun:.0f} s", flush=True)
    done, losses, kept = STEPS_AT_ONCE, [], jax.tree.map(jnp.copy, state)
    while now - start < FLAGS.seconds:
        state, loss = chunk(state, (now - start) / FLAGS.seconds)
        done += STEPS_AT_ONCE
        losses.append(loss)
        if len(losses) > 2:  # so that the GPU has always something to do
            losses[-3].block_until_ready()
        now = time.time()
        if now - said > 10 and len(losses) > 2:
            mean = float(jnp.stack(losses[:-2]).mean())
            speed = len(losses) * STEPS_AT_ONCE * FLAGS.batch_size / (now - said)
            print(
                f"{now - start:4.0f} s  step {done:,}  loss {mean:.6f}  {speed:.0f} crops/s",
                flush=True,
            )
            said, losses = now, losses[-2:]
            if mean < DIVERGED * best:
                best, kept = min(best, mean), jax.tree.map(jnp.copy, state)
            else:
                state, calm = jax.tree.map(jnp.copy, kept), calm / 2
                print(f"Diverged: back, with {calm} of the learning rate.", flush=True)
        if now - saved > 60:
            save(pathlib.Path(FLAGS.output), state["average"])
            saved = now
    save(pathlib.Path(FLAGS.output), state["average"])
    print(f"{done:,} steps, {done * FLAGS.batch_size:,} crops", flush=True)


if __name__ == "__main__":
    app.run(main)
