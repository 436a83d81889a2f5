"""Training: repeatable by (seed, epoch), the best epoch kept, the epochs' metrics true."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from histobench.core.prepared import Records
from histobench.core.state import State
from histobench.train.checkpoints import best_weights
from histobench.train.fit import Trainer, balanced, better, covered, fit
from histobench.train.hardware import Machine
from histobench.train.model_size import multiply_adds
from histobench.train.models import build, policy
from support.small import Arrays, patches, specification

CPU = Machine()


def train(folder, spec, machine=CPU, mode="full"):
    """Return the model after the last epoch, the progress, and the best epoch's weights."""
    parts = Records(folder, "train"), Records(folder, "valid")
    model = build(spec["model"], mode, parts[0].shape, seed=spec["run"]["seed"])
    with TemporaryDirectory() as state_folder:
        state = State(Path(state_folder), {})
        progress = fit(Trainer(model, *parts, spec, machine), state)
        best = build(spec["model"], mode, parts[0].shape, seed=0)
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
    measures = {"loss", "accuracy", "auc"}
    assert set(history[0]) == {"epoch", "learning_rate", *measures, *(f"val_{name}" for name in measures)}
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


@pytest.mark.parametrize(
    "recipe", [{}, {"batch_size": 23, "augmentation": ["d4", "author-b6", "stain", "colour", "blur"]}], ids=str
)
def test_results_depend_neither_on_where_patches_lie_nor_on_the_steps_between_two_looks(prepared_folder, recipe):
    """23 leaves a single patch over."""
    spec = specification("tiny", epochs=2, **recipe)
    machines = [Machine(size, block) for size in (0, 1 << 30) for block in (1, 1e12)]
    models, progress, _ = zip(*(train(prepared_folder, spec, machine) for machine in machines), strict=True)
    for other in range(1, 4):
        assert progress[other].history == progress[0].history
        for one, two in zip(models[0].get_weights(), models[other].get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


STEADY = {"optimizer": {"name": "sgd", "learning_rate": 1e-12}, "epochs": 1}


@pytest.fixture(scope="module")
def scored(prepared_folder):
    """Return a function that trains B2 by a recipe, and returns its history, and scores and labels of a part."""

    def train_and_score(part="valid", **recipe):
        _, progress, best = train(prepared_folder, specification("b2", **recipe))
        records = Records(prepared_folder, part)
        scores = best.predict(records.take(np.arange(len(records))) / np.float32(255), verbose=0)[:, 0]
        return progress.history, scores.astype(float), records.labels

    return train_and_score


def cross_entropy(scores, labels):
    return -(labels * np.log(scores) + (1 - labels) * np.log(1 - scores))


def test_label_smoothing_changes_the_loss_of_training_alone(scored):
    plain, scores, labels = scored("train", **STEADY)
    smoothed, _, _ = scored("train", label_smoothing=0.2, **STEADY)
    expected = cross_entropy(scores, 0.8 * labels + 0.1).mean()
    assert smoothed[0]["loss"] == pytest.approx(expected, rel=1e-5) != pytest.approx(plain[0]["loss"], rel=1e-5)
    assert smoothed[0]["val_loss"] == plain[0]["val_loss"]


def test_balanced_classes_weigh_the_same():
    known = patches("train", 60, 1)
    chosen = (known.labels == 1) | (np.arange(60) % 6 == 0)  # 30 of tumour, 10 of normal tissue
    part = Arrays(known.images[chosen], known.labels[chosen])
    spec = specification("b2", class_weights="balanced", batch_size=5, **STEADY)
    model = build(spec["model"], "full", part.shape, seed=1)
    trainer = Trainer(model, part, part, spec, CPU)
    trainer.compile(0)
    found = trainer.fit([])
    scores = model.predict(part.images / np.float32(255), verbose=0)[:, 0].astype(float)
    weights = compute_sample_weight("balanced", part.labels)
    assert set(np.round(weights, 6)) == {2.0, round(2 / 3, 6)}
    np.testing.assert_allclose(balanced(part.labels), weights, rtol=1e-6)
    assert found["loss"] == pytest.approx(np.mean(weights * cross_entropy(scores, part.labels)), rel=1e-5)
    # Measures are of patches, whatever they weigh.
    assert found["accuracy"] == pytest.approx(np.mean((scores > 0.5) == part.labels))
    assert trainer.validate()["loss"] == pytest.approx(cross_entropy(scores, part.labels).mean(), rel=1e-5)


def test_weights_go_on_beside_their_average(scored):
    """What is trained is the same; what is validated, chosen and scored is the average."""
    plain, _, _ = scored()
    averaged, scores, labels = scored(average_weights={"momentum": 0.9}, best_epoch="last")
    of_training = [[row[name] for name in ("loss", "accuracy", "auc")] for row in (*plain, *averaged)]
    assert of_training[:3] == of_training[3:]
    assert [row["val_loss"] for row in plain] != [row["val_loss"] for row in averaged]
    assert cross_entropy(scores, labels).mean() == pytest.approx(averaged[-1]["val_loss"], rel=1e-5)


def test_the_average_is_over_steps(prepared_folder):
    """Of a momentum near 1 nothing but the weights after the first step is left, near 0 nothing but the last ones."""
    models = {
        momentum: train(prepared_folder, specification("b2", average_weights={"momentum": momentum}, best_epoch="last"))
        for momentum in (1e-9, 1 - 1e-9)
    }
    for weight, last in zip(models[1e-9][2].get_weights(), models[1e-9][0].get_weights(), strict=True):
        np.testing.assert_allclose(weight, last, atol=1e-6)
    start = build(specification("b2")["model"], "full", Records(prepared_folder, "train").shape, seed=1)
    # Adam moves no weight by more than its rate in its first step.
    for weight, before in zip(models[1 - 1e-9][2].get_weights(), start.get_weights(), strict=True):
        assert 0 < np.abs(weight - before).max() < 1.01e-3


def test_a_plateau_sets_the_rate_of_the_epochs_that_follow(history):
    plateau = {"name": "plateau", "monitor": "val_auc", "factor": 0.1, "patience": 1, "min_delta": 1}
    rows = history(schedule=plateau)
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-3, 1e-3, 1e-4])
    constant = history()
    assert rows[:2] == constant[:2] and rows[2]["loss"] != constant[2]["loss"]


