"""Learning rates and early stopping, as Keras's own schedule and callbacks have them."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.train.schedules import LearningRate, reduced, stops

COSINE = {"name": "cosine", "warmup_epochs": 1.5, "alpha": 0.1}
VALUES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.401]), min_size=1, max_size=12)


def rates(schedule, stage, steps=10, rate=0.02):
    """Return the rate of each step of a stage, as an optimizer of Keras asks for it."""
    of_keras = LearningRate(rate, schedule, stage, steps).for_keras
    return [float(of_keras(step)) for step in range(steps * len(stage))]


def test_cosine_rises_in_a_line_and_falls_by_half_a_cosine():
    found = np.array(rates(COSINE, range(4)))
    np.testing.assert_allclose(np.diff(found[:16]), np.diff(found[:16]).mean(), rtol=1e-4)
    assert found[0] > 0 and found.argmax() == 15 and found[15] == pytest.approx(0.02)
    falling = 0.02 * (0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(25) / 25)) / 2)
    np.testing.assert_allclose(found[15:], falling, rtol=1e-4)


def test_the_history_tells_the_rate_of_the_last_step_and_a_stage_begins_anew():
    stage = range(3, 7)
    rate, every = LearningRate(0.02, COSINE, stage, 10), rates(COSINE, range(4))
    assert [rate.of_last_step([{}] * epoch) for epoch in stage] == every[9::10]
    assert LearningRate(0.02, None, stage, 10).of_last_step([{}] * 5) == 0.02


class Model(keras.Model):
    """Stands for a model in callbacks of Keras."""

    def __init__(self, rate):
        super().__init__()
        self.optimizer = keras.optimizers.SGD(rate)
        self.stop_training = False


def any_history(test):
    """Try a test with histories of a measure, and rules for it."""
    monitor = st.sampled_from(["val_auc", "val_loss"])
    cases = given(values=VALUES, patience=st.integers(1, 3), min_delta=st.sampled_from([0.0, 0.05]), monitor=monitor)
    return settings(max_examples=30, deadline=None)(cases(test))


def kerass(callback, values, monitor):
    """Yield after each epoch the model that a callback of Keras has seen these values with."""
    callback.set_model(Model(0.01))
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {monitor: value})
        yield callback.model


@any_history
def test_a_plateau_reduces_the_rate_as_keras_does(values, patience, min_delta, monitor):
    plateau = {
        "monitor": monitor,
        "factor": 0.5,
        "patience": patience,
        "min_delta": min_delta,
        "min_learning_rate": 0.003,
    }
    mode = "min" if monitor == "val_loss" else "max"
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor, factor=0.5, patience=patience, mode=mode, min_delta=min_delta, min_lr=0.003
    )
    history = [{monitor: value} for value in values]
    for epoch, model in enumerate(kerass(callback, values, monitor)):
        assert reduced(0.01, plateau, history[: epoch + 1]) == pytest.approx(float(model.optimizer.learning_rate))


@any_history
def test_training_stops_where_keras_stops_it(values, patience, min_delta, monitor):
    rule = {"monitor": monitor, "patience": patience, "min_delta": min_delta}
    mode = "min" if monitor == "val_loss" else "max"
    callback = keras.callbacks.EarlyStopping(monitor, min_delta=min_delta, patience=patience, mode=mode)
    history = [{monitor: value} for value in values]
    for epoch, model in enumerate(kerass(callback, values, monitor)):
        stopped = stops(rule, history[: epoch + 1])
        assert stopped == bool(model.stop_training)
        if stopped:
            break


def test_what_is_no_number_is_never_better():
    rule = {"monitor": "val_loss", "patience": 2}
    assert [stops(rule, [{"val_loss": math.nan}] * epochs) for epochs in (1, 2)] == [False, True]
    assert not stops(rule, [{"val_loss": value} for value in (math.nan, 0.3, math.nan, 0.2)])


def test_without_a_rule_training_never_stops():
    assert not stops(None, [{"val_auc": 0.5}] * 9)
