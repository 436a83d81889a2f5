"""Tests and intervals for comparing runs: of modes over models, of two cells over seeds, of two runs over patches.

Each function returns a plain dictionary. What is undefined is None, never NaN, so that it can be written as JSON.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from histobench.core.errors import HistobenchError
from histobench.results.bootstrap import LEVEL, percentile_interval

Floats = NDArray[np.float64]

NO_SPREAD = 1e-12
"""Values closer together than this differ by rounding alone, and a t test of them would divide by rounding errors.

Metrics are of the order of 1, where neighbouring floats are 1e-16 apart; real differences are those of a patch, 1e-6
and more.
"""


MIN_NU = 3
"""Degrees of freedom below which Hedges' correction takes away a quarter of the effect and more: J(3) is 0.72, J(2)
0.56
and J(1) is not defined.
"""


def welch(a: ArrayLike, b: ArrayLike) -> dict[str, Any]:
    """Test whether two independent samples have one mean: Welch's t test (Welch 1947, Biometrika 34:28).

    The effect is Hedges' g with the average variance as its standardiser, which suits samples of unequal variance and
    size as the test does (Delacre, Lakens, Ley, Liu & Leys 2021, PsyArXiv, doi:10.31234/osf.io/tu6mp):

    - g = J(nu) (mean_a - mean_b) / sqrt((s_a^2 + s_b^2) / 2), with s^2 the variances over n - 1,
    - nu = (n_a - 1) (n_b - 1) (s_a^2 + s_b^2)^2 / ((n_b - 1) s_a^4 + (n_a - 1) s_b^4),
    - J(nu) = Gamma(nu / 2) / (sqrt(nu / 2) Gamma((nu - 1) / 2)), the correction for small samples (Hedges 1981,
      J. Educ. Stat. 6:107).

    Parameters
    ----------
    a, b : (n_a,), (n_b,) numbers; NaN and None are left out.

    Returns
    -------
    result : `t`, `df`, `p` (two-sided), `n_a`, `n_b`, `mean_a`, `mean_b`, `difference` (mean_a - mean_b), `low` and
        `high` (its interval of level `LEVEL`), `effect`. Where neither sample has any spread, `t`, `df`, `p`, `low`,
        `high` and `effect` are None; so is `effect` where nu is under `MIN_NU`.

    Raises
    ------
    HistobenchError
        Where a sample has fewer than two values.
    """
    first, second = _present(a), _present(b)
    if min(len(first), len(second)) < 2:
        raise HistobenchError(
            f"Welch's t test: expected at least 2 values in each sample, found {len(first)} and {len(second)}. Add "
            "runs to the smaller one, or leave the comparison out."
        )
    means = {"mean_a": float(first.mean()), "mean_b": float(second.mean())}
    known = {"n_a": len(first), "n_b": len(second), **means, "difference": means["mean_a"] - means["mean_b"]}
    if _constant(first) and _constant(second):
        return {**dict.fromkeys(["t", "df", "p"]), **known, **dict.fromkeys(["low", "high", "effect"])}
    result = stats.ttest_ind(first, second, equal_var=False)
    interval = result.confidence_interval(LEVEL)
    return {
        "t": float(result.statistic),
        "df": float(result.df),
        "p": float(result.pvalue),
        **known,
        "low": float(interval.low),
        "high": float(interval.high),
        "effect": _hedges(first, second),
    }


def paired(a: ArrayLike, b: ArrayLike) -> dict[str, Any]:
    """Test whether paired values differ by zero on average: the paired t test (Student 1908, Biometrika 6:1).

    The effect is Cohen's d_z, the mean of the differences over their standard deviation (Cohen 1988, Statistical Power
    Analysis for the Behavioral Sciences, chapter 2; Lakens 2013, Front. Psychol. 4:863).

    Parameters
    ----------
    a, b : two pandas Series, paired by their index, such as the model, over what is in both; or two sequences of one
        length, paired by position. Pairs with a NaN or None are left out.

    Returns
    -------
    result : `t`, `df`, `p` (two-sided), `n` (pairs), `difference` (mean of a - b), `low` and `high` (its interval of
        level `LEVEL`), `effect`. Where all differences are the same, `t`, `p`, `low`, `high` and `effect` are None.

    Raises
    ------
    HistobenchError
        Where there are fewer than two pairs, or the values cannot be paired.
    """
    first, second = _pairs(a, b, "paired t test", at_least=2)
    differences = first - second
    known = {"df": len(first) - 1, "n": len(first), "difference": float(differences.mean())}
    if _constant(differences):
        return {**known, **dict.fromkeys(["t", "p", "low", "high", "effect"])}
    result = stats.ttest_rel(first, second)
    interval = result.confidence_interval(LEVEL)
    return {
        **known,
        "t": float(result.statistic),
        "p": float(result.pvalue),
        "low": float(interval.low),
        "high": float(interval.high),
        "effect": float(differences.mean() / differences.std(ddof=1)),
    }


def holm(p_values: ArrayLike) -> Floats:
    """Return p values adjusted for their number by the step-down method of Holm (1979, Scand. J. Stat. 6:65).

    The family-wise error rate is held whatever the dependence between the tests. The k-th smallest of m p values is
    multiplied by m - k + 1; an adjusted value is never below that of a smaller p value, nor above 1.

    Parameters
    ----------
    p_values : (n,) in [0, 1]; NaN or None where there was no test, which does not count.

    Returns
    -------
    adjusted : (n,) float64, in the given order, NaN where there was no test.

    Raises
    ------
    HistobenchError
        Where a value is not in [0, 1].
    """
    given = _numbers(p_values)
    tested = np.flatnonzero(~np.isnan(given))
    wrong = [float(p) for p in given[tested] if not 0 <= p <= 1]
    if wrong:
        raise HistobenchError(f"Holm's adjustment: expected p values in [0, 1], found {wrong}. Mend the test's table.")
    order = tested[np.argsort(given[tested], kind="stable")]
    multiplied = given[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(given), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(multiplied), 1)
    return adjusted


def paired_bootstrap(
    aucs_a: ArrayLike,
    aucs_b: ArrayLike,
    replicates_a: Sequence[pd.Series],
    replicates_b: Sequence[pd.Series],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two arms, such as two models, by replicates of one test set and, within them, of the training seeds.

    Replicate r holds the same test patches in every run on a data set (see `bootstrap.resampled_weights`), so that what
    the arms owe to the choice of patches cancels where they are subtracted. Within each replicate the seeds of either
    arm are drawn anew with replacement, as many as there are, independently of the other arm, and averaged. Patches
    and seeds cross, as every seed is tested on the same patches: this is the pigeonhole bootstrap of Owen (2007, Ann.
    Appl. Stat. 1:386), within each arm.

    The variance of a mean over n drawn seeds is (n - 1) / n of its unbiased estimate (Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 5). With two seeds, half of the variance over seeds is missed, and with one
    all of it: the interval is then that of these very weights on other patches.

    The p value inverts the percentile interval (Efron & Tibshirani 1993, section 15.4): twice the smaller share of
    replicates on either side of zero. Zero itself counts on both sides. The shares are (1 + count) / (replicates + 1),
    so that p is never 0 (Davison & Hinkley 1997, Bootstrap Methods and their Application, chapter 4).

    Parameters
    ----------
    aucs_a, aucs_b : (seeds_a,), (seeds_b,) the AUC of each run on the whole test set.
    replicates_a, replicates_b : for each run, in the same order, its AUCs by number of the replicate. Replicates that a
        run lacks are left out of all.
    seed : seed of the drawing of seeds.

    Returns
    -------
    result : `difference` (mean of aucs_a - mean of aucs_b), `low` and `high` (percentile interval of level `LEVEL`),
        `p` (two-sided), `seeds_a`, `seeds_b`, `replicates` (those in all runs), `seeds_nested` (whether both arms have
        two seeds or more, so that the interval shows the spread over seeds of both).

    Raises
    ------
    HistobenchError
        Where an arm has no run, an AUC is missing, a run lacks its replicates or has one twice, or no replicate is in
        all runs.
    """
    points_a, points_b = _arm(aucs_a, replicates_a, "first"), _arm(aucs_b, replicates_b, "second")
    joined = pd.concat([*replicates_a, *replicates_b], axis=1, join="inner").dropna().sort_index()
    if joined.empty:
        raise HistobenchError(
            "paired bootstrap: expected replicates with the same numbers in all runs, found none. Compare runs on one "
            "data set, evaluated with one number of resamples."
        )
    values = joined.to_numpy(dtype=np.float64)
    rng = np.random.default_rng(seed)
    mean_a = _mean_of_drawn(values[:, : len(points_a)], rng)
    mean_b = _mean_of_drawn(values[:, len(points_a) :], rng)
    differences = mean_a - mean_b
    interval = percentile_interval(pd.Series(differences))
    assert interval is not None  # there are replicates
    below, above = int((differences <= 0).sum()), int((differences >= 0).sum())
    return {
        "difference": float(points_a.mean() - points_b.mean()),
        "low": interval[0],
        "high": interval[1],
        "p": min(1.0, 2 * (1 + min(below, above)) / (len(values) + 1)),
        "seeds_a": len(points_a),
        "seeds_b": len(points_b),
        "replicates": len(values),
        "seeds_nested": min(len(points_a), len(points_b)) >= 2,
    }


