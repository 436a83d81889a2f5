"""Training: repeatable by (seed, epoch), the best epoch kept, the epochs' metrics true."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from histobench.catalogue import CATALOGUE
from histobench.datasets.prepared import Records
from histobench.train.fit import better, compile_model, fit
from histobench.train.models import build


def specification(model="b6", seed=1, **recipe):
    return {
        "run": {"dataset": "small", "model": model, "mode": "full", "recipe": "r", "device": "cpu", "seed": seed},
        "model": asdict(CATALOGUE[model]),
        "recipe": {
            "epochs": 3,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "input_scaling": "paper",
            "best_epoch": "val_accuracy",
        }
        | recipe,
    }


def train(folder, spec):
    parts = Records(folder, "train"), Records(folder, "valid")
    model = build(spec["model"], "full", parts[0].shape, seed=spec["run"]["seed"])
    compile_model(model, spec["recipe"])
    return model, *fit(model, *parts, spec)


@pytest.fixture(scope="module")
def trained(prepared_folder):
    return train(prepared_folder, specification())


def test_equal_runs_are_equal_to_the_bit(prepared_folder, trained):
    _, history, _, best, weights = trained
    _, history2, _, best2, weights2 = train(prepared_folder, specification())
    assert history == history2
    assert best == best2
    for a, b in zip(weights, weights2, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_is_another_run(prepared_folder, trained):
    assert train(prepared_folder, specification(seed=2))[1] != trained[1]


def test_epochs_do_not_depend_on_how_many_follow(prepared_folder, trained):
    _, history, *_ = train(prepared_folder, specification(epochs=2))
    assert history == trained[1][:2]


def test_history_and_timing_have_a_row_per_epoch(trained):
    _, history, timing, best, _ = trained
    assert [row["epoch"] for row in history] == [row["epoch"] for row in timing] == [1, 2, 3]
    assert set(history[0]) == {"epoch", "loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc"}
    assert all(row["training_seconds"] > 0 and row["validation_seconds"] > 0 for row in timing)
    accuracies = [row["val_accuracy"] for row in history]
    assert best == accuracies.index(max(accuracies)) + 1


def test_the_weights_kept_are_those_of_the_best_epoch(prepared_folder, trained):
    model, history, _, best, weights = trained
    valid = Records(prepared_folder, "valid")
    model.set_weights(weights)
    images = valid.images(np.arange(len(valid))) / np.float32(255)
    scores = model.predict(images, verbose=0)[:, 0]
    assert np.mean((scores > 0.5) == valid.labels) == pytest.approx(history[best - 1]["val_accuracy"])


def test_it_learns(prepared_folder):
    _, history, *_ = train(prepared_folder, specification("b2", epochs=6))
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


@pytest.mark.parametrize(
    ("rule", "values", "best"),
    [
        ("val_accuracy", [0.5, 0.7, 0.7, 0.6], 1),  # the first of equals
        ("val_auc", [0.5, 0.4, 0.9, 0.6], 2),
        ("val_loss", [0.5, 0.4, 0.9, 0.4], 1),
        ("last", [0.5, 0.4, 0.9, 0.4], 3),
        ("val_loss", [math.nan, 0.4, math.nan, 0.5], 1),
        ("val_accuracy", [math.nan, math.nan], 0),
    ],
)
def test_which_epoch_is_best(rule, values, best):
    found, so_far = -1, None
    for epoch, value in enumerate(values):
        if better(value, so_far, rule):
            found, so_far = epoch, value
    assert found == best
