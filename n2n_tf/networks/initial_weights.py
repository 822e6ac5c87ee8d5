"""A network's weights into another of the same layers, whatever colours their images have."""

import keras
import numpy as np

# What the channels of an image are in RGB: gray, RGB, and packed raw (R, G1, G2, B).
_TO_RGB = {1: [[1, 1, 1]], 3: np.eye(3), 4: [[1, 0, 0], [0, 0.5, 0], [0, 0.5, 0], [0, 0, 1]]}
_FROM_RGB = {
    1: [[1 / 3], [1 / 3], [1 / 3]],
    3: np.eye(3),
    4: [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]],
}


def transfer(network: keras.Model, source: keras.Model) -> None:
    """Gives a network the weights of another, all of them or none.

    Images of other channels are converted on the way: the network then answers as `source` does
    between two conversions, folded into its first and last kernels (the input that a residual
    network adds to its output is not converted). That is where a run may start, no denoiser
    yet: the noise of a gray image made RGB is the same in all three channels.

    Args:
        network: functional `keras.Model` of 1, 3 or 4 channels, changed in place.
        source: `keras.Model` of the same layers, of 1, 3 or 4 channels.

    Raises:
        ValueError: if layers or widths differ, or the channels are others; the network is as it
            was.
    """
    given, wanted = source.input_shape[-1], network.input_shape[-1]
    if given != wanted and not {given, wanted} <= _TO_RGB.keys():
        raise ValueError(f"It denoises images of {given} channels, not {wanted}.")
    layers = {layer.name: layer.get_weights() for layer in source.layers if layer.weights}
    own = {layer.name: layer for layer in network.layers if layer.weights}
    if layers.keys() != own.keys():
        different = sorted(layers.keys() ^ own.keys())[:3]
        raise ValueError(f"It has other layers than {network.name} ({', '.join(different)}, ...).")
    converted = {
        name: _convert(layers[name], [w.shape for w in layer.weights], given, wanted, name)
        for name, layer in own.items()
    }
    for name, layer in own.items():
        layer.set_weights(converted[name])


def _convert(weights, shapes, given, wanted, name):
    """The weights of one layer, with image channels converted where their number is another's."""
    if given != wanted and weights[0].ndim == 4:
        kernel, *biases = weights
        if kernel.shape[2] - shapes[0][2] == given - wanted != 0:
            # The image's channels come last, after features that they are concatenated with.
            features, image = kernel[:, :, :-given], kernel[:, :, -given:]
            image = np.einsum("ds,hwso->hwdo", np.dot(_TO_RGB[wanted], _FROM_RGB[given]), image)
            kernel = np.concatenate([features, image], axis=2)
        elif (kernel.shape[3], shapes[0][3]) == (given, wanted):
            matrix = np.dot(_TO_RGB[given], _FROM_RGB[wanted])
            kernel, biases = kernel @ matrix, [bias @ matrix for bias in biases]
        weights = [kernel, *biases]
    if [w.shape for w in weights] != [tuple(shape) for shape in shapes]:
        raise ValueError(
            f"Its layer {name} has weights of shape {[w.shape for w in weights]}, not "
            f"{[tuple(shape) for shape in shapes]}: another width."
        )
    return weights
