"""What each step from one recipe to another adds to the AUC, on validation patches."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure

from histobench.results.cells import MODE_NAMES
from histobench.results.columns import read
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.tables import ablation

PANEL = ["dataset", "model_name", "device"]


@style.styled
def steps(frame: pd.DataFrame) -> Figure:
    """Draw the difference that each step makes, with its interval, and the AUC that it reaches.

    Parameters
    ----------
    frame : as `ablation.ablation` returns it.

    Returns
    -------
    figure : a panel for each data set, model and device; a row for each step, the first one on top. A step whose
        interval lies on one side of zero is filled.
    """
    panels = [some for _, some in frame.groupby(PANEL, sort=False)]
    if not panels:
        return style.nothing("No step has a result.")
    rows = max(len(some) for some in panels)
    columns = min(len(panels), 2)
    width = style.SINGLE if columns == 1 else style.DOUBLE
    grid = (-(-len(panels) // columns), columns)
    size = (width, (0.45 + 0.17 * rows) * grid[0] + 0.35, *grid)
    figure, drawn = style.multiples(len(panels), *size, x="Difference of the validation AUC", sharex=True)
    several = [name for name in PANEL if frame[name].nunique() > 1] or ["dataset"]
    for axes, some in zip(drawn, panels, strict=True):
        style.bands(axes, [_label(step) for step in some.to_dict("records")], ", ".join(some.iloc[0][several]))
        axes.axvline(0, **style.REFERENCE)
        # Not by 2.5, as matplotlib would: "−0.025" is wider than it expects, so that ticks ran into each other.
        axes.xaxis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 5, 10]))
        beside: dict[str, Any] = {"fontsize": style.SMALL, "ha": "left", "transform": axes.get_yaxis_transform()}
        for height, step in zip(range(len(some) - 1, -1, -1), some.to_dict("records"), strict=True):
            axes.hlines(height, step["difference_low"], step["difference_high"], color=style.BLUE, linewidth=0.9)
            sure = step["difference_low"] > 0 or step["difference_high"] < 0
            style.points(axes, [step["difference"]], [height], filled=sure, label="")
            axes.text(1.02, height, "" if pd.isna(step["auc"]) else f"{step['auc']:.3f}", va="center", **beside)
        axes.text(1.02, len(some) - 0.3, "AUC", va="bottom", **beside)
    keys = [
        style.key("95 % interval on one side of 0", filled=True),
        style.key("interval includes 0", filled=False),
    ]
    figure.legend(handles=keys, loc="outside upper right", ncols=2)
    return figure


def _label(step: Mapping[Any, Any]) -> str:
    """Return the name of a step: its recipe after that which it is added to, and the mode where it changes."""
    mode, recipe = step["mode"], step["recipe"]
    if not step["added_to"]:
        return f"{recipe}, {MODE_NAMES[mode]}"
    before = step["added_to"].split("/")
    changed = ([f"{MODE_NAMES[mode]}"] if before[0] != mode else []) + ([recipe] if before[1] != recipe else [])
    return f"{before[1]} \N{RIGHTWARDS ARROW} {', '.join(changed)}"


def ablation_steps_figure(inputs: Inputs) -> tuple[Figure, list[str], pd.DataFrame]:
    """Return the figure of the study, its notes, and the cells of the data sets that it shows."""
    frame = read(inputs.files["ablation"][0], ablation.COLUMNS)
    return steps(frame), [], inputs.cells[inputs.cells["dataset"].isin(frame["dataset"])]
