"""The reach that is read from layers is the reach that is measured."""

import keras
import numpy as np
import pytest
from keras import layers

from n2n_tf.networks import NETWORKS
from n2n_tf.networks.reach import reach


def all_positive(network):
    """Weights and biases of ones: whatever depends on a pixel grows with it."""
    network.set_weights([np.ones_like(weight) for weight in network.get_weights()])
    return network


def measured(network, multiple):
    """The largest distance at which a brighter pixel changes the output, over a whole cell."""
    side = 8 * multiple * max(1, 64 // multiple)
    farthest, line = 0, np.zeros((1, multiple, side, network.input_shape[-1]), np.float32)
    before = np.asarray(network(line))
    for place in range(side // 2, side // 2 + multiple):
        brighter = line.copy()
        brighter[0, 0, place] = 1.0
        changed = np.flatnonzero((np.asarray(network(brighter)) != before).any(axis=(0, 1, 3)))
        farthest = max(farthest, *np.abs(changed - place))
    return farthest


def built(make):
    x = keras.Input((None, None, 1))
    return keras.Model(x, make(x))


def strided(x):
    y = layers.Conv2D(1, 4, strides=2, padding="same")(x)
    return layers.Conv2DTranspose(1, 4, strides=2, padding="same")(y)


def pooled(x):
    y = layers.MaxPooling2D(2)(layers.Conv2D(1, 3, padding="same")(x))
    return layers.Add()([layers.UpSampling2D(2)(layers.Conv2D(1, 3, padding="same")(y)), x])


OF_OTHERS = {
    "dilated": lambda x: layers.Conv2D(1, 3, dilation_rate=4, padding="same")(x),
    "strided": strided,
    "pooled": pooled,
    "twice": lambda x: strided(pooled(x)),
    "arithmetic": lambda x: 2.0 * layers.Conv2D(1, 7, padding="same")(x) + x,
}


@pytest.mark.parametrize("name", OF_OTHERS)
def test_networks_of_others(name):
    network = all_positive(built(OF_OTHERS[name]))
    multiple, halo = reach(network)
    distance = measured(network, multiple)
    assert halo - multiple < distance <= halo


@pytest.mark.parametrize("name", ["unet", "unet_residual", "unet_bias_free"])
def test_the_table_of_our_own_says_the_same(name):
    build, size_multiple, halo = NETWORKS[name][:3]
    assert reach(build(3, features=8, init_scale=1.0)) == (size_multiple, halo)


def test_what_cannot_be_told_names_the_layer():
    with pytest.raises(ValueError, match=r"'own' \(Lambda\) sees the whole image, or"):
        reach(built(layers.Lambda(lambda x: x, name="own")))
    apart = layers.Conv2D(1, 3, strides=(1, 1), dilation_rate=2000, padding="same")
    with pytest.raises(ValueError, match="sees 2000 pixels far, too far for tiles"):
        reach(built(apart))
