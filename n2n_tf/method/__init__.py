"""The method, Neighbor2Neighbor, and its rivals: what a network can learn to denoise from."""

from n2n_tf.method.noise2noise import Noise2Noise
from n2n_tf.method.recorrupted import Recorrupted
from n2n_tf.method.supervised import Supervised
from n2n_tf.method.trainer import Neighbor2Neighbor

METHODS = {
    "neighbor2neighbor": Neighbor2Neighbor,
    "recorrupted": Recorrupted,
    "noise2noise": Noise2Noise,
    "supervised": Supervised,
}
