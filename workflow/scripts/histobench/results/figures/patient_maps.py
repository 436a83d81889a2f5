"""Test slides or patients put together again from their patches: tissue, label and score side by side."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score

from histobench.core import prepared
from histobench.core import runs as run_files
from histobench.results import evaluation, figure_data
from histobench.results.figures import style
from histobench.results.inputs import Inputs
from histobench.results.slide_scores import COLOURS

MIN_PATCHES = 20
"""A choice: of fewer patches neither a map nor an AUC says much."""

PIXELS = 900
"""Width or height of a map."""

VISIBLE = 16
"""Pixels of a patch in a map, at least: where patches lie far apart they are drawn larger than they are."""

LABELS = np.array([[222, 222, 222], [213, 94, 0]], np.uint8)
"""Colours of normal tissue and tumour."""


@dataclass(frozen=True)
class Patient:
    """A slide or patient.

    Attributes
    ----------
    title : its name and its AUC.
    places : (n, 2) column and row of each patch, in patches, from the upper left one; they need not be whole numbers.
    images : (n, side, side, 3) uint8.
    labels, scores : (n,).
    """

    title: str
    places: npt.NDArray[np.float64]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def chosen(test: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Return the slides or patients that are shown: the best, median and worst by AUC, each once.

    Parameters
    ----------
    test : `group`, `label` and `score` of test patches with a place.

    Returns
    -------
    groups : by what they are, "best" and so on: the name, and the AUC within it. Only those with both classes and at
        least `MIN_PATCHES` patches.
    """
    aucs = {
        str(group): float(roc_auc_score(some["label"], some["score"]))
        for group, some in test.groupby("group")
        if group and len(some) >= MIN_PATCHES and some["label"].nunique() == 2
    }
    ranked = sorted(aucs, key=lambda group: (-aucs[group], group))
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    found: dict[str, tuple[str, float]] = {}
    for what, place in places.items():
        if ranked and ranked[place] not in [group for group, _ in found.values()]:
            found[what] = (ranked[place], aucs[ranked[place]])
    return found


@style.styled
def maps(patients: list[Patient]) -> Figure:
    """Draw a row for each patient: its patches as they are, their labels, and their scores."""
    room = (style.DOUBLE - 0.4) / 3
    drawn = [_mosaics(patient) for patient in patients]
    heights = [min(1.4, each[0].shape[0] / each[0].shape[1]) * room + 0.25 for each in drawn]
    figure, panels = style.new(style.DOUBLE, sum(heights) + 0.1, len(patients), 3, height_ratios=heights)
    for row, patient, (tissue, labels, scores) in zip(panels, patients, drawn, strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set(visible=True, color="#CCCCCC")
        row[0].imshow(tissue, interpolation="nearest")
        row[1].imshow(labels, interpolation="nearest")
        row[2].imshow(np.ma.masked_invalid(scores), cmap=COLOURS, norm=Normalize(0, 1), interpolation="nearest")
        row[0].set_title(patient.title, loc="left")
    panels[0, 1].set_title("label: tumour orange")
    panels[0, 2].set_title("score")
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), COLOURS), ax=panels, fraction=0.02, pad=0.01, aspect=50, ticks=[0, 0.5, 1]
    )
    return figure


def _sparse(patient: Patient) -> bool:
    """Say whether patches cover so little of the slide that they would be lost on a map."""
    covered = len(patient.places) / np.prod(patient.places.max(axis=0) + 1)
    return bool(covered < 1 / 20)


def _mosaics(patient: Patient) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Return tissue, labels and scores, each patch at its place; white, or NaN, where there is none."""
    extent = patient.places.max(axis=0) + 1
    scale = min(PIXELS / float(extent.max()), float(patient.images.shape[1]))
    side = max(round(scale), VISIBLE if _sparse(patient) else 1)
    corners = np.floor(patient.places * scale - (side - scale) / 2).astype(int)
    corners -= corners.min(axis=0)
    width, height = corners.max(axis=0) + side
    tissue, labels = (np.full((height, width, 3), 255, np.uint8) for _ in range(2))
    scores = np.full((height, width), np.nan)
    for (x, y), image, label, score in zip(corners, patient.images, patient.labels, patient.scores, strict=True):
        part = (slice(y, y + side), slice(x, x + side))
        tissue[part] = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
        labels[part] = LABELS[label]
        scores[part] = score
    return tissue, labels, scores


def patient_maps_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set, and notes on the run and the rule by which patients were chosen."""
    ranked = figure_data.best_first(figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset))
    if ranked.empty:
        return style.nothing(figure_data.NO_RUN), []
    run = ranked.iloc[0]
    path = next(path for path in inputs.files["predictions"] if str(path.parent) == run["folder"])
    assert path.name == run_files.PREDICTIONS
    test = evaluation.read(path).query("split == 'test'")
    records = inputs.test_patches
    folder = inputs.files["patches"][0].parent
    known = prepared.index(folder, ["patch_id", "x", "y"], records.split)
    test = test.merge(known[(known["x"] >= 0) & (known["y"] >= 0)], on="patch_id")
    found = chosen(test)
    if not found:
        return style.nothing("No slide or patient has enough test patches of both classes whose place is known."), []
    patch = inputs.study["place_pixels"][inputs.dataset] * records.shape[0]
    patients = []
    for what, (group, auc) in found.items():
        some = test[test["group"] == group]
        places = some[["x", "y"]].to_numpy(np.float64)
        patients.append(
            Patient(
                f"{group}, {what}: AUC {auc:.3f}",
                (places - places.min(axis=0)) / patch,
                inputs.test_images(some["patch_id"]),
                some["label"].to_numpy(np.int64),
                some["score"].to_numpy(np.float64),
            )
        )
    notes = [
        f"{run['label']}, seed {run['seed']}: the best run on the validation patches. Best, median and worst of the "
        f"slides or patients with at least {MIN_PATCHES} test patches and both classes, by AUC within them."
    ]
    if any(map(_sparse, patients)):
        notes.append("Where patches lie far apart, they are drawn larger than they are.")
    return maps(patients), notes
