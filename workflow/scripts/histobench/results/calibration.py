"""Calibration of scores: the numbers of the calibration figure."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from histobench.results.metrics import EPSILON

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 15
"""As in Guo et al. 2017 (ICML, "On calibration of modern neural networks")."""


def bins(labels: Integers, scores: Floats, count: int = BINS) -> pd.DataFrame:
    """Return mean score and share of positives in bins of equal mass.

    The numbers of patches in the bins differ by at most one (Nguyen & O'Connor 2015, EMNLP, "Posterior calibration and
    exploratory analysis for natural language processing models"). With confident networks, bins of equal width would be
    nearly empty. Equal scores are assigned to bins in the given order.

    Parameters
    ----------
    labels : (n,) 0 or 1.
    scores : (n,) in [0, 1].
    count : number of bins; no more than n are made.

    Returns
    -------
    table : one row per bin, from the lowest scores up: `n`, `score` (mean), `positives` (share).
    """
    parts = np.array_split(np.argsort(scores, kind="stable"), min(count, len(scores)))
    rows = [{"n": len(part), "score": scores[part].mean(), "positives": labels[part].mean()} for part in parts]
    return pd.DataFrame(rows, columns=["n", "score", "positives"])


def slope_and_intercept(labels: Integers, scores: Floats) -> tuple[float, float]:
    """Return calibration slope and calibration-in-the-large.

    The slope is that of a logistic regression of the label on the logit of the score (Cox 1958, Biometrika 45:562); if
    it is below 1, the scores are too extreme. The intercept is that of the same regression with the slope fixed at 1;
    if it is above 0, the scores are too low on average. Both as in Van Calster et al. 2019 (BMC Medicine 17:230).

    Parameters
    ----------
    labels : (n,) 0 or 1.
    scores : (n,) in [0, 1]; clipped to [EPSILON, 1 - EPSILON] before the logit.

    Returns
    -------
    slope : NaN if it has no finite value: with one class, constant scores, or scores that separate the classes.
    intercept : in logits; NaN with one class.
    """
    positive = labels == 1
    if positive.all() or not positive.any():
        return np.nan, np.nan
    logits = logit(np.clip(scores, EPSILON, 1 - EPSILON))
    # The expected number of positives grows with the intercept, and logits lie within +-17.
    intercept = float(brentq(lambda shift: expit(logits + shift).sum() - positive.sum(), -50, 50))
    above, below = logits[positive], logits[~positive]
    if np.ptp(logits) == 0 or above.min() >= below.max() or above.max() <= below.min():
        return np.nan, intercept
    regression = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logits[:, None], labels)
    return float(regression.coef_[0, 0]), intercept
