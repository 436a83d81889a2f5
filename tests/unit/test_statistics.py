"""Comparisons of runs: published numbers, hand-computed cases, definitions, and properties of resampling."""

from math import gamma, pi, sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results.statistics import clustering, delong, holm, paired, paired_bootstrap, welch

# Welch


def test_welch_hand_computed():
    # Means 1 and 2, variances 2 and 3. The squared error of the difference is 2/2 + 3/3 = 2.
    found = welch([0, 2], [1, 1, 4])
    df = (1 + 1) ** 2 / (1**2 / 1 + 1**2 / 2)
    assert found["difference"] == pytest.approx(-1)
    assert found["t"] == pytest.approx(-1 / sqrt(2))
    assert found["df"] == pytest.approx(df)
    assert found["p"] == pytest.approx(2 * student.cdf(-1 / sqrt(2), df))
    margin = student.ppf(0.975, df) * sqrt(2)
    assert (found["low"], found["high"]) == pytest.approx((-1 - margin, -1 + margin))
    # nu is 50 / 17: too few degrees of freedom for the correction.
    assert found["effect"] is None


def test_hedges_g_of_unequal_samples_by_hand():
    # Means 2 and 1.
    a, b = [1, 2, 2, 3], [0, 1, 2]
    var_a, var_b = 2 / 3, 1.0
    nu = 3 * 2 * (var_a + var_b) ** 2 / (2 * var_a**2 + 3 * var_b**2)
    correction = gamma(nu / 2) / (sqrt(nu / 2) * gamma((nu - 1) / 2))
    assert welch(a, b)["effect"] == pytest.approx(correction / sqrt((var_a + var_b) / 2))


def test_hedges_correction_of_large_samples_is_one():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 3000), rng.normal(1, 2, 4000)
    uncorrected = (a.mean() - b.mean()) / sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert welch(a, b)["effect"] == pytest.approx(uncorrected, rel=1e-3)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_welch_with_spread_in_one_sample_only():
    # Variances 2 and 0: the error of the difference is 1 on a single degree of freedom, where Student's t is Cauchy's.
    found = welch([0, 2], [0.1, 0.1, 0.1])
    assert (found["t"], found["df"]) == pytest.approx((0.9, 1))
    assert found["p"] == pytest.approx(1 - 2 / pi * np.arctan(0.9))
    assert found["effect"] is None


# Pairs


def test_paired_hand_computed():
    # Differences 1, 2, 3: mean 2, standard deviation 1. On two degrees of freedom p is 1 - t / sqrt(2 + t^2).
    found = paired([3, 6, 5], [2, 4, 2])
    assert (found["t"], found["df"]) == (pytest.approx(sqrt(12)), 2)
    assert found["p"] == pytest.approx(1 - sqrt(12 / 14))
    margin = student.ppf(0.975, 2) / sqrt(3)
    assert (found["low"], found["difference"], found["high"]) == pytest.approx((2 - margin, 2, 2 + margin))
    assert found["effect"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("test", "a", "b", "known"),
    [
        (welch, [0.1] * 3, [0.3] * 2, {"difference": -0.2}),
        # In floating point these differences differ by rounding.
        (paired, [0.9, 0.8, 0.7], [0.8, 0.7, 0.6], {"difference": 0.1, "df": 2}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_without_spread_nothing_but_the_difference_is_defined(test, a, b, known):
    assert test(a, b) == pytest.approx(dict.fromkeys(test([3, 6, 5], [2, 4, 2])) | known)


# Holm


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and the last is raised to 0.06.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.01, np.nan, 0.04], [0.02, np.nan, 0.04]),
        ([0.6, 0.7], [1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.03], [0.03]),
        ([np.nan], [np.nan]),
        ([], []),
    ],
)
def test_holm_hand_computed(p_values, adjusted):
    np.testing.assert_allclose(holm(p_values), np.array(adjusted, dtype=float))


