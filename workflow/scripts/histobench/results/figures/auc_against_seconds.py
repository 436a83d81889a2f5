"""AUC against seconds of training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.cells import MODE_NAMES
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import performance

MANY = 24
"""Points above which a panel needs the width of the page for their names."""


@style.styled
def auc_against_seconds(frame: pd.DataFrame) -> Figure:
    """Draw the test AUC of every cell against its seconds of training.

    Parameters
    ----------
    frame : see `figure_data.against_seconds`; cells without an AUC or seconds are left out.

    Returns
    -------
    figure : one panel per data set and device, since seconds on different devices cannot be compared. Names are those
        of models, with the recipe where one has several in a mode.
    """
    frame = frame[frame["auc"].notna() & (frame["seconds"] > 0)]
    cells = list(frame[["dataset", "device"]].drop_duplicates().itertuples(index=False, name=None)) or [("", "")]
    crowded = len(frame) > 0 and frame.groupby(["dataset", "device"]).size().max() > MANY
    columns = 1 if crowded else min(len(cells), 2)
    rows = -(-len(cells) // columns)
    width = style.DOUBLE if crowded or columns == 2 else style.ONE_AND_A_HALF
    shape = (len(cells), width, 0.3 + (4.5 if crowded else 3.0) * rows, rows, columns)
    figure, panels = style.multiples(*shape, "Training, seconds", "Test AUC, 95 % interval", sharex=True, sharey=True)
    low, high = (float(frame["seconds"].min()), float(frame["seconds"].max())) if len(frame) else (1.0, 100.0)
    room = max((high / low) ** 0.1, 1.4)
    modes = list(frame["mode"].unique())
    for axes, (dataset, device) in zip(panels, cells, strict=True):
        shown = frame[(frame["dataset"] == dataset) & (frame["device"] == device)]
        title = f"{dataset}, {device}" if dataset else ""
        axes.set(xscale="log", xlim=(low / room, high * room), title=title)
        style.log_ticks(axes.xaxis, low, high, dense=200)
        axes.margins(y=0.1)
        for mode in modes:
            some = shown[shown["mode"] == mode]
            look = style.mode_style(mode)
            style.points(axes, some["seconds"], some["auc"], filled=True, label=mode, **look)
            axes.vlines(some["seconds"], some["auc_low"], some["auc_high"], color=look["colour"], linewidth=0.8)
    if modes:
        figure.legend(
            handles=[style.key(MODE_NAMES.get(mode, mode), filled=True, **style.mode_style(mode)) for mode in modes],
            loc="outside upper right",
            ncols=len(modes),
        )
    for axes, (dataset, device) in zip(panels, cells, strict=True):
        shown = frame[(frame["dataset"] == dataset) & (frame["device"] == device)]
        at = shown[["seconds", "auc"]].to_numpy(np.float64)
        ends = shown[["auc_low", "auc_high"]].apply(lambda column, aucs=shown["auc"]: column.fillna(aucs))
        upright = list(zip(shown["seconds"], ends["auc_low"], ends["auc_high"], strict=True))
        names = figure_data.labels(shown, ["model_name"], ["recipe"])
        style.label_points(axes, at, list(names), at, upright)
    return figure


def auc_against_seconds_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study, and a note on what it leaves out."""
    scores = performance.read(inputs.files["performance"])
    notes = ["Without heads on features of others, whose seconds nobody here knows."] if inputs.encoders else []
    return auc_against_seconds(figure_data.against_seconds(inputs.runs, scores)), notes
