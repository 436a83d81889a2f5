"""External validation: runs on the test patches of data sets that they have not learned from."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histobench.core import runs as run_files
from histobench.core.files import read_sealed
from histobench.results import statistics
from histobench.results.cells import NAMES, runs_of
from histobench.results.columns import (
    ALL_ROWS,
    BOOTSTRAP,
    GAP,
    KNOWN_ROWS,
    MODE,
    MODEL,
    MODEL_NAME,
    RUNS,
    Column,
    names,
    text,
)
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

COLUMNS = [
    text("dataset", "Trained on"),
    MODEL,
    MODEL_NAME,
    MODE,
    text("recipe", once=ALL_ROWS),
    text("device", once=ALL_ROWS),
    text("tested_on"),
    Column("n", "Test patches"),
    Column("auc", "AUC", interval=BOOTSTRAP),
    Column("balanced_accuracy", "Balanced accuracy at the validation threshold"),
    Column("sensitivity"),
    Column("specificity"),
    Column("networks"),
    text("unit", "Resampled unit", once=KNOWN_ROWS),
    GAP,
    RUNS,
]

FIRST = ["model_name", "mode", "recipe", "device", "dataset", "tested_on", "auc", "balanced_accuracy", "remark"]

AT_VALIDATION_THRESHOLD = ("balanced_accuracy", "sensitivity", "specificity")

NOTES = [
    "Patches of another data set are resized to the size that the run was trained on, whatever a pixel of theirs "
    "shows. They have no part in training or in any choice: balanced accuracy, sensitivity and specificity are at the "
    "threshold of the run's own validation patches.",
    "AUCs are means over networks: one for each seed and, of a cross-validation, one for each fold, whose own test "
    "patches together count once. Intervals are over test patches, slides or patients.",
]


def external(
    asked: Iterable[Mapping[Any, Any]], runs: pd.DataFrame, replicates: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return what cells reach on their own test patches and on those of other data sets.

    Parameters
    ----------
    asked : for each cell and other data set, in order: the names and the printed name of the cell, `tested_on`,
        `folders` with the metrics and replicates of its networks there, and `gap`, why there are none.
    runs : as in `runs.csv`.
    replicates : from these folders, and those of runs, to bootstrap replicates.

    Returns
    -------
    table : with the columns `COLUMNS`; before a cell's other data sets stands its own.
    """
    rows = []
    seen = set[tuple[str, ...]]()
    for each in asked:
        cell = {name: each[name] for name in (*NAMES, "model_name")}
        if (key := tuple(each[name] for name in NAMES)) not in seen:
            seen.add(key)
            own = runs_of(each, runs)
            gap = "" if len(own) else "no run has finished"
            rows.append(cell | {"tested_on": each["dataset"]} | _row(list(own["folder"]), replicates, gap))
        rows.append(cell | {"tested_on": each["tested_on"]} | _row(each["folders"], replicates, each["gap"]))
    return pd.DataFrame(rows, columns=names(COLUMNS)).astype({"n": "Int64"})


def _row(folders: Sequence[str], replicates: Mapping[str, pd.DataFrame], gap: str) -> dict[str, Any]:
    """Return the columns that come from the metrics and the replicates of networks on the same test patches."""
    row: dict[str, Any] = {"networks": len(folders), "gap": gap, "runs": " ".join(folders), "unit": ""}
    results = [(read_sealed(Path(folder) / run_files.METRICS), replicates[folder]) for folder in folders]
    learnt = [(metrics, drawn) for metrics, drawn in results if not metrics["collapsed"]]
    if not learnt:
        return row | {"gap": gap or "collapsed"}
    tests = [metrics["test"] for metrics, _ in learnt]
    row |= {"n": tests[0]["n"], "unit": learnt[0][0]["intervals"]["unit"], "networks": len(learnt)}
    if any(test["auc"] is None for test in tests):
        return row | {"gap": "no AUC, the test patches are of one class"}
    row["auc"] = float(np.mean([test["auc"] for test in tests]))
    means = pd.concat([drawn.set_index("replicate")["auc"] for _, drawn in learnt], axis=1, join="inner").mean(axis=1)
    row |= statistics.bounds("auc", means)
    for name in AT_VALIDATION_THRESHOLD:
        values = [test["at_validation_threshold"][name] for test in tests]
        row[name] = np.nan if None in values else float(np.mean(values))
    return row


def external_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    replicates = {**inputs.by_run("replicates"), **inputs.by_run("external_replicates")}
    table = external(inputs.study["external"], inputs.runs, replicates)
    return Table("Trained on and tested on", table, COLUMNS, inputs.announcements(), NOTES, first=FIRST)
