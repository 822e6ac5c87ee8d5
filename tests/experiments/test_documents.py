"""The Python of docs/experiments.md runs as printed, and its table names all methods."""

import pathlib
import re

import pytest

from n2n_tf.method import METHODS

TEXT = (pathlib.Path(__file__).resolve().parents[2] / "docs/experiments.md").read_text()


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_as_printed():
    names = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1], names)
    assert names["image"].shape == (32, 32, 3)
    assert names["scores"]["psnr"] > 20.0 + 5  # noise of standard deviation 0.1 is 20 dB
    assert names["denoise"].info.halo == 5  # five convolutions of 3 x 3


def test_all_methods_are_in_the_table():
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == set(METHODS)
