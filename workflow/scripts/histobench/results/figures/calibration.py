"""Calibration of scores: reliability diagrams, and the numbers in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from histobench.results import figure_data
from histobench.results.bootstrap import Floats, Integers
from histobench.results.figure_data import Seed
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.metrics import EPSILON

BINS = 15
"""As in Guo et al. 2017 (ICML, "On calibration of modern neural networks")."""

MIN_PATCHES = 1000
"""A choice. With 15 bins a point then stands for some 67 patches; at one half its standard error is 0.06."""


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


@style.styled
def calibration(scores: Mapping[str, Sequence[Seed]]) -> Figure:
    """Draw the share of positives against the mean score in bins of equal mass, one panel per label.

    Parameters
    ----------
    scores : from a printed label to the test patches of its seeds, as for `curves.roc`. Each seed has a line; Brier
        score, slope and intercept are means over the seeds, see `slope_and_intercept`.

    Returns
    -------
    figure : panels with fewer than `MIN_PATCHES` patches say so and are empty otherwise; if all have fewer, a line that
        says so.
    """
    enough = {label: all(len(labels) >= MIN_PATCHES for labels, _, _ in seeds) for label, seeds in scores.items()}
    if scores and not any(enough.values()):
        return style.nothing(f"Hidden: fewer than {MIN_PATCHES:,} test patches.")
    columns = max(len(scores), 1) if len(scores) <= 4 else 4 if len(scores) <= 8 else 5
    rows = max(-(-len(scores) // columns), 1)
    side = style.DOUBLE / max(columns, 3)
    width, height = max(side * columns, style.SINGLE), max(side * rows + 0.25, 2.4)
    shape = (len(scores), width, height, rows, columns)
    figure, panels = style.multiples(*shape, "Mean score", "Share of positives", sharex=True, sharey=True)
    for axes, (label, seeds) in zip(panels, scores.items(), strict=True):
        style.panel_title(axes, label, columns)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if enough[label]:
            _reliability(axes, seeds)
        else:
            hidden = f"fewer than {MIN_PATCHES:,}\ntest patches:\nhidden"
            axes.text(0.5, 0.5, hidden, fontsize=style.SMALL, ha="center", va="center")
    return figure


def _reliability(axes: Axes, seeds: Sequence[Seed]) -> None:
    axes.plot([0, 1], [0, 1], **style.REFERENCE)
    look: dict[str, Any] = {"color": style.BLUE, "linewidth": 0.8, "marker": "o", "markersize": 2}
    look["alpha"] = 1 if len(seeds) == 1 else 0.6
    fits = []
    for labels, values, _ in seeds:
        table = bins(labels, values)
        axes.plot(table["score"], table["positives"], gid="bins", **look)
        slope, intercept = slope_and_intercept(labels, values)
        fits.append([brier_score_loss(labels, values, pos_label=1), slope, intercept])
    names = ["Brier", "slope", "intercept"]
    means = ["–" if np.isnan(mean) else f"{mean:.2f}" for mean in np.mean(fits, axis=0)] if fits else ["–"] * 3
    text = "\n".join(f"{name} {mean}" for name, mean in zip(names, means, strict=True))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
    # In the corner that the lines of useful scores leave free.
    axes.text(1.0, 0.0, text, fontsize=5.5, ha="right", va="bottom", linespacing=1.15, bbox=box, zorder=4)


def calibration_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    return calibration(figure_data.scores(shown)), []
