"""The colour floor, which a CNN has to beat, and the shuffled-label control, which must be at chance."""

import pandas as pd

from histobench.core.decision import AT_THRESHOLD
from histobench.core.files import read_sealed
from histobench.results.columns import BOOTSTRAP, CELL, Column, names, pick
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
    "or else the evaluation leaks labels.",
]


def controls_table(inputs: Inputs) -> Table:
    """Return the table of the study, one row per data set with runs."""
    rows = []
    files = (inputs.study["run_datasets"], inputs.files["control_metrics"], inputs.files["shuffled_labels"])
    for dataset, metrics, shuffled in zip(*files, strict=True):
        floor, control = read_sealed(metrics), read_sealed(shuffled)
        test, nothing = floor["test"], (None, None)
        row = [dataset, test["n"], test["auc"], *(floor["intervals"]["auc"] or nothing)]
        row += [test[AT_THRESHOLD]["balanced_accuracy"], control["auc_mean"], *(control["auc_interval"] or nothing)]
        rows.append([*row, control["holds_chance"]])
    table = pd.DataFrame(rows, columns=names(COLUMNS))
    first = ", ".join(f"{name} of seed {seed}" for name, seed in inputs.first_seeds.items())
    drawn = (
        [f"Where each seed draws its own folds or training patches, both are of the first one's: {first}."]
        if first
        else []
    )
    return Table("Floor and control on the test set", table, COLUMNS, inputs.announcements(), [*NOTES, *drawn])
