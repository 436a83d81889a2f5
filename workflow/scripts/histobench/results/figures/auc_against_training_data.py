"""AUC against how much was trained on: patches, and the slides or patients that they come from."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.results.cells import MODE_NAMES
from histobench.results.cells import NAMES as CELL
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import performance

SIZES = {"n_train": "Training patches", "n_train_groups": "Slides or patients trained on"}
"""Columns that the panels show, and the labels of their axes."""

BY = {"n_train": "train_fraction", "n_train_groups": "train_groups"}
"""Which parts of training data each panel shows, by `subset_by` of `cells.csv`, beside all of it."""


@style.styled
def auc_against_training_data(frame: pd.DataFrame) -> Figure:
    """Draw the test AUC of every model against the size of the training part.

    Parameters
    ----------
    frame : one row per cell: `whole`, the data set whose training patches these are a part of, `subset_by`, "" for all
        of them, `label`, the columns of `SIZES` (0 where slides are unknown), `auc`, `auc_low`, `auc_high`.

    Returns
    -------
    figure : one row of two panels per data set.
    """
    datasets = list(frame["whole"].unique())
    figure, panels = style.new(style.DOUBLE, 0.4 + 2.6 * len(datasets), len(datasets), 2, sharey="row")
    looks = {label: style.line(number) for number, label in enumerate(frame["label"].unique())}
    handles = {}
    for row, dataset in enumerate(datasets):
        of_dataset = frame[frame["whole"] == dataset]
        for axes, (size, name) in zip(panels[row], SIZES.items(), strict=True):
            shown = of_dataset[of_dataset["subset_by"].isin(["", BY[size]]) & (of_dataset[size] > 0)]
            axes.set(xlabel=name, xscale="log")
            if not (shown["subset_by"] == BY[size]).any():
                axes.set(xlim=(1, 10))
                style.remark(axes, f"no data set with {BY[size]}", (1.5, 0.5), (0, 0), "center")
                continue
            low, high = float(shown[size].min()), float(shown[size].max())
            axes.set(xlim=(low / 1.25, high * 1.25))
            style.log_ticks(axes.xaxis, low, high, dense=1000, whole=True)
            # Side by side, so that intervals of two models do not hide each other.
            shift = {label: 1.02 ** (number - (len(looks) - 1) / 2) for number, label in enumerate(looks)}
            for label, some in shown.groupby("label", sort=False):
                ordered = some.sort_values(size)
                at, colour = ordered[size] * shift[str(label)], looks[str(label)]["color"]
                (handles[label],) = axes.plot(at, ordered["auc"], marker="o", markersize=3, **looks[str(label)])
                axes.vlines(at, ordered["auc_low"], ordered["auc_high"], color=colour, linewidth=0.8)
        panels[row, 0].set_title(dataset, loc="left")
        panels[row, 0].set_ylabel("Test AUC")
    if handles:
        figure.legend(handles=list(handles.values()), labels=list(handles), loc="outside upper center", ncols=3)
    return figure


def sizes(runs: pd.DataFrame, cells: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the AUC of the cells on parts of training data, and on all of them; see `auc_against_training_data`.

    Parameters
    ----------
    runs, cells : as in `runs.csv` and `cells.csv`.
    table : see `performance.read`.
    """
    whole = cells.assign(whole=cells["subset_of"].where(cells["subset_of"] != "", cells["dataset"]))
    whole = whole[whole["whole"].isin(cells.loc[cells["subset_of"] != "", "subset_of"])]
    means = runs.groupby(CELL, sort=False)[list(SIZES)].mean().reset_index()
    frame = whole[[*CELL, "whole", "subset_by"]].merge(table, on=CELL).merge(means, on=CELL)
    frame = frame[np.isfinite(frame["auc"].astype(float))]
    label = frame["model_name"] + ", " + frame["mode"].map(MODE_NAMES)
    for name in ("recipe", "device"):
        if frame[name].nunique() > 1:
            label += ", " + frame[name]
    return frame.assign(label=label)


def auc_against_training_data_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of all data sets of which the study trains on parts."""
    table = performance.read(inputs.files["performance"])
    return auc_against_training_data(sizes(inputs.runs, inputs.cells, table)), []
