"""AUC on changed patches."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.core.changes import UNCHANGED
from histobench.results import figure_data
from histobench.results.columns import read
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import robustness

MARKERS = "osD^vP"
# Height of a row that all runs share, in rows.
SPREAD = 0.7


@style.styled
def auc_by_change(table: pd.DataFrame) -> Figure:
    """Draw the AUC of each run in each change of its test patches, with its 95 % interval.

    Parameters
    ----------
    table : as `robustness.table_of_runs` returns it.

    Returns
    -------
    figure : a row per change, in the order of the table, the first one on top, and a colour and marker per run, whose
        AUC on unchanged patches is a dotted line.
    """
    table = table[table["auc"].notna()]
    if table.empty:
        return style.nothing(figure_data.NO_RUN)
    changes = list(table["change"].unique())
    runs = list(table["label"].unique())
    room = max(0.16, 0.075 * len(runs))  # inches, of a row
    figure, panels = style.new(style.ONE_AND_A_HALF, 0.6 + room * len(changes) + 0.14 * len(runs))
    axes = panels[0, 0]
    style.bands(axes, changes, "")
    heights = {change: len(changes) - 1 - place for place, change in enumerate(changes)}
    offsets = SPREAD * ((np.arange(len(runs)) + 0.5) / len(runs) - 0.5)
    keys = []
    for number, (label, offset) in enumerate(zip(runs, offsets, strict=True)):
        some = table[table["label"] == label]
        colour = style.LINE_COLOURS[number % len(style.LINE_COLOURS)]
        look = {"colour": colour, "marker": MARKERS[number % len(MARKERS)]}
        axes.axvline(float(some.loc[some["change"] == UNCHANGED, "auc"].iloc[0]), **style.REFERENCE | {"color": colour})
        at = some["change"].map(heights).to_numpy(np.float64) - offset
        axes.hlines(at, some["auc_low"], some["auc_high"], color=colour, linewidth=0.9)
        style.points(axes, some["auc"], at, filled=True, label=label, **look)
        keys.append(style.key(label, filled=True, **look))
    axes.set_xlabel("Test AUC; dotted: of unchanged patches")
    figure.legend(handles=keys, loc="outside upper right", ncols=1)
    return figure


def auc_by_change_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set; the notes below its table say what is changed, and which runs these are."""
    return auc_by_change(read(inputs.files["robustness"][0], robustness.COLUMNS)), []
