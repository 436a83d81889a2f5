"""Trained on against tested on: runs on the test patches of data sets that they have not learned from."""

import pandas as pd
from matplotlib.figure import Figure

from histobench.results.cells import MODE_NAMES
from histobench.results.columns import read
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import external

CHANCE = 0.5


@style.styled
def auc_by_training(frame: pd.DataFrame) -> Figure:
    """Draw the AUC of every network on its own test patches and on those of other data sets.

    Parameters
    ----------
    frame : as `external.external` returns it.

    Returns
    -------
    figure : a panel for each data set that is tested on; a row for each cell, with the data set that it was trained on.
        Filled where that is the same.
    """
    frame = frame[frame["auc"].notna()]
    if frame.empty:
        return style.nothing("No run has been tested on another data set.")
    datasets = list(dict.fromkeys(frame["tested_on"]))
    several = [name for name in ("recipe", "device") if frame[name].nunique() > 1]
    panels = [frame[frame["tested_on"] == name] for name in datasets]
    width = style.DOUBLE if len(panels) > 1 else style.ONE_AND_A_HALF
    height = 0.75 + 0.19 * max(map(len, panels))
    figure, drawn = style.multiples(len(panels), width, height, 1, len(panels), x="Test AUC", sharex=True)
    trained_on = list(dict.fromkeys(frame["dataset"]))
    colours = dict(zip(trained_on, style.LINE_COLOURS * len(trained_on), strict=False))
    for axes, some, name in zip(drawn, panels, datasets, strict=True):
        # One's own first, as what the others are seen against.
        some = some.iloc[(some["dataset"] != name).argsort(kind="stable")]
        rows = [
            ", ".join([row["model_name"], MODE_NAMES[row["mode"]], *(row[key] for key in several)])
            for row in some.to_dict("records")
        ]
        style.bands(axes, rows, f"Tested on {name}")
        axes.axvline(CHANCE, **style.REFERENCE)
        for place, row in zip(range(len(some) - 1, -1, -1), some.to_dict("records"), strict=True):
            colour = colours[row["dataset"]]
            axes.hlines(place, row["auc_low"], row["auc_high"], color=colour, linewidth=0.9)
            own = row["dataset"] == name
            style.points(axes, [row["auc"]], [place], filled=own, label="", colour=colour)
    keys = [style.key(f"trained on {name}", filled=True, colour=colour) for name, colour in colours.items()]
    keys.append(style.key("tested on another data set", filled=False, colour=style.GREY))
    figure.legend(handles=keys, loc="outside upper right", ncols=min(len(keys), 3))
    return figure


def external_validation_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study, and its notes."""
    return auc_by_training(read(inputs.files["external"][0], external.COLUMNS)), []
