"""The best model of each data set."""

import pandas as pd

from histobench.results.cells import NAMES
from histobench.results.columns import Column, names, pick
from histobench.results.inputs import Inputs
from histobench.results.printing import Table
from histobench.results.tables import performance

NOTE = "The best model of a data set is chosen by its AUC on the validation patches; metrics are on the test patches."

COLUMNS = [
    *pick(performance.COLUMNS, *NAMES[:2], "model_name", "mode", "transfer", "classifier", "recipe", "device"),
    Column("valid_auc", "Validation AUC"),
    *pick(performance.COLUMNS, "auc", "balanced_accuracy", "accuracy", "loss"),
    *pick(performance.COLUMNS, "interval", "n", "seeds", "collapsed", "floor_auc", "below_floor"),
    *pick(performance.COLUMNS, "weights", "patches", "split", "runs"),
]


def best(runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the cell with the highest AUC on the validation patches, data set by data set.

    Parameters
    ----------
    runs : as in `runs.csv`.
    scores : see `performance.read`.

    Returns
    -------
    table : with the columns `COLUMNS`: `valid_auc`, the mean over the seeds that did not collapse, and columns of
        `performance.performance`. A data set without an AUC has no row; of equal cells the first in the matrix is
        taken.
    """
    learnt = runs[~runs["collapsed"].astype(bool)]
    valid = learnt.groupby(NAMES, sort=False)["valid_auc"].mean().reset_index()
    known = scores.merge(valid, on=NAMES).dropna(subset=["valid_auc", "auc"])
    chosen = known.loc[known.groupby("dataset", sort=False)["valid_auc"].idxmax()]
    return chosen.reindex(columns=names(COLUMNS)).reset_index(drop=True)


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the columns of :func:`best` that fit a terminal."""
    cell = ["dataset", "model_name", "mode", "recipe", "device"]
    metrics = ["auc", "auc_low", "auc_high", "below_floor", "balanced_accuracy", "accuracy", "loss"]
    return {"": table[[*cell, *metrics, "seeds", "collapsed"]]}


def best_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    table = best(inputs.runs, performance.read(inputs.files["performance"]))
    announced = inputs.announcements(inputs.cells[~inputs.cells["timing_only"]])
    return Table("Best model of each data set", table, COLUMNS, announced, [NOTE], grids=in_print(table))
