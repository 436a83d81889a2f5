"""Patches that a data set holds twice, as they are or in part."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from histobench.core.prepared import WHOLE, Records, parts
from histobench.results import audit
from histobench.results.figures import style
from histobench.results.figures.gallery import lines
from histobench.results.inputs import Inputs

PER_ROW = 6

KINDS = {"equal": "equal", "near": "shown in part"}

ENDS = ("first", "second")

NONE = "No two patches are equal, and none shows in part what another one shows."


def examples(copies: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return pairs of patches to show: of different parts first, then of different labels.

    Parameters
    ----------
    copies, pairs : of an audit, see :func:`histobench.results.audit.read`.

    Returns
    -------
    examples : `kind` ("equal" or "near"), `turned`, and of both patches `first_split`, `first_patch_id`, `first_label`
        and so on; at most `PER_ROW` of each kind.
    """
    equal = copies[copies["copies_in"] != ""]
    known = ["split", "patch_id", "label"]
    first = equal.drop_duplicates("same")[[*known, "same"]]
    others = equal[equal.duplicated("same")][[*known, "same", "turned"]]
    named = [
        frame.rename(columns={name: f"{end}_{name}" for name in known})
        for end, frame in zip(ENDS, (first, others), strict=True)
    ]
    found = [named[0].merge(named[1], on="same").assign(kind="equal"), pairs.assign(kind="near")]
    both = pd.concat(found, ignore_index=True)
    apart = pd.DataFrame(
        {name: both[f"first_{name}"] == both[f"second_{name}"] for name in ("split", "label")}, index=both.index
    )
    order = apart.sort_values(["split", "label"], kind="stable").index
    columns = ["kind", "turned", *(f"{end}_{name}" for end in ENDS for name in known)]
    return both.loc[order, columns].groupby("kind").head(PER_ROW).reset_index(drop=True)


@style.styled
def pairs(shown: pd.DataFrame, images: npt.NDArray[np.uint8]) -> Figure:
    """Draw pairs of patches, one above the other: equal ones, and below them those that show the same in part.

    Parameters
    ----------
    shown : n pairs, see :func:`examples`.
    images : (n, 2, side, side, 3) uint8.
    """
    kinds = [kind for kind in KINDS if (shown["kind"] == kind).any()]
    if not kinds:
        return style.nothing(NONE)
    columns = int(shown["kind"].value_counts().max())
    side = 1.08  # inches
    figure, panels = style.new(max(0.3 + side * columns, 2.4), 2 * len(kinds) * (side + 0.3), 2 * len(kinds), columns)
    for axes in panels.flat:
        style.blank(axes)
    for row, kind in enumerate(kinds):
        panels[2 * row, 0].set_ylabel(KINDS[kind])
        for column, place in enumerate(np.flatnonzero(shown["kind"] == kind)):
            for number, end in enumerate(ENDS):
                axes = panels[2 * row + number, column]
                axes.imshow(images[place, number], interpolation="nearest")
                axes.set_xlabel(_caption(shown.iloc[place], end), fontsize=5, linespacing=1.15)
    return figure


def _caption(pair: "pd.Series[Any]", end: str) -> str:
    label = "tumour" if pair[f"{end}_label"] else "normal"
    turned = pair["turned"] if end == "second" else ""
    return "\n".join(lines(f"{pair[f'{end}_split']}, {label}", str(pair[f"{end}_patch_id"]), turned))


def duplicates_figure(inputs: Inputs) -> tuple[Figure, list[str]]:
    """Return the figure of the data set."""
    _, copies, near = audit.read(inputs.files["audit"])
    shown = examples(copies, near)
    folder = inputs.files["records"][0].parent
    stored = parts(folder)
    images = None
    for number, end in enumerate(ENDS):
        for split, some in shown.groupby(f"{end}_split"):
            # The parts of a cross-validation are its folds, whose patches are stored as one.
            records = Records(folder, str(split) if split in stored else WHOLE)
            position = records.positions(some[f"{end}_patch_id"])
            taken = records.take(np.array([position[patch] for patch in some[f"{end}_patch_id"]], np.int64))
            if images is None:
                images = np.empty((len(shown), len(ENDS), *records.shape), np.uint8)
            images[some.index, number] = taken
    return pairs(shown, np.empty((0, len(ENDS), 1, 1, 3), np.uint8) if images is None else images), []
