"""Tests and intervals for comparing runs: of modes over models, of two cells over seeds, of two runs over patches.

Each function returns a dictionary, in which a value is None where it is not defined.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results import bootstrap, metrics
from histobench.results.bootstrap import LEVEL, Floats, percentile_interval

NO_SPREAD = 1e-12
"""Values that lie closer together than this are taken to be equal: their differences are rounding errors.

Metrics are of the order of 1, where neighbouring floats are 1e-16 apart; one patch changes them by 1e-6 or more.
"""

MIN_NU = 3
"""Degrees of freedom from which on Hedges' g is given: its correction J is 0.72 at 3, 0.56 at 2, undefined at 1."""


def welch(a: ArrayLike, b: ArrayLike) -> dict[str, Any]:
    """Test whether two independent samples have the same mean: Welch's t test (Welch 1947, Biometrika 34:28).

    The effect is Hedges' g with the average variance as its standardiser, which suits samples of unequal variance and
    size (Delacre, Lakens, Ley, Liu & Leys 2021, PsyArXiv, doi:10.31234/osf.io/tu6mp):

    - g = J(nu) (mean_a - mean_b) / sqrt((s_a^2 + s_b^2) / 2), with s^2 the variances over n - 1,
    - nu = (n_a - 1) (n_b - 1) (s_a^2 + s_b^2)^2 / ((n_b - 1) s_a^4 + (n_a - 1) s_b^4),
    - J(nu) = Gamma(nu / 2) / (sqrt(nu / 2) Gamma((nu - 1) / 2)), the correction for small samples (Hedges 1981,
      J. Educ. Stat. 6:107).

    Parameters
    ----------
    a, b : (n_a,), (n_b,) numbers, at least two each.

    Returns
    -------
    result : `t`, `df`, `p` (two-sided), `difference` (mean_a - mean_b), `low` and `high` (its interval of level
        `LEVEL`), `effect`. If neither sample has any spread, all but `difference` are None; `effect` is None also if
        nu is less than `MIN_NU`.
    """
    first, second = _floats(a), _floats(b)
    difference = float(first.mean() - second.mean())
    if _constant(first) and _constant(second):
        return dict.fromkeys(["t", "df", "p", "low", "high", "effect"]) | {"difference": difference}
    result = stats.ttest_ind(first, second, equal_var=False)
    return _of_t(result, difference) | {"effect": _hedges(first, second)}


def paired(a: ArrayLike, b: ArrayLike) -> dict[str, Any]:
    """Test whether paired values differ by zero on average: the paired t test (Student 1908, Biometrika 6:1).

    The effect is Cohen's d_z, the mean of the differences over their standard deviation (Cohen 1988, Statistical Power
    Analysis for the Behavioral Sciences, chapter 2; Lakens 2013, Front. Psychol. 4:863).

    Parameters
    ----------
    a, b : (n,) numbers, at least two; values at the same position are a pair.

    Returns
    -------
    result : `t`, `df`, `p` (two-sided), `difference` (mean of a - b), `low` and `high` (its interval of level
        `LEVEL`), `effect`. If all differences are equal, `t`, `p`, `low`, `high` and `effect` are None.
    """
    differences = _floats(a) - _floats(b)
    difference = float(differences.mean())
    if _constant(differences):
        known = {"df": len(differences) - 1, "difference": difference}
        return dict.fromkeys(["t", "p", "low", "high", "effect"]) | known
    effect = float(differences.mean() / differences.std(ddof=1))
    return _of_t(stats.ttest_rel(_floats(a), _floats(b)), difference) | {"effect": effect}


def _of_t(result: Any, difference: float) -> dict[str, Any]:
    interval = result.confidence_interval(LEVEL)
    test = {"t": float(result.statistic), "df": float(result.df), "p": float(result.pvalue)}
    return test | {"difference": difference, "low": float(interval.low), "high": float(interval.high)}


