"""What steps note: how many there were, the first that went bad, and how."""

import numpy as np
import pytest
import tensorflow as tf

from n2n_tf.method.step_record import Noted, StepRecord

GOOD, NAN, INF = (1.0, [0.5]), (np.nan, [0.5]), (np.inf, [0.5])


def noted(steps, taken=None, patience=30):
    """What is noted of steps, each a loss and a weight."""
    record = StepRecord(patience)
    note = tf.function(lambda loss, taken, weight: record.note(loss, taken, [weight, -weight]))
    for (loss, weight), was_taken in zip(steps, taken or [True] * len(steps), strict=True):
        note(tf.constant(loss, tf.float32), tf.constant(was_taken), tf.constant(weight, tf.float32))
    return record


def test_good_steps_are_counted():
    record = noted([GOOD, GOOD, (-3e38, [1e30, -1e30])])
    assert record.read() == Noted(3, 0, 0.0, 0)
    record.clear()
    assert record.read() == Noted(0, 0, 0.0, 0)


@pytest.mark.parametrize(("bad", "loss"), [(INF, np.inf), ((2.0, [np.nan, 1]), 2.0)])
def test_the_first_bad_step_is_kept(bad, loss):
    assert noted([GOOD, bad, NAN, GOOD]).read() == Noted(4, 2, loss, 0)


@pytest.mark.parametrize("weight", [[np.inf, 1.0], [-np.inf, 1.0], [np.inf, -np.inf], [np.nan]])
def test_any_weight_that_is_no_number_is_bad(weight):
    assert noted([GOOD, (1.0, weight)]).read().bad_step == 2


def test_a_skipped_step_is_bad_only_after_too_many_of_them():
    assert noted([NAN, NAN, GOOD, NAN], [False, False, True, False], 3).read() == Noted(4, 0, 0, 1)
    record = noted([GOOD, NAN, NAN, INF], [True, False, False, False], 3).read()
    assert (record.bad_step, record.loss, record.skipped) == (4, np.inf, 3)


def test_a_loss_that_is_none_in_a_step_taken_is_bad():
    assert np.isnan(noted([GOOD, NAN]).read().loss)
