"""The fused optimizer takes the steps of Adam: Keras's, and the publication's in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.training.fused_adam import FusedAdam


@pytest.fixture
def gradients(rng):
    """Of two variables in 20 steps: weak, strong and none."""
    scales = 10.0 ** rng.uniform(-6, 3, (20, 1))
    return [np.float32(scales * rng.normal(size=(20, 5))), np.float32(rng.normal(size=(20, 1)))]


def after_steps(optimizer, gradients, compiled=True):
    """Variables and the optimizer's state after a step with each gradient."""
    variables = [keras.Variable(tf.ones(g.shape[1])) for g in gradients]
    optimizer.build(variables)
    apply = lambda *step: optimizer.apply(step, variables)  # noqa: E731
    apply = tf.function(apply) if compiled else apply
    for step in zip(*gradients, strict=True):
        apply(*map(tf.constant, step))
    return [v.numpy() for v in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("options", [{}, {"use_ema": True, "ema_momentum": 0.9}])
def test_it_is_keras_adam_but_for_rounding(options, compiled, gradients):
    ours = after_steps(FusedAdam(1e-2, **options), gradients, compiled)
    keras_own = after_steps(keras.optimizers.Adam(1e-2, **options), gradients, compiled)
    assert len(ours) == len(keras_own)
    for one, other in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-5, atol=1e-9)


def test_it_is_the_published_algorithm(gradients):
    weights = after_steps(FusedAdam(1e-2), gradients)[:2]
    for weight, gradient in zip(weights, gradients, strict=True):
        expected, m, v = np.ones(weight.shape), 0.0, 0.0
        for t, g in enumerate(np.float64(gradient), 1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            rate = 1e-2 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            expected -= rate * m / (np.sqrt(v) + 1e-7)
        np.testing.assert_allclose(weight, expected, rtol=1e-5)


def test_states_are_exchanged_with_keras_adam(gradients):
    ours, keras_own = FusedAdam(1e-2, use_ema=True), keras.optimizers.Adam(1e-2, use_ema=True)
    kept, taken = {}, {}
    after_steps(keras_own, gradients)
    keras_own.save_own_variables(kept)
    ours.build([keras.Variable(tf.zeros(g.shape[1])) for g in gradients])
    ours.load_own_variables(kept)
    ours.save_own_variables(taken)
    assert kept.keys() == taken.keys()
    for name, value in kept.items():
        np.testing.assert_array_equal(value, taken[name])


def test_what_the_kernel_does_not_know_is_refused():
    with pytest.raises(ValueError, match="amsgrad"):
        FusedAdam(amsgrad=True)
