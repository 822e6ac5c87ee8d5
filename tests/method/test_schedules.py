"""Gamma and learning rate, epoch by epoch, against the official training loop."""

import keras
import pytest
import tensorflow as tf

from n2n_tf import Neighbor2Neighbor
from n2n_tf.method.schedules import CosineSchedule, cosine_at, gamma_at, learning_rate_at


def official_rates(epochs, initial):
    """PyTorch's MultiStepLR as the official loop drives it: step() after each epoch."""
    ratio = epochs / 100
    milestones = [
        int(20 * ratio) - 1,
        int(40 * ratio) - 1,
        int(60 * ratio) - 1,
        int(80 * ratio) - 1,
    ]
    rate, rates = initial, []
    for epoch in range(1, epochs + 1):
        rates.append(rate)
        if epoch in milestones:
            rate *= 0.5
    return rates


@pytest.mark.parametrize("epochs", [100, 200, 50, 10])
def test_learning_rate_is_the_official_one(epochs):
    ours = [learning_rate_at(epoch, epochs, 3e-4) for epoch in range(1, epochs + 1)]
    assert ours == pytest.approx(official_rates(epochs, 3e-4))


def test_learning_rate_of_100_epochs_at_the_edges():
    rates = [
        learning_rate_at(epoch, 100, 1.0) for epoch in (1, 19, 20, 39, 40, 59, 60, 79, 80, 100)
    ]
    assert rates == [1, 1, 1 / 2, 1 / 2, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 16, 1 / 16]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 7])
def test_short_trainings_begin_with_the_full_rate_and_never_rise(epochs):
    rates = [learning_rate_at(epoch, epochs, 1.0) for epoch in range(1, epochs + 1)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert all(rate >= 0.5**4 for rate in rates)


def test_gamma_rises_linearly_to_its_end():
    # The official loop: Lambda = epoch / n_epoch * increase_ratio, epoch from 1.
    assert [gamma_at(epoch, 4, 2.0) for epoch in (1, 2, 3, 4)] == [0.5, 1.0, 1.5, 2.0]


def test_a_delayed_gamma_is_0_and_then_what_it_would_have_been():
    gammas = [gamma_at(epoch, 5, 2.0, delay=0.6) for epoch in (1, 2, 3, 4, 5)]
    assert gammas == [0, 0, 0, 1.6, 2.0]
    assert gamma_at(1, 3, 2.0, delay=0.0) > 0 and gamma_at(3, 3, 2.0, delay=1.0) == 0


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_beside_a_cosine_gamma_rises_as_in_the_paper(delay):
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            rate = float(self.model.optimizer.learning_rate)
            seen.append((float(self.model.gamma), rate))

    image = keras.Input((None, None, 1))
    model = Neighbor2Neighbor(keras.Model(image, keras.layers.Conv2D(1, 1)(image)))
    model.compile(optimizer=keras.optimizers.Adam())
    schedule = CosineSchedule(8, 1e-3, epochs=4, gamma=2.0, gamma_delay=delay)
    noisy = tf.data.Dataset.from_tensors(tf.zeros((1, 8, 8, 1))).repeat()
    model.fit(noisy, epochs=4, steps_per_epoch=2, verbose=0, callbacks=[schedule, Seen()])
    gammas = [0.5, 0.5, 1, 1, 1.5, 1.5, 2, 2]
    if delay:
        gammas[:4] = [0] * 4
    assert [gamma for gamma, _ in seen] == gammas
    assert [rate for _, rate in seen] == pytest.approx([cosine_at(i, 8, 1e-3) for i in range(8)])


def test_a_cosine_rises_shortly_and_ends_near_0():
    steps = 1000
    rates = [cosine_at(step, steps, 2.0) for step in range(steps)]
    assert rates[:30] == pytest.approx([2.0 * (step + 1) / 30 for step in range(30)])
    assert max(rates) == 2.0
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[30 + 485] == pytest.approx(1.0, abs=0.002)  # half way down
    assert 0 < rates[-1] < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cosine_of_few_steps_is_never_0(steps):
    assert all(0 < cosine_at(step, steps, 1.0) <= 1 for step in range(steps))
