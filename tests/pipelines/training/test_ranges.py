"""The ranges of training images are said, and those that cannot be learned from are named."""

import types

import numpy as np

from n2n_tf.pipelines.training.ranges import range_lines


class Images(types.SimpleNamespace):
    def __len__(self):
        return len(self.pixels)

    def crop(self, index, top, left, height, width):
        return self.pixels[index][top : top + height, left : left + width]


def images(*ranges):
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64, 1)
    pixels = [low + (high - low) * ramp for low, high in ranges]
    names = [f"{number}.tif" for number in range(len(pixels))]
    return Images(pixels=pixels, names=names, sizes=[(64, 64)] * len(pixels))


def test_images_in_range_are_only_told_of():
    (line,) = range_lines(images((0, 1), (-0.1, 0.5)))
    assert line.startswith("Values of 2 of 2 images") and "-0.09" in line and "0.999" in line


def test_images_beyond_or_of_little_range_are_named_with_the_remedy():
    _, beyond, little = range_lines(images((0, 1), (-1000, 2000), (0.5, 0.503), (0, 1), (0, 2.0)))
    assert beyond.startswith("Warning: 2 of them leave 0..1, like 1.tif, -997 to 1997;")
    assert little.startswith("Warning: 1 of them use less than 1% of 0..1, like 2.tif")
    assert "--white_level" in beyond and "--white_level" in little


def test_a_large_folder_is_sampled():
    assert range_lines(images(*[(0, 1)] * 100))[0].startswith("Values of 12 of 100 images")
