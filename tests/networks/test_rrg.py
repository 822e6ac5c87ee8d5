"""CycleISP's network: what it is made of, the tiles that belong to it, training, exports."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.export.saved_model import export_saved_model
from n2n_tf.export.tflite import Variant, export_tflite
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.model_files.keras_file import describe
from n2n_tf.networks.rrg import TILE, rrg


@pytest.fixture(scope="module")
def small():
    """One group of two blocks, 16 features, packed raw."""
    keras.utils.set_random_seed(5)
    return rrg(channels=4, features=16, groups=1, blocks=2)


def test_its_parameters_are_those_that_one_can_count_by_hand():
    f, c = 64, 4
    attention = (f * 4 + 4) + (4 * f + f) + (7 * 7 * 2 + 1)
    block = 2 * (9 * f * f + f) + 1 + attention + (2 * f * f + f)
    group = 8 * block + 9 * f * f + f
    ends = (9 * c * f + f) + (9 * f * c + c)
    assert rrg().count_params() == 4 * group + ends == 2_801_732


def test_each_prelu_has_one_slope():
    slopes = [layer.alpha.shape for layer in rrg().layers if isinstance(layer, keras.layers.PReLU)]
    assert len(slopes) == 32
    assert all(np.prod(shape) == 1 for shape in slopes)


def test_attention_weighs_channels_and_pixels_as_numpy_does(rng):
    network = rrg(channels=1, features=16, groups=1, blocks=1)
    weights = {w.path: rng.normal(0, 0.3, w.shape).astype(np.float32) for w in network.weights}
    network.set_weights(list(weights.values()))
    ends = ["g1b1_conv2", "g1b1_ca", "g1b1_sa"]
    probe = keras.Model(network.input, [network.get_layer(name).output for name in ends])
    x, by_channel, by_pixel = (
        np.float64(part) for part in probe(rng.random((2, 9, 11, 1), np.float32))
    )
    w = {name.replace("/", "."): np.float64(value) for name, value in weights.items()}

    means = x.mean(axis=(1, 2))
    squeezed = means @ w["g1b1_ca_squeeze.kernel"][0, 0] + w["g1b1_ca_squeeze.bias"]
    raised = np.maximum(squeezed, 0) @ w["g1b1_ca_weights.kernel"][0, 0]
    factors = 1 / (1 + np.exp(-(raised + w["g1b1_ca_weights.bias"])))
    np.testing.assert_allclose(by_channel, x * factors[:, None, None], rtol=1e-4, atol=1e-5)

    pooled = np.stack([x.mean(axis=3), x.max(axis=3)], axis=-1)
    padded = np.pad(pooled, ((0, 0), (3, 3), (3, 3), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2))
    raised = np.einsum("bhwcij,ijc->bhw", windows, w["g1b1_sa_weights.kernel"][..., 0])
    factors = 1 / (1 + np.exp(-(raised + w["g1b1_sa_weights.bias"])))
    np.testing.assert_allclose(by_pixel, x * factors[..., None], rtol=1e-4, atol=1e-5)


def test_it_takes_any_size_and_begins_near_the_identity(small, rng):
    image = rng.random((1, 13, 21, 4), np.float32)
    difference = np.abs(small(image) - image)
    assert 0 < difference.std() < 0.3 * image.std()


def test_pictures_are_denoised_in_its_own_tiles(small, rng):
    denoise = Denoiser.load(small)
    assert denoise.tiling.fixed and denoise.tiling.tile == (TILE, TILE)
    seen = []
    denoise.run = lambda tile: seen.append(tile.shape) or tile
    for sides in ((40, 50), (TILE, TILE), (TILE + 60, 3 * TILE)):
        image = rng.random((*sides, 4), np.float32)
        np.testing.assert_array_equal(denoise(image), image)
    assert set(seen) == {(1, TILE, TILE, 4)}


def test_it_learns_from_packed_raw(small, rng):
    clean = np.tile(rng.random((8, 1, 1, 4), np.float32), (1, 32, 32, 1))
    noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
    model = Neighbor2Neighbor(keras.models.clone_model(small), gamma=1.0)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices(noisy).batch(4).repeat()
    before = model.evaluate(noisy, clean, verbose=0, return_dict=True)["psnr"]
    model.fit(batches, steps_per_epoch=30, verbose=0)
    assert model.evaluate(noisy, clean, verbose=0, return_dict=True)["psnr"] > before + 3


@pytest.mark.slow
def test_exports_give_what_the_network_gives(small, tmp_path, rng):
    info = describe(small)
    image = rng.random((TILE + 5, 2 * TILE, 4), np.float32)
    expected = Denoiser.load(small).bare(image)
    export_saved_model(small, tmp_path / "saved", info)
    figures = export_tflite(small, tmp_path / "model.tflite", info, Variant())
    assert figures.max_difference < 1e-5
    for path in ("saved", "model.tflite"):
        denoise = Denoiser.load(tmp_path / path)
        assert denoise.tiling.fixed and denoise.tiling.tile == (TILE, TILE)
        np.testing.assert_allclose(denoise.bare(image), expected, atol=1e-5)
