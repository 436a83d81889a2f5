"""Published values of others than the paper, beside runs of ours by the same protocol.

The values are in ``config/published/*.csv``; the README there says where each was read.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from histobench.results.cells import NAMES
from histobench.results.columns import (
    ALL_ROWS,
    CELL,
    KNOWN_ROWS,
    RUNS,
    Column,
    hidden,
    names,
    pick,
    plain,
    text,
)
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

VALUES, PROTOCOLS = "values.csv", "protocols.csv"

METRIC_NAMES = {"auc": "AUC"}
"""Printed names of metrics, where they are not those of their columns with spaces."""

NOTES = [
    "Published values of others stand beside our runs on the whole of the same data set in its published split, by the "
    "same kind of classifier, in the same metric on the test patches. Ours are of the cell with the best AUC on the "
    "validation patches, means over its seeds. No difference is given: what a backbone has seen, and how it was "
    "trained, is not the same."
]


def _protocols_are(table: pd.DataFrame) -> str:
    each = table.drop_duplicates("source")
    return " ".join(f"{row.source}: {row.protocol} ({row.address})." for row in each.itertuples())


COLUMNS = [
    *pick(CELL, "dataset"),
    text("classifier", once=ALL_ROWS),
    text("metric", format=lambda name: METRIC_NAMES.get(name, name.replace("_", " "))),
    text("source"),
    text("published_model", "Their model"),
    Column("published_value", "Published value"),
    *pick(CELL, "model"),
    text("model_name", "Our model"),
    *pick(CELL, "mode", "recipe", "device"),
    Column("value", "Our value"),
    Column("seeds", once=KNOWN_ROWS, format=plain),
    hidden("protocol", footnote=_protocols_are),
    hidden("address"),
    RUNS,
]


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the published values, one per row, with the columns of both files; a split that is not stated is ""."""
    files = {path.name: pd.read_csv(path, keep_default_na=False) for path in paths}
    return files[VALUES].merge(files[PROTOCOLS], on="source", validate="many_to_one")


def others(runs: pd.DataFrame, cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return the published values for which there are runs by the same protocol, beside the best of these.

    Parameters
    ----------
    runs, cells : of the study, as in `runs.csv` and `cells.csv`.
    published : see :func:`read`.

    Returns
    -------
    table : with the columns `COLUMNS`, by data set, kind of classifier and metric, the highest value first. `value` is
        the mean of the metric over the `seeds` that did not collapse, of the cell of this kind with the highest mean
        AUC on the validation patches. Values whose split or part is not stated have no row.
    """
    for_seconds = cells.loc[cells["timing_only"].astype(bool), "recipe"]
    ours = runs[~runs["collapsed"].astype(bool) & ~runs["recipe"].isin(for_seconds) & (runs["patches"] == "published")]
    ours = ours[ours["split"].str.startswith("published")]
    known = published[(published["split"] == "published") & (published["part"] == "test")]
    rows = []
    for (_, kind, form), some in ours.groupby(["dataset", "classifier", "format"], sort=False):
        of_kind = known[(known["classifier"] == kind) & (known["format"] == form)]
        of_cells = [frame for _, frame in some.groupby(NAMES, sort=False)]
        best = max(of_cells, key=lambda frame: frame["valid_auc"].mean())
        for row in of_kind.sort_values(["metric", "published_value"], ascending=[True, False]).to_dict("records"):
            ours_is = {"value": best[row["metric"]].mean(), "seeds": len(best), "runs": " ".join(best["folder"])}
            rows.append(dict(row) | best.iloc[0][[*NAMES, "model_name"]].to_dict() | ours_is)
    return pd.DataFrame(rows, columns=names(COLUMNS))


def others_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    published = read(inputs.files["others"])
    table = others(inputs.runs, inputs.cells, published)
    unstated = published.loc[(published["split"] == "") | (published["part"] == ""), "source"].unique()
    notes = [f"Not shown, since it does not say which patches were scored: {', '.join(unstated)}."] * bool(
        len(unstated)
    )
    shown = inputs.cells[inputs.cells["dataset"].isin(table["dataset"])]
    return Table("Published by others", table, COLUMNS, inputs.announcements(shown), [*NOTES, *notes])
