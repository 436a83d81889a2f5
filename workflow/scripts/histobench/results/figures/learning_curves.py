"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.core.recipes import KNN
from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.inputs import Inputs

METRICS = {"loss": "Loss", "accuracy": "Accuracy"}

PARTS: dict[str, dict[str, Any]] = {
    "": {"color": style.ORANGE, "linestyle": "--"},
    "val_": {"color": style.BLUE, "linestyle": "-"},
}
"""Looks of training and validation, by the prefix of their columns in `history.csv`."""

PALEST = 0.45
"""Opacity of the last seed's lines; the first one's are opaque."""

BEST: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "color": style.BLUE}


@style.styled
def learning_curves(histories: Mapping[str, Sequence[tuple[pd.DataFrame, int]]]) -> Figure:
    """Draw loss (on a logarithmic axis) and accuracy of training and validation against the epoch.

    Parameters
    ----------
    histories : from a printed label to the `history.csv` of each of its seeds (`epoch`, `loss`, `accuracy`, `val_loss`,
        `val_accuracy`) and the best epoch. Each seed has lines of its own, which share a shade; the best epoch is
        marked on the validation curve.

    Returns
    -------
    figure : two panels per label, loss above accuracy, up to six labels side by side.
    """
    columns = max(1, min(len(histories), 4 if len(histories) <= 8 else 6))
    bands = max(1, -(-len(histories) // columns))
    width = min(style.DOUBLE, max(style.SINGLE, 1.8 * columns))
    panel = 1.15 if columns <= 4 else 0.95
    figure, panels = style.new(
        width, 0.45 + 2 * panel * bands + 0.15 * bands, 2 * bands, columns, sharex=True, sharey=False
    )
    limits = {metric: _range(histories, metric) for metric in METRICS}
    for axes in panels[-2:, len(histories) - columns * (bands - 1) :].flat:
        axes.remove()
    for number, label in enumerate(histories):
        band, column = divmod(number, columns)
        for row, (metric, name) in enumerate(METRICS.items()):
            axes = panels[2 * band + row, column]
            shades = np.linspace(1, PALEST, len(histories[label]))
            for (history, best), shade in zip(histories[label], shades, strict=True):
                for part, look in PARTS.items():
                    shown = look | {"alpha": shade, "linewidth": 0.8, "gid": part + metric}
                    axes.plot(history["epoch"], history[part + metric], **shown)
                at = history[history["epoch"] == best]
                axes.plot(at["epoch"], at["val_" + metric], **BEST, alpha=shade, zorder=4, gid="best")
            low, high = limits[metric]
            if metric == "loss":
                axes.set(yscale="log", ylim=(low / 1.2, high * 1.2))
                style.log_ticks(axes.yaxis, low, high, dense=30)
                style.panel_title(axes, label, columns)
            else:
                axes.set_ylim(low - 0.03, high + 0.03)
            lowest = metric == "accuracy" and number + columns >= len(histories)
            axes.tick_params(labelleft=column == 0, labelbottom=lowest)
            axes.set(xlabel="Epoch" if lowest else "", ylabel=name if column == 0 else "")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    figure.align_ylabels()
    figure.legend(
        handles=[
            Line2D([], [], **PARTS[""], label="training"),
            Line2D([], [], **PARTS["val_"], label="validation"),
            Line2D([], [], **BEST, label="best epoch"),
        ],
        loc="outside upper right",
        ncols=3,
    )
    return figure


def _range(histories: Mapping[str, Sequence[tuple[pd.DataFrame, int]]], metric: str) -> tuple[float, float]:
    """Return the minimum and the maximum of a metric over all histories; for the loss, of values above 0."""
    columns = [history[part + metric] for seeds in histories.values() for history, _ in seeds for part in PARTS]
    values = pd.concat(columns) if columns else pd.Series([0.5])
    values = values[values > 0] if metric == "loss" else values
    return float(values.min()), float(values.max())


def learning_curves_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    shown = shown[shown["classifier"] != KNN]  # nothing was trained in epochs
    networks = inputs.gathered.get(inputs.dataset, 1)
    notes = [f"Curves are means over {networks} folds; the dot marks the median of the epochs whose weights were kept."]
    return learning_curves(figure_data.histories(shown)), notes if networks > 1 else []
