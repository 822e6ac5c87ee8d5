"""Denoising networks: builders of plain functional Keras models, and what tiling must know of them.

Add a network: write its module with a builder, SIZE_MULTIPLE and HALO, and give it a row here.
"""

import functools

import keras

if keras.config.backend() != "tensorflow":
    raise ImportError(
        "n2n_tf runs on Keras with TensorFlow, and Keras is loaded already with the backend "
        f"{keras.config.backend()!r}: import n2n_tf before keras, or set KERAS_BACKEND=tensorflow."
    )

from n2n_tf.networks import blind_spot, rrg, unet, unet_bias_free

# name -> builder(channels, **arguments), multiple of pixels its input sides must have, and the
# halo in pixels that a tile needs around it for its inside to equal the whole image's.
NETWORKS = {
    "unet": (unet.unet, unet.SIZE_MULTIPLE, unet.HALO),
    "unet_residual": (
        functools.partial(unet.unet, residual=True),
        unet.SIZE_MULTIPLE,
        unet.HALO,
    ),
    "unet_bias_free": (
        unet_bias_free.unet_bias_free,
        unet_bias_free.SIZE_MULTIPLE,
        unet_bias_free.HALO,
    ),
    "rrg": (rrg.rrg, rrg.SIZE_MULTIPLE, rrg.HALO),
    **{
        name: (build, blind_spot.SIZE_MULTIPLE[name], blind_spot.HALO[name])
        for name, build in blind_spot.BUILDERS.items()
    },
}
# name -> what `n2n_tf.networks.reach` cannot read from the layers. `tile` is of networks that pool
# all they are given: larger images are cut into such windows, smaller ones are mirrored up to one.
REACH = {
    "rrg": {
        "size_multiple": rrg.SIZE_MULTIPLE,
        "halo": rrg.HALO,
        "tile": (rrg.TILE, rrg.TILE),
    },
    **{
        name: {"size_multiple": blind_spot.SIZE_MULTIPLE[name], "halo": blind_spot.HALO[name]}
        for name in blind_spot.BUILDERS
    },
}
