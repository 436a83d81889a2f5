"""What a leaky split is worth: the AUC of a model by it, less that of the same model by a split without leaks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from histobench.results import bootstrap, statistics
from histobench.results.bootstrap import RESAMPLES
from histobench.results.cells import NAMES, runs_of
from histobench.results.columns import BOOTSTRAP, CELL, GAP, KNOWN_ROWS, RUNS, Column, names, p_value, pick, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

ENOUGH = 100
"""Test patches of either class that both splits must share for the arms to be compared on them."""

SHARED, APART = "shared, paired", "each its own, not paired"

COLUMNS = [
    text("leaky", "a, leaky", once=KNOWN_ROWS),
    text("grouped", "b", once=KNOWN_ROWS),
    *pick(CELL, "model", "model_name", "mode", "recipe", "device"),
    *(Column(f"auc_{arm}", f"AUC {arm}") for arm in "ab"),
    Column("difference", "Worth of the leak, AUC", interval=BOOTSTRAP),
    Column("p", "p", format=p_value),
    text("test_patches", once=KNOWN_ROWS),
    *(Column(f"n_{arm}", f"Test patches {arm}", once=KNOWN_ROWS) for arm in "ab"),
    *(Column(f"n_train_{arm}", f"Training patches {arm}", once=KNOWN_ROWS) for arm in "ab"),
    *(Column(f"seeds_{arm}", once=KNOWN_ROWS) for arm in "ab"),
    text("unit", "Resampled unit", once=KNOWN_ROWS),
    GAP,
    RUNS,
]

FIRST = ["model_name", "mode", "leaky", "grouped", "recipe", "device", "auc_a", "auc_b", "difference", "p", "remark"]

NOTES = [
    "a: patches of one slide or patient are on both sides of the split; b: they are not. Same source, model, mode, "
    "recipe and device. The arms also differ in how many patches they were trained on.",
    f"They are compared on the test patches that both splits share, if these are {ENOUGH} of either class or more: "
    "resamples are then paired. Else each is resampled on its own test patches, and the difference is also that of "
    "their patients. Seeds are resampled within each. Where there are fewer than "
    f"{bootstrap.MIN_GROUPS} slides or patients, patches are resampled, which ignores clustering.",
    f"The smallest p of {RESAMPLES:,} resamples is {2 / (RESAMPLES + 1):.3f}; it is adjusted for no other row.",
]


def leaky_split(
    pairs: Sequence[Sequence[str]], runs: pd.DataFrame, cells: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return what leaky splits are worth, a row for each cell that stands in both data sets of a pair.

    Parameters
    ----------
    pairs : names of data sets of one source: one whose split leaks, and one whose split does not.
    runs, cells : as in `runs.csv` and `cells.csv`.
    predictions : from a run's folder to its predictions, as in `predictions.csv`. Patches of one source have the same
        ids in both data sets.

    Returns
    -------
    table : with the columns `COLUMNS`; `difference` and `p` see `statistics.paired_bootstrap`.
    """
    usable = cells[~cells["timing_only"].astype(bool) & ~cells["left_out"].astype(bool)]
    rows = []
    for leaky, grouped in pairs:
        for cell in usable[usable["dataset"] == leaky].to_dict("records"):
            other = usable[(usable[NAMES] == [{**cell, "dataset": grouped}[name] for name in NAMES]).all(axis=1)]
            if len(other):
                rows.append(_row(cell, other.iloc[0].to_dict(), runs, predictions))
    return pd.DataFrame(rows, columns=names(COLUMNS)).astype(dict.fromkeys(("n_a", "n_b"), "Int64"))


def _row(
    a: Mapping[Any, Any], b: Mapping[Any, Any], runs: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    finished = [runs_of(arm, runs) for arm in (a, b)]
    learnt = [arm[~arm["collapsed"].astype(bool)] for arm in finished]
    row: dict[str, Any] = {name: a[name] for name in ("model", "model_name", "mode", "recipe", "device")}
    row |= {"leaky": a["dataset"], "grouped": b["dataset"], "runs": " ".join(pd.concat(finished)["folder"])}
    gaps = [
        f"{cell['dataset']}: {'collapsed' if len(done) else cell['gap']}"
        for cell, done, left in zip((a, b), finished, learnt, strict=True)
        if left.empty
    ]
    row |= {f"seeds_{arm}": len(some) for arm, some in zip("ab", learnt, strict=True)} | {"gap": "; ".join(gaps)}
    if gaps:
        return row
    tests = [[_test(predictions[folder]) for folder in arm["folder"]] for arm in learnt]
    shared = tests[0][0].index.intersection(tests[1][0].index)
    enough = tests[0][0].loc[shared, "label"].value_counts().reindex([0, 1], fill_value=0).min() >= ENOUGH
    if enough:
        tests = [[test.loc[shared] for test in arm] for arm in tests]
    # The same resamples in both arms where their patches are the same, else others.
    resampled = [
        [statistics.resampled_auc(test, 0 if enough else number) for test in arm] for number, arm in enumerate(tests)
    ]
    aucs = [[each.auc for each in arm] for arm in resampled]
    replicates = [[each.replicates for each in arm] for arm in resampled]
    units = [arm[0].unit for arm in resampled]
    result = statistics.paired_bootstrap(aucs[0], aucs[1], replicates[0], replicates[1])
    row |= {f"auc_{arm}": float(np.mean(values)) for arm, values in zip("ab", aucs, strict=True)}
    row |= {f"n_{arm}": len(test[0]) for arm, test in zip("ab", tests, strict=True)}
    row |= {f"n_train_{arm}": some["n_train"].iloc[0] for arm, some in zip("ab", learnt, strict=True)}
    row |= {"difference": result["difference"], "difference_low": result["low"], "difference_high": result["high"]}
    row |= {"p": result["p"], "test_patches": SHARED if enough else APART}
    return row | {"unit": " / ".join(dict.fromkeys(units))}


def _test(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["split"] == "test"].set_index("patch_id").sort_index()


def leaky_split_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    pairs = inputs.study["leaky_splits"]
    table = leaky_split(pairs, inputs.runs, inputs.cells, inputs.by_run("predictions"))
    cells = inputs.cells[inputs.cells["dataset"].isin([name for pair in pairs for name in pair])]
    return Table("What a leaky split is worth", table, COLUMNS, inputs.announcements(cells), NOTES, first=FIRST)
