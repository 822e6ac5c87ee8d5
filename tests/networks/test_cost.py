"""The counting of multiply-adds."""

import keras
import pytest
from keras import layers

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.cost import multiply_adds


def test_multiply_adds_of_layers_one_can_count_by_hand():
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same")(x)  # 3 * 3 * 3 * 8 at a quarter: 54
    y = layers.DepthwiseConv2D(3, padding="same", name="not_counted")(y)
    y = layers.Conv2DTranspose(5, 2, strides=2)(y)  # 2 * 2 * 8 * 5 at a quarter: 40
    y = layers.Conv2D(3, 1)(y)  # 15
    assert multiply_adds(keras.Model(x, y), side=64) == 54 + 40 + 15


def test_multiply_adds_of_the_papers_network():
    # Level by level: (positions) * kernel * kernel * in * out, features 48 and 96.
    f, w = 48, 96
    total = 9 * (3 * f + f * f)  # enc_conv0, 1
    total += sum(9 * f * f / 4**level for level in (1, 2, 3, 4))  # enc_conv2..5
    total += 9 * f * f / 4**5  # enc_conv6
    for level in (5, 4, 3, 2, 1):
        below = f if level == 5 else w
        skip = 3 if level == 1 else f
        total += (below * below + 9 * (below + skip) * w + 9 * w * w) / 4 ** (level - 1)
    total += w * w + w * w + w * 3
    assert multiply_adds(NETWORKS["unet"][0](3)) == pytest.approx(total, rel=1e-12)
