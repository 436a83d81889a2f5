"""Reliability diagrams."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import brier_score_loss

from histobench.results import calibration as numbers
from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.figures.curves import Integers, Seed
from histobench.results.inputs import Inputs

MIN_PATCHES = 1000
"""With 15 bins some 67 patches stand behind a point, whose standard error at a half is then 0.06. A choice."""


def enough(labels: Integers) -> bool:
    """Return whether there are enough patches for a reliability diagram.

    Parameters
    ----------
    labels : (n,) of the test patches.
    """
    return len(labels) >= MIN_PATCHES


@style.styled
def calibration(scores: Mapping[str, Sequence[Seed]]) -> Figure:
    """Draw the share of positives against the mean score in bins of equal mass, one panel per label.

    Parameters
    ----------
    scores : from a label in print to the test patches of its seeds, as for `curves.roc`. Every seed has its line;
        Brier score, slope and intercept are means over the seeds, see `histobench.results.calibration`.

    Returns
    -------
    figure : panels with fewer than `MIN_PATCHES` patches say so and show nothing else.
    """
    rows, columns = style.grid(len(scores))
    side = style.DOUBLE / max(columns, 3)
    figure, panels = style.new(
        max(side * columns, style.SINGLE), max(side * rows + 0.25, 2.4), rows, columns, sharex=True, sharey=True
    )
    every = list(panels.flat)
    for axes in every[len(scores) :]:
        axes.remove()
    for axes, (label, seeds) in zip(every, scores.items(), strict=False):
        style.panel_title(axes, label, columns)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if all(enough(labels) for labels, _, _ in seeds):
            _reliability(axes, seeds)
        else:
            axes.text(
                0.5,
                0.5,
                f"fewer than {MIN_PATCHES:,}\ntest patches:\nhidden",
                fontsize=style.SMALL,
                ha="center",
                va="center",
            )
    for number, axes in enumerate(every[: len(scores)]):
        if number + columns >= len(scores):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("Mean score")
        if number % columns == 0:
            axes.set_ylabel("Share of positives")
    return figure


def _reliability(axes: Axes, seeds: Sequence[Seed]) -> None:
    axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    fits = []
    for labels, values, _ in seeds:
        table = numbers.bins(labels, values)
        axes.plot(
            table["score"],
            table["positives"],
            color=style.BLUE,
            linewidth=0.8,
            marker="o",
            markersize=2,
            alpha=1 if len(seeds) == 1 else 0.6,
            gid="bins",
        )
        slope, intercept = numbers.slope_and_intercept(labels, values)
        fits.append([brier_score_loss(labels, values, pos_label=1), slope, intercept])
    names = ["Brier", "slope", "intercept"]
    means = ["–" if np.isnan(mean) else f"{mean:.2f}" for mean in np.mean(fits, axis=0)] if fits else ["–"] * 3
    # The corner that scores of any use leave free.
    axes.text(
        1.0,
        0.0,
        "\n".join(f"{name} {mean}" for name, mean in zip(names, means, strict=True)),
        fontsize=5.5,
        ha="right",
        va="bottom",
        linespacing=1.15,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
        zorder=4,
    )


def calibration_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    return calibration(figure_data.scores(shown)), []
