"""Statistics: against published numbers, hand-worked examples and implementations from the definitions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from histobench.errors import HistobenchError
from histobench.results import paper
from histobench.results.statistics import delong, holm, paired, paired_bootstrap, rank_correlation, welch
from support.project import ROOT

PUBLISHED = paper.read(ROOT / "config" / "paper").performance


def aucs(dataset, mode):
    rows = PUBLISHED[(PUBLISHED["dataset"] == dataset) & (PUBLISHED["mode"] == mode)]
    return rows.set_index("model")["auc"]


# The printed Welch tests are held in test_paper.py. These p values were worked out before this code was written.
@pytest.mark.parametrize(("dataset", "n", "p"), [("pcam", 10, 0.0118), ("idc", 9, 0.0099)])
def test_paired_over_the_models_of_both_modes(dataset, n, p):
    tl, full = aucs(dataset, "tl"), aucs(dataset, "full")
    common = tl.index.intersection(full.index)
    found = paired(tl[common], full[common])
    assert found["n"] == n
    assert found["p"] == pytest.approx(p, abs=5e-5)
    assert found["low"] < found["difference"] < found["high"] < 0


def test_welch_says_which_way_and_how_far():
    found = welch([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert found["difference"] == pytest.approx(-2)
    # Standard error: the root of 1/3 + 4/3.
    assert found["t"] == pytest.approx(-2 / (5 / 3) ** 0.5)
    assert (found["low"] + found["high"]) / 2 == pytest.approx(-2)
    assert found["effect"] < 0


def test_one_value_is_no_sample():
    with pytest.raises(HistobenchError):
        welch([0.9], [0.8, 0.9])


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1, and never below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.01, np.nan, 0.02]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_lowers_nothing(values, random):
    adjusted = holm(values)
    assert all(value <= after <= 1 for value, after in zip(values, adjusted, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    places = list(range(len(values)))
    random.shuffle(places)
    assert holm([values[place] for place in places]) == pytest.approx(adjusted[places])


def from_the_definition(labels, first, second):
    """DeLong's test from all pairs of a positive and a negative patch: kernel, components, covariances."""
    components = []
    for scores in (first, second):
        gap = scores[labels == 1][:, None] - scores[labels == 0][None, :]
        psi = np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))
        components.append((psi.mean(axis=1), psi.mean(axis=0), psi.mean()))
    of_positives = np.cov(np.stack([each[0] for each in components]), ddof=1)
    of_negatives = np.cov(np.stack([each[1] for each in components]), ddof=1)
    covariance = of_positives / (labels == 1).sum() + of_negatives / (labels == 0).sum()
    contrast = np.array([1.0, -1.0])
    return [each[2] for each in components], float(contrast @ covariance @ contrast)


@settings(deadline=None)
@given(st.data())
def test_delong_is_what_its_definition_gives(data):
    labels = np.array([0, 0, 1, 1, *data.draw(st.lists(st.integers(0, 1), max_size=30))])
    # Few values, so that many scores tie.
    scores = st.lists(st.integers(0, 6), min_size=len(labels), max_size=len(labels))
    first, second = (np.array(data.draw(scores)) / 6 for _ in range(2))
    (auc_a, auc_b), variance = from_the_definition(labels, first, second)
    found = delong(labels, first, second)
    assert [found["auc_a"], found["auc_b"]] == pytest.approx([auc_a, auc_b])
    assert found["auc_a"] == pytest.approx(roc_auc_score(labels, first))
    assert found["se"] == pytest.approx(variance**0.5, abs=1e-7)


