"""Tests of the AUCs of transfer learning against full training over models: the paper's, and ours."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from histobench.core.errors import HistobenchError
from histobench.results import statistics
from histobench.results.columns import BOOTSTRAP, CELL, GAP, Column, pick, text
from histobench.results.inputs import Inputs
from histobench.results.paper import COMPARED_MODES, DATASETS, Published
from histobench.results.printing import Table
from histobench.results.tables import performance

NOTES = [
    "Welch's test, as the paper ran it, is descriptive: full training includes B2 and B6, which have no transfer "
    "learning, and the models are not independent. The paired test is over the models with both modes.",
    "Effect size: Hedges' g for Welch's test, Cohen's d_z for the paired test; g is not given for samples that are too "
    "small for its correction.",
]

COLUMNS = [
    text("source"),
    *pick(CELL, "dataset"),
    text("test"),
    Column("n_tl", "Models, TL"),
    Column("n_full", "Models, full"),
    *(text(statistic, statistic) for statistic in ("t", "df", "p")),
    Column("difference", interval=BOOTSTRAP),
    Column("effect", "Effect size"),
    GAP,
]

FIRST = ["source", "dataset", "test", "t", "df", "p", "difference", "remark"]

FEWEST = 2
"""Number of values, or of pairs, that a test needs."""

DIGITS = {
    "Welch": {"t": "0.0000", "df": "0.0000", "p": "0.0000"},
    "paired t": {"t": "0.0000", "df": "0", "p": "0.0000"},
}
"""Examples of the printed format of numbers, except in Welch's tests of the paper's values."""

TESTS: dict[str, Callable[..., dict[str, Any]]] = {"Welch": statistics.welch, "paired t": statistics.paired}


def tests(published: Published, ours: pd.DataFrame) -> pd.DataFrame:
    """Return the tests, a row per source of the AUCs, data set and test.

    Parameters
    ----------
    published : the paper's tables.
    ours : `dataset`, `model`, `mode`, `auc` (may be NaN), one row per data set, model and mode. A data set without any
        AUC has no tests.

    Returns
    -------
    table : `source` ("published", "this study"), `dataset`, `test`, `n_tl`, `n_full`; `t`, `df`, `p` as strings, those
        of Welch's test of the published values with the digits that the paper prints; `difference` (TL - full) with its
        95 % interval, `difference_low` and `difference_high`; `effect`, Hedges' g or Cohen's d_z, see `statistics`;
        `gap`, why there is no test.
    """
    printed = published.welch.set_index("format")
    papers = published.performance.rename(columns={"format": "dataset"})
    rows = []
    for source, aucs in (("published", papers), ("this study", ours.dropna(subset=["auc"]))):
        for dataset, frame in aucs.groupby("dataset", sort=False):
            by_mode = frame.pivot_table(index="model", columns="mode", values="auc", observed=True)
            by_mode = by_mode.reindex(columns=list(COMPARED_MODES))
            for test in TESTS:
                of_paper = source == "published" and test == "Welch"
                digits = dict(printed.loc[str(dataset)]) if of_paper else DIGITS[test]
                name = DATASETS[str(dataset)] if source == "published" else dataset
                rows.append({"source": source, "dataset": name, "test": test, **_test(test, by_mode, digits)})
    return pd.DataFrame(rows)


def check(table: pd.DataFrame, published: Published) -> None:
    """Check that Welch's tests of the published values give what the paper prints.

    Raises
    ------
    HistobenchError
        If a digit differs.
    """
    welch = table[(table["test"] == "Welch") & (table["source"] == "published")].set_index("dataset")
    for row in published.welch.to_dict("records"):
        computed = welch.loc[DATASETS[row["format"]], ["t", "df", "p"]].to_dict()
        expected = {key: row[key] for key in ("t", "df", "p")}
        if computed != expected:
            raise HistobenchError(
                f"Welch's test on {DATASETS[row['format']]}: expected {expected} as printed, found {computed} from the "
                "printed AUCs. Either config/paper or histobench/results/statistics.py has changed."
            )


def _test(test: str, by_mode: pd.DataFrame, digits: dict[str, str]) -> dict[str, Any]:
    """Return the values of one test; `by_mode` has a row per model and a column per mode."""
    values = by_mode.dropna() if test == "paired t" else by_mode
    n = values.count()
    row: dict[str, Any] = {"n_tl": n["tl"], "n_full": n["full"], **dict.fromkeys(("t", "df", "p"), "–")}
    if n.min() < FEWEST:
        what = "models with both modes" if test == "paired t" else "models in each mode"
        return row | {"gap": f"fewer than {FEWEST} {what}"}
    result = TESTS[test](values["tl"].dropna(), values["full"].dropna())
    return row | {
        **{key: _rounded(result[key], digits[key]) for key in ("t", "df")},
        "p": "< 0.0001" if result["p"] is not None and result["p"] < 0.00005 else _rounded(result["p"], digits["p"]),
        "difference": result["difference"],
        "difference_low": result["low"],
        "difference_high": result["high"],
        "effect": result["effect"],
        "gap": "",
    }


def _rounded(value: float | None, like: str) -> str:
    """Return a number as a string with as many decimals as another string."""
    if value is None:
        return "–"
    decimals = len(like.partition(".")[2])
    return f"{value:.{decimals}f}"


def tests_table(inputs: Inputs) -> Table:
    """Return the table of the study, after checking it with :func:`check`."""
    scores = performance.of_cnns(inputs)
    table = tests(inputs.published, performance.first_per_mode(scores, inputs.cells))
    check(table, inputs.published)
    title = "Transfer learning against full training, AUC"
    return Table(title, table, COLUMNS, inputs.announcements(), NOTES, first=FIRST)
