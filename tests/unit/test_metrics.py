"""Metrics of a run: hand-computed cases, and properties of metrics and bootstrap."""

import json
from math import log

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results import metrics
from histobench.results.bootstrap import resampled_weights
from histobench.results.metrics import evaluate, youden_threshold

# Each example evaluates a run or two.
several = settings(max_examples=40)

VALID = ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])


def frame(labels, scores, groups="", split="test"):
    ids = [f"{split}-{i:05d}" for i in range(len(labels))]
    return pd.DataFrame({"split": split, "patch_id": ids, "group": groups, "label": labels, "score": scores})


def predictions(labels, scores, groups="", valid=VALID):
    return pd.concat([frame(*valid, split="valid"), frame(labels, scores, groups)], ignore_index=True)


def simulated(n, groups="", seed=0, separation=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return predictions(labels, 1 / (1 + np.exp(-rng.normal(labels * separation, 1))), groups)


@st.composite
def labelled_scores(draw):
    """Both classes, scores on a grid of thousandths, so that ties occur and a monotone transform keeps all orders."""
    labels = draw(st.lists(st.integers(0, 1), min_size=2, max_size=40).filter(lambda found: len(set(found)) == 2))
    thousandths = draw(st.lists(st.integers(0, 1000), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(thousandths) / 1000


def test_hand_computed():
    # Above 0.5: 0.9 and 0.6 (positives) and 0.8 (negative); below: 0.2 (positive), 0.4 (negative).
    # So TP 2, FN 1, FP 1, TN 1. Of the 6 pairs, 0.9 wins two, 0.6 wins one, 0.2 none.
    found = evaluate(predictions([1, 1, 1, 0, 0], [0.9, 0.6, 0.2, 0.4, 0.8]), resamples=10)[0]["test"]
    assert (found["n"], found["positives"], found["groups"]) == (5, 3, 0)
    assert found["auc"] == pytest.approx(3 / 6)
    assert found["loss"] == pytest.approx(-(log(0.9) + log(0.6) + log(0.2) + log(0.6) + log(0.2)) / 5)
    assert found["brier"] == pytest.approx((0.1**2 + 0.4**2 + 0.8**2 + 0.4**2 + 0.8**2) / 5)
    # Precision at each positive, from the top: 1/1, 2/3 (0.8 stands between), 3/5.
    assert found["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert found["sensitivity_at_95_specificity"] == pytest.approx(1 / 3)  # no false positive: above 0.8
    assert found["specificity_at_95_sensitivity"] == pytest.approx(0)  # all three positives: above no negative
    names = ["threshold", "accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity"]
    at_half = [0.5, 3 / 5, (2 / 3 + 1 / 2) / 2, 4 / 6, 2 / 3, 1 / 2]
    assert found["at_0.5"] == pytest.approx(dict(zip(names, at_half, strict=True)))
    # The validation patches are parted between 0.2 and 0.3: TP 2, FN 1, FP 2, TN 0.
    at_chosen = [0.25, 2 / 5, 1 / 3, 4 / 7, 2 / 3, 0]
    assert found["at_validation_threshold"] == pytest.approx(dict(zip(names, at_chosen, strict=True)))


def test_operating_points_hold_exactly_95_percent():
    # 20 negatives at 0.01 ... 0.20 and 20 positives at 0.11 ... 0.30. One negative, 0.20, may lie above the threshold:
    # positives above 0.19 are 0.20 ... 0.30. One positive, 0.11, may be lost: negatives below 0.12 are 0.01 ... 0.11.
    scores = [i / 100 for i in [*range(1, 21), *range(11, 31)]]
    found = evaluate(predictions([0] * 20 + [1] * 20, scores), resamples=1)[0]["test"]
    assert found["sensitivity_at_95_specificity"] == pytest.approx(11 / 20)
    assert found["specificity_at_95_sensitivity"] == pytest.approx(11 / 20)


def test_a_score_of_one_half_is_negative():
    found = evaluate(predictions([0, 0, 1], [0.5, 0.5, np.nextafter(0.5, 1)]), resamples=1)[0]["test"]["at_0.5"]
    assert (found["sensitivity"], found["specificity"]) == (1, 1)


def test_loss_is_clipped_as_in_keras():
    found = evaluate(predictions([1, 0], [0.0, 1.0]), resamples=1)[0]["test"]
    assert found["loss"] == pytest.approx(-log(1e-7))


@several
@given(labelled_scores())
def test_ranks_alone_decide_the_curve_metrics(sample):
    labels, scores = sample
    plain = evaluate(predictions(labels, scores), resamples=5)
    cubed = evaluate(predictions(labels, scores**3), resamples=5)
    for name in ["auc", "average_precision", "sensitivity_at_95_specificity", "specificity_at_95_sensitivity"]:
        assert plain[0]["test"][name] == cubed[0]["test"][name]
    assert plain[0]["intervals"]["auc"] == cubed[0]["intervals"]["auc"]
    assert plain[0]["test"]["auc"] == pytest.approx(1 - roc_auc_score(1 - labels, scores))


@given(labelled_scores())
def test_threshold_is_the_best_one(sample):
    labels, scores = sample

    def youden(threshold):
        return (scores[labels == 1] > threshold).mean() - (scores[labels == 0] > threshold).mean()

    chosen = youden_threshold(labels, scores)
    every_partition = [*scores, 0.5, 1.0, *(scores - 1e-6)]
    best = max(youden(threshold) for threshold in every_partition)
    assert youden(chosen) == pytest.approx(best)
    if youden(0.5) == pytest.approx(best):
        assert chosen == 0.5


@pytest.mark.parametrize(
    ("negative", "positive", "threshold"),
    [
        ([0.1, 0.2], [0.3, 0.4], 0.25),  # a midpoint
        ([0.1], [0.6], 0.5),  # 0.35 parts them as well
        ([0.1, 0.3], [0.2, 0.4], 0.35),  # 0.15 is as good, further from 0.5
        ([0.7, 0.7], [0.7], 0.5),  # constant scores: nothing is better than 0.5
        ([0.0], [np.nextafter(0.0, 1)], 0.0),  # no float lies between
        ([np.nextafter(1.0, 0)], [1.0], np.nextafter(1.0, 0)),
    ],
)
def test_threshold_hand_computed(negative, positive, threshold):
    labels = np.array([0] * len(negative) + [1] * len(positive))
    assert youden_threshold(labels, np.array([*negative, *positive])) == pytest.approx(threshold, rel=0, abs=1e-17)


@several
@given(labelled_scores(), labelled_scores())
def test_threshold_ignores_the_test_set(first, second):
    one = evaluate(predictions(*first, valid=([0, 0, 1, 1], [0.1, 0.6, 0.55, 0.9])), resamples=1)[0]
    other = evaluate(predictions(*second, valid=([0, 0, 1, 1], [0.1, 0.6, 0.55, 0.9])), resamples=1)[0]
    assert one["test"]["at_validation_threshold"]["threshold"] == other["test"]["at_validation_threshold"]["threshold"]
    assert one["valid"] == other["valid"]


@pytest.mark.parametrize("block", [7, 2**15])
@pytest.mark.parametrize("groups", ["", [f"slide-{i % 25}" for i in range(200)]])
def test_replicates_are_scikit_learns_weighted_metrics(groups, block, monkeypatch):
    monkeypatch.setattr(metrics._Wins, "BLOCK", block)
    given_ = simulated(200, groups)
    given_["score"] = given_["score"].round(2)  # ties
    test = given_[given_["split"] == "test"]
    labels, scores = test["label"].to_numpy(), test["score"].to_numpy()
    units = np.unique(test["group"], return_inverse=True)[1] if groups else np.arange(len(test))
    replicates = evaluate(given_, resamples=20, seed=3)[1]
    assert list(replicates.columns) == ["replicate", "auc", "accuracy", "balanced_accuracy", "loss", "f1"]
    assert list(replicates["replicate"]) == list(range(20))
    for row, weights in zip(replicates.itertuples(), resampled_weights(units, 20, 3), strict=True):
        assert row.auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
        assert row.loss == pytest.approx(log_loss(labels, scores.clip(1e-7, 1 - 1e-7), sample_weight=weights))
        for score in (accuracy_score, balanced_accuracy_score, f1_score):
            expected = score(labels, scores > 0.5, sample_weight=weights)
            assert getattr(row, score.__name__.removesuffix("_score")) == pytest.approx(expected)


def test_resampling_draws_whole_units():
    units = np.array([0, 0, 1, 2, 2, 2])
    drawn = list(resampled_weights(units, 50, seed=1))
    for weights in drawn:
        assert weights[0] == weights[1]
        assert weights[3] == weights[4] == weights[5]
        assert weights[0] + weights[2] + weights[3] == 3
    assert len({tuple(weights) for weights in drawn}) > 5


def test_bootstrap_is_reproducible_whatever_the_row_order():
    given_ = simulated(120, [f"slide-{i % 30}" for i in range(120)])
    first = evaluate(given_, resamples=50, seed=1)
    again = evaluate(given_.sample(frac=1, random_state=0), resamples=50, seed=1)
    assert again[0] == first[0]
    pd.testing.assert_frame_equal(again[1], first[1], check_exact=True)
    assert evaluate(given_, resamples=50, seed=2)[0]["intervals"]["auc"] != first[0]["intervals"]["auc"]


@pytest.mark.parametrize("groups", ["", [f"slide-{i % 30}" for i in range(120)]])
def test_runs_on_one_test_set_are_resampled_alike(groups):
    # A model and its mirror image: in each resample of the same patches their accuracies and AUCs add up to one.
    one = simulated(120, groups)
    mirror = one.assign(score=1 - one["score"])
    first, second = evaluate(one, resamples=50)[1], evaluate(mirror, resamples=50)[1]
    np.testing.assert_allclose(first["accuracy"] + second["accuracy"], 1)
    np.testing.assert_allclose(first["auc"] + second["auc"], 1)


def test_interval_contains_the_estimate():
    for seed in range(10):
        found = evaluate(simulated(300, [f"slide-{i % 40}" for i in range(300)], seed), resamples=200)[0]
        estimates = found["test"] | found["test"]["at_0.5"]
        for name in ["auc", "loss", "accuracy", "balanced_accuracy", "f1"]:
            low, high = found["intervals"][name]
            assert low < estimates[name] < high


def test_interval_is_wider_over_groups_of_copies():
    # Every slide is one patch 20 times over: 30 patches' worth of evidence, not 600. The width should grow by about
    # sqrt(20), 4.5 times.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30) % 2, 20)
    scores = np.repeat(1 / (1 + np.exp(-rng.normal(np.arange(30) % 2, 1))), 20)
    by_group = evaluate(predictions(labels, scores, np.repeat([f"s{i}" for i in range(30)], 20)))[0]["intervals"]
    by_patch = evaluate(predictions(labels, scores))[0]["intervals"]
    assert (by_group["unit"], by_patch["unit"]) == ("group", "patch")
    for name in ["auc", "accuracy", "loss"]:
        assert np.ptp(by_group[name]) > 3 * np.ptp(by_patch[name])


def test_coverage_over_groups():
    # Scores of either class have variance 1 + 1; a difference of two has 4.
    truth = norm.cdf(1.5 / 2)

    def coverage(known):
        hits = 0
        for seed in range(60):
            rng, groups = np.random.default_rng(seed), np.repeat(np.arange(40), 8)
            labels = groups % 2  # each slide has one label and a shift of its own
            scores = norm.cdf(rng.normal(1.5 * labels + rng.normal(0, 1, 40)[groups], 1))
            names = [f"s{group}" for group in groups] if known else ""
            low, high = evaluate(predictions(labels, scores, names), resamples=200)[0]["intervals"]["auc"]
            hits += low <= truth <= high
        return hits / 60

    assert coverage(known=True) >= 0.85
    assert coverage(known=False) <= 0.75


@pytest.mark.parametrize(("count", "unit"), [(9, "patch"), (10, "group")])
def test_ten_groups_are_enough(count, unit):
    found = evaluate(simulated(100, [f"p{i % count}" for i in range(100)]), resamples=10)[0]
    intervals = found["intervals"]
    assert (intervals["unit"], intervals["ignores_clustering"]) == (unit, unit == "patch")
    assert str(count) in intervals["reason"]
    assert ("ignores clustering" in intervals["reason"]) == (unit == "patch")
    assert found["test"]["groups"] == count
    assert (intervals["level"], intervals["resamples"], intervals["skipped"]) == (0.95, 10, 0)


@pytest.mark.parametrize("unknown", ["", None, np.nan])
def test_one_unknown_group_makes_all_unknown(unknown):
    found = evaluate(simulated(100, [unknown, *(f"p{i % 30}" for i in range(99))]), resamples=10)[0]
    assert found["intervals"]["unit"] == "patch"
    assert "unknown" in found["intervals"]["reason"]
    assert found["per_group"] == []
    assert found["test"]["groups"] == 30


def test_per_group():
    found = evaluate(predictions([0, 1, 1, 1, 1], [0.2, 0.1, 0.7, 0.9, 0.4], list("aaabb")), resamples=5)[0]
    a, b = found["per_group"]
    assert list(a) == ["group", "n", "positives", "accuracy", "balanced_accuracy", "auc", "mean_score"]
    assert list(a.values()) == ["a", 3, 2, *map(pytest.approx, (2 / 3, (1 / 2 + 1) / 2, 1 / 2, 1 / 3))]
    assert list(b.values()) == ["b", 2, 2, 0.5, None, None, pytest.approx(0.65)]


@pytest.mark.parametrize("label", [0, 1])
def test_single_class_is_undefined_not_an_error(label):
    found, replicates = evaluate(predictions([label] * 3, [0.2, 0.6, 0.7]), resamples=10)
    test = found["test"]
    assert test["auc"] is test["sensitivity_at_95_specificity"] is test["specificity_at_95_sensitivity"] is None
    assert test["at_0.5"]["balanced_accuracy"] is None
    assert test["at_0.5"]["sensitivity" if label == 0 else "specificity"] is None
    assert test["at_0.5"]["accuracy"] == pytest.approx((1 / 3) if label == 0 else (2 / 3))
    assert test["loss"] > 0
    assert (test["average_precision"] is None) == (test["at_0.5"]["f1"] is None) == (label == 0)
    assert found["intervals"]["skipped"] == 10
    assert found["intervals"]["auc"] is found["intervals"]["loss"] is None
    assert replicates.empty


def test_single_class_validation_gives_no_threshold():
    found = evaluate(predictions([0, 1], [0.2, 0.7], valid=([1, 1], [0.3, 0.8])), resamples=10)[0]
    assert set(found["test"]["at_validation_threshold"].values()) == {None}
    assert found["test"]["auc"] == 1


def test_one_class_resamples_are_skipped():
    # Of two patches, half of all resamples draw one of them twice.
    found, replicates = evaluate(predictions([0, 1], [0.2, 0.7]), resamples=1000)
    assert 400 < found["intervals"]["skipped"] < 600
    assert len(replicates) + found["intervals"]["skipped"] == 1000
    assert replicates["replicate"].max() > 900  # the numbers are those of all resamples, so that runs can be joined
    assert not replicates.isna().any(axis=None)


@several
@given(labelled_scores(), st.sampled_from(["", "known"]))
def test_json_safe(sample, groups):
    labels, scores = sample
    found = evaluate(predictions(labels, scores.astype(np.float32), groups and [f"g{i}" for i in labels]), resamples=5)
    assert json.loads(json.dumps(found[0], allow_nan=False)) == found[0]


@pytest.mark.parametrize(
    ("valid", "test", "collapsed"),
    [
        ([0.3] * 4, [0.3] * 4, True),
        ([0.3, 0.3001, 0.3, 0.3001], [0.3, 0.3001, 0.3001, 0.3], True),
        ([0.3, 0.31, 0.3, 0.31], [0.3, 0.3001, 0.3001, 0.3], False),
        ([0.3] * 4, [0.3, 0.31, 0.3, 0.31], False),
    ],
)
def test_constant_scores_are_a_collapse(valid, test, collapsed):
    found = evaluate(predictions([0, 1, 0, 1], test, valid=([0, 1, 0, 1], valid)), resamples=5)[0]
    assert found["collapsed"] is collapsed


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("score", np.nan, r"test-00001.*score in \[0, 1\]"),
        ("score", 1.2, r"test-00001.*score in \[0, 1\].*1\.2"),
        ("score", -0.1, r"test-00001.*score in \[0, 1\]"),
        ("label", 2, "test-00001.*label"),
        ("patch_id", "test-00000", "test-00000.*once"),
    ],
)
def test_wrong_rows_are_named(column, value, expected):
    given_ = predictions([0, 1, 1], [0.1, 0.2, 0.3])
    given_.loc[given_["patch_id"] == "test-00001", column] = value
    with pytest.raises(HistobenchError, match=expected):
        evaluate(given_)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_missing_split_is_named(split):
    given_ = predictions([0, 1], [0.1, 0.2])
    with pytest.raises(HistobenchError, match=f"no patches of the split '{split}'"):
        evaluate(given_[given_["split"] != split])


@several
@given(labelled_scores(), st.integers(0, 2**32 - 1))
def test_the_auc_of_some_patches_is_that_of_their_weights(sample, seed):
    """Of every other unit; resamples are those of the whole test set."""
    labels, scores = sample
    units = np.arange(len(labels)) // 2
    some = units % 2 == 0
    found = metrics.auc_replicates(labels[some], scores[some], units[some], units.max() + 1, resamples=5, seed=seed)
    for replicate, weights in enumerate(resampled_weights(units, 5, seed)):
        drawn = weights[some]
        if len(set(labels[some][drawn > 0])) < 2:
            assert replicate not in found.index
        else:
            assert found[replicate] == pytest.approx(roc_auc_score(labels[some], scores[some], sample_weight=drawn))