def rejected_by_holm(p_values, alpha):
    """Which hypotheses the step-down procedure rejects: from the smallest p value on, to the first that is kept."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = set()
    for k, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - k):
            break
        rejected.add(i)
    return rejected


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(0, 999))
def test_holm_adjusted_values_decide_as_the_procedure_does(thousandths, level):
    # Multiples of p values are thousandths; a level between two of them is no tie.
    p_values, alpha = [value / 1000 for value in thousandths], level / 1000 + 0.0005
    rejected = {i for i, p in enumerate(holm(p_values)) if p <= alpha}
    assert rejected == rejected_by_holm(p_values, alpha)


# Bootstrap


def series(values, index=None):
    return pd.Series(values, index=range(len(values)) if index is None else index, dtype=float)


def noise(count, seed=0, spread=0.01):
    return np.random.default_rng(seed).normal(0, spread, count)


def test_bootstrap_of_one_seed_hand_computed():
    # Differences -0.01, 0.02, 0.03, 0.04, one on the left of zero: p is 2 * (1 + 1) / (4 + 1).
    a, b = series([0.80, 0.83, 0.85, 0.87]), series([0.81, 0.81, 0.82, 0.83])
    found = paired_bootstrap([0.84], [0.82], [a], [b])
    assert found["difference"] == pytest.approx(0.02)
    assert found["p"] == pytest.approx(4 / 5)
    # Quantiles 0.025 and 0.975 of four lie 0.075 of a step from the ends.
    assert (found["low"], found["high"]) == pytest.approx((-0.01 + 0.075 * 0.03, 0.04 - 0.075 * 0.01))


def test_bootstrap_subtracts_equal_replicates_that_all_runs_have():
    a = series([0.9, 0.8, np.nan, 0.7], [3, 5, 6, 8])
    b = series([0.1, 0.3, 0.2, 0.4, 0.5], [9, 8, 6, 5, 4])
    found = paired_bootstrap([0.8], [0.3], [a], [b])
    # 5 and 8: differences 0.4 and 0.4, so p is 2 * (1 + 0) / (2 + 1).
    assert (found["low"], found["high"], found["p"]) == pytest.approx((0.4, 0.4, 2 / 3))


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_arms_do_not_differ(seeds):
    shared = noise(1000)
    arm = [series(0.8 + shared + shift) for shift in [0, 0.01, 0.03][:seeds]]
    aucs = [0.8, 0.81, 0.83][:seeds]
    found = paired_bootstrap(aucs, aucs, arm, arm)
    assert found["difference"] == 0
    assert found["low"] <= 0 <= found["high"]
    assert found["p"] == 1 if seeds == 1 else found["p"] > 0.8


def test_nested_seeds_widen_the_interval():
    shared = noise(2000)
    apart = [0.75, 0.79, 0.81, 0.85]
    arm_a = [series(auc + shared + noise(2000, 1, 0.002)) for auc in apart]
    arm_b = [series(auc - 0.05 + shared + noise(2000, 2, 0.002)) for auc in apart]
    nested = paired_bootstrap(apart, np.array(apart) - 0.05, arm_a, arm_b)
    averaged = paired_bootstrap([0.8], [0.75], [sum(arm_a) / 4], [sum(arm_b) / 4])
    assert nested["difference"] == pytest.approx(averaged["difference"])
    assert nested["high"] - nested["low"] > 3 * (averaged["high"] - averaged["low"])
    # The mean of four drawn seeds has the variance of the four, over n, divided by four; both arms add up.
    width = 2 * 1.96 * sqrt(2 * np.var(apart) / 4 + 2 * 0.002**2 / 4)
    assert nested["high"] - nested["low"] == pytest.approx(width, rel=0.1)


def test_seeds_that_agree_do_not_widen_the_interval():
    a, b = series(0.8 + noise(500, 1)), series(0.7 + noise(500, 2))
    one, three = paired_bootstrap([0.8], [0.7], [a], [b]), paired_bootstrap([0.8] * 3, [0.7] * 2, [a] * 3, [b] * 2)
    for name in ["low", "high", "difference"]:
        assert three[name] == pytest.approx(one[name])


def test_seeds_of_each_arm_are_drawn_with_replacement_in_each_replicate_and_independently_of_the_others():
    # Means of the first arm are 0.5, 0.6 and 0.7 in the proportions 1 : 2 : 1, against 0.55: a quarter is below.
    constant = [series([value] * 4000) for value in (0.5, 0.7)]
    found = paired_bootstrap([0.5, 0.7], [0.55] * 2, constant, [series([0.55] * 4000)] * 2)
    assert found["p"] == pytest.approx(0.5, abs=0.05)
    assert (found["low"], found["high"]) == pytest.approx((-0.05, 0.15))
    # Drawn together, equal arms would never differ. Drawn apart, both extremes come up 1 time in 16, beyond 2.5 %.
    found = paired_bootstrap([0.5, 0.7], [0.5, 0.7], constant, constant)
    assert (found["low"], found["high"]) == pytest.approx((-0.2, 0.2))


def test_seeds_of_the_same_runs_are_drawn_for_both_arms():
    apart, better_apart = [0.5, 0.7, 0.9], [0.5, 0.72, 0.94]
    arm = [series(auc + noise(4000, seed)) for seed, auc in enumerate(apart)]
    better = [values + gain for values, gain in zip(arm, (0.0, 0.02, 0.04), strict=True)]
    found = paired_bootstrap(better_apart, apart, better, arm, same_runs=True)
    assert found["difference"] == pytest.approx(0.02)
    # All three drawn alike, the best or the worst one, comes up 1 time in 27 each, beyond 2.5 %.
    assert (found["low"], found["high"]) == pytest.approx((0.0, 0.04))
    unrelated = paired_bootstrap(better_apart, apart, better, arm)
    assert unrelated["high"] - unrelated["low"] > 0.3


def test_the_seeds_of_one_average_are_not_drawn():
    arm = [series(auc + noise(500, seed, 0.001)) for seed, auc in enumerate((0.5, 0.9))]
    average = [(arm[0] + arm[1]) / 2 + 0.01]
    found = paired_bootstrap([0.71], [0.5, 0.9], average, arm, same_runs=True)
    assert [found[name] for name in ("difference", "low", "high")] == pytest.approx([0.01] * 3)


def test_swapped_arms_of_one_seed():
    a, b = series(0.8 + noise(300, 1)), series(0.79 + noise(300, 2))
    one, other = paired_bootstrap([0.8], [0.79], [a], [b]), paired_bootstrap([0.79], [0.8], [b], [a], seed=7)
    assert other["difference"] == pytest.approx(-one["difference"])
    assert (other["low"], other["high"]) == pytest.approx((-one["high"], -one["low"]))
    assert other["p"] == one["p"]
    assert 0.01 < one["p"] < 0.99


def test_drawing_of_seeds_is_reproducible():
    arm_a = [series(0.8 + noise(200, seed)) for seed in (1, 2)]
    arm_b = [series(0.79 + noise(200, seed)) for seed in (3, 4)]
    points = ([0.8, 0.8], [0.79, 0.79])
    first = paired_bootstrap(*points, arm_a, arm_b, seed=1)
    reversed_rows = ([rows[::-1] for rows in arm] for arm in (arm_a, arm_b))
    assert paired_bootstrap(*points, *reversed_rows, seed=1) == first
    assert paired_bootstrap(*points, arm_a, arm_b, seed=2)["low"] != first["low"]


def test_runs_without_a_common_replicate_are_an_error():
    with pytest.raises(HistobenchError, match="same numbers in all runs"):
        paired_bootstrap([0.8], [0.7], [series([0.8], [5])], [series([0.7])])


# DeLong


def delong_by_definition(labels, scores):
    """AUCs and their covariance matrix from the kernel of all pairs: DeLong, DeLong & Clarke-Pearson 1988.

    psi is 1 where the positive's score is above the negative's, 1/2 where they are equal, else 0. V10 is its mean over
    negatives, one per positive, and V01 over positives. Without ranks.
    """
    labels, scores = np.array(labels), np.array(scores)
    cases, controls = scores[:, labels == 1, None], scores[:, None, labels == 0]
    psi = (cases > controls) + (cases == controls) / 2
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    return psi.mean(axis=(1, 2)), np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]


@st.composite
def two_runs(draw):
    """Labels with two or more of each class, and scores of two runs out of eight values, so that most are tied."""
    labels = draw(
        st.lists(st.integers(0, 1), min_size=4, max_size=25).filter(lambda found: 2 <= sum(found) <= len(found) - 2)
    )
    scores = st.lists(st.integers(0, 7), min_size=len(labels), max_size=len(labels))
    return labels, [value / 7 for value in draw(scores)], [value / 7 for value in draw(scores)]


@settings(max_examples=60)
@given(two_runs())
@example(([0] * 3 + [1] * 3, [1, 2, 3, 4, 5, 6], [4, 5, 6, 1, 2, 3]))  # one separates the classes, one swaps them
def test_delong_is_its_definition(sample):
    labels, scores_a, scores_b = sample
    found = delong(labels, scores_a, scores_b)
    (auc_a, auc_b), covariance = delong_by_definition(labels, [scores_a, scores_b])
    se = sqrt(max([1, -1] @ covariance @ [1, -1], 0))
    of_scikit_learn = roc_auc_score(labels, scores_a) - roc_auc_score(labels, scores_b)
    assert found["difference"] == pytest.approx(of_scikit_learn, abs=1e-12)
    assert found["difference"] == pytest.approx(auc_a - auc_b, abs=1e-12)
    assert found["se"] == pytest.approx(se, abs=1e-7)  # the root of a rounding error
    if se > 1e-6:
        assert found["p"] == pytest.approx(2 * norm.cdf(-abs(auc_a - auc_b) / se))
    else:
        assert found["p"] == (1 if abs(auc_a - auc_b) < 1e-12 else None)


def test_delong_rejects_a_true_hypothesis_at_its_level():
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(500):
        labels, common = rng.integers(0, 2, 200), rng.normal(0, 1, 200)
        # Two correlated scores, which have one AUC in truth.
        scores = (labels + (common + rng.normal(0, 1, 200)) / sqrt(2) for _ in range(2))
        rejected += delong(labels, *scores)["p"] < 0.05
    # 25 expected; a fair coin of 0.05 gives 11 to 42 in 999 of 1,000 cases.
    assert 11 <= rejected <= 42


def test_clustering_hand_computed():
    """Two groups of two: between 2 (2 * 1.5^2 * 2 / 1 = 9), within 0.5, so (9 - 0.5) / (9 + 0.5)."""
    found = clustering([0, 1, 3, 4], ["a", "a", "b", "b"])
    assert found["intraclass"] == pytest.approx(8.5 / 9.5)
    assert found["design_effect"] == pytest.approx(1 + 8.5 / 9.5)
    assert found["effective_n"] == pytest.approx(4 / (1 + 8.5 / 9.5))


def test_groups_that_are_constant_count_once_each_and_unrelated_ones_cost_nothing():
    found = clustering(np.repeat([1.0, 5.0, 2.0], 10), np.repeat([1, 2, 3], 10))
    assert (found["intraclass"], found["effective_n"]) == (pytest.approx(1), pytest.approx(3))
    # Every group has the same values.
    found = clustering(np.tile([1.0, 5.0, 2.0], 10), np.repeat(range(10), 3))
    assert found["intraclass"] < 0
    assert found["effective_n"] == 30


@pytest.mark.parametrize(("values", "groups"), [([1, 2], "aa"), ([1, 2], "ab"), ([1, 1, 1, 1], "aabb")])
def test_clustering_that_is_not_defined(values, groups):
    assert set(clustering(values, list(groups)).values()) == {None}
