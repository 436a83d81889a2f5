"""Accuracy by slide or patient."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.figures import style
from histobench.results.inputs import Inputs

MAX_NAMED = 40
"""More names of groups would overlap or be too small to read."""


@style.styled
def per_group(frame: pd.DataFrame, without: str) -> Figure:
    """Draw the accuracy in every group, from the hardest to the easiest, below its number of patches.

    Parameters
    ----------
    frame : one row per printed label and group: `label`, `group`, `n` (test patches), `positives`, `accuracy`. Groups
        are sorted by their mean accuracy over the labels, equal ones by name.
    without : text of the figure if there are no rows.

    Returns
    -------
    figure : one row per label, in the given order.
    """
    if frame.empty:
        return style.nothing(without)
    table = frame.pivot_table(index="label", columns="group", values="accuracy", sort=False)
    means = table.mean(axis=0)
    groups = sorted(table.columns, key=lambda group: (means[group], str(group)))
    table = table[groups]
    accuracies = table.to_numpy(np.float64)
    counts = frame.drop_duplicates("group").set_index("group")[["n", "positives"]].reindex(groups)

    named = len(groups) <= MAX_NAMED
    height = 1.5 + 0.15 * len(table) + (0.5 if named else 0.0)
    ratios = [0.8, max(0.15 * len(table), 0.45)]
    figure, panels = style.new(style.DOUBLE, height, 2, 1, sharex=True, height_ratios=ratios)
    bars, heat = panels[:, 0]
    places = np.arange(len(groups))
    negatives = counts["n"] - counts["positives"]
    bars.bar(places, negatives, width=0.8, color=style.SKY, label="negative")
    bars.bar(places, counts["positives"], width=0.8, bottom=negatives, color=style.VERMILLION, label="positive")
    bars.set_ylabel("Test patches")
    bars.grid(axis="x", visible=False)
    bars.tick_params(bottom=False, labelbottom=False)
    bars.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2)
    # The colours start just below the worst group, so that differences among good ones are visible.
    worst = np.floor(10 * np.nanmin(accuracies)) / 10
    image = heat.imshow(accuracies, cmap="cividis", vmin=worst, vmax=1, aspect="auto", interpolation="nearest")
    heat.set_facecolor("#D0D0D0")
    figure.colorbar(image, ax=heat, label="Accuracy", pad=0.01, aspect=12, shrink=0.9 if len(table) > 3 else 1.0)
    heat.grid(visible=False)
    heat.set_yticks(range(len(table)), table.index)
    heat.tick_params(axis="y", length=0)
    if named:
        heat.set_xticks(places, groups, rotation=90, fontsize=5.5 if len(groups) <= 25 else 5)
    else:
        heat.set_xticks([])
    heat.set_xlabel(f"Group (slide or patient), {len(groups)} of them, by mean accuracy")
    return figure


def groups_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    unknown = "The slides or patients of some or all of these patches are unknown."
    return per_group(figure_data.groups(shown), figure_data.NO_RUN if shown.empty else unknown), []
