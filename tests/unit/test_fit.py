"""Training: repeatable by (seed, epoch), the best epoch kept, the epochs' metrics true."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pytest

from histobench.core.prepared import Records
from histobench.core.state import State
from histobench.train.checkpoints import best_weights
from histobench.train.fit import Trainer, better, covered, fit
from histobench.train.hardware import Machine
from histobench.train.model_size import multiply_adds
from histobench.train.models import build, policy
from support.small import specification

CPU = Machine()


def train(folder, spec, machine=CPU):
    """Return the model after the last epoch, the progress, and the best epoch's weights."""
    parts = Records(folder, "train"), Records(folder, "valid")
    model = build(spec["model"], "full", parts[0].shape, seed=spec["run"]["seed"])
    with TemporaryDirectory() as state_folder:
        state = State(Path(state_folder), {})
        progress = fit(Trainer(model, *parts, spec, machine), state)
        best = build(spec["model"], "full", parts[0].shape, seed=0)
        best.load_weights(best_weights(state))
    return model, progress, best


@pytest.fixture(scope="module")
def trained(prepared_folder):
    return train(prepared_folder, specification("b2"))


@pytest.fixture
def history(prepared_folder):
    """Return a function that trains B2 by a recipe, and returns the metrics of each epoch."""
    return lambda **recipe: train(prepared_folder, specification("b2", **recipe))[1].history


def test_epochs_depend_on_the_seed_and_not_on_how_many_follow(history, trained):
    assert history(epochs=2) == trained[1].history[:2]
    assert history(seed=2) != trained[1].history


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


def test_it_learns(history):
    first, *_, last = history(epochs=6)
    assert last["loss"] < 0.8 * first["loss"]


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
    chosen, so_far = -1, None
    for epoch, value in enumerate(values):
        if better(value, so_far, rule):
            chosen, so_far = epoch, value
    assert chosen == best


def test_augmentation_is_a_function_of_seed_and_epoch(history, trained):
    turned = history(augmentation=["d4"])
    assert turned[:2] == history(augmentation=["d4"], epochs=2)
    assert turned != trained[1].history
    assert history(augmentation=[]) == trained[1].history


@pytest.mark.parametrize("steps", [(2, 1), (100, 100)])
def test_an_epoch_of_some_steps_runs_over_the_first_batches_of_its_order(prepared_folder, trained, steps):
    spec = specification("b2", steps_per_epoch=steps[0], validation_steps=steps[1])
    parts = Records(prepared_folder, "train"), Records(prepared_folder, "valid")
    expected = {"train": min(steps[0] * 16, len(parts[0])), "valid": min(steps[1] * 16, len(parts[1]))}
    assert covered(*parts, spec) == expected
    history = train(prepared_folder, spec)[1].history
    assert (history == trained[1].history) == (expected == {"train": len(parts[0]), "valid": len(parts[1])})
    # The accuracy of an epoch is that over as many patches as it covers.
    correct = history[0]["val_accuracy"] * expected["valid"]
    assert correct == pytest.approx(round(correct), abs=1e-4)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_computes_in_16_bits_and_keeps_weights_in_32(prepared_folder, trained, precision):
    spec = specification("b2", precision=precision)
    with policy(precision):
        model, progress, _ = train(prepared_folder, spec)
    assert {str(np.asarray(weight).dtype) for weight in model.get_weights()} == {"float32"}
    assert model.layers[0].compute_dtype == precision.removeprefix("mixed_")
    assert model.layers[-1].compute_dtype == "float32"
    assert progress.history != trained[1].history
    assert progress.history[-1]["loss"] == pytest.approx(trained[1].history[-1]["loss"], abs=0.2)
    assert keras.mixed_precision.global_policy().name == "float32"  # no other run is touched


@pytest.mark.parametrize("wanted", [True, False, None])
def test_xla_is_on_where_the_recipe_says_so_and_nowhere_else(prepared_folder, wanted):
    spec = specification("b2", **({} if wanted is None else {"jit_compile": wanted}))
    parts = Records(prepared_folder, "train"), Records(prepared_folder, "valid")
    trainer = Trainer(build(spec["model"], "full", parts[0].shape, seed=1), *parts, spec, Machine())
    trainer.compile(0)
    assert trainer._trained.jit_compile is trainer._validated.jit_compile is bool(wanted)


@pytest.mark.parametrize("recipe", [{}, {"batch_size": 23, "augmentation": ["d4", "author", "stain"]}], ids=str)
def test_results_depend_neither_on_where_patches_lie_nor_on_the_steps_between_two_looks(prepared_folder, recipe):
    """23 leaves a single patch over."""
    spec = specification("tiny", epochs=2, **recipe)
    machines = [Machine(size, block) for size in (0, 1 << 30) for block in (1, 1e12)]
    models, progress, _ = zip(*(train(prepared_folder, spec, machine) for machine in machines), strict=True)
    for other in range(1, 4):
        assert progress[other].history == progress[0].history
        for one, two in zip(models[0].get_weights(), models[other].get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


def test_small_steps_go_on_without_python_and_large_ones_show_their_progress(prepared_folder):
    parts = Records(prepared_folder, "train"), Records(prepared_folder, "valid")
    spec = specification("b2")
    network = build(spec["model"], "full", parts[0].shape, seed=1)
    step = 3 * 16 * multiply_adds(network)
    for allowed, steps in ((1, 1), (5 * step, 5), (1e15, 32)):
        assert Trainer(network, *parts, spec, Machine(block_multiply_adds=allowed)).block == steps
