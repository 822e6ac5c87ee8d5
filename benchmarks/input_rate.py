"""How many training crops a second the input pipeline makes, for each core it is given.

  python benchmarks/input_rate.py [--seconds 2]

Crops of 128 x 128 pixels (raw: cells) from photographs embedded in scikit-image, in batches of 4.
Rates are crops for each second of processor time, so they do not depend on what else runs; the last
column is eight times that, for eight cores that feed one GPU.
"""

import pathlib
import resource
import tempfile
import time

from absl import app, flags

from n2n_tf.cli import program

SECONDS = flags.DEFINE_float("seconds", 2.0, "Processor time of each row.", 0.1)
PATCH = 128
CASES = {  # name: noise, frozen, raw, augmented
    "images as they are": ("none", False, False, False),
    "images, augmented": ("none", False, False, True),
    "Gaussian noise, frozen": ("gauss25", True, False, False),
    "Gaussian noise, fresh": ("gauss25", False, False, False),
    "Poisson noise, fresh": ("poisson30", False, False, False),
    "raw of photographs": ("raw", False, True, True),
}


def rate(images, noise, frozen, raw, augment):
    """Crops for each second of processor time, after two batches that do not count."""
    from n2n_tf.pipelines.noise.synthetic import parse_noise
    from n2n_tf.pipelines.training.batches import training_batches
    from n2n_tf.pipelines.training.sources import PhotosAsRaw, preparation

    images = PhotosAsRaw(images) if raw else images
    options = {"patch_size": PATCH, "batch_size": 4, "augment": augment, "epoch_steps": 10**6}
    options["prepare"] = preparation(images)
    batches = iter(training_batches(images, parse_noise(noise), frozen=frozen, **options))
    for _ in range(5):
        next(batches)
    made, begun, before = 0, time.perf_counter(), _seconds()
    while _seconds() - before < SECONDS.value and time.perf_counter() - begun < 60:
        next(batches)
        made += 4
    return made / (_seconds() - before)


def _seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table():
    """Prints and returns the rates."""
    from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, embedded_photo
    from n2n_tf.pipelines.files.image_files import write_image
    from n2n_tf.pipelines.files.image_folder import ImageFolder

    print(f"\n{'training input':26} {'crops/s of a core':>18} {'of 8 cores':>12}")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FIRST_SET:
            write_image(pathlib.Path(folder) / f"{name}.png", embedded_photo(name))
        images = ImageFolder(folder, channels=3)
        for name, case in CASES.items():
            figures[name] = rate(images, *case)
            print(f"{name:26} {figures[name]:18.0f} {8 * figures[name]:12.0f}", flush=True)
    return figures


def main(_):
    """Prints the table."""
    program.import_tensorflow()
    table()


if __name__ == "__main__":
    app.run(main)
