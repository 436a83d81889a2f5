"""What a CNN has to beat, and what must be at chance: colour floor and shuffled-label control of every data set."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from histobench.core import runs
from histobench.core.decision import AT_THRESHOLD
from histobench.results.columns import BOOTSTRAP, CELL, Column, pick
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

COLUMNS = [
    *pick(CELL, "dataset"),
    Column("n", "Test patches"),
    Column("floor_auc", "Colour floor, AUC", interval=BOOTSTRAP),
    Column("floor_balanced_accuracy", "Colour floor, balanced accuracy"),
    Column("shuffled_auc", "Shuffled labels, AUC", interval=BOOTSTRAP),
    Column("holds_chance"),
]

NOTES = [
    "Colour floor: logistic regression on the mean and standard deviation of each patch's red, green and blue.",
    "Shuffled labels: the same classifier trained on permuted labels; the interval, over permutations, must hold 0.5, "
    "or the evaluation leaks labels.",
]


def controls(datasets: Sequence[str], metrics: Sequence[Path], shuffled: Sequence[Path]) -> pd.DataFrame:
    """Return the table of floors and controls, one row per data set, with the columns `COLUMNS`.

    Parameters
    ----------
    datasets : their names.
    metrics, shuffled : for each of them the metrics of its colour floor, and its shuffled-label control.
    """
    rows = []
    for dataset, floor_path, shuffled_path in zip(datasets, metrics, shuffled, strict=True):
        floor, control = runs.read_json(floor_path), runs.read_json(shuffled_path)
        low, high = floor["intervals"]["auc"] or (None, None)
        shuffled_low, shuffled_high = control["auc_interval"] or (None, None)
        rows.append(
            {
                "dataset": dataset,
                "n": floor["test"]["n"],
                "floor_auc": floor["test"]["auc"],
                "floor_auc_low": low,
                "floor_auc_high": high,
                "floor_balanced_accuracy": floor["test"][AT_THRESHOLD]["balanced_accuracy"],
                "shuffled_auc": control["auc_mean"],
                "shuffled_auc_low": shuffled_low,
                "shuffled_auc_high": shuffled_high,
                "holds_chance": control["holds_chance"],
            }
        )
    return pd.DataFrame(rows)


def controls_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    table = controls(inputs.study["run_datasets"], inputs.files["control_metrics"], inputs.files["shuffled_labels"])
    return Table("Floor and control on the test set", table, COLUMNS, inputs.announcements(), NOTES)
