"""Our AUCs beside the published ones."""

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.cells import MODE_NAMES
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import performance

OFFSETS = {"ours": 0.21, "published": -0.21}

LONG = 24
"""Characters of a row's name above which it is broken on a phone, where it would take the room of the axes."""


@style.styled
def forest(frame: pd.DataFrame, *, narrow: bool = False) -> Figure:
    """Draw the AUC of every model, mode and recipe, ours with its 95 % interval above the published one.

    Parameters
    ----------
    frame : see `figure_data.points`.
    narrow : whether to draw data sets one below the other instead of side by side, for phones.

    Returns
    -------
    figure : one panel per data set; rows in the order of the frame, the first one on top, but for those of the same
        model and mode, which stand together.
    """
    frame = frame.assign(label=figure_data.labels(frame, apart=["recipe"]))
    datasets = list(frame["dataset"].unique()) or [""]
    rows = [label for _, some in frame.groupby(["model_name", "mode"], sort=False) for label in some["label"].unique()]
    grid = (len(datasets), 1) if narrow else (1, len(datasets))
    width = style.PHONE if narrow else style.SINGLE if len(datasets) == 1 else style.DOUBLE
    names = [",\n".join(row.rsplit(", ", 1)) if narrow and len(row) > LONG else row for row in rows]
    row_height = 0.2 if names == rows else 0.26
    height = (0.3 + row_height * max(len(rows), 2)) * grid[0] + 0.5
    figure, panels = style.new(width, height, *grid, sharex=True, sharey=True)
    heights = {row: len(rows) - 1 - place for place, row in enumerate(rows)}
    for axes, dataset in zip(panels.flat, datasets, strict=True):
        style.bands(axes, names, dataset)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4 if narrow else 8, steps=[1, 2, 5, 10]))
        for (mode, origin), some in frame[frame["dataset"] == dataset].groupby(["mode", "origin"], sort=False):
            look = style.mode_style(str(mode))
            offset = OFFSETS[str(origin)] if frame["origin"].nunique() > 1 else 0.0
            at = some["label"].map(heights).to_numpy(np.float64) + offset
            axes.hlines(at, some["auc_low"], some["auc_high"], color=look["colour"], linewidth=0.9)
            style.points(axes, some["auc"], at, filled=origin == "ours", label=str(origin), **look)
    for axes in panels[-1]:
        axes.set_xlabel("Test AUC")
    modes = list(frame["mode"].unique())
    keys = style.origin_keys(frame, intervals=True, colour=style.GREY)
    keys += [style.key(MODE_NAMES.get(mode, mode), filled=True, **style.mode_style(mode)) for mode in modes]
    if keys:
        figure.legend(handles=keys, loc="outside upper right", ncols=2 if width < style.DOUBLE else len(keys))
    return figure


def forest_figure(inputs: Inputs, *, narrow: bool = False) -> tuple[Figure, list[str]]:
    """Return the figure of the study, and notes on the published values in it."""
    cells = performance.first_per_recipe(performance.read(inputs.files["performance"]), inputs.cells)
    return forest(figure_data.points(cells), narrow=narrow), figure_data.notes_on_published(cells)


def forest_narrow_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study for phones, and its notes."""
    return forest_figure(inputs, narrow=True)
