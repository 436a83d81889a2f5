"""The most confident errors of a model, with Grad-CAM."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from histobench.core.recipes import KNN
from histobench.results import figure_data
from histobench.results.cells import MODE_NAMES, NAMES
from histobench.results.columns import read_csv
from histobench.results.figures import style
from histobench.results.inputs import Inputs

PER_ROW = 6

LINE = 22
"""Characters that fit below a patch."""

KINDS = {0: "false positives", 1: "false negatives"}
"""Kinds of errors by true label."""


@style.styled
def gallery(
    errors: pd.DataFrame,
    images: npt.NDArray[np.uint8],
    heatmaps: Mapping[str, npt.NDArray[np.float32]],
    kinds: Mapping[int, str] = KINDS,
) -> Figure:
    """Draw false positives and below them false negatives, each above its Grad-CAM overlay if there is one.

    Parameters
    ----------
    errors : n wrongly classified patches, in the order in which they are drawn, see `figure_data.surest_errors`.
    images : (n, side, side, 3) uint8, the patches.
    heatmaps : from a patch's id to its heat map, (h, w) in [0, 1] (Grad-CAM, Selvaraju et al. 2017, ICCV); may lack
        patches.
    kinds : what patches of label 0, and of label 1, are called.
    """
    places = {label: np.flatnonzero(errors["label"] == label) for label in kinds}
    overlays = bool(errors["patch_id"].isin(list(heatmaps)).any())
    rows_of_kind = 2 if overlays else 1
    columns = max(1, *map(len, places.values()))
    side, line, caption = 1.08, 0.2, 0.45  # inches
    heights = {label: [side] * rows_of_kind if len(chosen) else [line] for label, chosen in places.items()}
    ratios = [height for each in heights.values() for height in each]
    captions = caption * sum(len(chosen) > 0 for chosen in places.values())
    figure, panels = style.new(
        max(0.3 + side * columns + (0.45 if overlays else 0), 2.4),
        sum(ratios) + captions,
        len(ratios),
        columns,
        height_ratios=ratios,
    )
    for axes in panels.flat:
        style.blank(axes)
    heat = None
    top = 0
    for label, chosen in places.items():
        rows = panels[top : top + len(heights[label])]
        top += len(rows)
        if not len(chosen):
            axes = rows[0, 0]
            axes.set_box_aspect(None)
            axes.text(0, 0.5, f"{kinds[label]}: none", transform=axes.transAxes, va="center", in_layout=False)
            continue
        rows[0, 0].set_ylabel(kinds[label])
        if overlays:
            rows[1, 0].set_ylabel("Grad-CAM")
        for column, place in enumerate(chosen):
            error, image = errors.iloc[place], images[place]
            rows[0, column].imshow(image, interpolation="nearest")
            if error["patch_id"] in heatmaps:
                axes, heatmap = rows[1, column], heatmaps[error["patch_id"]]
                axes.imshow(image, interpolation="nearest")
                # Over the whole patch, whose pixels have their centres at whole numbers; interpolated bilinearly.
                edges = (-0.5, len(image) - 0.5, len(image) - 0.5, -0.5)
                heat = axes.imshow(
                    heatmap, alpha=0.5, extent=edges, interpolation="bilinear", cmap="viridis", vmin=0, vmax=1
                )
            rows[-1, column].set_xlabel(_caption(error), fontsize=5, linespacing=1.15)
    if heat is not None:
        bar = figure.colorbar(heat, ax=panels, label="Grad-CAM", fraction=0.03, pad=0.01, aspect=40, ticks=[0, 0.5, 1])
        bar.ax.set_yticks([0, 0.5, 1])
    return figure


def _caption(error: "pd.Series[Any]") -> str:
    """Return score, patch and group as lines that fit below a patch."""
    return "\n".join(lines(f"score {error['score']:.4f}", str(error["patch_id"]), str(error["group"])))


def lines(*texts: str) -> list[str]:
    """Return texts as lines that fit below a patch."""
    found = []
    for text in texts:
        found.append("")
        # Names such as 8863_idx5_x51_y1251_class0 are broken after an underscore or a hyphen, others between words.
        for part in re.findall(r"[^ _-]*[ _-]?", text):
            if len(found[-1] + part.rstrip()) > LINE:
                found.append("")
            found[-1] += part
    return [line for line in found if line]


def gallery_figure(inputs: Inputs) -> tuple[Figure, list[str], pd.DataFrame]:
    """Return the figure of the data set, notes on the run that it shows, and the cell of that run."""
    errors = read_csv(inputs.files["errors"][0], ["patch_id", "group", "run"])
    images, notes = inputs.test_images(errors["patch_id"]), []
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
    shown = runs[runs["folder"].isin(errors["run"])]
    for run in shown.itertuples():
        name = f"{run.model_name}, {MODE_NAMES[str(run.mode)]}, seed {run.seed}"
        notes.append(f"{name}: the best run on the validation patches.")
        if run.model in inputs.encoders:
            notes.append("Without Grad-CAM: its features were computed by others, by a network that is not here.")
        elif run.classifier == KNN:
            notes.append("Without Grad-CAM: the scores of nearest neighbours come from no network.")
        elif (networks := inputs.gathered.get(inputs.dataset, 1)) > 1:
            notes.append(f"Without Grad-CAM: these are the scores of {networks} networks, one for each fold.")
    return gallery(errors, images, maps), notes, inputs.cells.merge(shown[NAMES])
