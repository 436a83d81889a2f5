"""Tables of a study: computed from `runs.csv` and the runs' bootstrap replicates, written as CSV, Markdown and HTML.

The CSV keeps full precision and names the run folders behind each row; Markdown and HTML round and are for reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy import stats

from histobench.errors import HistobenchError
from histobench.files import write_text
from histobench.results.metrics import LEVEL, percentile_interval

# An interval from two seeds would be wider than the AUC's range.
MIN_SEEDS = 3

CELL = ["dataset", "mode", "model", "recipe", "device"]

METRICS = ["loss", "accuracy", "balanced_accuracy", "auc"]

PERFORMANCE = [
    *("data_set", "mode", "transfer", "model", "recipe", "device"),
    *("loss", "accuracy", "balanced_accuracy", "auc", "auc_low", "auc_high", "interval"),
    *("auc_over_seeds", "auc_over_seeds_low", "auc_over_seeds_high"),
    *("n", "seeds", "collapsed", "floor_auc", "below_floor", "weights", "patches", "split", "runs"),
]

TRANSFERS = {"": "", "cached": ", cached features", "end_to_end": ", end to end"}
"""What print says beside the mode of how a head was trained."""

INTERVALS = {"group": "bootstrap over groups", "patch": "bootstrap over patches, ignores clustering"}

HEADINGS = {
    "data_set": "Data set",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "AUC (95\N{NO-BREAK SPACE}% interval)",
    "auc_over_seeds": "AUC, deviation over seeds (95\N{NO-BREAK SPACE}% interval of the mean)",
    "n": "Test patches",
    **{statistic: statistic for statistic in ("t", "df", "p")},
    "n_tl": "Models, TL",
    "n_full": "Models, full",
    "difference": "Difference of mean AUC, TL − full (95\N{NO-BREAK SPACE}% interval)",
    "floor_auc": "Colour floor, AUC",
    "floor_balanced_accuracy": "Colour floor, balanced accuracy",
    "shuffled_auc": "Shuffled labels, AUC",
    "published_parameters_millions": "Published parameters, millions",
    "parameters_with_top_millions": "Parameters with top, millions",
    "parameters_as_trained_millions": "Parameters as trained, millions",
    "checkpoint_mb": "Checkpoint, MB",
    "multiply_adds_96_px_millions": "Multiply-adds at 96 px, millions",
    "multiply_adds_50_px_millions": "Multiply-adds at 50 px, millions",
}
"""Headings in print; any other column's heading is its name with spaces and a capital."""

LONG = 60
"""Characters from which on a cell is a sentence."""

MERGED = ["transfer", "interval", "collapsed", "below_floor", "runs"]
"""Columns of `performance` that print shows as part of another cell or below the table."""


