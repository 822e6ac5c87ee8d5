"""Mirror padding of tensors inside a graph; `n2n_tf.pipelines.padding` does it to arrays."""

import tensorflow as tf

from n2n_tf.pipelines.padding import reflected, round_up


def reflect_pad_batch(images: tf.Tensor, size_multiple: int) -> tf.Tensor:
    """Mirrors a tensor [batch, h, w, channels] at its bottom and right border, inside a graph.

    Up to the next multiples of `size_multiple`, as `n2n_tf.pipelines.padding.reflect_pad` does.
    Works with unknown and with tiny sizes, where `tf.pad(mode="REFLECT")` fails because it mirrors
    at most once.
    """
    for axis in (1, 2):
        size = tf.shape(images)[axis]
        places = tf.range(round_up(size, size_multiple))
        images = tf.gather(images, reflected(places, size, tf), axis=axis)
    return images
