"""The AUC of the best model without what a data set holds twice or on both sides of its split."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from histobench.results import audit, bootstrap, metrics, statistics
from histobench.results.cells import runs_of
from histobench.results.columns import ALL_ROWS, BOOTSTRAP, CELL, GAP, RUNS, Column, names, text, three_digits
from histobench.results.inputs import Inputs
from histobench.results.printing import Table
from histobench.results.tables import best, performance

ALL, ONCE = "all", "equal ones counted once"
NO_COPIES = "without equals in training or validation"
NO_NEAR = "without these, and those shown there in part"
NO_GROUPS = "without slides or patients of training or validation"
NO_LEAKS = "without all of these"

COLUMNS = [
    *(replace(column, once=ALL_ROWS) if column.shown else column for column in CELL),
    text("test_patches"),
    Column("n", "Number"),
    Column("left_out"),
    Column("positives"),
    Column("groups", "Slides or patients"),
    Column("auc", "AUC", interval=BOOTSTRAP),
    Column("difference", "AUC, less that of all", interval=BOOTSTRAP),
    Column("intraclass", "Intraclass correlation of errors"),
    Column("design_effect", format=three_digits),
    Column("effective_n", "Effective number", format=three_digits),
    text("unit", "Resampled unit", once=ALL_ROWS),
    GAP,
    RUNS,
]

FIRST = ["test_patches", "n", "left_out", "groups", "auc", "difference", "effective_n", "remark"]

NOTES = [
    "The model is the best one on the validation patches; AUCs are means over its seeds. Intervals of all rows are "
    "from the same resamples of the test set, so that differences are paired.",
    "Equal ones, turned and mirrored ones included, are counted once for each label that they have.",
    "Effective number: of independent patches that as many are worth, the number over the design effect, "
    "1 + (m - 1) ICC, with the mean size m of the slide or patient that a patch is of, and the intraclass correlation "
    "(ICC) of errors, score less label.",
]


def leaks(
    cell: Mapping[Any, Any],
    runs: pd.DataFrame,
    predictions: Mapping[str, pd.DataFrame],
    about: Mapping[str, Any],
    copies: pd.DataFrame,
) -> pd.DataFrame:
    """Return the AUC of a cell on its test patches, and on those that nothing of another part gives away.

    Parameters
    ----------
    cell : with the columns `CELL`.
    runs : those of the cell that count, as in `runs.csv`.
    predictions : from a run's folder to its predictions, as in `predictions.csv`.
    about, copies : of the audit, see :func:`histobench.results.audit.read`.

    Returns
    -------
    table : a row for each choice of test patches, with the columns `COLUMNS`.

        - `auc`: mean over seeds, with its percentile interval over resamples of the whole test set.
        - `difference`: from `ALL`.
        - `intraclass`, `design_effect`, `effective_n`: see `statistics.clustering`.
        - `gap`: why there is no AUC.
    """
    test, seeds = by_seed(runs, predictions)
    units, unit, _ = bootstrap.resampled_units(test["group"])
    labels = test["label"].to_numpy(np.int64)
    rows: list[dict[str, Any]] = []
    whole: pd.Series[float] | None = None
    for name, chosen in _choices(test, about, copies).items():
        some = test[chosen]
        row = {column.name: cell[column.name] for column in CELL} | {
            "test_patches": name,
            "n": len(some),
            "left_out": len(test) - len(some),
            "positives": int(some["label"].sum()),
            "groups": some.loc[some["group"] != "", "group"].nunique() if (test["group"] != "").any() else None,
            "unit": unit,
            "gap": "",
            "runs": " ".join(runs["folder"]),
        }
        rows.append(row)
        if name in (NO_GROUPS, NO_LEAKS) and (test["group"] == "").any():
            row["gap"] = "slides or patients are unknown"
        if some["label"].nunique() < 2:
            row["gap"] = "no patches of both classes are left" if len(some) else "no patches are left"
        if (name == NO_GROUPS and row["gap"]) or some["label"].nunique() < 2:
            continue
        scores = [test[seed].to_numpy(np.float64) for seed in seeds]
        aucs = [roc_auc_score(labels[chosen], values[chosen]) for values in scores]
        count = int(units.max()) + 1
        replicates = pd.concat(
            [metrics.auc_replicates(labels[chosen], values[chosen], units[chosen], count) for values in scores], axis=1
        ).mean(axis=1)
        row |= {"auc": float(np.mean(aucs))} | statistics.bounds("auc", replicates)
        if whole is None:
            whole = replicates
        else:
            row |= {"difference": row["auc"] - rows[0]["auc"]} | statistics.bounds(
                "difference", (replicates - whole).dropna()
            )
        if (some["group"] != "").all():
            errors = some[seeds].mean(axis=1) - some["label"]
            row |= statistics.clustering(errors, some["group"])
    return pd.DataFrame(rows, columns=names(COLUMNS)).astype({"groups": "Int64"})


def by_seed(runs: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, list[str]]:
    """Return the test patches of a cell's runs, by patch id, and the columns with their scores, one for each seed.

    Returns
    -------
    test : `patch_id`, `group`, `label`, and a column for each seed.
    seeds : the names of these.
    """
    test = pd.DataFrame()
    seeds = []
    for seed, of_seed in runs.groupby("seed"):
        frames = [predictions[folder].query("split == 'test'") for folder in of_seed["folder"]]
        scored = pd.concat(frames)[["patch_id", "group", "label", "score"]].rename(columns={"score": f"seed-{seed}"})
        seeds.append(f"seed-{seed}")
        test = scored if test.empty else test.merge(scored, on=["patch_id", "group", "label"])
    return test.sort_values("patch_id").reset_index(drop=True), seeds


def _choices(test: pd.DataFrame, about: Mapping[str, Any], copies: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Return which test patches each row of the table is about."""
    known = test[["patch_id", "label"]].merge(
        copies[["patch_id", "split", "same", "copies_in", "near_in"]], on="patch_id", how="left"
    )
    # A patch without a copy is its own class.
    same = known["same"].fillna(pd.Series(-1 - np.arange(len(known)), known.index, dtype=np.float64))
    repeated = pd.DataFrame({"same": same, "label": known["label"]}).duplicated().to_numpy()

    def leaks(column: str) -> NDArray[np.bool_]:
        there = zip(known["split"].fillna(""), known[column].fillna("").str.split(), strict=True)
        return np.array([bool(set(parts) - {own}) for own, parts in there], bool)

    equal, near = leaks("copies_in"), leaks("near_in")
    # Of a cross-validation every part is tested on, and none shares a group with another.
    shared = {name for pair, names in about["shared_groups"].items() if "test" in pair.split() for name in names}
    grouped = test["group"].isin(shared).to_numpy()
    return {
        ALL: np.ones(len(test), bool),
        ONCE: ~repeated,
        NO_COPIES: ~equal,
        NO_NEAR: ~(equal | near),
        NO_GROUPS: ~grouped,
        NO_LEAKS: ~(equal | near | grouped | repeated),
    }


def leaks_table(inputs: Inputs) -> Table:
    """Return the table of the data set; without rows if no run on it that counts has learnt."""
    about, copies, _ = audit.read(inputs.files["audit"])
    scores = performance.read(inputs.files["performance"])
    chosen = best.best(inputs.runs, scores[scores["dataset"] == inputs.dataset])
    table, notes = pd.DataFrame(columns=names(COLUMNS)), list(NOTES)
    audited = inputs.first_seeds.get(inputs.dataset)
    if audited is not None:
        notes.append(
            f"Each seed draws its own folds. The audit is of those of seed {audited}, so its run alone counts here."
        )
    for cell in chosen.to_dict("records"):
        runs = runs_of(cell, inputs.runs)
        learnt = runs[~runs["collapsed"].astype(bool)]
        if audited is not None:
            learnt = learnt[learnt["seed"] == audited]
        if learnt.empty:
            continue
        table = leaks(cell, learnt, inputs.by_run("predictions"), about, copies)
    title = f"The AUC on {inputs.dataset} without what leaks"
    return Table(title, table, COLUMNS, inputs.announcements(), notes, first=FIRST)
