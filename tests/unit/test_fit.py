"""Training: repeatable by (seed, epoch), the best epoch kept, the epochs' metrics true."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from histobench.datasets.prepared import Records
from histobench.state import State
from histobench.train.checkpoints import best_weights
from histobench.train.fit import better, fit
from histobench.train.models import build
from support.small import specification


def train(folder, spec):
    """Return the model after the last epoch, the progress, and the best epoch's weights."""
    parts = Records(folder, "train"), Records(folder, "valid")
    model = build(spec["model"], "full", parts[0].shape, seed=spec["run"]["seed"])
    with TemporaryDirectory() as state_folder:
        state = State(Path(state_folder), {})
        progress = fit(model, *parts, spec, state)
        best = build(spec["model"], "full", parts[0].shape, seed=0)
        best.load_weights(best_weights(state))
    return model, progress, best


@pytest.fixture(scope="module")
def trained(prepared_folder):
    return train(prepared_folder, specification())


def test_equal_runs_are_equal_to_the_bit(prepared_folder, trained):
    again = train(prepared_folder, specification())
    assert again[1].history == trained[1].history
    assert again[1].best_epoch == trained[1].best_epoch
    for one, two in zip(again, trained, strict=True):
        if one is not again[1]:
            for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)


def test_another_seed_is_another_run(prepared_folder, trained):
    assert train(prepared_folder, specification(seed=2))[1].history != trained[1].history


def test_epochs_do_not_depend_on_how_many_follow(prepared_folder, trained):
    assert train(prepared_folder, specification(epochs=2))[1].history == trained[1].history[:2]


def test_history_and_timing_have_a_row_per_epoch(trained):
    history, timing = trained[1].history, trained[1].timing
    assert [row["epoch"] for row in history] == [row["epoch"] for row in timing] == [1, 2, 3]
    assert set(history[0]) == {"epoch", "loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc"}
    assert all(row["training_seconds"] > 0 and row["validation_seconds"] > 0 for row in timing)
    accuracies = [row["val_accuracy"] for row in history]
    assert trained[1].best_epoch == accuracies.index(max(accuracies)) + 1


def test_the_weights_kept_are_those_of_the_best_epoch(prepared_folder, trained):
    _, progress, best = trained
    valid = Records(prepared_folder, "valid")
    images = valid.take(np.arange(len(valid))) / np.float32(255)
    scores = best.predict(images, verbose=0)[:, 0]
    expected = progress.history[progress.best_epoch - 1]["val_accuracy"]
    assert np.mean((scores > 0.5) == valid.labels) == pytest.approx(expected)


def test_it_learns(prepared_folder):
    history = train(prepared_folder, specification("b2", epochs=6))[1].history
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


def test_augmentation_is_a_function_of_seed_and_epoch(prepared_folder):
    def history(**recipe):
        return train(prepared_folder, specification("b2", **recipe))[1].history

    turned = history(augmentation=["d4"])
    assert turned == history(augmentation=["d4"])
    assert turned[:2] == history(augmentation=["d4"], epochs=2)
    assert turned != history()
    assert history(augmentation=[]) == history()
