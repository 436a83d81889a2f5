"""Tables 3 and 4: loss, accuracy and AUC of every cell on a data set, beside the published values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from histobench.core import recipes
from histobench.core.errors import HistobenchError
from histobench.core.runs import LEFT_OUT
from histobench.results import columns
from histobench.results.bootstrap import LEVEL, percentile_interval
from histobench.results.cells import NAMES, first_by_recipe, first_cells, runs_of
from histobench.results.columns import ALL_ROWS, BACKEND, BOOTSTRAP, CELL, GAP, KNOWN_ROWS, RUNS, Column, hidden, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

MIN_SEEDS = 3
"""An interval from two seeds would be wider than the range of the AUC."""

METRICS = ["loss", "accuracy", "balanced_accuracy", "auc"]

PUBLISHED = ["loss", "accuracy", "auc"]
"""Metrics that the paper prints."""

DIFFERS = ["data_differs", "recipe_differs", "weights_differ"]
"""Columns with the reasons why a cell is not comparable with the paper's, see `results/paper`."""

PUBLISHED_NOTE = "Published values: Bonnet 2024, Table 3 (PCam) and Table 4 (IDC), with the decimals that it prints."


def _intervals_are(table: pd.DataFrame) -> str:
    kinds = table.loc[table["auc_low"].notna(), "interval"].unique()
    return f"95 % intervals: bootstrap; {'; '.join(kinds)}." if len(kinds) else ""


def _below_floor_is(table: pd.DataFrame) -> str:
    floor = "the AUC of a logistic regression on the mean and standard deviation of each patch's colours"
    return f"† At or below the colour floor: {floor}." if table["below_floor"].any() else ""


def _means_are(table: pd.DataFrame) -> str:
    means = "Metrics are means over the seeds that did not collapse"
    shown = "the intervals show only the uncertainty from the choice of test patches"
    return f"{means}; {shown}." if (table["seeds"] > 1).any() else ""


TRANSFERS = {"": "", "cached": ", cached features", "end_to_end": ", end to end"}
"""Printed after the mode: how a head was trained."""

AT_A_HALF = "Accuracy and balanced accuracy are at the threshold 0.5."

COLUMNS = [
    *(replace(column, after="transfer") if column.name == "mode" else column for column in CELL),
    hidden("transfer", format=TRANSFERS.get),
    text("classifier", once=ALL_ROWS),
    Column("loss", interval=BOOTSTRAP, collapsible=True),
    Column("accuracy", interval=BOOTSTRAP, collapsible=True),
    Column("balanced_accuracy", collapsible=True, footnote=AT_A_HALF),
    Column("auc", "AUC", interval=BOOTSTRAP, collapsible=True, mark=("below_floor", "† ")),
    hidden("interval", footnote=_intervals_are),
    Column("auc_over_seeds", "AUC, deviation over seeds", interval=columns.OF_THE_MEAN),
    # The paper prints two decimals.
    Column("published_loss", format=columns.two_decimals),
    Column("published_accuracy", format=columns.two_decimals),
    Column("published_auc", "Published AUC", format=columns.two_decimals, footnote=PUBLISHED_NOTE),
    Column("loss_difference", "Loss, ours − published"),
    Column("accuracy_difference", "Accuracy, ours − published"),
    Column("auc_difference", "AUC, ours − published"),
    Column("n", "Test patches", once=KNOWN_ROWS),
    Column("seeds", after="collapsed", once=KNOWN_ROWS, footnote=_means_are),
    Column("collapsed", format=lambda number: f" ({number:,} collapsed)" if number else "", shown=False),
    Column("floor_auc", "Colour floor, AUC", once=KNOWN_ROWS),
    Column("below_floor", shown=False, footnote=_below_floor_is),
    text("weights", once=ALL_ROWS),
    text("patches", once=KNOWN_ROWS),
    text("split", once=KNOWN_ROWS),
    *(hidden(why, remark="not comparable") for why in DIFFERS),
    BACKEND,
    GAP,
    RUNS,
]


