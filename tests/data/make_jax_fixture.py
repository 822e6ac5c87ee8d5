"""Makes jax_step.npz: what a trainer written apart from ours, in JAX, says of one training step.

The trainer is one file with functions `init_params(key, features, channels, scale)`,
`unet(params, x)` and `n2n_loss(net, params, noisy, pair, gamma)`, where `pair` numbers the 8
ordered neighbour pairs of a 2 x 2 cell; its parameters are a dict like {"nin_a/kernel": array}.
Needs JAX; the test that reads the file does not. Written:

    weights/...    random weights of a U-Net of 4 features, with random biases, so that they matter
    gradient/...   of the loss by them
    noisy, pair    2 images of 64 x 64 pixels with noise, and the sub-sampler
    denoised       the network's answer to them
    losses         total, reconstruction, regularisation, gamma

Run from the root of the repository: python tests/data/make_jax_fixture.py path/of/trainer.py
"""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np

GAMMA = 1.5


def main():
    spec = importlib.util.spec_from_file_location("trainer", sys.argv[1])
    trainer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trainer)

    rng = np.random.default_rng(2101)
    params = trainer.init_params(jax.random.key(1), 4, 3, 1.0)
    params = {
        name: np.asarray(value) + 0.1 * name.endswith("bias") * rng.normal(size=value.shape)
        for name, value in params.items()
    }
    params = {name: value.astype(np.float32) for name, value in params.items()}
    noisy = (rng.random((2, 1, 1, 3)) + 0.1 * rng.normal(size=(2, 64, 64, 3))).astype(np.float32)
    pair = rng.integers(0, 8, (2, 32, 32)).astype(np.int32)

    def loss(weights):
        return trainer.n2n_loss(trainer.unet, weights, noisy, pair, GAMMA)

    (total, terms), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    np.savez_compressed(
        Path(__file__).with_name("jax_step.npz"),
        noisy=noisy,
        pair=pair,
        denoised=np.asarray(trainer.unet(params, noisy)),
        losses=np.array([total, *terms, GAMMA], np.float32),
        **{f"weights/{name}": value for name, value in params.items()},
        **{f"gradient/{name}": np.asarray(value) for name, value in gradient.items()},
    )


main()
