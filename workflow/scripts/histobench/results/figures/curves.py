"""ROC curves and precision-recall curves."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score

from histobench.results import figure_data
from histobench.results.bootstrap import LEVEL, Floats, Integers, resampled_units, resampled_weights
from histobench.results.figure_data import Seed
from histobench.results.figures import style
from histobench.results.inputs import Inputs

Curve = Callable[[Floats, Floats, Floats], Floats]
"""From abscissae and the weights of true and of false positives at each threshold to ordinates."""

BAND_RESAMPLES = 200

MAX_BANDS = 4
"""More bands on top of one another could not be distinguished."""

STEPS = 200


@style.styled
def roc(scores: Mapping[str, Sequence[Seed]], banded: Sequence[str] = ()) -> Figure:
    """Draw the ROC curve of each label, the mean over its seeds by vertical averaging.

    Vertical averaging: the mean sensitivity at each false positive rate (Fawcett 2006, Pattern Recognit. Lett. 27:861).

    Parameters
    ----------
    scores : from a printed label ("B2, full") to the test patches of its seeds, on one data set. Seeds with only one
        class are left out.
    banded : labels in order of their AUC on the validation patches; the first four get a pointwise 95 % band, a
        percentile bootstrap over groups, or over patches if `bootstrap.resampled_units` says so.

    Returns
    -------
    figure : legend with AUCs (mean over seeds) outside the axes.
    """
    rates = np.linspace(0, 1, STEPS + 1)
    figure, axes = _curves(scores, banded, rates, _sensitivity, roc_auc_score, "AUC")
    axes.plot([0, 1], [0, 1], **style.REFERENCE, gid="chance")
    style.remark(axes, "chance", (0.74, 0.74), (3, -3), "top")
    axes.set(xlabel="False positive rate (1 − specificity)", ylabel="Sensitivity")
    return figure


@style.styled
def precision_recall(scores: Mapping[str, Sequence[Seed]], banded: Sequence[str] = ()) -> Figure:
    """Draw precision against recall, the mean over seeds at each recall.

    Between two points of a seed's curve the precision is that of the point with the higher recall, as in the average
    precision; linear interpolation would be too optimistic (Davis & Goadrich 2006, ICML). Parameters as in `roc`. The
    legend gives average precisions, and a line the share of positives, which is the precision of chance.
    """
    recalls = np.linspace(0, 1, STEPS + 1)[1:]
    figure, axes = _curves(scores, banded, recalls, _precision, average_precision_score, "average precision")
    every = [labels for seeds in scores.values() for labels, _, _ in seeds if len(labels)]
    if every:
        prevalence = float(every[0].mean())
        axes.axhline(prevalence, **style.REFERENCE, gid="prevalence")
        shift, va = (-2, "top") if prevalence > 0.5 else (2, "bottom")
        style.remark(axes, "share of positives", (0.02, prevalence), (0, shift), va)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision")
    return figure


def _curves(
    scores: Mapping[str, Sequence[Seed]],
    banded: Sequence[str],
    at: Floats,
    curve: Curve,
    area: Callable[[Integers, Floats], float],
    heading: str,
) -> tuple[Figure, Axes]:
    """Draw the mean curve of each label at the abscissae `at`, with its area in the legend."""
    figure, panels = style.new(style.ONE_AND_A_HALF, max(3.2, 0.6 + 0.135 * len(scores)))
    axes: Axes = panels[0, 0]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal", anchor="NW")
    with_band = [label for label in banded if label in scores][:MAX_BANDS]
    for number, (label, seeds) in enumerate(scores.items()):
        usable = [seed for seed in seeds if 0 < seed[0].mean() < 1]
        if not usable:
            continue
        ranked = [(labels, _ranks(values)) for labels, values, _ in usable]
        mean = np.mean([curve(at, *_cumulated(labels, rank, np.ones(len(rank)))) for labels, rank in ranked], axis=0)
        look = style.line(number)
        if label in with_band:
            low, high = _band(usable, ranked, at, curve)
            axes.fill_between(at, low, high, color=look["color"], alpha=0.18, linewidth=0, zorder=2, gid="band")
        mean_area = np.mean([area(labels, values) for labels, values, _ in usable])
        thickness = 1.3 if label in with_band else 0.8
        axes.plot(at, mean, **look, linewidth=thickness, zorder=3, label=f"{label}  {mean_area:.3f}", gid="curve")
    if axes.get_lines():
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside right upper",
            title=heading[0].upper() + heading[1:] + (", 95 % band" if with_band else ""),
            title_fontsize=6.5,
            alignment="left",
            handlelength=3,
        )
    return figure, axes


def _ranks(scores: Floats) -> Integers:
    """Return 0 for the highest score; equal scores share a rank."""
    return np.unique(-scores, return_inverse=True)[1].astype(np.int64)


def _cumulated(labels: Integers, rank: Integers, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weight of true and of false positives at each threshold, from the highest score down."""
    return np.cumsum(np.bincount(rank, weights * labels)), np.cumsum(np.bincount(rank, weights * (1 - labels)))


def _sensitivity(rates: Floats, true_positives: Floats, false_positives: Floats) -> Floats:
    """Return the sensitivity at each false positive rate; at a vertical step the upper one."""
    false_positive_rates = np.append(0, false_positives / false_positives[-1])
    sensitivity = np.append(0, true_positives / true_positives[-1])
    last = np.append(np.diff(false_positive_rates) > 0, True)
    interpolated: Floats = np.interp(rates, false_positive_rates[last], sensitivity[last])
    return interpolated


def _precision(recalls: Floats, true_positives: Floats, false_positives: Floats) -> Floats:
    """Return the precision at the highest threshold that reaches each recall, which must be above 0."""
    at = np.searchsorted(true_positives / true_positives[-1], recalls)
    precision: Floats = true_positives[at] / (true_positives[at] + false_positives[at])
    return precision


def _band(
    seeds: Sequence[Seed],
    ranked: Sequence[tuple[Integers, Integers]],
    at: Floats,
    curve: Curve,
) -> tuple[Floats, Floats]:
    """Return the limits of the pointwise bootstrap band of the mean over seeds: each (len(at),)."""
    draws = [resampled_weights(resampled_units(groups)[0], BAND_RESAMPLES, seed=0) for _, _, groups in seeds]
    resampled = []
    # All seeds have the same test set, so a resample holds the same patches in all of them.
    for weights in zip(*draws, strict=True):
        totals = [_cumulated(labels, rank, some) for (labels, rank), some in zip(ranked, weights, strict=True)]
        if all(true[-1] and false[-1] for true, false in totals):
            resampled.append(np.mean([curve(at, *total) for total in totals], axis=0))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def roc_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    return roc(figure_data.scores(shown), figure_data.best_on_validation(shown)), []


def precision_recall_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    return precision_recall(figure_data.scores(shown), figure_data.best_on_validation(shown)), []
