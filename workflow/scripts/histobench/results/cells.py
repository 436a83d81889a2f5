"""Cells of a study's matrix, and the runs that they have."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from histobench.core import cells as core_cells
from histobench.core import recipes
from histobench.core.averaged import Member
from histobench.results.modes import MODES

MODE_NAMES = {key: mode.name for key, mode in MODES.items()}
"""Printed names of the modes."""

Cell = Mapping[Hashable, Any]
"""A row of `cells.csv`."""

NAMES = list(core_cells.NAMES)
"""Columns that identify a cell; a run has these and a seed."""


def can_represent(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that may represent their data set, model and mode.

    Those of timing recipes and of tuned recipes, averages of others, and those that cannot run, may not.
    """
    found = (cells["tuned_from"] != "") | (cells["averaged_from"] != "")
    return cells[~(cells["timing_only"].astype(bool) | cells["left_out"].astype(bool) | found)]


def first_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one cell for each data set, model and mode, wherever a single AUC is needed.

    Tests, claims and Figures 3 and 4 use these, so that they are about the same runs. Of several recipes and devices it
    is the first in the matrix, finished or not: results must not depend on which run ends first.

    Parameters
    ----------
    cells : one row per cell, as in `cells.csv`, in the order of the matrix.

    Returns
    -------
    first : at most one of its rows per `dataset`, `model` and `mode`, out of those of :func:`can_represent`, in the
        given order, with a new index.
    """
    return can_represent(cells).drop_duplicates(["dataset", "model", "mode"], ignore_index=True)


def averages(a: Cell, b: Cell) -> bool:
    """Return whether the scores of one of these cells, on the same data set, are averages of those of the other."""
    of_a, of_b = (str(Member(*(cell[name] for name in Member._fields))) for cell in (a, b))
    return of_b in a["averaged_from"].split() or of_a in b["averaged_from"].split()


def first_by_recipe(cells: pd.DataFrame) -> pd.DataFrame:
    """Return those of :func:`first_cells`, and of each further recipe the first cell, but for baselines.

    Linear heads and nearest neighbours are what other classifiers are compared with, and stand alone only where a data
    set, model and mode has none before them.

    Returns
    -------
    first : at most one row per `dataset`, `model`, `mode` and `recipe`, in the given order, with a new index.
    """
    first = can_represent(cells).drop_duplicates(["dataset", "model", "mode", "recipe"])
    further = first.duplicated(["dataset", "model", "mode"])
    baseline = first["classifier"].isin([recipes.LINEAR_HEAD, recipes.KNN])
    return first[~(further & baseline)].reset_index(drop=True)


def without_averages(rows: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return rows of runs or cells, with a column `recipe`, but for those that average scores of others."""
    return rows[~rows["recipe"].isin(cells.loc[cells["averaged_from"] != "", "recipe"])]


def runs_wanted(cells: pd.DataFrame) -> int:
    """Return the number of runs that the cells ask for, without cells that cannot run."""
    return int(cells.loc[~cells["left_out"].astype(bool), "seeds"].sum())


def runs_of(cell: Cell, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of a cell, in their order, out of those in `runs.csv`."""
    return runs[(runs[NAMES] == [cell[name] for name in NAMES]).all(axis=1)]