def performance(runs: pd.DataFrame, replicates: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the test metrics of each cell, averaged over its seeds.

    A run that collapsed to a constant has no metrics to average: it is counted and left out.

    Parameters
    ----------
    runs : one row per run, as in `runs.csv`.
    replicates : from a run's folder to its bootstrap replicates, as in `bootstrap.csv`. Resample r holds the same test
        patches in every run on a data set (see `metrics.resampled_weights`), so the replicates of the average over
        seeds are the averages of the seeds' replicates. They show the uncertainty of the test set, not of the seed.

    Returns
    -------
    table : one row per cell, by data set and then in the order of the runs, with the columns `PERFORMANCE`. `n` is the
        number of test patches, `seeds` the number of seeds averaged, `collapsed` the number left out; where none
        remains, the metrics are NaN. `auc_low` and `auc_high` are the uncertainty of the test set. `auc_over_seeds` is
        that of training: the standard deviation over the averaged seeds, from two seeds up, and its interval is
        Student's of their mean, from three seeds up. `below_floor` is True where the AUC is at or below that of the
        colour floor. `runs` are the folders of the cell's runs, collapsed ones included, separated by spaces.

    Raises
    ------
    HistobenchError
        Where a run that did not collapse has no replicates.
    """
    rows = []
    # The blocks of the matrix may come back to a data set: its rows stand together.
    places = {dataset: place for place, dataset in enumerate(runs["dataset"].unique())}
    runs = runs.sort_values("dataset", key=lambda datasets: datasets.map(places), kind="stable")
    for _, cell in runs.groupby(CELL, sort=False, dropna=False):
        learnt = cell[~cell["collapsed"].astype(bool)]
        first = cell.iloc[0]
        low, high = _auc_interval(list(learnt["folder"]), replicates)
        means = learnt[METRICS].mean()
        rows.append(
            {
                "data_set": first["dataset"],
                "mode": first["mode"],
                "transfer": first["transfer"],
                "model": first["name"],
                "recipe": first["recipe"],
                "device": first["device"],
                **means,
                "auc_low": low,
                "auc_high": high,
                "interval": INTERVALS[first["interval_unit"]],
                **_over_seeds(learnt["auc"]),
                "n": first["n_test"],
                "seeds": len(learnt),
                "collapsed": len(cell) - len(learnt),
                "floor_auc": first["floor_auc"],
                "below_floor": bool(means["auc"] <= first["floor_auc"]),
                "weights": "" if pd.isna(first["weights"]) else first["weights"],  # pandas reads an empty field as NaN
                "patches": first["patches"],
                "split": first["split"],
                "runs": " ".join(cell["folder"]),
            }
        )
    return pd.DataFrame(rows, columns=PERFORMANCE)


def notes(runs: pd.DataFrame) -> list[str]:
    """Return what must stand above every table of these runs; an empty list where there is nothing to announce.

    Parameters
    ----------
    runs : one row per run, as in `runs.csv`.
    """
    leaky = runs[runs["leaky"].astype(bool)]
    collapsed = int(runs["collapsed"].astype(bool).sum())
    announcements = [
        ("Simulated patches", runs.loc[runs["patches"] == "simulated", "dataset"], "Nothing here holds for tissue."),
        (
            "Subset of the published patches",
            runs.loc[runs["patches"] == "subset", "dataset"],
            "The figures are not those of the whole data set.",
        ),
        (
            "Random weights",
            runs.loc[runs["weights"] == "random", "name"],
            "These models did not start from ImageNet weights.",
        ),
        (
            "Leaky split",
            leaky["dataset"] + " (" + leaky["split"] + ")",
            "Patches of one patient can stand in training and in test, so the metrics flatter the models.",
        ),
    ]
    found = [f"{title}: {', '.join(which.unique())}. {text}" for title, which, text in announcements if len(which)]
    if collapsed:
        found.append(f"Collapsed runs: {collapsed} of {len(runs)}. They predict a constant; averages leave them out.")
    return found


def write(frame: pd.DataFrame, stem: Path, title: str, notes: Sequence[str]) -> None:
    """Write a table as `stem`.csv, `stem`.md and `stem`.html.

    Parameters
    ----------
    frame : `performance`, or any table: floats are printed to three decimals, missing ones as a dash.
    stem : folder and file name without suffix.
    title : of the table.
    notes : what stands above the table, as from `notes`.
    """
    to_csv(frame, stem.with_name(f"{stem.name}.csv"))
    to_markdown(frame, stem.with_name(f"{stem.name}.md"), title, notes)
    to_html(frame, stem.with_name(f"{stem.name}.html"), title, notes)


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in full precision: reading it gives the same floats."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def to_markdown(frame: pd.DataFrame, path: Path, title: str, notes: Sequence[str]) -> None:
    """Write a table as Markdown; parameters as for `write`."""
    printed = _printed(frame)
    numeric = _numeric(frame, printed)
    table = printed.map(_markdown).to_markdown(
        index=False,
        disable_numparse=True,
        headers=[_markdown(heading) for heading in printed.columns],
        colalign=["right" if heading in numeric else "left" for heading in printed.columns],
    )
    announcements = [f"> **{_markdown(note)}**" for note in notes]
    footnotes = [_markdown(footnote) for footnote in _footnotes(frame)]
    # An empty quoted line keeps two announcements apart, an empty line two paragraphs.
    parts = [f"# {_markdown(title)}", "\n>\n".join(announcements), table, "\n\n".join(footnotes)]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")


def to_html(frame: pd.DataFrame, path: Path, title: str, notes: Sequence[str]) -> None:
    """Write a table as one page that loads nothing else; parameters as for `write`."""
    printed = _printed(frame)
    numeric = _numeric(frame, printed)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template("table.html.j2").render(
        title=title,
        notes=list(notes),
        columns=[{"heading": heading, "style": _style(printed[heading], heading in numeric)} for heading in printed],
        rows=printed.to_numpy().tolist(),
        footnotes=_footnotes(frame),
        runs=[folder for row in frame["runs"] for folder in row.split()] if "runs" in frame else [],
    )
    write_text(path, page)


def _auc_interval(folders: Sequence[str], replicates: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """Return the percentile interval of the mean AUC over these runs, or NaN where there is none."""
    missing = [folder for folder in folders if folder not in replicates]
    if missing:
        raise HistobenchError(
            f"tables: no bootstrap replicates of {', '.join(missing)}. Every run that did not collapse needs its "
            "bootstrap.csv: evaluate these runs again."
        )
    if not folders:
        return np.nan, np.nan
    columns = [replicates[folder].set_index("replicate")["auc"] for folder in folders]
    low, high = percentile_interval(pd.concat(columns, axis=1, join="inner").mean(axis=1)) or (np.nan, np.nan)
    return low, high


def _over_seeds(aucs: pd.Series) -> dict[str, float]:
    """Return the spread of the AUC over seeds; NaN where there are too few to tell."""
    n, deviation = len(aucs), aucs.std(ddof=1)
    low, high = np.nan, np.nan
    if n >= MIN_SEEDS:
        half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * deviation / np.sqrt(n)
        low, high = aucs.mean() - half, aucs.mean() + half
    return {"auc_over_seeds": deviation, "auc_over_seeds_low": low, "auc_over_seeds_high": high}


def _heading(column: str) -> str:
    return HEADINGS.get(column, column.replace("_", " ").capitalize())


def _printed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text for print, under its headings."""
    text = {column: frame[column].map(_cell).astype(object) for column in frame.columns}
    for value in _with_interval(frame):
        low, high = f"{value}_low", f"{value}_high"
        dash = " to " if (frame[low] < 0).any() else "–"  # a minus beside a dash is hard to read
        interval = text[value] + " (" + text[low] + dash + text[high] + ")"
        text[value] = text[value].where(frame[low].isna(), interval)
    if "transfer" in frame:
        text["mode"] += frame["transfer"].map(TRANSFERS)
    if "below_floor" in frame:
        # The mark stands in front, so that the figures stay aligned at the right.
        text["auc"] = pd.Series(np.where(frame["below_floor"].astype(bool), "† ", ""), text["auc"].index) + text["auc"]
    if "collapsed" in frame:
        lost = frame["collapsed"] > 0
        text["seeds"] = text["seeds"].where(~lost, text["seeds"] + " (" + text["collapsed"] + " collapsed)")
        for metric in METRICS:
            text[metric] = text[metric].where(frame["seeds"] > 0, "collapsed")
    # A column of dashes tells nothing: print leaves out the spread where every cell has one seed.
    empty = {"auc_over_seeds"} if "auc_over_seeds" in frame and frame["auc_over_seeds"].isna().all() else set()
    merged = {*MERGED, *empty, *(f"{value}_{end}" for value in _with_interval(frame) for end in ("low", "high"))}
    return pd.DataFrame({_heading(column): text[column] for column in frame.columns if column not in merged})


def _with_interval(frame: pd.DataFrame) -> list[str]:
    """Return the columns whose interval stands in two others, `<column>_low` and `<column>_high`."""
    return [column for column in frame.columns if {f"{column}_low", f"{column}_high"} <= set(frame.columns)]


def _numeric(frame: pd.DataFrame, printed: pd.DataFrame) -> set[str]:
    """Return the headings of the columns that hold numbers; they stand at the right."""
    headings = {_heading(str(column)) for column in frame.select_dtypes(["number"]).columns}
    return headings & set(printed.columns)


def _style(column: pd.Series, numeric: bool) -> str:
    """Return how a printed column looks on a page."""
    if column.name == "Model":
        return "row"  # it heads its row, and stays in sight while a narrow screen scrolls
    if numeric:
        return "number"
    return "prose" if column.str.len().max() > LONG else ""  # sentences wrap, other cells do not


def _cell(value: Any) -> str:
    """Return one value as text for print."""
    if pd.isna(value):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}"
    return str(value)


def _footnotes(frame: pd.DataFrame) -> list[str]:
    """Return what the printed table needs below it."""
    found = []
    if "interval" in frame and frame["auc_low"].notna().any():
        for interval, rows in frame[frame["auc_low"].notna()].groupby("interval"):
            found.append(f"95 % intervals, {', '.join(rows['data_set'].unique())}: {interval}.")
    if "below_floor" in frame and frame["below_floor"].any():
        found.append(
            "† At or below the colour floor: the AUC of a logistic regression on the mean and standard deviation of "
            "each patch's colours."
        )
    if "seeds" in frame and (frame["seeds"] > 1).any():
        found.append(
            "Metrics are means over the seeds that did not collapse; the intervals show the uncertainty of the test "
            "set alone."
        )
    if "runs" in frame:
        found.append("The column `runs` of the CSV file names the run folders behind each row.")
    return found


def _markdown(text: str) -> str:
    """Return text with what Markdown would take for HTML or for the edge of a cell escaped, on one line."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.split())
