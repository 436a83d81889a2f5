"""AUC by training mode: Figure 4 of Bonnet 2024 (arXiv:2108.13661)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.bootstrap import Floats
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.modes import MODES
from histobench.results.tables import performance

MIN_BOX = 5
"""A box shows five numbers (Tukey 1977, Exploratory Data Analysis); fewer points are drawn without one."""

MAX_NAMED = 12
"""Points of a panel up to which there is room for the names of their models."""


@style.styled
def auc_by_mode(frame: pd.DataFrame) -> Figure:
    """Draw the AUCs of every mode: all points, and a box of quartiles and median with whiskers to 1.5 times its height.

    Parameters
    ----------
    frame : see `figure_data.points`.

    Returns
    -------
    figure : one panel per data set, with our values (filled) to the left of published ones (hollow). A few points have
        the names of their models.
    """
    datasets = list(frame["dataset"].unique()) or [""]
    modes = [mode for mode in MODES if (frame["mode"] == mode).any()]
    width = min(style.DOUBLE, max(style.SINGLE, 0.6 + len(datasets) * (0.6 + 0.7 * len(modes))))
    figure, panels = style.new(width, 2.8, 1, len(datasets), sharey=True)
    named = []
    for axes, dataset in zip(panels[0], datasets, strict=True):
        of_dataset = frame[frame["dataset"] == dataset].sort_values("auc", kind="stable")
        drawn = []
        axes.set_title(dataset)
        axes.set_xticks(range(len(modes)), [MODES[mode].name for mode in modes])
        axes.set_xlim(-0.6, max(len(modes), 1) - 0.4)
        axes.grid(axis="x", visible=False)
        for place, mode in enumerate(modes):
            groups = {
                origin: of_dataset[(of_dataset["mode"] == mode) & (of_dataset["origin"] == origin)]
                for origin in ("ours", "published")
            }
            both = all(len(some) for some in groups.values())
            for origin, some in groups.items():
                centre, aucs = place + (0 if not both else -0.21 if origin == "ours" else 0.21), some["auc"].to_numpy()
                x = _box(axes, aucs, centre, 0.34 if both else 0.5, mode, filled=origin == "ours")
                drawn.append(some.assign(x=x))
        if 0 < len(of_dataset) <= MAX_NAMED:
            named.append((axes, pd.concat(drawn)))
        axes.set_xlabel("Mode")
    panels[0, 0].set_ylabel("Test AUC")
    if keys := style.origin_keys(frame, colour=style.GREY):
        figure.legend(handles=keys, loc="outside upper right", ncols=2)
    for axes, some in named:
        at = some[["x", "auc"]].to_numpy(np.float64)
        style.label_points(axes, at, list(some["model_name"]), at)
    return figure


def _box(axes: Axes, aucs: Floats, centre: float, width: float, mode: str, *, filled: bool) -> Floats:
    """Draw the box of sorted AUCs and their points, and return where these lie."""
    look = style.mode_style(mode)
    if len(aucs) >= MIN_BOX:
        line = {"color": look["colour"], "linewidth": 0.7}
        box = {"edgecolor": look["colour"], "hatch_linewidth": 0.3, "linewidth": 0.7}
        box |= {"facecolor": look["colour"] + "30", "hatch": MODES[mode].hatch} if filled else {"facecolor": "white"}
        options: dict[str, Any] = {"showfliers": False, "patch_artist": True, "manage_ticks": False, "boxprops": box}
        options |= {"medianprops": line | {"linewidth": 1.6}, "whiskerprops": line, "capprops": line}
        axes.boxplot([aucs], positions=[centre], widths=width, **options)
    # Steps of the golden ratio put neighbours in AUC, which might hide each other, far apart.
    jitter = (np.arange(len(aucs)) * 0.6180339887 % 1 - 0.5) * width * 0.75 if len(aucs) > 1 else np.zeros(len(aucs))
    x: Floats = (centre + jitter).astype(np.float64)
    style.points(axes, x, aucs, filled=filled, label="ours" if filled else "published", **look)
    return x


def auc_by_mode_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the study, and notes on the published values in it."""
    first_per_mode = performance.first_per_mode(performance.of_cnns(inputs), inputs.cells)
    return auc_by_mode(figure_data.points(first_per_mode)), figure_data.notes_on_published(first_per_mode)
