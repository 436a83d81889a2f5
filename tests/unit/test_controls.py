"""The colour floor and the shuffled-label control: they find what is there, and they can fail."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results import controls
from histobench.results.controls import COLOURS, colour_floor, shuffled_labels
from histobench.results.metrics import evaluate


def patch_index(separation, train=400, rest=200, seed=0):
    """Patches whose colours differ between the classes by `separation` standard deviations in each column."""
    rng = np.random.default_rng(seed)
    split = ["train"] * train + ["valid"] * rest + ["test"] * rest
    labels = rng.integers(0, 2, len(split))
    ids, groups = [f"p{i:04d}" for i in range(len(split))], [f"s{i % 7}" for i in range(len(split))]
    frame = pd.DataFrame({"split": split, "patch_id": ids, "group": groups, "label": labels})
    for column in COLOURS:
        # Far from zero mean and unit variance, as pixel values are.
        frame[column] = 128 + 20 * rng.normal(separation * labels)
    return frame


def floor_auc(index):
    found = colour_floor(index)
    test = found[found["split"] == "test"]
    return roc_auc_score(test["label"], test["score"])


def test_floor_finds_separable_colours_and_of_noise_is_chance():
    assert floor_auc(patch_index(separation=4)) > 0.999
    # The standard error of the AUC of 2,000 patches is 0.013.
    assert 0.45 < floor_auc(patch_index(separation=0, rest=2000)) < 0.55


def test_floor_needs_no_scaling():
    index = patch_index(separation=0.5)
    other = index.assign(red_mean=index["red_mean"] / 255, blue_std=1000 - 50 * index["blue_std"])
    assert floor_auc(other) == pytest.approx(floor_auc(index), abs=1e-4)


def test_floor_is_in_the_format_of_predictions():
    index = patch_index(separation=1)
    found = colour_floor(index)
    assert list(found.columns) == ["split", "patch_id", "group", "label", "score"]
    kept = index.loc[index["split"] != "train", ["split", "patch_id", "group", "label"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns="score"), kept)
    assert evaluate(found, resamples=10)[0]["test"]["auc"] == pytest.approx(floor_auc(index))


def test_floor_learns_from_training_patches_alone():
    index = patch_index(separation=1)
    flipped = index.assign(label=index["label"].where(index["split"] == "train", 1 - index["label"]))
    pd.testing.assert_series_equal(colour_floor(flipped)["score"], colour_floor(index)["score"])


@pytest.mark.parametrize("control", [colour_floor, shuffled_labels])
def test_training_needs_both_classes(control):
    index = patch_index(separation=1)
    with pytest.raises(HistobenchError, match=r"found \{1: \d+\}"):
        control(index[(index["split"] != "train") | (index["label"] == 1)])
    with pytest.raises(HistobenchError, match="no training patches"):
        control(index[index["split"] != "train"])


def test_shuffled_labels_hold_chance_on_separable_colours():
    found = shuffled_labels(patch_index(separation=3), shuffles=100, seed=1)
    assert found["holds_chance"] is True
    low, high = found["auc_interval"]
    # A random direction is often far from chance on patches that colour separates, on either side.
    assert low < 0.2
    assert high > 0.8
    assert low < found["auc_mean"] < high
    assert 0.35 < found["auc_mean"] < 0.65
    assert (found["shuffles"], found["seed"], found["train_patches"], found["test_patches"]) == (100, 1, 400, 200)


def test_shuffled_labels_fail_where_labels_are_not_shuffled(monkeypatch):
    class Leak:
        def permutation(self, labels):
            return labels

    index = patch_index(separation=3)
    monkeypatch.setattr(controls.np.random, "default_rng", lambda seed: Leak())
    found = shuffled_labels(index, shuffles=5)
    assert found["holds_chance"] is False
    assert found["auc_mean"] > 0.99


def test_shuffled_labels_subsample_large_sets_and_are_reproducible(monkeypatch):
    index = patch_index(separation=1)
    assert shuffled_labels(index, shuffles=10, seed=2)["auc_mean"] != shuffled_labels(index, shuffles=10)["auc_mean"]
    monkeypatch.setattr(controls, "SHUFFLED_PATCHES", 50)
    monkeypatch.setattr(controls, "SHUFFLED_TEST_PATCHES", 150)
    found = shuffled_labels(index, shuffles=20)
    assert (found["train_patches"], found["test_patches"]) == (50, 150)
    assert found["holds_chance"] is True
    assert found == shuffled_labels(index, shuffles=20)


def test_single_class_test_split_is_undefined():
    index = patch_index(separation=1)
    found = shuffled_labels(index[(index["split"] != "test") | (index["label"] == 1)], shuffles=3)
    assert found["auc_mean"] is found["auc_interval"] is found["holds_chance"] is None
