"""What each step from one recipe to another adds to the AUC, on validation patches.

A recipe that is chosen by its steps must not have seen the test patches, so no number here is one of these.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from histobench.results import statistics
from histobench.results.cells import NAMES, averages, runs_of
from histobench.results.columns import BOOTSTRAP, CELL, GAP, KNOWN_ROWS, RUNS, Column, names, p_value, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

COLUMNS = [
    *CELL,
    text("added_to"),
    Column("auc", "Validation AUC"),
    Column("difference", interval=BOOTSTRAP),
    Column("p", "p", format=p_value),
    Column("seeds"),
    Column("n", "Validation patches", once=KNOWN_ROWS),
    text("unit", "Resampled unit", once=KNOWN_ROWS),
    GAP,
    RUNS,
]

FIRST = ["model_name", "mode", "recipe", "added_to", "dataset", "auc", "difference", "p", "remark"]

NOTES = [
    "AUCs are of validation patches, means over seeds. No score of a test patch counts here, so that a recipe may be "
    "chosen by these numbers. The best epoch of each run was chosen on the same patches, which makes all of them a "
    "little too high.",
    "Of a cross-validation they are of the validation patches of all folds, and each of these is a test patch of "
    "another fold. What a recipe that was chosen by them reaches on the test patches of the same cross-validation is "
    "therefore a little too high as well; patients that had no part in it would tell.",
    "A difference is that to the row which the step is added to. Its interval and p are from a paired bootstrap of "
    "patches, slides or patients (see Resampled unit) and of the seeds of both; those that a mean of scores shares "
    "with the row that it is a mean of are resampled for both at once, or not at all where it is the mean over them. p "
    "is not adjusted for the number of steps.",
]


def ablation(
    steps: Mapping[str, str], runs: pd.DataFrame, cells: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the steps of an ablation on each data set, for each model and device.

    Parameters
    ----------
    steps : from a mode and a recipe, "full/native", to those that it is added to, in order.
    runs, cells : as in `runs.csv` and `cells.csv`, averages included.
    predictions : from a run's folder to its predictions, as in `predictions.csv`.

    Returns
    -------
    table : with the columns `COLUMNS`, a row for each cell of the matrix that is a step, or that steps are added to.

        - `added_to`: mode and recipe, "" where the ablation starts.
        - `auc`: mean over the `seeds` that finished and did not collapse.
        - `difference`, `p`: see :func:`histobench.results.statistics.paired_bootstrap`.
        - `unit`: what was resampled, "group" or "patch".
        - `gap`: why there is no AUC, or no difference.
    """
    starts = [base for base in steps.values() if base not in steps]
    order = dict.fromkeys([*starts, *steps])
    rows = []
    for _, some in cells.groupby(["dataset", "model", "device"], sort=False):
        by_step = {f"{cell['mode']}/{cell['recipe']}": cell for cell in some.to_dict("records")}
        arms = {step: _Arm(by_step[step], runs, predictions) for step in order if step in by_step}
        if set(arms) & set(steps):
            rows += [_row(arm, arms.get(steps.get(step, "")), steps.get(step, "")) for step, arm in arms.items()]
    return pd.DataFrame(rows, columns=names(COLUMNS)).astype({"n": "Int64"})


class _Arm:
    """A cell, and what its runs have scored of the validation patches."""

    def __init__(self, cell: Mapping[Any, Any], runs: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> None:
        self.cell, finished = cell, runs_of(cell, runs)
        learnt = finished[~finished["collapsed"].astype(bool)]
        self.folders, self.gap = list(finished["folder"]), ""
        if learnt.empty:
            self.gap = "collapsed" if len(finished) else cell["gap"]
        scored = [predictions[folder].query("split == 'valid'").sort_values("patch_id") for folder in learnt["folder"]]
        self.n = len(scored[0]) if scored else None
        self.results = [statistics.resampled_auc(patches) for patches in scored]


def _row(arm: _Arm, base: _Arm | None, added_to: str) -> dict[str, Any]:
    row = {name: arm.cell[name] for name in (*NAMES, "model_name")} | {"added_to": added_to, "n": arm.n}
    row |= {"seeds": len(arm.results), "unit": arm.results[0].unit if arm.results else ""}
    folders = [*arm.folders, *(base.folders if base else [])]
    row |= {"gap": arm.gap, "runs": " ".join(folders)}
    if arm.results:
        row["auc"] = float(np.mean([result.auc for result in arm.results]))
    if added_to and not arm.gap:
        if base is None or base.gap:
            return row | {"gap": f"{added_to}: {base.gap if base else 'not in the matrix'}"}
        found = statistics.paired_bootstrap(
            [result.auc for result in arm.results],
            [result.auc for result in base.results],
            [result.replicates for result in arm.results],
            [result.replicates for result in base.results],
            same_runs=averages(arm.cell, base.cell),
        )
        row |= {"difference": found["difference"], "p": found["p"]}
        row |= {f"difference_{end}": found[end] for end in ("low", "high")}
    return row


def ablation_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    table = ablation(inputs.study["ablation"], inputs.all_runs, inputs.all_cells, inputs.by_run("predictions"))
    shown = inputs.cells[inputs.cells["dataset"].isin(table["dataset"])]
    title, announced = "What each step of the recipe adds", inputs.announcements(shown)
    return Table(title, table, COLUMNS, announced, NOTES, first=FIRST)