def test_training_stops_early(history):
    rows = history(early_stopping={"monitor": "val_auc", "patience": 1, "min_delta": 1})
    assert rows == history()[:2]


def test_only_the_last_stage_of_fine_tuning_stops_early(prepared_folder):
    spec = specification(
        "tiny", "finetune", epochs=9, finetune={"head_epochs": 4, "upper_layers": 0.5, "learning_rate": 1e-4},
        early_stopping={"monitor": "val_auc", "patience": 1, "min_delta": 1}, schedule={"name": "cosine"},
    )  # fmt: skip
    _, progress, _ = train(prepared_folder, spec, mode="finetune")
    assert len(progress.history) == 6
    rates = [row["learning_rate"] for row in progress.history]
    assert rates[0] > rates[1] > rates[2] > rates[3] and rates[3] < 1e-4 > rates[4] > rates[5]


def test_small_steps_go_on_without_python_and_large_ones_show_their_progress(prepared_folder):
    parts = Records(prepared_folder, "train"), Records(prepared_folder, "valid")
    spec = specification("b2")
    network = build(spec["model"], "full", parts[0].shape, seed=1)
    step = 3 * 16 * multiply_adds(network)
    for allowed, steps in ((1, 1), (5 * step, 5), (1e15, 32)):
        assert Trainer(network, *parts, spec, Machine(block_multiply_adds=allowed)).block == steps