def performance(
    dataset: str,
    runs: pd.DataFrame,
    cells: pd.DataFrame,
    replicates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Return the test metrics of each cell on a data set, averaged over its seeds, beside those of the paper.

    Runs that collapsed to a constant are counted, but not averaged.

    Parameters
    ----------
    dataset : its name.
    runs, cells : of the study, as in `runs.csv` and `cells.csv`.
    replicates : from a run's folder to its bootstrap replicates, as in `bootstrap.csv`. Resample r holds the same test
        patches in every run on a data set (see `bootstrap.resampled_weights`), so the replicates of the mean over seeds
        are the means of the seeds' replicates.
    published : `format`, `model`, `mode` and `PUBLISHED` of the paper's models, none of them tuned, and none a linear
        head or nearest neighbours.

    Returns
    -------
    table : one row per cell, in the order of the matrix and without those for timing only, with the columns `COLUMNS`.

        - `n`: number of test patches. `seeds`: number of seeds averaged. `collapsed`: number of seeds left out.
        - `loss` and so on: NaN if no seed remains. Their intervals show the uncertainty from the test patches.
        - `auc_over_seeds`: standard deviation over the seeds, from two seeds on. Its interval is Student's of their
          mean, from three seeds on.
        - `below_floor`: whether the AUC is at or below that of the colour floor.
        - `loss_difference` and so on: ours - published, NaN if a column of `DIFFERS` holds a reason.
        - `gap`: why seeds are missing. `runs`: folders of all runs of the cell, separated by spaces.

    Raises
    ------
    HistobenchError
        If a run that did not collapse has no replicates.
    """
    asked = cells[(cells["dataset"] == dataset) & ~cells["timing_only"].astype(bool)]
    printed = published.set_index(["format", "model", "mode"])
    rows = []
    for cell in asked.to_dict("records"):
        key = (cell["format"], cell["model"], cell["mode"])
        papers = not cell["tuned_from"] and cell["classifier"] in (recipes.CNN, recipes.DENSE_HEAD)
        row = {name: cell[name] for name in (*NAMES, "model_name", "classifier", "gap")} | _of_runs(
            runs_of(cell, runs), replicates
        )
        comparable = not any(row[why] for why in DIFFERS)
        for metric in PUBLISHED:
            value = printed[metric].get(key, np.nan) if papers else np.nan
            row[f"published_{metric}"] = value
            row[f"{metric}_difference"] = row[metric] - value if comparable else np.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=columns.names(COLUMNS)).astype({"n": "Int64"})


def first(table: pd.DataFrame) -> list[str]:
    """Return the most important columns of a table: the cell and our metrics, or the paper's if there are no runs."""
    metrics = ["auc", "balanced_accuracy", "accuracy", "loss"]
    if (table["runs"] == "").all():
        metrics = ["published_auc", "published_accuracy", "published_loss"]
    missing = (table["gap"] != "") & ~table["gap"].str.startswith(LEFT_OUT)
    return ["model_name", "mode", "recipe", "device", *metrics, *(["remark"] if missing.any() else [])]


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """Read CSV files of :func:`performance`, of one or several data sets, as one table."""
    frames = [columns.read(path, COLUMNS).astype({"n": "Int64"}) for path in paths]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns.names(COLUMNS))


def of_cnns(inputs: Inputs) -> pd.DataFrame:
    """Return the tables of performance without embeddings of others, which cannot be trained in full for comparison."""
    table = read(inputs.files["performance"])
    return table[~table["model"].isin(list(inputs.encoders))].reset_index(drop=True)


