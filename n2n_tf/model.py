"""The name under which trainers saved by earlier versions ask for their class."""

from n2n_tf.method.trainer import Neighbor2Neighbor

__all__ = ["Neighbor2Neighbor"]
