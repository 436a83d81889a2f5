"""A trial: what is built and trained with its values."""

import json
import math

import keras
import keras_tuner as kt
import numpy as np
import pytest
import tensorflow as tf

from histobench.core.errors import HistobenchError
from histobench.core.prepared import Records
from histobench.train.hardware import Machine
from histobench.tuning import tuner
from support.small import search_specification

SPACE = {
    "learning_rate": {"min": 0.001, "max": 0.1},
    "batch_size": {"values": [8, 32]},
    "dense_units": {"values": [16]},
    "dropout": {"values": [0.25]},
    "augmentation": {"values": ["none", "d4"]},
}


def hyperparameters(**values) -> kt.HyperParameters:
    hp = kt.HyperParameters()
    hp.values = {"learning_rate": 0.01, "batch_size": 8, "dense_units": 16, "dropout": 0.25} | values
    return hp


@pytest.fixture
def model(prepared_folder):
    def made(**recipe):
        spec = search_specification("b2", "full", recipe=recipe, space=SPACE)
        parts = (Records(prepared_folder, split) for split in ("train", "valid"))
        return tuner.HyperModel(spec, *parts, None, Machine())

    return made


class Weights(keras.callbacks.Callback):
    """Keeps what it is told, as the callback of KerasTuner that saves the best epoch."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_epoch_end(self, epoch, logs=None):
        self.told.append((epoch, logs["val_auc"], [np.array(value) for value in self.model.get_weights()]))


def test_the_values_of_a_trial_are_those_of_its_model_and_its_training(model, monkeypatch):
    hypermodel = model()
    hp = hyperparameters(augmentation="d4")
    built = hypermodel.build(hp)
    dense, dropout = built.get_layer(index=-4), built.get_layer(index=-2)
    assert (dense.units, dropout.rate) == (16, 0.25)
    seen = Weights()
    steps = []
    original = tuner.fit.Trainer.fit

    def watched(trainer, history):
        steps.append(len(trainer.batches(len(history))))
        assert float(trainer.optimizer.learning_rate) == pytest.approx(0.01)
        return original(trainer, history)

    monkeypatch.setattr(tuner.fit.Trainer, "fit", watched)
    result = hypermodel.fit(hp, built, callbacks=[seen], epochs=3, initial_epoch=1)
    assert steps == [math.ceil(70 / 8)] * 2
    # From the second epoch to the third, each told to KerasTuner when it has ended; the best one counts.
    assert [epoch for epoch, _, _ in seen.told] == [1, 2]
    assert [row["epoch"] for row in hypermodel.epochs] == [2, 3]
    assert result == {"val_auc": max(value for _, value, _ in seen.told)}
    assert not all(np.array_equal(*pair) for pair in zip(seen.told[0][2], seen.told[1][2], strict=True))


def test_the_precision_of_the_recipe_outlives_the_clearing_of_the_session(model):
    hypermodel = model(precision="mixed_bfloat16")
    keras.backend.clear_session()
    built = hypermodel.build(hyperparameters())
    assert built.layers[0].compute_dtype == "bfloat16"
    assert keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("name", ["loss", "val_loss", "val_auc"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_trial_that_diverges_ends_there_with_the_worst_score(model, monkeypatch, name, value):
    whole = {"loss": 0.5, "val_loss": 0.5, "val_auc": 0.6}
    rows = [{"epoch": 1} | whole, {"epoch": 2} | whole | {name: value}, {"epoch": 3} | whole]
    monkeypatch.setattr(tuner.fit, "epochs", lambda *_, before: ((row, {}) for row in rows))
    hypermodel, hp, seen = model(), hyperparameters(), Weights()
    assert hypermodel.fit(hp, hypermodel.build(hp), callbacks=[seen], epochs=3) == {"val_auc": 0.0}
    assert hypermodel.diverged
    assert [row["epoch"] for row in hypermodel.epochs] == [1, 2]
    json.dumps(hypermodel.epochs, allow_nan=False)
    assert [epoch for epoch, _, _ in seen.told] == [0]
    del rows[1:]
    assert hypermodel.fit(hp, hypermodel.build(hp), callbacks=[], epochs=1) == {"val_auc": 0.6}
    assert not hypermodel.diverged


def trained(hypermodel, monkeypatch, error, weights=None) -> dict[str, float]:
    """Return the result of a trial of which the second epoch raises an error, with all weights of one value."""

    def epochs(trainer, *, before):
        yield {"epoch": 1, "loss": 0.5, "val_loss": 0.6, "val_auc": 0.9}, {}
        if weights is not None:
            trainer.network.set_weights([np.full_like(each, weights) for each in trainer.network.get_weights()])
        raise error

    monkeypatch.setattr(tuner.fit, "epochs", epochs)
    hp = hyperparameters()
    return hypermodel.fit(hp, hypermodel.build(hp), callbacks=[], epochs=3)


@pytest.mark.parametrize(
    ("error", "weights"),
    [
        (OverflowError("cannot convert float infinity to integer"), None),
        (FloatingPointError("overflow encountered"), None),
        (tf.errors.InvalidArgumentError(None, None, "gradient : Tensor had NaN values"), None),
        (ValueError("Out of range float values are not JSON compliant: inf"), None),
        # Of a metric that takes no such predictions, as the AUC of an older Keras.
        (tf.errors.InvalidArgumentError(None, None, "predictions must be >= 0"), math.nan),
    ],
)
def test_a_trial_diverges_if_training_raises_an_error_because_of_values_that_are_no_numbers(
    model, monkeypatch, error, weights
):
    hypermodel = model()
    assert trained(hypermodel, monkeypatch, error, weights) == {"val_auc": tuner.WORST}
    assert hypermodel.diverged


@pytest.mark.parametrize(
    ("error", "weights"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), None),
        (ValueError("Information about shapes: expected 3 channels"), 1e30),
        (HistobenchError("shard.tfrecord: expected 3 records, found 2"), math.nan),
    ],
)
def test_another_error_of_training_is_none_of_its_values(model, monkeypatch, error, weights):
    with pytest.raises(type(error)):
        trained(model(), monkeypatch, error, weights)
