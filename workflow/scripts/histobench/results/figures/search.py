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
from histobench.tuning.search_tables import VALUES

SEARCH = ["dataset", "model_name", "mode", "recipe", "device"]
METHODS = {"hyperband": "Hyperband", "random": "random search"}
"""In print."""

# Of the arms of tuned against untuned.
LOOKS = {
    "untuned": {"colour": style.GREY, "marker": "o"},
    "hyperband": {"colour": style.BLUE, "marker": "s"},
    "random": {"colour": style.VERMILLION, "marker": "^"},
}
OBJECTIVES = {"val_auc": "AUC", "val_accuracy": "accuracy"}
# Points squared: of a trial that was trained for one epoch more.
AREA = 9.0
COLOURS = "cividis"
DOT: dict[str, Any] = {"linestyle": "", "marker": "o", "mew": 0}
RING: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 12.0,
    "markerfacecolor": "none",
    "markeredgecolor": style.VERMILLION,
    "mew": 1.2,
}


@style.styled
def trials(frame: pd.DataFrame) -> Figure:
    """Draw every trial of every search: where in the space it was, how long it was trained, what it scored.

    Parameters
    ----------
    frame : as `search_tables.trials` returns it; trials without a score are left out.

    Returns
    -------
    figure : one panel per search. Its axes are the first two hyperparameters that were searched for and are numbers,
        learning rate and batch size if they were; of a single one the score is the other axis. A configuration that
        was promoted has a circle for each of its rounds, one within the other; the best trial has a ring.
    """
    frame = frame[frame["score"].notna()]
    searches = [part for _, part in frame.groupby(SEARCH, sort=False)]
    rows, columns = (1, 1) if not searches else (-(-len(searches) // 2), min(len(searches), 2))
    width = style.DOUBLE if columns == 2 else style.ONE_AND_A_HALF
    # Where all search for the same, one look compares them.
    shared = len({_axes(part) for part in searches}) == 1
    figure, panels = style.new(width, 0.5 + 2.6 * rows, rows, columns, sharex=shared, sharey=shared)
    every = list(panels.flat)
    for axes in every[max(len(searches), 1) :]:
        axes.remove()
    scale = Normalize(frame["score"].min(), frame["score"].max()) if len(frame) else Normalize(0, 1)
    for axes, part in zip(every, searches, strict=False):
        names = dict(zip(SEARCH, part[SEARCH].iloc[0], strict=True))
        label = f"{names['dataset']}, {names['model_name']}, {MODE_NAMES.get(names['mode'], names['mode'])}"
        several = {name for name in ("recipe", "device") if frame[name].nunique() > 1}
        axes.set_title(", ".join([label, *(names[name] for name in ("recipe", "device") if name in several)]))
        _trials(axes, part, scale)
    if len(frame):
        objective = " or ".join(OBJECTIVES[name] for name in frame["objective"].unique())
        bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=every[: len(searches)], aspect=30, pad=0.02)
        bar.set_label(f"Validation {objective}, best epoch of the trial")
        bar.outline.set_visible(False)
        keys = [
            Line2D([], [], color=style.GREY, label=f"{number} epochs", markersize=np.sqrt(AREA * number), **DOT)
            for number in sorted(frame["last_epoch"].unique())
        ]
        keys.append(Line2D([], [], label="best trial", **RING))
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _axes(part: pd.DataFrame) -> tuple[str, str]:
    """Return the columns that the axes of a search's panel show."""
    varied = [name for name in VALUES if pd.api.types.is_numeric_dtype(part[name]) and part[name].nunique() > 1]
    across, up = (*varied, "score", "score")[:2]
    return across, up


def _trials(axes: Axes, part: pd.DataFrame, scale: Normalize) -> None:
    """Draw the trials of one search."""
    across, up = _axes(part)
    # The long ones first, so that the short ones lie on them.
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
            axis.set_major_locator(ticker.FixedLocator(sorted(part[name].unique())))
    axes.tick_params(labelbottom=True, labelleft=True)
    axes.margins(0.08)


@style.styled
def tuned(frame: pd.DataFrame) -> Figure:
    """Draw the test AUC by each found recipe beside that of the recipe that it was tuned from.

    Parameters
    ----------
    frame : as `search_tables.searches` returns it.

    Returns
    -------
    figure : one panel per data set; a row per model and mode, the first one on top, in it an AUC with its 95 % interval
        for each arm that has one.
    """
    arms = _arms(frame)
    datasets = list(arms["dataset"].unique()) or [""]
    rows = list(arms["row"].unique())
    width = style.ONE_AND_A_HALF if len(datasets) == 1 else style.DOUBLE
    figure, panels = style.new(width, 0.9 + 0.42 * max(len(rows), 2), 1, len(datasets), sharex=True, sharey=True)
    heights = {row: len(rows) - 1 - place for place, row in enumerate(rows)}
    shown = [arm for arm in LOOKS if (arms["arm"] == arm).any()]
    for axes, dataset in zip(panels[0], datasets, strict=True):
        axes.set(title=dataset, xlabel="Test AUC, 95 % interval", ylim=(-0.6, max(len(rows), 1) - 0.4))
        axes.set_yticks([heights[row] for row in rows], rows)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        for height in range(0, len(rows), 2):
            axes.axhspan(height - 0.5, height + 0.5, color="#F5F5F5", zorder=0, linewidth=0)
        for place, arm in enumerate(shown):
            some = arms[(arms["dataset"] == dataset) & (arms["arm"] == arm)]
            offset = 0.25 * ((len(shown) - 1) / 2 - place)
            at = some["row"].map(heights).to_numpy(np.float64) + offset
            axes.hlines(at, some["auc_low"], some["auc_high"], color=LOOKS[arm]["colour"], linewidth=0.9)
            style.points(axes, some["auc"], at, filled=arm != "untuned", label=arm, **LOOKS[arm])
    if shown:
        names = {"untuned": "untuned"} | {method: f"tuned by {name}" for method, name in METHODS.items()}
        keys = [style.key(names[arm], filled=arm != "untuned", **LOOKS[arm]) for arm in shown]
        figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return figure


def _arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `dataset`, `row`, `arm`, `auc`, `auc_low`, `auc_high`, a row per AUC; of several recipes the first."""
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
