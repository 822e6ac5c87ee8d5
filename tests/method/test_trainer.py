"""Algorithm 1 as a Keras model: its step against float64 NumPy, and its manners under `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method.schedules import PaperSchedule
from n2n_tf.method.subsamplers import draw_fixed_pair, draw_neighbor_pairs
from n2n_tf.method.trainer import Neighbor2Neighbor
from n2n_tf.networks.unet import unet


def affine_network(scale, offset, **more):
    """f(y) = scale * y + offset, with two trainable numbers."""
    noisy = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(
        1,
        1,
        kernel_initializer=keras.initializers.Constant(scale),
        bias_initializer=keras.initializers.Constant(offset),
        **more,
    )
    return keras.Model(noisy, layer(noisy), name="affine")


def small_network():
    """Two convolutions with fixed initial weights; its output is float32 under any policy."""
    keras.utils.set_random_seed(4)
    noisy = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="leaky_relu")(noisy)
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    return keras.Model(noisy, keras.layers.Activation("linear", dtype="float32")(x))


def compiled(network, optimizer=None, **kwargs):
    compile_options = {"jit_compile": kwargs.pop("jit_compile", False)}
    if "steps_per_execution" in kwargs:
        compile_options["steps_per_execution"] = kwargs.pop("steps_per_execution")
    model = Neighbor2Neighbor(network, **kwargs)
    model.compile(optimizer=optimizer or keras.optimizers.Adam(1e-3), **compile_options)
    return model


def noisy_batches(rng, count=8, side=64):
    images = rng.random((count, side, side, 1), np.float32)
    return tf.data.Dataset.from_tensor_slices(images).batch(2).repeat()


def sample(images, position):
    """Applies a position map of 2 x 2 cells in NumPy."""
    batch, rows, columns = position.shape
    cells = images.reshape(batch, rows, 2, columns, 2).transpose(0, 1, 3, 2, 4)
    return np.take_along_axis(cells.reshape(batch, rows, columns, 4), position[..., None], -1)[
        ..., 0
    ]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("subsampler", "draw"), [("random", draw_neighbor_pairs), ("fixed", draw_fixed_pair)]
)
def test_one_step_of_sgd_is_the_papers_gradient(subsampler, draw, jit_compile, rng):
    a, b, gamma, rate = 0.8, 0.1, 1.5, 0.25
    noisy = rng.normal(size=(3, 10, 12)).astype(np.float32)
    model = compiled(
        affine_network(a, b),
        keras.optimizers.SGD(rate),
        gamma=gamma,
        subsampler=subsampler,
        seed=5,
        jit_compile=jit_compile,
    )
    logs = model.train_on_batch(noisy[..., None], return_dict=True)

    first, second = (p.numpy() for p in draw(3, 10, 12, [5, 0]))
    y = noisy.astype(np.float64)
    y1, y2 = sample(y, first), sample(y, second)
    difference = a * y1 + b - y2
    gap = (a * y1 + b) - (a * y2 + b)  # constants: no gradient flows through f(y)
    residual = difference - gap
    reconstruction, regularisation = np.mean(difference**2), np.mean(residual**2)
    d_a = 2 * np.mean((difference + gamma * residual) * y1)
    d_b = 2 * np.mean(difference + gamma * residual)

    layer = model.network.layers[-1]
    np.testing.assert_allclose(layer.kernel.numpy().item(), a - rate * d_a, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.numpy().item(), b - rate * d_b, rtol=1e-4)
    np.testing.assert_allclose(logs["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(logs["regularisation"], regularisation, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], reconstruction + gamma * regularisation, rtol=1e-5)
    assert logs["gamma"] == pytest.approx(gamma)
    # Had the gradient flowed through f(y), the step would have been another.
    d_a_leak = d_a - 2 * gamma * np.mean(residual * (y1 - y2))
    assert abs(d_a_leak - d_a) > 0.01


def test_balanced_the_step_is_that_of_losses_over_their_energies(rng):
    a, b, gamma, rate = 0.8, 0.1, 1.5, 0.25
    noisy = rng.normal(size=(3, 10, 12)).astype(np.float32) * [[[0.01]], [[0.1]], [[1.0]]]
    model = compiled(
        affine_network(a, b), keras.optimizers.SGD(rate), gamma=gamma, seed=5, balance=True
    )
    logs = model.train_on_batch(noisy[..., None].astype(np.float32), return_dict=True)

    y1, y2 = (sample(noisy, p.numpy()) for p in draw_neighbor_pairs(3, 10, 12, [5, 0]))
    weight = 1 / (np.mean((y1 - y2) ** 2, axis=(1, 2), keepdims=True) + 1e-6)
    difference = a * y1 + b - y2
    residual = difference - a * (y1 - y2)
    d_a = 2 * np.mean(weight * (difference + gamma * residual) * y1)
    layer = model.network.layers[-1]
    np.testing.assert_allclose(layer.kernel.numpy().item(), a - rate * d_a, rtol=1e-5)
    np.testing.assert_allclose(logs["reconstruction"], np.mean(weight * difference**2), rtol=1e-5)
    np.testing.assert_allclose(logs["regularisation"], np.mean(weight * residual**2), rtol=1e-5)
    # The faintest image is heard: without the weights it would be 1e-4 of the loss.
    assert np.mean((weight * difference**2)[0]) > 0.1 * logs["reconstruction"]


class Counting(keras.layers.Layer):
    """Counts how often the network runs."""

    def build(self, shape):
        self.runs = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.runs.assign_add(1.0)
        return x


@pytest.mark.parametrize(("gamma", "runs"), [(0.0, 1), (0.5, 2)])
def test_without_gamma_a_step_runs_the_network_once(gamma, runs, rng):
    noisy = keras.Input((None, None, 1))
    layer = Counting()
    network = keras.Model(noisy, keras.layers.Conv2D(1, 1)(layer(noisy)))
    model = compiled(network, keras.optimizers.SGD(0.1), gamma=gamma, size_multiple=1)
    logs = model.train_on_batch(rng.random((2, 8, 8, 1), np.float32), return_dict=True)
    assert float(layer.runs.numpy()) == runs
    assert (float(logs["regularisation"]) > 0) == (gamma > 0)
    np.testing.assert_allclose(
        logs["loss"], logs["reconstruction"] + gamma * logs["regularisation"], rtol=1e-6
    )


def test_each_step_draws_another_subsampler(rng):
    noisy = rng.normal(size=(1, 32, 32, 1)).astype(np.float32)
    model = compiled(affine_network(1.0, 0.0), keras.optimizers.SGD(0.0))
    losses = [model.train_on_batch(noisy, return_dict=True)["reconstruction"] for _ in range(3)]
    # train_on_batch reports the running mean: unchanged if the sub-sampler were the same.
    assert len(set(map(float, losses))) == 3


def test_gamma_and_learning_rate_move_under_fit(rng):
    model = compiled(affine_network(1.0, 0.0), keras.optimizers.SGD(1.0))
    rates = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(
            float(np.asarray(model.optimizer.learning_rate))
        )
    )
    history = model.fit(
        noisy_batches(rng),
        epochs=5,
        steps_per_epoch=3,
        verbose=0,
        callbacks=[PaperSchedule(5, learning_rate=0.04, gamma=3.0), watch],
    ).history
    np.testing.assert_allclose(history["gamma"], [0.6, 1.2, 1.8, 2.4, 3.0], rtol=1e-6)
    np.testing.assert_allclose(rates, [0.04, 0.02, 0.01, 0.005, 0.005], rtol=1e-6)
    # The compiled step used the new gamma, not the one of its first trace.
    expected = np.array(history["reconstruction"]) + history["gamma"] * np.array(
        history["regularisation"]
    )
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)


def test_epoch_logs_are_means_over_the_epoch(rng):
    model = compiled(affine_network(1.0, 0.0), keras.optimizers.SGD(0.0))
    batches = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: batches.append(float(logs["loss"]))
    )
    history = model.fit(
        noisy_batches(rng), epochs=2, steps_per_epoch=4, verbose=0, callbacks=[watch]
    ).history
    # Batch logs are running means that begin anew with each epoch.
    assert history["loss"] == pytest.approx([batches[3], batches[7]])
    assert batches[4] != pytest.approx(batches[3])


def test_training_denoises(rng):
    # A flat image under noise: the best 3 x 3 filter averages; the trainer never sees the image.
    clean = np.full((16, 32, 32, 1), 0.5, np.float32)
    noisy = clean + 0.2 * rng.normal(size=clean.shape).astype(np.float32)
    inputs = keras.Input((None, None, 1))
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    model = compiled(network, keras.optimizers.Adam(0.02))
    model.fit(tf.data.Dataset.from_tensor_slices(noisy).batch(4), epochs=40, verbose=0)
    before = 10 * np.log10(1 / 0.2**2)
    after = model.evaluate(noisy, clean, verbose=0, return_dict=True)["psnr"]
    assert after > before + 5


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_dtype_policies_train_and_answer_in_float32(policy, rng):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = compiled(small_network())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images = 0.5 + 0.1 * rng.normal(size=(4, 64, 64, 1)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(2).repeat()
    losses = model.fit(data, steps_per_epoch=20, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    assert model.predict(images, verbose=0).dtype == np.float32
    assert int(model.optimizer.iterations.numpy()) == 40


def test_steps_per_execution_changes_nothing(rng):
    weights = []
    for steps in (1, 4):
        model = compiled(small_network(), steps_per_execution=steps)
        model.fit(noisy_batches(np.random.default_rng(2)), steps_per_epoch=8, verbose=0)
        weights.append(model.network.get_weights())
    for one, four in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, four)


def test_saved_and_loaded_it_continues_as_if_nothing_had_happened(tmp_path, rng):
    batches = noisy_batches(rng)
    model = compiled(small_network(), gamma=1.25, subsampler="fixed", seed=3, balance=True)
    model.fit(batches, steps_per_epoch=3, verbose=0)
    model.save(tmp_path / "trainer.keras")
    loaded = keras.models.load_model(tmp_path / "trainer.keras")
    assert (loaded.subsampler, loaded.seed, loaded.balance) == ("fixed", 3, True)
    assert float(loaded.gamma.numpy()) == 1.25
    for trainer in (model, loaded):
        trainer.fit(batches, steps_per_epoch=3, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (5, 70), (1, 9)])
def test_any_size_is_padded_and_cropped(size, rng):
    model = Neighbor2Neighbor(unet(channels=1, features=2, init_scale=1.0))
    image = rng.random((1, *size, 1), np.float32)
    height, width = (-(-side // 32) * 32 for side in size)
    pad = ((0, 0), (0, height - size[0]), (0, width - size[1]), (0, 0))
    padded = np.pad(image, pad, "reflect")
    expected = model.network(padded)[:, : size[0], : size[1]]
    np.testing.assert_allclose(model.predict(image, verbose=0), expected, atol=1e-6)


def test_evaluate_reports_psnr_and_ssim_of_the_clipped_output(rng):
    clean = rng.random((2, 32, 40, 1), np.float32)
    model = compiled(affine_network(1.0, 0.3))  # pushes some pixels above 1
    got = model.evaluate(clean, clean, verbose=0, return_dict=True)
    shifted = np.clip(clean.astype(np.float64) + 0.3, 0, 1)
    error = np.mean((shifted - clean) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(got["psnr"], np.mean(-10 * np.log10(error)), rtol=1e-4)
    perfect = compiled(affine_network(1.0, 0.0)).evaluate(clean, clean, verbose=0, return_dict=True)
    assert float(perfect["ssim"]) == pytest.approx(1.0) and float(got["ssim"]) < 0.99


def test_unusable_arguments_are_named():
    with pytest.raises(
        ValueError, match=r"one of \['random', 'fixed', 'edges'\]. Received: 'both'"
    ):
        Neighbor2Neighbor(affine_network(1, 0), subsampler="both")
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match=r"3 in, 1 out"):
        Neighbor2Neighbor(keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)))


# What is refused, in one line, before anything is trained


def functional(shape, make):
    x = keras.Input(shape)
    return keras.Model(x, make(x))


class Subclassed(keras.Model):
    def call(self, noisy):
        return noisy


REFUSED = {
    "a keras.Model": lambda: lambda x: x,
    "functional model.*Subclassed": Subclassed,
    "functional model.*Sequential without an Input": lambda: keras.Sequential(
        [keras.layers.Conv2D(1, 3, padding="same")]
    ),
    "channels last": lambda: functional((3, None, None), keras.layers.ReLU()),
    "any height and width": lambda: functional((64, 64, 3), keras.layers.ReLU()),
    "2 outputs": lambda: functional((None, None, 3), lambda x: [keras.layers.ReLU()(x), x]),
    "3 in, 1 out": lambda: functional((None, None, 3), keras.layers.Conv2D(1, 1)),
    "size_multiple": lambda: functional(
        (None, None, 3), lambda x: x * keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_networks_that_cannot_be_trained_are_refused(words):
    with pytest.raises(ValueError, match=words) as caught:
        Neighbor2Neighbor(REFUSED[words]())
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "more", [{"loss": "mse"}, {"metrics": ["mae"]}, {"weighted_metrics": ["mae"]}]
)
def test_a_loss_or_metrics_of_the_user_are_refused(more):
    with pytest.raises(ValueError, match=f"`{next(iter(more))}` cannot be given"):
        Neighbor2Neighbor(small_network()).compile("adam", **more)


def test_targets_weights_and_integers_are_refused(rng):
    noisy = rng.random((2, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match=r"noisy images alone\. Received: targets"):
        compiled(small_network()).fit(noisy, noisy, verbose=0)
    with pytest.raises(ValueError, match=r"`sample_weight` cannot be given"):
        compiled(small_network()).fit(noisy, sample_weight=np.ones(2), verbose=0)
    with pytest.raises(ValueError, match=r"divide uint8 ones by 255.*Received: uint8"):
        compiled(small_network()).fit(np.uint8(255 * noisy), verbose=0)


def test_a_unet_of_ones_own_is_padded_to_what_it_takes(rng):
    x = noisy = keras.Input((None, None, 1))
    x = keras.layers.MaxPooling2D(4)(keras.layers.Conv2D(2, 3, padding="same")(x))
    x = keras.layers.Conv2DTranspose(1, 4, strides=4)(x)
    model = Neighbor2Neighbor(keras.Model(noisy, keras.layers.Add()([noisy, x])))
    assert model.size_multiple == 4
    assert model(rng.random((1, 6, 9, 1), np.float32)).shape == (1, 6, 9, 1)


# What is honoured


def test_the_networks_own_losses_count(rng):
    noisy = rng.random((2, 8, 8, 1), np.float32)
    network = affine_network(0.5, 0.25, kernel_regularizer=keras.regularizers.L2(3.0))
    plain, own = (compiled(n, gamma=0.0) for n in (affine_network(0.5, 0.25), network))
    losses = [m.fit(noisy, verbose=0, shuffle=False).history["loss"][0] for m in (plain, own)]
    assert losses[1] - losses[0] == pytest.approx(3.0 * 0.5**2, abs=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_low_precision_does_not_round_the_noisy_image(policy, rng):
    noisy = rng.random((1, 8, 8, 1), np.float32)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        x = keras.Input((None, None, 1))
        model = Neighbor2Neighbor(keras.Model(x, keras.layers.Add(dtype="float32")([x, 0 * x])))
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(model(noisy), noisy)


def test_noisy_validation_images_give_the_methods_own_loss(rng):
    noisy = rng.random((4, 8, 8, 1), np.float32)
    model = compiled(affine_network(1.0, 0.0), keras.optimizers.SGD(0.0), gamma=0.7)
    history = model.fit(noisy, validation_data=(noisy,), epochs=2, verbose=0).history
    # f(y) = y: the regularisation is the reconstruction's difference to itself, exactly 0.
    assert history["val_loss"] == pytest.approx(history["val_reconstruction"])
    assert history["val_loss"][0] == history["val_loss"][1]
    apart = [abs(noisy - np.roll(noisy, 1, axis)).max() ** 2 for axis in (1, 2)]
    assert 0 < history["val_loss"][0] < max(apart)
    assert "val_psnr" not in history