def delong(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> dict[str, Any]:
    """Compare the AUCs of two runs on the same patches (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837).

    Patches are treated as independent. Those of a slide or patient are not, and the interval is then too narrow and p
    too small; `paired_bootstrap` over groups has no such fault. The spread over seeds is not seen.

    The structural components come from midranks (Sun & Xu 2014, IEEE Signal Process. Lett. 21:1389). The variance of
    the difference is that of the components' differences, which equals the contrast (1, -1) of DeLong's covariances.

    Parameters
    ----------
    labels : (n,) 0 or 1, at least two of each.
    scores_a, scores_b : (n,) the runs' scores of these patches, in the same order. Only their order matters.

    Returns
    -------
    result : `auc_a`, `auc_b`, `difference` (auc_a - auc_b), `se` (its standard error), `z`, `p` (two-sided, normal),
        `low` and `high` (difference -/+ 1.96 `se` at the level `LEVEL`; not clipped). Where `se` is 0, `z` is 0 and
        `p` 1 if there is no difference; else `z`, `p`, `low` and `high` are None, as where one run separates the
        classes and the other swaps them.

    Raises
    ------
    HistobenchError
        Where lengths differ, a label is neither 0 nor 1, a score is not finite, or a class has fewer than two patches.
    """
    classes, first, second = np.asarray(labels), _numbers(scores_a), _numbers(scores_b)
    if not len(classes) == len(first) == len(second):
        raise HistobenchError(
            f"DeLong's test: expected labels and scores of the same patches, found {len(classes)} labels and "
            f"{len(first)} and {len(second)} scores. Compare runs on one test set."
        )
    if not (np.isin(classes, [0, 1]).all() and np.isfinite(first).all() and np.isfinite(second).all()):
        raise HistobenchError(
            "DeLong's test: expected labels 0 or 1 and finite scores, found others. Evaluate the runs again."
        )
    positive = classes == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if min(positives, negatives) < 2:
        raise HistobenchError(
            f"DeLong's test: expected at least 2 patches of each class, found {negatives} of label 0 and {positives} "
            "of label 1. Compare runs on a test set that has both."
        )
    # Counts of pairs are whole or half numbers, in which sums and equality are exact; they are scaled at the end.
    beaten_a, beating_a = _wins(first, positive)
    beaten_b, beating_b = _wins(second, positive)
    pairs = positives * negatives
    auc_a, auc_b = float(beaten_a.sum() / pairs), float(beaten_b.sum() / pairs)
    difference = auc_a - auc_b
    variance = (beaten_a - beaten_b).var(ddof=1) / negatives**2 / positives
    variance += (beating_a - beating_b).var(ddof=1) / positives**2 / negatives
    se = float(np.sqrt(variance))
    known = {"auc_a": auc_a, "auc_b": auc_b, "difference": difference, "se": se}
    if se == 0 and difference != 0:
        return {**known, **dict.fromkeys(["z", "p", "low", "high"])}
    z = difference / se if se else 0.0
    margin = float(stats.norm.isf((1 - LEVEL) / 2)) * se
    p = float(2 * stats.norm.sf(abs(z)))
    return {**known, "z": z, "p": p, "low": difference - margin, "high": difference + margin}


def rank_correlation(x: ArrayLike, y: ArrayLike) -> dict[str, Any]:
    """Return the rank correlation of Spearman (1904, Am. J. Psychol. 15:72).

    Parameters
    ----------
    x, y : as in `paired`: two pandas Series, paired by their index, or two sequences of one length.

    Returns
    -------
    result : `rho`, `p` (two-sided, by Student's t on n - 2 degrees of freedom, which is rough below some 10 pairs), `n`
        (pairs). Where all of x or all of y are the same, `rho` and `p` are None.

    Raises
    ------
    HistobenchError
        Where there are fewer than three pairs, or the values cannot be paired.
    """
    first, second = _pairs(x, y, "rank correlation", at_least=3)
    if not np.ptp(first) or not np.ptp(second):
        return {"rho": None, "p": None, "n": len(first)}
    result = stats.spearmanr(first, second)
    return {"rho": float(result.statistic), "p": float(result.pvalue), "n": len(first)}


def _numbers(values: ArrayLike) -> Floats:
    """Return an array in which None has become NaN."""
    return np.asarray(values, dtype=np.float64)


def _present(values: ArrayLike) -> Floats:
    numbers = _numbers(values)
    return numbers[~np.isnan(numbers)]


def _constant(values: Floats) -> bool:
    return bool(np.ptp(values) < NO_SPREAD)


def _pairs(a: ArrayLike, b: ArrayLike, what: str, *, at_least: int) -> tuple[Floats, Floats]:
    """Return the pairs in which neither value is missing."""
    if isinstance(a, pd.Series) and isinstance(b, pd.Series):
        if twice := sorted({str(name) for series in (a, b) for name in series.index[series.index.duplicated()]}):
            raise HistobenchError(f"{what}: expected each item once, found several of {twice}. Average them first.")
        a, b = a.align(b, join="inner")
    first, second = _numbers(a), _numbers(b)
    if len(first) != len(second):
        raise HistobenchError(
            f"{what}: expected two sequences of one length, found {len(first)} and {len(second)} values. Name the "
            "items by an index, so that those in both can be found."
        )
    present = ~(np.isnan(first) | np.isnan(second))
    if present.sum() < at_least:
        raise HistobenchError(
            f"{what}: expected at least {at_least} pairs, found {present.sum()}. Run more models, or leave it out."
        )
    return first[present], second[present]


def _hedges(a: Floats, b: Floats) -> float | None:
    var_a, var_b = float(a.var(ddof=1)), float(b.var(ddof=1))
    n_a, n_b = len(a), len(b)
    nu = (n_a - 1) * (n_b - 1) * (var_a + var_b) ** 2 / ((n_b - 1) * var_a**2 + (n_a - 1) * var_b**2)
    if nu < MIN_NU:
        return None
    # By logarithms: the gamma function itself overflows from some 170.
    correction = np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2)
    return float(correction * (a.mean() - b.mean()) / np.sqrt((var_a + var_b) / 2))


