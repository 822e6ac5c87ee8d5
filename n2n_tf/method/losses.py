"""The regularised loss of Neighbor2Neighbor (Huang et al., CVPR 2021, equation 7)."""

import tensorflow as tf

LEAST_ENERGY = 1e-6  # keeps the weight of a black crop finite; noise of 0.18 on the 0..255 scale


def n2n_loss(
    sub_output: tf.Tensor,
    sub_target: tf.Tensor,
    denoised_sub_input: tf.Tensor,
    denoised_sub_target: tf.Tensor,
    gamma: float | tf.Tensor,
    weights: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reconstruction term, regularisation term and their weighted sum.

    With g1, g2 the neighbor sub-sampler, y the noisy image and f the network:

        reconstruction = mean (f(g1(y)) - g2(y))^2
        regularisation = mean (f(g1(y)) - g2(y) - (g1(f(y)) - g2(f(y))))^2
        total          = reconstruction + gamma * regularisation

    Squared norms are means over all elements, as in the official code. The gradient must not flow
    through f(y) (section 4.2): hand in `tf.stop_gradient` of it. `gamma=0` is plain training on the
    pair (g1(y), g2(y)), equation 3.

    Args:
        sub_output: f(g1(y)), [batch, height, width, channels], any float dtype.
        sub_target: g2(y), same shape.
        denoised_sub_input: g1(f(y)), same shape.
        denoised_sub_target: g2(f(y)), same shape.
        gamma: float or scalar tensor, weight of the regularisation, at least 0.
        weights: float [batch], of each image in both means, see `balancing_weights`. Default: 1.

    Returns:
        `total, reconstruction, regularisation`: float32 scalars. All arithmetic is float32, also
        under mixed precision.

    Example:
        >>> zero, one = tf.zeros((1, 2, 2, 1)), tf.ones((1, 2, 2, 1))
        >>> [float(term) for term in n2n_loss(one, zero, one, zero, gamma=2.0)]
        [1.0, 1.0, 0.0]
    """
    difference = tf.cast(sub_output, tf.float32) - tf.cast(sub_target, tf.float32)
    gap = tf.cast(denoised_sub_input, tf.float32) - tf.cast(denoised_sub_target, tf.float32)
    if weights is not None:
        root = tf.sqrt(weights)[:, None, None, None]
        difference, gap = root * difference, root * gap
    reconstruction = tf.reduce_mean(tf.square(difference))
    regularisation = tf.reduce_mean(tf.square(difference - gap))
    return reconstruction + gamma * regularisation, reconstruction, regularisation


def balancing_weights(sub_input: tf.Tensor, sub_target: tf.Tensor) -> tf.Tensor:
    """Weights with which images of weak and of strong noise count alike in the loss.

    Squared errors grow with the variance of the noise: where images have many noise levels, the
    strongest decide what is learned, and weakly noisy images can come out worse than they were.
    PSNR, the logarithm of the error, counts all alike; so do these weights,

        1 / (mean (g1(y) - g2(y))^2 + LEAST_ENERGY)

    of each image. The mean is twice the variance of the noise, plus detail. Not in the paper.

    Args:
        sub_input: g1(y), [batch, height, width, channels], any float dtype.
        sub_target: g2(y), same shape.

    Returns:
        float32 [batch].

    Example:
        >>> g1, g2 = tf.zeros((2, 4, 4, 3)), tf.constant([0.1, 0.2])[:, None, None, None]
        >>> [round(float(w), 1) for w in balancing_weights(g1, g2 * tf.ones_like(g1))]
        [100.0, 25.0]
    """
    difference = tf.cast(sub_input, tf.float32) - tf.cast(sub_target, tf.float32)
    return 1.0 / (tf.reduce_mean(tf.square(difference), axis=(1, 2, 3)) + LEAST_ENERGY)
