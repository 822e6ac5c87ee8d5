"""Weights moved between networks: the answers are those of the source, colours converted."""

import keras
import numpy as np
import pytest

from n2n_tf.networks.initial_weights import transfer
from n2n_tf.networks.unet import unet
from n2n_tf.networks.unet_bias_free import unet_bias_free


def weights_of(network):
    return {w.path: w.numpy() for w in network.weights}


def random_biases(network, rng):
    """Fresh networks have zero biases, which would hide what becomes of them."""
    for layer in network.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(0.1 * rng.normal(size=layer.bias.shape))
    return network


@pytest.mark.parametrize("build", [unet, unet_bias_free])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_of_equal_channels_all_weights_are_equal(build, channels):
    keras.utils.set_random_seed(1)
    source, network = (build(channels, features=6) for _ in range(2))
    transfer(network, source)
    for name, value in weights_of(network).items():
        np.testing.assert_array_equal(value, weights_of(source)[name])


def to_rgb(image):
    """Written out, not by matrices: gray to all three, of raw the mean of both greens."""
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    if image.shape[-1] == 3:
        return image
    red, green1, green2, blue = np.moveaxis(image, -1, 0)
    return np.stack([red, (green1 + green2) / 2, blue], axis=-1)


def from_rgb(image, channels):
    if channels == 1:
        return image.mean(axis=-1, keepdims=True)
    return image[..., [0, 1, 1, 2]] if channels == 4 else image


@pytest.mark.parametrize("build", [unet, unet_bias_free])
@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (3, 4), (1, 3), (4, 3), (1, 4), (4, 1)])
def test_of_other_channels_the_answer_is_the_sources_between_conversions(build, given, wanted, rng):
    keras.utils.set_random_seed(2)
    source = random_biases(build(given, features=6, init_scale=1.0), rng)
    network = build(wanted, features=6)
    transfer(network, source)
    image = rng.random((1, 32, 64, wanted), np.float32)
    taken = from_rgb(to_rgb(image), given).astype(np.float32)
    denoised = np.asarray(source(taken))
    added = build is unet_bias_free  # the correction is converted, the input it is added to is not
    expected = from_rgb(to_rgb(denoised - added * taken), wanted) + added * image
    np.testing.assert_allclose(network(image), expected, atol=1e-5)


def test_another_width_changes_nothing():
    source, network = unet(3, features=6), unet(3, features=4)
    before = weights_of(network)
    with pytest.raises(ValueError, match=r"layer enc_conv0 has weights of shape .*another width"):
        transfer(network, source)
    for name, value in weights_of(network).items():
        np.testing.assert_array_equal(value, before[name])


def test_other_layers_and_channels_are_named():
    with pytest.raises(ValueError, match=r"other layers than unet \(dec0a1, "):
        transfer(unet(3, features=4), unet_bias_free(3, features=6))
    with pytest.raises(ValueError, match="images of 2 channels, not 3"):
        transfer(unet(3, features=4), unet(2, features=4))