def holm(p_values: ArrayLike) -> Floats:
    """Return p values adjusted for multiple tests by the step-down method of Holm (1979, Scand. J. Stat. 6:65).

    It controls the family-wise error rate whatever the dependence between the tests. The k-th smallest of m p values
    is multiplied by m - k + 1; an adjusted value is never below that of a smaller p value, nor above 1.

    Parameters
    ----------
    p_values : (n,) in [0, 1]; NaN if there was no test, which then does not count.

    Returns
    -------
    adjusted : (n,) float64, in the given order, NaN if there was no test.
    """
    given = _floats(p_values)
    tested = np.flatnonzero(~np.isnan(given))
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
    same_runs: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two arms, such as two models, by bootstrap replicates of the test set and of the training seeds.

    Replicate r holds the same test patches in every run on a data set (see `bootstrap.resampled_weights`), so the
    effect of the choice of patches, which the arms share, cancels in the difference. Within each replicate the seeds
    of either arm are drawn with replacement, as many as there are, independently of the other arm, and averaged.
    Patches and seeds are crossed, since every seed is tested on the same patches: within each arm this is the
    pigeonhole bootstrap of Owen (2007, Ann. Appl. Stat. 1:386).

    Where one arm is of averages of scores of the other's runs, the effect of the seeds cancels as well: a seed is drawn
    for both arms. Where it is one average over the seeds, they stay as they are, and the interval misses their
    variance.

    The variance of a mean over n drawn seeds is (n - 1) / n of its unbiased estimate (Efron & Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 5). With two seeds the interval misses half of the variance over seeds, with
    one seed all of it.

    The p value inverts the percentile interval (Efron & Tibshirani 1993, section 15.4): twice the smaller share of
    replicates on either side of zero. Zero itself counts on both sides. The shares are (1 + count) / (replicates + 1),
    so that p is never 0 (Davison & Hinkley 1997, Bootstrap Methods and their Application, chapter 4).

    Parameters
    ----------
    aucs_a, aucs_b : (seeds_a,), (seeds_b,) the AUC of each run on the whole test set.
    replicates_a, replicates_b : for each run, in the same order, its AUCs indexed by the number of the replicate. Only
        replicates that all runs have are used.
    same_runs : whether one arm is of averages of scores of the other's runs; arms with as many seeds have the same, in
        the same order.
    seed : seed of the drawing of seeds.

    Returns
    -------
    result : `difference` (mean of aucs_a - mean of aucs_b), `low` and `high` (percentile interval of level `LEVEL`),
        `p` (two-sided).

    Raises
    ------
    HistobenchError
        If no replicate is in all runs.
    """
    joined = pd.concat([*replicates_a, *replicates_b], axis=1, join="inner").dropna().sort_index()
    if joined.empty:
        raise HistobenchError(
            "paired bootstrap: expected replicates with the same numbers in all runs, found none. Compare runs on one "
            "data set, evaluated with the same number of resamples."
        )
    values = joined.to_numpy(dtype=np.float64)
    rng = np.random.default_rng(seed)
    of_a, of_b = np.split(values, [len(replicates_a)], axis=1)
    if not same_runs:
        differences = _mean_of_drawn(of_a, rng) - _mean_of_drawn(of_b, rng)
    elif of_a.shape == of_b.shape:
        differences = _mean_of_drawn(of_a - of_b, rng)
    else:
        differences = of_a.mean(axis=1) - of_b.mean(axis=1)
    low, high = percentile_interval(pd.Series(differences)) or (np.nan, np.nan)
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (1 + fewer) / (len(values) + 1))
    difference = float(_floats(aucs_a).mean() - _floats(aucs_b).mean())
    return {"difference": difference, "low": low, "high": high, "p": p}


class ResampledAUC(NamedTuple):
    """The AUC of some patches, that of each of their resamples, by number, and what was resampled."""

    auc: float
    replicates: "pd.Series[float]"
    unit: str


def resampled_auc(patches: pd.DataFrame, seed: int = 0) -> ResampledAUC:
    """Return the AUC of patches, and that of resamples of them, for :func:`paired_bootstrap`.

    Parameters
    ----------
    patches : `group`, `label` and `score`, in the order of their names: equal patches then have equal resamples.
    seed : of the resamples.
    """
    units, unit, _ = bootstrap.resampled_units(patches["group"])
    labels, scores = patches["label"].to_numpy(np.int64), patches["score"].to_numpy(np.float64)
    replicates = metrics.auc_replicates(labels, scores, units, int(units.max()) + 1, seed=seed)
    return ResampledAUC(float(roc_auc_score(labels, scores)), replicates, unit)


def delong(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> dict[str, Any]:
    """Compare the AUCs of two runs on the same patches (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837).

    The test treats patches as independent. Those of one slide or patient are not, so p is too small for them;
    `paired_bootstrap` over groups accounts for this. The spread over seeds is not included.

    The structural components are computed from midranks (Sun & Xu 2014, IEEE Signal Process. Lett. 21:1389). The
    variance of the difference is that of the components' differences, which equals the contrast (1, -1) of DeLong's
    covariances.

    Parameters
    ----------
    labels : (n,) 0 or 1, at least two of each.
    scores_a, scores_b : (n,) the runs' scores of these patches, in the same order. Only their ranks matter.

    Returns
    -------
    result : `difference` (auc_a - auc_b), `se` (its standard error), `p` (two-sided, normal). If `se` is 0, `p` is 1
        for equal AUCs and None for others, as when one run separates the classes and the other one swaps them.
    """
    positive = np.asarray(labels) == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    # The counts of pairs are multiples of one half, so that sums and equality are exact; they are scaled at the end.
    beaten_a, beating_a = _wins(_floats(scores_a), positive)
    beaten_b, beating_b = _wins(_floats(scores_b), positive)
    pairs = positives * negatives
    difference = float(beaten_a.sum() / pairs) - float(beaten_b.sum() / pairs)
    variance = (beaten_a - beaten_b).var(ddof=1) / negatives**2 / positives
    variance += (beating_a - beating_b).var(ddof=1) / positives**2 / negatives
    se = float(np.sqrt(variance))
    if se == 0:
        return {"difference": difference, "se": se, "p": None if difference else 1.0}
    return {"difference": difference, "se": se, "p": float(2 * stats.norm.sf(abs(difference / se)))}


def clustering(values: ArrayLike, groups: ArrayLike) -> dict[str, Any]:
    """Return how alike values of one group are, and how many independent values as many are worth.

    The intraclass correlation is the analysis of variance's (Donner 1986, Int. Stat. Rev. 54:67). The design effect of
    a mean is 1 + (m - 1) ICC with m = sum n_i^2 / n, the mean size of the group that a value is in (Kerry & Bland 2001,
    Stat. Med. 20:377); a negative ICC counts as 0.

    Parameters
    ----------
    values, groups : (n,) numbers, and the group of each.

    Returns
    -------
    result : `intraclass`, `design_effect`, `effective_n` (n over the design effect). None with fewer than two groups,
        if every group has one value, or if all values are equal.
    """
    numbers, codes = _floats(values), np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    n, count = len(numbers), len(sizes)
    nothing = dict.fromkeys(["intraclass", "design_effect", "effective_n"])
    if count < 2 or count == n or _constant(numbers):
        return nothing
    means = np.bincount(codes, numbers) / sizes
    between = float((sizes * (means - numbers.mean()) ** 2).sum()) / (count - 1)
    within = float(((numbers - means[codes]) ** 2).sum()) / (n - count)
    mean_size = float(n - (sizes**2).sum() / n) / (count - 1)
    intraclass = (between - within) / (between + (mean_size - 1) * within)
    design_effect = 1 + (float((sizes**2).sum()) / n - 1) * max(intraclass, 0)
    return {"intraclass": intraclass, "design_effect": design_effect, "effective_n": n / design_effect}


def bounds(name: str, replicates: "pd.Series[float]") -> dict[str, float]:
    """Return the percentile interval of bootstrap replicates as columns `name`_low and `name`_high, NaN without any."""
    low, high = percentile_interval(replicates) or (np.nan, np.nan)
    return {f"{name}_low": low, f"{name}_high": high}


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _constant(values: Floats) -> bool:
    return bool(np.ptp(values) < NO_SPREAD)


def _hedges(a: Floats, b: Floats) -> float | None:
    var_a, var_b = float(a.var(ddof=1)), float(b.var(ddof=1))
    n_a, n_b = len(a), len(b)
    nu = (n_a - 1) * (n_b - 1) * (var_a + var_b) ** 2 / ((n_b - 1) * var_a**2 + (n_a - 1) * var_b**2)
    if nu < MIN_NU:
        return None
    # In logarithms, since the gamma function overflows from about 170.
    correction = np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2)
    return float(correction * (a.mean() - b.mean()) / np.sqrt((var_a + var_b) / 2))


def _mean_of_drawn(values: Floats, rng: np.random.Generator) -> Floats:
    """Return the mean over seeds drawn with replacement, (replicates,), of `values`, (replicates, seeds)."""
    drawn = rng.integers(0, values.shape[1], size=values.shape)
    mean: Floats = np.take_along_axis(values, drawn, axis=1).mean(axis=1)
    return mean


def _wins(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return how many negatives each positive beats, and how many positives beat each negative; a tie is one half.

    A midrank among all patches minus that among the patch's own class counts those of the other class below it.
    """
    ranks = stats.rankdata(scores)
    beaten: Floats = ranks[positive] - stats.rankdata(scores[positive])
    below: Floats = ranks[~positive] - stats.rankdata(scores[~positive])
    return beaten, positive.sum() - below
