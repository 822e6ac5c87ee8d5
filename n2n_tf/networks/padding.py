"""Mirror padding of tensors inside a graph; `n2n_tf.pipelines.padding` does it to arrays."""

import tensorflow as tf


def reflect_pad_batch(images, size_multiple):
    """Mirrors a tensor [batch, h, w, channels] at its bottom and right border, inside a graph.

    Up to the next multiples of `size_multiple`, as `n2n_tf.pipelines.padding.reflect_pad` does.
    Works with unknown and with tiny sizes, where `tf.pad(mode="REFLECT")` fails because it mirrors
    at most once.
    """
    for axis in (1, 2):
        size = tf.shape(images)[axis]
        period = tf.maximum(2 * (size - 1), 1)
        index = tf.range(-(-size // size_multiple) * size_multiple) % period
        images = tf.gather(images, tf.minimum(index, period - index), axis=axis)
    return images
