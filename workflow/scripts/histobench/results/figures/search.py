"""Searches for hyperparameters: every trial, and tuned against untuned."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from histobench.results import columns
from histobench.results.cells import MODE_NAMES
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.tuning import search_tables
from histobench.tuning.search_files import DIVERGED
from histobench.tuning.search_tables import VALUES

SEARCH = ["dataset", "model_name", "mode", "recipe", "device"]
ARMS = {"untuned": "untuned", "hyperband": "tuned by Hyperband", "random": "tuned by random search"}

LOOKS = {
    "untuned": {"colour": style.GREY, "marker": "o"},
    "hyperband": {"colour": style.BLUE, "marker": "s"},
    "random": {"colour": style.VERMILLION, "marker": "^"},
}
"""Looks of the arms of tuned against untuned."""

OBJECTIVES = {"val_auc": "AUC", "val_accuracy": "accuracy"}
AREA = 9.0
"""Area per epoch of the circle of a trial, in points squared."""
COLOURS = "cividis"
DOT: dict[str, Any] = {"linestyle": "", "marker": "o", "mew": 0}
RING: dict[str, Any] = DOT | {"markersize": 12.0, "markerfacecolor": "none", "mew": 1.2}
RING["markeredgecolor"] = style.VERMILLION
CROSS: dict[str, Any] = {"linestyle": "", "marker": "x", "color": style.GREY, "markersize": 5.0, "mew": 1.0}


@style.styled
def trials(frame: pd.DataFrame) -> Figure:
    """Draw the trials of every search: their place in the space, epochs, and scores.

    Parameters
    ----------
    frame : as `search_tables.trials` returns it; trials without a score are left out.

    Returns
    -------
    figure : one panel per search. Its axes are the first two numeric hyperparameters that were searched for, preferably
        learning rate and batch size; if there is only one, the other axis is the score. A configuration that was
        promoted has a circle for each of its rounds, one within the other; the best trial has a ring, and one that
        diverged is a cross.
    """
    frame = frame[frame["score"].notna()]
    whole = frame["status"] != DIVERGED
    searches = [part for _, part in frame.groupby(SEARCH, sort=False)]
    rows, columns = (1, 1) if not searches else (-(-len(searches) // 2), min(len(searches), 2))
    width = style.DOUBLE if columns == 2 else style.ONE_AND_A_HALF
    # Searches over the same space can be compared.
    shared = len({_axes(part) for part in searches}) == 1
    size = (width, 0.5 + 2.6 * rows, rows, columns)
    figure, panels = style.multiples(max(len(searches), 1), *size, sharex=shared, sharey=shared)
    scores = frame.loc[whole, "score"]
    scale = Normalize(scores.min(), scores.max()) if len(frame) else Normalize(0, 1)
    for axes, part in zip(panels, searches, strict=False):
        search = part.iloc[0]
        several = [search[name] for name in ("recipe", "device") if frame[name].nunique() > 1]
        axes.set_title(", ".join([search["dataset"], search["model_name"], MODE_NAMES[search["mode"]], *several]))
        _trials(axes, part, scale)
    if len(frame):
        objective = " or ".join(OBJECTIVES[name] for name in frame["objective"].unique())
        bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=panels, aspect=30, pad=0.02)
        bar.set_label(f"Validation {objective}, best epoch of the trial")
        bar.outline.set_visible(False)
        keys = [
            Line2D([], [], color=style.GREY, label=f"{number} epochs", markersize=np.sqrt(AREA * number), **DOT)
            for number in sorted(frame.loc[whole, "last_epoch"].unique())
        ]
        keys.append(Line2D([], [], label="best trial", **RING))
        if not whole.all():
            keys.append(Line2D([], [], label="diverged", **CROSS))
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _axes(part: pd.DataFrame) -> tuple[str, str]:
    """Return the columns on the two axes of a search's panel."""
    varied = [name for name in VALUES if pd.api.types.is_numeric_dtype(part[name]) and part[name].nunique() > 1]
    across, up = (*varied, "score", "score")[:2]
    return across, up


