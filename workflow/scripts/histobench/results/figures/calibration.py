"""Reliability diagrams."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import brier_score_loss

from histobench.results import calibration as numbers
from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.figures.curves import Seed
from histobench.results.inputs import Inputs

MIN_PATCHES = 1000
"""A choice. With 15 bins a point then stands for some 67 patches; at one half its standard error is 0.06."""


@style.styled
def calibration(scores: Mapping[str, Sequence[Seed]]) -> Figure:
    """Draw the share of positives against the mean score in bins of equal mass, one panel per label.

    Parameters
    ----------
    scores : from a printed label to the test patches of its seeds, as for `curves.roc`. Each seed has a line; Brier
        score, slope and intercept are means over the seeds, see `histobench.results.calibration`.

    Returns
    -------
    figure : panels with fewer than `MIN_PATCHES` patches say so and are empty otherwise.
    """
    rows, columns = style.grid(len(scores))
    side = style.DOUBLE / max(columns, 3)
    width, height = max(side * columns, style.SINGLE), max(side * rows + 0.25, 2.4)
    figure, panels = style.multiples(len(scores), width, height, rows, columns, sharex=True, sharey=True)
    for number, (axes, (label, seeds)) in enumerate(zip(panels, scores.items(), strict=True)):
        style.panel_title(axes, label, columns)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if all(len(labels) >= MIN_PATCHES for labels, _, _ in seeds):
            _reliability(axes, seeds)
        else:
            hidden = f"fewer than {MIN_PATCHES:,}\ntest patches:\nhidden"
            axes.text(0.5, 0.5, hidden, fontsize=style.SMALL, ha="center", va="center")
        if number + columns >= len(scores):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("Mean score")
        if number % columns == 0:
            axes.set_ylabel("Share of positives")
    return figure


def _reliability(axes: Axes, seeds: Sequence[Seed]) -> None:
    axes.plot([0, 1], [0, 1], **style.REFERENCE)
    look: dict[str, Any] = {"color": style.BLUE, "linewidth": 0.8, "marker": "o", "markersize": 2}
    look["alpha"] = 1 if len(seeds) == 1 else 0.6
    fits = []
    for labels, values, _ in seeds:
        table = numbers.bins(labels, values)
        axes.plot(table["score"], table["positives"], gid="bins", **look)
        slope, intercept = numbers.slope_and_intercept(labels, values)
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
