"""AUC against the size of the network: Figure 3 of Bonnet 2024 (arXiv:2108.13661)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import models, performance

SIZES = {"layers": "Depth, all layers", "parameters_millions": "Parameters, millions"}
"""Columns that the panels show, and the labels of their axes."""


@style.styled
def auc_against_size(frame: pd.DataFrame) -> Figure:
    """Draw the AUC of every model against its depth and against its parameters.

    Our point and the published one of a model are joined by a vertical line and share a name.

    Parameters
    ----------
    frame : see `figure_data.points`, of one mode, with `layers` (may be NaN) and `parameters_millions`.

    Returns
    -------
    figure : one row of two panels per data set.
    """
    datasets = list(frame["dataset"].unique()) or [""]
    figure, panels = style.new(style.DOUBLE, 0.3 + 2.6 * len(datasets), len(datasets), 2, sharey="row")
    for row, dataset in enumerate(datasets):
        for axes, (size, name) in zip(panels[row], SIZES.items(), strict=True):
            shown = frame[(frame["dataset"] == dataset) & frame[size].notna()]
            log = size == "parameters_millions"
            low, high = _limits(shown[size], log=log)
            axes.set(xlabel=name, title=dataset, xscale="log" if log else "linear", xlim=(low, high))
            if log:
                style.log_ticks(axes.xaxis, low, high, dense=1000)
            axes.margins(y=0.1)
            for origin in ("published", "ours"):
                some = shown[shown["origin"] == origin]
                style.points(axes, some[size], some["auc"], filled=origin == "ours", label=origin)
                axes.vlines(some[size], some["auc_low"], some["auc_high"], color=style.BLUE, linewidth=0.8)
            for _, model in shown.groupby("model_name", sort=False):
                axes.plot(model[size], model["auc"], color=style.GREY, linewidth=0.4, zorder=1)
        panels[row, 0].set_ylabel("Test AUC")
    if keys := style.origin_keys(frame, intervals=True):
        figure.legend(handles=keys, loc="outside upper right", ncols=2)
    for row, dataset in enumerate(datasets):
        for axes, size in zip(panels[row], SIZES, strict=True):
            _label(axes, frame[(frame["dataset"] == dataset) & frame[size].notna()], size)
    return figure


def _limits(sizes: pd.Series, *, log: bool) -> tuple[float, float]:
    """Return the limits of an axis, with room for names at both ends."""
    if sizes.empty:
        return (1.0, 100.0) if log else (0.0, 1.0)
    low, high = float(sizes.min()), float(sizes.max())
    if log:
        room = max((high / low) ** 0.12, 1.5)
        return low / room, high * room
    room = max(0.08 * (high - low), 0.1 * high)
    return low - room, high + room


def _label(axes: Axes, shown: pd.DataFrame, size: str) -> None:
    """Write each model's name once, at our point if there is one."""
    first = shown.sort_values("origin", kind="stable").drop_duplicates("model_name")  # "ours" sorts before "published"
    spans = shown.assign(
        low=shown[["auc", "auc_low"]].min(axis=1), high=shown[["auc", "auc_high"]].max(axis=1)
    ).groupby("model_name", sort=False)
    upright = [(rows[size].iloc[0], rows["low"].min(), rows["high"].max()) for _, rows in spans]
    at, every = (points[[size, "auc"]].to_numpy(np.float64) for points in (first, shown))
    style.label_points(axes, at, list(first["model_name"]), every, upright)


def auc_against_size_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study's models trained in full, and notes on the published values in it."""
    published = inputs.published.sizes
    sizes = models.read(next(iter(inputs.files["sizes"]), None), published, inputs.study["all_names"])
    first_per_mode = performance.first_per_mode(performance.read(inputs.files["performance"]), inputs.cells)
    first_per_mode = first_per_mode[first_per_mode["mode"] == "full"]
    in_short = models.in_short(sizes, published).rename(columns={"all_layers": "layers"})
    points = figure_data.points(first_per_mode).merge(in_short, on="model")
    return auc_against_size(points), figure_data.notes_on_published(first_per_mode)