def _arm(aucs: ArrayLike, replicates: Sequence[pd.Series], which: str) -> Floats:
    """Return the AUCs of an arm's runs, after its checks."""
    points = _numbers(aucs)
    if not len(points) or len(points) != len(replicates) or np.isnan(points).any():
        raise HistobenchError(
            f"paired bootstrap: expected at least one run in the {which} arm, each with an AUC and replicates; found "
            f"{len(points)} AUCs, {int(np.isnan(points).sum())} of them missing, and replicates of {len(replicates)} "
            "runs. Evaluate the runs again, or leave the comparison out."
        )
    if any(series.index.has_duplicates for series in replicates):
        raise HistobenchError(
            f"paired bootstrap: expected each replicate once, found several of one number in the {which} arm. Evaluate "
            "its runs again."
        )
    return points


def _mean_of_drawn(values: Floats, rng: np.random.Generator) -> Floats:
    """Return the mean over seeds drawn with replacement, (replicates,), of `values`, (replicates, seeds)."""
    drawn = rng.integers(0, values.shape[1], size=values.shape)
    mean: Floats = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    return mean


def _wins(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return how many negatives each positive beats, and how many positives beat each negative; a tie is one half.

    A midrank among all patches, less that among the patch's own class, counts those of the other class below it.
    """
    ranks = stats.rankdata(scores)
    beaten: Floats = ranks[positive] - stats.rankdata(scores[positive])
    below: Floats = ranks[~positive] - stats.rankdata(scores[~positive])
    return beaten, positive.sum() - below
