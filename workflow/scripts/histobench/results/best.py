"""The best model of each data set."""

import pandas as pd

from histobench.results.cells import NAMES
from histobench.results.performance import by_cell

NOTE = (
    "The best model of a data set is chosen by its AUC on the validation patches; its metrics are of the test patches."
)

BEST = [
    *("data_set", "key", "model", "mode", "transfer", "recipe", "device", "valid_auc"),
    *("auc", "auc_low", "auc_high", "balanced_accuracy"),
    *("accuracy", "accuracy_low", "accuracy_high", "loss", "loss_low", "loss_high"),
    *("interval", "n", "seeds", "collapsed", "floor_auc", "below_floor", "weights", "patches", "split", "runs"),
]


def best(runs: pd.DataFrame, performance: pd.DataFrame) -> pd.DataFrame:
    """Return the cell with the highest AUC on the validation patches, data set by data set.

    Parameters
    ----------
    runs : as in `runs.csv`.
    performance : see `performance.read`.

    Returns
    -------
    table : with the columns `BEST`: `valid_auc`, the mean over the seeds that did not collapse, the others as
        `performance.performance` has them. A data set without an AUC has no row; of equal cells the first in the matrix
        is the best.
    """
    learnt = runs[~runs["collapsed"].astype(bool)]
    valid = learnt.groupby(NAMES, sort=False)["valid_auc"].mean().reset_index()
    known = by_cell(performance).merge(valid, on=NAMES).dropna(subset=["valid_auc", "auc"])
    chosen = known.loc[known.groupby("dataset", sort=False)["valid_auc"].idxmax()]
    table = chosen.rename(columns={"model": "key", "name": "model", "dataset": "data_set"})
    return table.reindex(columns=BEST).reset_index(drop=True)


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what print shows of :func:`best`: what fits a terminal."""
    cell = ["data_set", "model", "mode", "recipe", "device"]
    metrics = ["auc", "auc_low", "auc_high", "below_floor", "balanced_accuracy", "accuracy", "loss"]
    return {"": table[[*cell, *metrics, "seeds", "collapsed"]]}
