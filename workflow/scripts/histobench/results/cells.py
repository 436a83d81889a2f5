"""Cells of a study's matrix, and the runs that they have."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from histobench.results.modes import MODES

MODE_NAMES = {key: mode.name for key, mode in MODES.items()}
"""Modes in print."""

Cell = Mapping[Hashable, Any]
"""A row of `cells.csv`, by its columns."""

NAMES = ["dataset", "model", "mode", "recipe", "device"]
"""What names a cell; a run has these and a seed."""


def can_stand(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells whose AUC may stand for their data set, model and mode.

    These are not: recipes that are there for their seconds, tuned recipes, and cells that cannot run.

    Parameters
    ----------
    cells : one row per cell, as in `cells.csv`.

    Returns
    -------
    some : its rows, in the given order.
    """
    shut_out = cells["timing_only"].astype(bool) | cells["left_out"].astype(bool) | (cells["tuned_from"] != "")
    return cells[~shut_out]


def first_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that stand for each data set, model and mode where one AUC is wanted.

    Tests, claims and Figures 3 and 4 take these, so that they speak of the same runs. Of several recipes and
    devices it is the first in the matrix, finished or not: what a study shows must not depend on which run ends first.

    Parameters
    ----------
    cells : one row per cell, as in `cells.csv`, in the order of the matrix.

    Returns
    -------
    first : its rows, at most one per `dataset`, `model` and `mode`, in the given order, numbered anew; only such as
        :func:`can_stand` returns.
    """
    return can_stand(cells).drop_duplicates(["dataset", "model", "mode"], ignore_index=True)


def asked(cells: pd.DataFrame) -> int:
    """Return how many runs cells ask for, without those that cannot run."""
    return int(cells.loc[~cells["left_out"].astype(bool), "seeds"].sum())


def runs_of(cell: Cell, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs of a cell, in their order.

    Parameters
    ----------
    cell : a row of `cells.csv`; the columns `NAMES` are enough.
    runs : one row per run, as in `runs.csv`.
    """
    return runs[(runs[NAMES] == [cell[name] for name in NAMES]).all(axis=1)]
