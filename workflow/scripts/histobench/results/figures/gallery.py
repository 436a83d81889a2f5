"""The most confident errors of a model, with Grad-CAM."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from histobench.results import figure_data
from histobench.results.cells import MODE_NAMES
from histobench.results.figures import style
from histobench.results.inputs import Inputs

COLUMNS = 6

LINE = 22
"""Characters that fit below a patch."""

KINDS = {0: "false positives", 1: "false negatives"}
"""Kinds of errors by true label."""


@style.styled
def gallery(errors: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the most confident false positives and false negatives, each above its Grad-CAM overlay if there is one.

    Parameters
    ----------
    errors : wrongly classified patches: `image` (side, side, 3) uint8, `heatmap` (h, w) float in [0, 1] (Grad-CAM,
        Selvaraju et al. 2017, ICCV) or None, `label` 0 or 1, `score` in [0, 1], `patch_id`, `group` ("" if unknown).
        For each label the six with the score farthest from it are drawn, equal ones in the given order.
    """
    surest = {
        label: sorted((error for error in errors if error["label"] == label), key=_agreement)[:COLUMNS]
        for label in KINDS
    }
    overlays = any(error["heatmap"] is not None for chosen in surest.values() for error in chosen)
    height = 2 if overlays else 1
    columns = max(1, *(len(chosen) for chosen in surest.values()))
    side = 1.08  # inches
    figure, panels = style.new(
        max(0.3 + side * columns + (0.45 if overlays else 0), 2.4), 2 * (height * side + 0.45), 2 * height, columns
    )
    for axes in panels.flat:
        style.blank(axes)
    heat = None
    for row, (label, chosen) in enumerate(surest.items()):
        panels[height * row, 0].set_ylabel(KINDS[label])
        if overlays and chosen:
            panels[height * row + 1, 0].set_ylabel("Grad-CAM")
        for column, error in enumerate(chosen):
            axes = panels[height * row, column]
            axes.imshow(error["image"], interpolation="nearest")
            if error["heatmap"] is not None:
                axes = panels[height * row + 1, column]
                axes.imshow(error["image"], interpolation="nearest")
                heat = _overlay(axes, error["heatmap"], error["image"].shape[0])
            panels[height * row + height - 1, column].set_xlabel(_caption(error), fontsize=5, linespacing=1.15)
        if not chosen:
            panels[height * row, 0].text(0.5, 0.5, "none", transform=panels[height * row, 0].transAxes, ha="center")
    if heat is not None:
        bar = figure.colorbar(heat, ax=panels, label="Grad-CAM", fraction=0.03, pad=0.01, aspect=40, ticks=[0, 0.5, 1])
        bar.ax.set_yticks([0, 0.5, 1])
    return figure


def _agreement(error: Mapping[str, Any]) -> float:
    """Return the predicted probability of the true label."""
    return float(error["score"] if error["label"] == 1 else 1 - error["score"])


def _overlay(axes: Axes, heatmap: style.Floats, side: int) -> Any:
    """Draw a heat map over a patch of `side` pixels, interpolated bilinearly."""
    edges = (-0.5, side - 0.5, side - 0.5, -0.5)
    return axes.imshow(heatmap, cmap="viridis", vmin=0, vmax=1, alpha=0.5, extent=edges, interpolation="bilinear")


def _caption(error: Mapping[str, Any]) -> str:
    """Return score, patch and group as lines that fit below a patch."""
    lines = [f"score {error['score']:.4f}"]
    for name in (str(error["patch_id"]), str(error["group"])):
        lines.append("")
        # Names such as 8863_idx5_x51_y1251_class0 are broken after an underscore or a hyphen.
        for part in re.findall(r"[^_-]*[_-]?", name):
            if len(lines[-1] + part) > LINE:
                lines.append("")
            lines[-1] += part
    return "\n".join(line for line in lines if line)


def gallery_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set, and notes on the run that it shows."""
    errors = pd.read_csv(
        inputs.files["errors"][0], dtype={"patch_id": str, "group": str, "run": str}, keep_default_na=False
    )
    test, notes = inputs.test_patches, []
    position = {patch: place for place, patch in enumerate(test.ids)}
    images = test.take(np.array([position[patch] for patch in errors["patch_id"]], np.int64))
    maps = {}
    for path in inputs.files["heatmaps"]:
        with np.load(path) as file:
            if set(errors["run"]) == {str(file["run"])}:  # not of a run that was best before
                maps = dict(zip(file["patch_id"].tolist(), file["heatmap"], strict=True))
    if any(heatmap.size == 1 for heatmap in maps.values()):
        maps = {}
        notes.append("Without Grad-CAM: the last feature map of this network is a single value for a whole patch.")
    runs = inputs.runs
    if figure_data.labelled(runs, inputs.cells, inputs.dataset).empty:
        notes.append(figure_data.NO_RUN)
    for run in runs[runs["folder"].isin(errors["run"])].itertuples():
        name = f"{run.model_name}, {MODE_NAMES[str(run.mode)]}, seed {run.seed}"
        notes.append(f"{name}: the best run on the validation patches.")
    return gallery(figure_data.errors_with_patches(errors, images, maps)), notes