def two_runs(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    tissue = labels + rng.normal(size=n)
    return labels, tissue + 0.5 * rng.normal(size=n), tissue + rng.normal(size=n)


def test_delongs_error_is_that_of_a_bootstrap_over_patches():
    labels, first, second = two_runs()
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(400):
        drawn = rng.integers(0, len(labels), len(labels))
        differences.append(roc_auc_score(labels[drawn], first[drawn]) - roc_auc_score(labels[drawn], second[drawn]))
    assert delong(labels, first, second)["se"] == pytest.approx(np.std(differences, ddof=1), rel=0.15)


def test_delong_finds_no_difference_between_a_run_and_itself_and_one_where_there_is_one():
    labels, first, second = two_runs()
    same, other = delong(labels, first, first), delong(labels, first, second)
    assert (same["difference"], same["z"], same["p"]) == (0, 0, 1)
    assert other["difference"] > 0
    assert other["p"] < 1e-6
    assert other["low"] > 0


def test_delong_needs_both_classes():
    with pytest.raises(HistobenchError, match="2 patches of each class"):
        delong([1, 1, 1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3])


def arm(*means, spread=0.01, noise=0, replicates=500):
    """Return AUCs of some seeds, and replicates that share the luck of the patches between seeds and arms."""
    rng, own = np.random.default_rng(0), np.random.default_rng(noise)
    patches = spread * rng.normal(size=replicates)
    return list(means), [pd.Series(mean + patches + 0.002 * own.normal(size=replicates)) for mean in means]


def test_the_bootstrap_subtracts_replicate_from_replicate():
    (a, of_a), (b, of_b) = arm(0.90, noise=1), arm(0.88, noise=2)
    found = paired_bootstrap(a, b, of_a, of_b)
    expected = np.percentile(of_a[0] - of_b[0], [2.5, 97.5])
    assert [found["low"], found["high"]] == pytest.approx(list(expected))
    assert found["difference"] == pytest.approx(0.02)
    # All 500 replicates stand on one side.
    assert found["p"] == pytest.approx(2 / 501)
    # The luck of the patches, five times as large as what the arms do not share, has gone.
    assert found["high"] - found["low"] < 0.02


def test_replicates_are_paired_by_number():
    (a, of_a), (b, of_b) = arm(0.90, noise=1), arm(0.88, noise=2)
    assert paired_bootstrap(a, b, [of_a[0].iloc[::-1]], of_b) == paired_bootstrap(a, b, of_a, of_b)


def test_swapping_the_arms_turns_the_sign():
    (a, of_a), (b, of_b) = arm(0.90, noise=1), arm(0.899, noise=2)
    there, back = paired_bootstrap(a, b, of_a, of_b), paired_bootstrap(b, a, of_b, of_a)
    assert [back["difference"], back["low"], back["high"]] == pytest.approx(
        [-there["difference"], -there["high"], -there["low"]]
    )
    assert back["p"] == there["p"]


def test_an_arm_against_itself_shows_nothing():
    a, of_a = arm(0.9)
    found = paired_bootstrap(a, a, of_a, of_a)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    assert not found["seeds_nested"]


def test_seeds_that_differ_widen_the_interval():
    b, of_b = arm(0.88, 0.88, 0.88, noise=2)
    widths = {}
    for gap in (0.0, 0.03):
        a, of_a = arm(0.9 - gap, 0.9, 0.9 + gap, noise=1)
        found = paired_bootstrap(a, b, of_a, of_b)
        assert found["seeds_nested"]
        assert (found["seeds_a"], found["seeds_b"]) == (3, 3)
        widths[gap] = found["high"] - found["low"]
    # The mean of three seeds drawn from three has a standard deviation of 0.03 x sqrt(2/3) / sqrt(3) = 0.0141.
    assert widths[0.0] < 0.01
    assert widths[0.03] == pytest.approx(2 * 1.96 * 0.0141, rel=0.2)


def test_rank_correlation_sees_order_alone():
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000])["rho"] == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [8, 4, 2, 1])["rho"] == pytest.approx(-1)
    # Two neighbours swapped: 1 - 6 x 2 / (4 x 15).
    assert rank_correlation([1, 2, 3, 4], [1, 2, 4, 3])["rho"] == pytest.approx(0.8)
    with pytest.raises(HistobenchError):
        rank_correlation([1, 2], [1, 2])
