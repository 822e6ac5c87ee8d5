"""The method, Neighbor2Neighbor, and its rivals: what a network can learn to denoise from."""

from n2n_tf.method.blind2unblind import Blind2Unblind
from n2n_tf.method.blind_spot import BlindSpot
from n2n_tf.method.noise2noise import Noise2Noise
from n2n_tf.method.noise2void import Noise2Void
from n2n_tf.method.noisier2noise import Noisier2Noise
from n2n_tf.method.recorrupted import Recorrupted
from n2n_tf.method.supervised import Supervised
from n2n_tf.method.sure import Sure
from n2n_tf.method.trainer import Neighbor2Neighbor

METHODS = {
    "neighbor2neighbor": Neighbor2Neighbor,
    "recorrupted": Recorrupted,
    "noise2noise": Noise2Noise,
    "supervised": Supervised,
    "noise2void": Noise2Void,
    "noisier2noise": Noisier2Noise,
    "laine19": BlindSpot,
    "dbsn": BlindSpot,
    "sure": Sure,
    "blind2unblind": Blind2Unblind,
}
# Those that learn from images that are noisy already, of unknown noise.
FROM_NOISY_IMAGES = tuple(name for name, method in METHODS.items() if method.batch_parts == "noisy")
