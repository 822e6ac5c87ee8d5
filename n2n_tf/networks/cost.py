"""What a network costs: multiply-adds per pixel, counted from its layers."""

import math

import keras
from keras import layers


def multiply_adds(network: keras.Model, side: int = 512) -> float:
    """Multiply-adds of all convolutions per pixel of the image.

    Args:
        network: functional `keras.Model`, [batch, height, width, channels] -> the same shape.
        side: sides of the image that is counted on, a multiple of the network's step.

    Returns:
        float. Biases, activations, additions and poolings are not counted, as is customary.

    Example:
        >>> x = keras.Input((None, None, 3))
        >>> multiply_adds(keras.Model(x, layers.Conv2D(8, 3, padding="same")(x)))
        216.0
    """
    kinds = layers.Conv2D, layers.Conv2DTranspose
    counted = [layer for layer in network.layers if isinstance(layer, kinds)]
    ends = keras.Model(network.inputs, [[layer.input, layer.output] for layer in counted])
    shapes = ends.compute_output_shape((1, side, side, network.input_shape[-1]))
    total = 0
    for layer, (taken, given) in zip(counted, shapes, strict=True):
        # A kernel is applied once per position: of its output, or of its input if transposed.
        _, height, width, _ = taken if isinstance(layer, layers.Conv2DTranspose) else given
        total += height * width * math.prod(layer.kernel.shape)
    return total / side**2