def _trials(axes: Axes, part: pd.DataFrame, scale: Normalize) -> None:
    """Draw the trials of one search."""
    across, up = _axes(part)
    diverged, places = part[part["status"] == DIVERGED], part
    # Their score, 0, is no place among the others'.
    if len(diverged):
        at, transform = (0.03, axes.get_xaxis_transform()) if up == "score" else (diverged[up], axes.transData)
        axes.plot(diverged[across], np.broadcast_to(at, len(diverged)), zorder=2, transform=transform, **CROSS)
    part = part[part["status"] != DIVERGED]
    # In order of falling size, so that small circles lie on large ones.
    for row in part.sort_values("last_epoch", ascending=False, kind="stable").to_dict("records"):
        axes.scatter(
            row[across], row[up], s=AREA * row["last_epoch"], c=[row["score"]], norm=scale, cmap=COLOURS, zorder=3,
            linewidths=0.4, edgecolors="white",
        )  # fmt: skip
    best = part.sort_values("score", kind="stable", ascending=False).iloc[0]
    axes.plot(best[across], best[up], zorder=4, **RING)
    for axis, name in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_label_text(name.replace("_", " ").capitalize())
        if name == "learning_rate":
            axes.set_xscale("log") if axis is axes.xaxis else axes.set_yscale("log")
        elif name == "batch_size":
            axis.set_major_locator(ticker.FixedLocator(sorted(places[name].unique())))
    axes.tick_params(labelbottom=True, labelleft=True)
    axes.margins(0.08)


@style.styled
def tuned(frame: pd.DataFrame) -> Figure:
    """Draw the test AUC of each tuned recipe beside that of the recipe before tuning.

    Parameters
    ----------
    frame : as `search_tables.searches` returns it.

    Returns
    -------
    figure : one panel per data set, one row per model and mode, with the AUC and 95 % interval of each arm.
    """
    arms = _arms(frame)
    datasets = list(arms["dataset"].unique()) or [""]
    rows = list(arms["row"].unique())
    width = style.ONE_AND_A_HALF if len(datasets) == 1 else style.DOUBLE
    figure, panels = style.new(width, 0.9 + 0.42 * max(len(rows), 2), 1, len(datasets), sharex=True, sharey=True)
    heights = {row: len(rows) - 1 - place for place, row in enumerate(rows)}
    shown = [arm for arm in LOOKS if (arms["arm"] == arm).any()]
    for axes, dataset in zip(panels[0], datasets, strict=True):
        style.bands(axes, rows, dataset)
        axes.set_xlabel("Test AUC, 95 % interval")
        for place, arm in enumerate(shown):
            some = arms[(arms["dataset"] == dataset) & (arms["arm"] == arm)]
            offset = 0.25 * ((len(shown) - 1) / 2 - place)
            at = some["row"].map(heights).to_numpy(np.float64) + offset
            axes.hlines(at, some["auc_low"], some["auc_high"], color=LOOKS[arm]["colour"], linewidth=0.9)
            style.points(axes, some["auc"], at, filled=arm != "untuned", label=arm, **LOOKS[arm])
    if shown:
        keys = [style.key(ARMS[arm], filled=arm != "untuned", **LOOKS[arm]) for arm in shown]
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `dataset`, `row`, `arm`, `auc`, `auc_low`, `auc_high`, of the first recipe of each arm."""
    row = frame["model_name"] + ", " + frame["mode"].map(MODE_NAMES)
    if frame["device"].nunique() > 1:
        row += ", " + frame["device"]
    tuned = frame.assign(row=row, arm=frame["method"])
    columns = ("auc", "auc_low", "auc_high")
    before = frame.assign(row=row, arm="untuned", **{name: frame[f"untuned_{name}"] for name in columns})
    both = pd.concat([before, tuned])[["dataset", "row", "arm", *columns]]
    both = both[both["auc"].notna() & both["arm"].isin(list(LOOKS))]
    return both.drop_duplicates(["dataset", "row", "arm"])


def search_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study's trials."""
    return trials(columns.read(inputs.files["trials"][0], search_tables.TRIALS)), []


def tuned_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study's tuned models."""
    return tuned(columns.read(inputs.files["searches"][0], search_tables.COLUMNS)), []
