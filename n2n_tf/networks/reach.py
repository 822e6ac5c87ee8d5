"""How far a network sees, and on which grid: read from its layers, whoever built them."""

import keras
import numpy as np
from keras import layers

# Layers that treat every pixel by itself, or combine images pixel by pixel.
_POINTWISE = (
    layers.InputLayer, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU,
    layers.BatchNormalization, layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise,
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum,
    layers.Concatenate, layers.Rescaling,
)  # fmt: skip
_ARITHMETIC = {"Add", "Subtract", "Multiply", "Divide", "Maximum", "Minimum", "Concatenate", "Clip"}
_SIDE = 4096  # pixels of the line that is followed through the network


def reach(network: keras.Model) -> tuple[int, int]:
    """Reads from a network's layers what tiling must know of it.

    A line of pixels is followed through the layers: which of them the value at every place depends
    on. That is exact for the layers known here.

    Args:
        network: functional `keras.Model`, [batch, height, width, channels] -> the same shape.

    Returns:
        `(size_multiple, halo)` in pixels: the sides that the network takes are multiples of the
        first; the second, the smallest multiple of the first that is at least the distance at which
        an input pixel can change an output pixel.

    Raises:
        ValueError: naming the layer, if one sees the whole image or is of a kind not known here; or
            if the network sees more than 1024 pixels far.

    Example:
        >>> x = keras.Input((None, None, 1))
        >>> y = layers.Conv2D(1, 5, padding="same")(layers.Conv2D(1, 3, padding="same")(x))
        >>> reach(keras.Model(x, y))
        (1, 3)
    """
    along = [_along(network, axis) for axis in (0, 1)]
    multiple, distance = (max(pair) for pair in zip(*along, strict=True))
    return multiple, -(-distance // multiple) * multiple


def _along(network, axis):
    """Size multiple and distance of the network along one axis."""
    pixels = np.arange(_SIDE)
    seen = {}  # id of a tensor -> first and last pixel that each of its places depends on
    for layer in network.operations:  # layers, and arithmetic between them
        for node in layer._inbound_nodes:
            if any(id(tensor) not in seen for tensor in node.input_tensors):
                continue  # of another model that the layer is part of too
            given = [seen[id(tensor)] for tensor in node.input_tensors] or [(pixels, pixels)]
            if len({len(first) for first, _ in given}) > 1:
                raise ValueError(f"layer {layer.name!r} combines images of different sizes")
            first = np.min([first for first, _ in given], axis=0)
            last = np.max([last for _, last in given], axis=0)
            for tensor in node.output_tensors:
                seen[id(tensor)] = _after(layer, axis, first, last)
    multiple = max(_SIDE // len(first) for first, _ in seen.values())
    first, last = seen[id(network.outputs[0])]
    middle = slice(_SIDE // 2, _SIDE // 2 + multiple)
    distance = max((pixels - first)[middle].max(), (last - pixels)[middle].max())
    if distance > _SIDE // 4:
        raise ValueError(f"it sees {distance} pixels far, too far for tiles")
    return multiple, int(distance)


def _after(layer, axis, first, last):
    """First and last pixel behind a layer, of those before it."""
    if isinstance(layer, layers.Conv2DTranspose):
        return _spread(first, last, layer.kernel_size[axis], layer.strides[axis], layer.padding)
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        size = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1
        return _gathered(first, last, size, layer.strides[axis], layer.padding)
    if isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        return _gathered(first, last, layer.pool_size[axis], layer.strides[axis], layer.padding)
    if isinstance(layer, layers.UpSampling2D):
        if layer.interpolation == "nearest":
            return np.repeat(first, layer.size[axis]), np.repeat(last, layer.size[axis])
        return _spread(first, last, 2 * layer.size[axis], layer.size[axis], "same")
    if isinstance(layer, _POINTWISE) or _is_arithmetic(layer):
        return first, last
    raise ValueError(
        f"layer {layer.name!r} ({type(layer).__name__}) sees the whole image, or is of a kind "
        "whose reach is not known"
    )


def _is_arithmetic(operation):
    """Whether it is one of `keras.ops` between images of one size, such as `x + y`."""
    return not isinstance(operation, layers.Layer) and type(operation).__name__ in _ARITHMETIC


def _gathered(first, last, size, stride, padding):
    """Behind a window of `size` that moves by `stride`, padded as TensorFlow does it."""
    count = -(-len(first) // stride) if padding == "same" else (len(first) - size) // stride + 1
    before = max((count - 1) * stride + size - len(first), 0) // 2 if padding == "same" else 0
    starts = np.arange(count) * stride - before
    ends = np.clip(starts + size - 1, 0, len(last) - 1)
    return first[np.clip(starts, 0, len(first) - 1)], last[ends]


def _spread(first, last, size, stride, padding):
    """Behind the transpose of such a window."""
    before = max(size - stride, 0) // 2 if padding == "same" else 0
    count = len(first) * stride if padding == "same" else (len(first) - 1) * stride + size
    places = np.arange(count) + before
    low = np.clip(-(-(places - size + 1) // stride), 0, len(first) - 1)
    return first[low], last[np.clip(places // stride, 0, len(last) - 1)]