def first_per_mode(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row per data set, model and mode, that of the cell chosen by `cells.first_cells`."""
    return first_cells(cells)[NAMES].merge(table, on=NAMES)


def first_per_recipe(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the cells chosen by `cells.first_by_recipe`.

    Where a model and mode have several recipes, only the paper's keeps its `published_auc`: on each data set the first
    that does not differ from the protocol or, as long as none is known not to, the first that has no run.
    """
    rows = first_by_recipe(cells)[NAMES].merge(table, on=NAMES)
    several = rows.groupby(["model", "mode"])["recipe"].transform("nunique") > 1
    doubt = np.select([rows["recipe_differs"] != "", rows["runs"] == ""], [2, 1], 0)
    surest = rows.assign(doubt=doubt).sort_values("doubt", kind="stable").drop_duplicates(["dataset", "model", "mode"])
    papers = rows.index.isin(surest.index[surest["doubt"] < 2])
    return rows.assign(published_auc=rows["published_auc"].where(~several | papers))


def tuned(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the AUCs of tuned cells and of the same cells before tuning, on the same device.

    Returns
    -------
    frame : `dataset`, `model`, `mode`, `recipe`, `device`, `auc`, `auc_untuned`; NaN if there is none.
    """
    aucs = table[[*NAMES, "auc"]]
    some = cells[(cells["tuned_from"] != "") & ~cells["left_out"].astype(bool)][[*NAMES, "tuned_from"]]
    before = aucs.rename(columns={"recipe": "tuned_from", "auc": "auc_untuned"})
    keys = [name for name in NAMES if name != "recipe"]
    pairs = some.merge(aucs, on=NAMES, how="left").merge(before, on=[*keys, "tuned_from"], how="left")
    return pairs[[*NAMES, "auc", "auc_untuned"]]


def _of_runs(runs: pd.DataFrame, replicates: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Return the columns that come from the runs of a cell; without runs numbers are NaN and strings ""."""
    texts = ["transfer", "weights", "patches", "split", "interval_reason", "backend", *DIFFERS]
    first = runs.iloc[0] if len(runs) else pd.Series(dict.fromkeys(texts, "") | {"n_test": pd.NA, "floor_auc": np.nan})
    learnt = runs[~runs["collapsed"].astype(bool)]
    means = {metric: float(learnt[metric].mean()) if len(learnt) else np.nan for metric in METRICS}
    return {
        **means,
        **_intervals(list(learnt["folder"]), replicates),
        "interval": first["interval_reason"],
        **_over_seeds(learnt["auc"].astype(float)),
        "n": first["n_test"],
        "seeds": len(learnt),
        "collapsed": len(runs) - len(learnt),
        "floor_auc": first["floor_auc"],
        "below_floor": bool(means["auc"] <= first["floor_auc"]),
        **{name: first[name] for name in texts if name != "interval_reason"},
        "runs": " ".join(runs["folder"]),
    }


def _intervals(folders: Sequence[str], replicates: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the percentile intervals of the means over these runs, NaN without runs."""
    missing = [folder for folder in folders if folder not in replicates]
    if missing:
        raise HistobenchError(
            f"tables: no bootstrap replicates of {', '.join(missing)}. Every run that did not collapse needs its "
            "bootstrap.csv: evaluate these runs again."
        )
    intervals: dict[str, float] = {}
    for metric in PUBLISHED:
        low, high = np.nan, np.nan
        if folders:
            by_seed = [replicates[folder].set_index("replicate")[metric] for folder in folders]
            means = pd.concat(by_seed, axis=1, join="inner").mean(axis=1)
            low, high = percentile_interval(means) or (np.nan, np.nan)
        intervals |= {f"{metric}_low": low, f"{metric}_high": high}
    return intervals


def _over_seeds(aucs: pd.Series) -> dict[str, float]:
    """Return the spread of the AUC over seeds, NaN if there are too few."""
    n, deviation = len(aucs), aucs.std(ddof=1)
    low, high = np.nan, np.nan
    if n >= MIN_SEEDS:
        half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * deviation / np.sqrt(n)
        low, high = aucs.mean() - half, aucs.mean() + half
    return {"auc_over_seeds": deviation, "auc_over_seeds_low": low, "auc_over_seeds_high": high}


def performance_table(inputs: Inputs) -> Table:
    """Return the table of the data set."""
    runs, cells = inputs.all_runs, inputs.all_cells
    table = performance(inputs.dataset, runs, cells, inputs.by_run("replicates"), inputs.published.performance)
    shown = inputs.cells[(inputs.cells["dataset"] == inputs.dataset) & ~inputs.cells["timing_only"]]
    title = f"Performance on the test set of {inputs.dataset}"
    seed = inputs.first_seeds.get(inputs.dataset)
    drawn = [f"Each seed draws its own part of the patches; the colour floor is that on the part of seed {seed}."]
    footnotes = drawn if seed is not None and table["floor_auc"].notna().any() else []
    return Table(title, table, COLUMNS, inputs.announcements(shown), footnotes, first=first(table))
