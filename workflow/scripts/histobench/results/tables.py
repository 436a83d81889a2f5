"""Tables for print: a frame as CSV, Markdown, a page, and the texts that the report shows.

The CSV keeps full precision, every column, every row, and the run folders behind each; the others round and are for
reading. They have the columns that matter first, say once, below the table, what is the same in all of its rows, and in
one line which cells cannot run. A page shows the first columns at once, the others on demand.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import tabulate
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from histobench.core.files import write_json, write_text
from histobench.core.runs import LEFT_OUT, read_json
from histobench.results.cells import MODE_NAMES
from histobench.results.performance import DIFFERS, METRICS, NOT_COMPARABLE

tabulate.MIN_PADDING = 0  # else every column of a Markdown table is two characters wider than what stands in it

TRANSFERS = {"": "", "cached": ", cached features", "end_to_end": ", end to end"}
"""What print says beside the mode of how a head was trained."""

WHY_NOT = [*DIFFERS, "not_comparable"]
"""Columns that say why a row is not comparable with the paper's, "" where it is."""

INTERVAL = " (95\N{NO-BREAK SPACE}% interval)"
INTERVAL_OF = {
    "auc_over_seeds": " (95\N{NO-BREAK SPACE}% interval of the mean)",
    **dict.fromkeys(("training_seconds", "validation_seconds"), " (range)"),
}
"""What a heading says of the interval in its column, where it is not the value's own."""

HOISTED = ["data_set", "recipe", "device", "weights", "objective", "remark"]
"""Columns that print says once, below the table, where they are the same in all rows."""

KNOWN_TO_RUNS = ["n", "n_train", "n_valid", "floor_auc", "patches", "split", "unit", "seeds"]
"""Columns that it says once where they are the same in all rows that have a value: a run that is missing knows none."""

METRIC_NAMES = {"loss": "Loss", "accuracy": "Accuracy", "auc": "AUC", "seconds": "Seconds"}

HEADINGS = {
    "data_set": "Data set",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "AUC",
    "auc_over_seeds": "AUC, deviation over seeds",
    "n": "Test patches",
    "published_loss": "Published loss",
    "published_auc": "Published AUC",
    **{f"{metric}_difference": f"{name}, ours − published" for metric, name in METRIC_NAMES.items()},
    "n_train": "Training patches",
    "n_valid": "Validation patches",
    **{statistic: statistic for statistic in ("t", "df", "p")},
    "n_tl": "Models, TL",
    "n_full": "Models, full",
    "auc_a": "AUC a",
    "auc_b": "AUC b",
    "p_holm": "p, Holm",
    "delong_p": "p, DeLong",
    "effect": "Effect size",
    "first_epoch_seconds": "First epoch, s",
    "training_seconds": "Training, s",
    "validation_seconds": "Validation, s",
    "patches_per_second": "Training patches/s",
    "percent_of_peak": "% of peak",
    "device_memory_mib": "GPU, MiB",
    "energy_kilojoules": "Energy, kJ",
    "floor_auc": "Colour floor, AUC",
    "floor_balanced_accuracy": "Colour floor, balanced accuracy",
    "shuffled_auc": "Shuffled labels, AUC",
    "published_parameters_millions": "Published parameters, millions",
    "parameters_with_top_millions": "Parameters with top, millions",
    "parameters_as_trained_millions": "Parameters as trained, millions",
    "checkpoint_mb": "Checkpoint, MB",
    "search_seconds": "Device seconds",
    "trial_seconds": "Seconds",
    "untuned_auc": "AUC, untuned",
    "multiply_adds_96_px_millions": "Multiply-adds at 96 px, millions",
    "multiply_adds_50_px_millions": "Multiply-adds at 50 px, millions",
}
"""Headings in print; any other column's heading is its name with spaces and a capital."""

P_VALUES = ["p", "p_holm", "delong_p"]
"""Columns in which a 0.000 would claim the impossible."""

NOTHING = ["–", ""]
"""What a cell without a value prints."""

MARKS = ("†", "≈")
"""What stands in front of a number that a footnote explains; the footnote begins with it."""

LONG = 60
"""Characters from which on a cell is a sentence."""

TWO_DECIMALS = [
    *("published_loss", "published_accuracy", "published_auc"),  # as they were printed: a third would claim more
    *("against_oldest", "against_simplest"),
]

EXTRAPOLATED = ["seconds", "training_seconds", "validation_seconds"]
"""Columns that a row's `extrapolated` is about."""

THREE_DIGITS = [
    *("seconds", "first_epoch_seconds", "training_seconds", "validation_seconds", "seconds_difference"),
    *("patches_per_second", "percent_of_peak", "energy_kilojoules"),
    *("search_seconds", "trial_seconds"),
]
"""Columns of measurements, which a fourth digit would not repeat; whole numbers keep all of theirs."""

MERGED = [
    *("transfer", "interval", "collapsed", "below_floor", "extrapolated", "gap", "gpu", "key", "format", "runs"),
    *WHY_NOT,
]
"""Columns that print shows as part of another cell or below the table, or not at all."""


@dataclass(frozen=True)
class Grid:
    """Rows and columns in print: all cells are texts.

    Attributes
    ----------
    title : what it shows, "" where its table's title says it.
    headings, styles : of the columns; a style is "row" for the name that heads a row, "number", "prose" for sentences,
        or "".
    rows : a text per row and column.
    first : how many columns, from the left, a page shows at once; the others open on demand.
    """

    title: str
    headings: list[str]
    styles: list[str]
    rows: list[list[str]]
    first: int


@dataclass(frozen=True)
class Printed:
    """A table in print.

    Attributes
    ----------
    name : stem of its files.
    title : of the table.
    grids : a table that is too wide for a page is cut into several, which stand one above the other.
    notes : warnings, "what: the rest". Markdown has them above the table; a page has them folded below it, with
        `warnings` in sight.
    left_out : which cells cannot run, and why; "" where all can.
    footnotes : what stands below the table; a page folds those that are `folded`.
    runs : run folders behind it.
    """

    kind: ClassVar[str] = "table"
    name: str
    title: str
    grids: list[Grid]
    notes: list[str]
    left_out: str
    footnotes: list[str]
    runs: list[str]

    @property
    def warnings(self) -> list[str]:
        """What the notes warn of, in a word or two each."""
        return list(dict.fromkeys(note.partition(":")[0] for note in self.notes))

    @property
    def explaining(self) -> list[str]:
        """Footnotes that explain a mark: they stay in sight as the mark does."""
        return [footnote for footnote in self.footnotes if footnote.startswith(MARKS)]

    @property
    def folded(self) -> list[str]:
        """The other footnotes."""
        return [footnote for footnote in self.footnotes if not footnote.startswith(MARKS)]


def write(
    frame: pd.DataFrame,
    stem: Path,
    title: str,
    notes: Sequence[str] = (),
    footnotes: Sequence[str] = (),
    *,
    grids: Mapping[str, pd.DataFrame] | None = None,
    first: Sequence[str] = (),
) -> None:
    """Write a table as `stem`.csv, `stem`.md and `stem`.html, and as `stem`.json for the report.

    Parameters
    ----------
    frame : any table: floats are printed to three decimals, missing ones as a dash. Some columns are printed in a
        way of their own, see `printed`.
    stem : folder and file name without suffix.
    title : of the table.
    notes, footnotes : warnings, "what: the rest", and what stands below the table.
    grids : what print shows of a table too wide for a page, one frame below the other, by their titles; a title may be
        "". By default all of `frame`.
    first : columns that matter first, in their order; "remark" is one, too. They lead in print, and a page shows them
        alone at first. By default all columns, as they stand in the frame.
    """
    table = printed(frame, stem.name, title, notes, footnotes, grids=grids or {"": frame}, first=first)
    to_csv(frame, stem.with_name(f"{stem.name}.csv"))
    write_text(stem.with_name(f"{stem.name}.md"), markdown(table))
    write_text(stem.with_name(f"{stem.name}.html"), html(table))
    write_json(stem.with_name(f"{stem.name}.json"), asdict(table))


def read(path: Path) -> Printed:
    """Read a table in print, `stem`.json, as `write` left it."""
    told = read_json(path)
    return Printed(**told | {"grids": [Grid(**grid) for grid in told["grids"]]})


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in full precision: reading it gives the same floats."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def printed(
    frame: pd.DataFrame,
    name: str,
    title: str,
    notes: Sequence[str],
    footnotes: Sequence[str],
    *,
    grids: Mapping[str, pd.DataFrame],
    first: Sequence[str],
) -> Printed:
    """Return a table in print.

    `<column>_low` and `<column>_high` become an interval beside their column, `transfer` a part of the mode,
    `extrapolated`, `gap` and `WHY_NOT` one remark. A column without any value is left out; one of `HOISTED` that is the
    same in several rows is said below the table. Rows of cells that cannot run are one line, `left_out`. Parameters as
    for `write`; `name` is the stem of its files.
    """
    gaps = frame["gap"] if "gap" in frame else pd.Series("", frame.index)
    out = gaps.astype(str).str.startswith(LEFT_OUT).astype(bool)
    shown, differs = [], ""
    same: dict[str, str] = {}
    for heading, part in grids.items():
        table, ahead, same_here, differs_here = _text(part[~out], first)
        styles = [_style(table[column]) for column in table]
        shown.append(Grid(heading, [str(column) for column in table], styles, table.to_numpy().tolist(), ahead))
        same |= same_here
        differs = differs or differs_here
    said = ", ".join(f"{_heading(column)[0].lower()}{_heading(column)[1:]} {value}" for column, value in same.items())
    below = [f"In every row: {said}."] if said else []
    return Printed(
        name=name,
        title=title,
        grids=shown,
        notes=[*notes, *([f"{NOT_COMPARABLE}: {differs}."] if differs else [])],
        left_out=_left_out(frame, out) if out.any() else "",
        footnotes=[*below, *_footnotes(frame), *footnotes],
        runs=list(dict.fromkeys(folder for row in frame["runs"] for folder in row.split())) if "runs" in frame else [],
    )


def markdown(table: Printed) -> str:
    """Return a table as a Markdown document."""
    announcements = [f"> **{_markdown(note)}**" for note in table.notes]
    nothing = "" if table.left_out else "Nothing yet."
    # An empty quoted line keeps two announcements apart, an empty line two paragraphs.
    parts = [
        f"# {_markdown(table.title)}",
        "\n>\n".join(announcements),
        *(
            text
            for grid in table.grids
            for text in (f"## {_markdown(grid.title)}" if grid.title else "", _rows(grid) or nothing)
        ),
        _markdown(table.left_out),
        "\n\n".join(map(_markdown, table.footnotes)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(grid: Grid) -> str:
    """Return a grid as Markdown has it, "" where it has no rows."""
    if not grid.rows:
        return ""
    body = pd.DataFrame(grid.rows, columns=grid.headings).map(_markdown)
    return body.to_markdown(
        index=False,
        disable_numparse=True,
        headers=[_markdown(heading) for heading in grid.headings],
        colalign=["right" if style == "number" else "left" for style in grid.styles],
    )


def html(table: Printed) -> str:
    """Return a table as one page that loads nothing else."""
    return environment().get_template("table.html.j2").render(table=table)


def words(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def environment() -> Environment:
    """Return what renders the templates beside this file."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["words"] = words
    return found


def _heading(column: str) -> str:
    return HEADINGS.get(column, column.replace("_", " ").capitalize())


def _left_out(frame: pd.DataFrame, out: "pd.Series[bool]") -> str:
    """Return in a line which cells cannot run and why; recipe and device stand in it where the table has several."""
    names = ["mode", *(name for name in ("recipe", "device") if frame[name].nunique() > 1)]
    told = []
    for gap, some in frame[out].groupby("gap", sort=False):
        # Models that cannot run in the same ways stand together.
        models: dict[str, list[str]] = {}
        for model, cells in some.groupby("model", sort=False):
            told_of = [words(list(cells[name].map(_printer(name)).unique())) for name in names]
            models.setdefault(", ".join(told_of), []).append(str(model))
        cells_in_words = "; ".join(f"{words(which)}, {how}" for how, which in models.items())
        told.append(f"{cells_in_words}: {str(gap).removeprefix(LEFT_OUT)}.")
    return f"Cannot run: {' '.join(told)}"


def _text(frame: pd.DataFrame, first: Sequence[str]) -> tuple[pd.DataFrame, int, dict[str, str], str]:
    """Return the table as text under its headings and how many of these lead.

    Further what is the same in all rows, by column, and why none of them is comparable.
    """
    text = {str(column): frame[column].map(_printer(str(column))).astype(object) for column in frame.columns}
    intervals = _with_interval(frame)
    for value in intervals:
        low, high = f"{value}_low", f"{value}_high"
        dash = " to " if (frame[low] < 0).any() else "–"  # a minus beside a dash is hard to read
        interval = text[value] + " (" + text[low] + dash + text[high] + ")"
        text[value] = text[value].where(frame[low].isna(), interval)
    if "transfer" in frame:
        text["mode"] += frame["transfer"].map(TRANSFERS)
    if "below_floor" in frame:
        # The mark stands in front, so that the figures stay aligned at the right.
        text["auc"] = pd.Series(np.where(frame["below_floor"].astype(bool), "† ", ""), text["auc"].index) + text["auc"]
    if "extrapolated" in frame:
        for column in [name for name in EXTRAPOLATED if name in frame]:
            text[column] = text[column].where(frame["extrapolated"] == "", "≈" + text[column])
    if "collapsed" in frame:
        lost = frame["collapsed"] > 0
        text["seeds"] = text["seeds"].where(~lost, text["seeds"] + " (" + text["collapsed"] + " collapsed)")
        for metric in METRICS:
            text[metric] = text[metric].where((frame["seeds"] > 0) | ~lost, "collapsed")
    text["remark"], differs = _remarks(frame)
    hidden = {*MERGED, *(f"{value}_{end}" for value in intervals for end in ("low", "high"))}
    shown = {column: texts for column, texts in text.items() if column not in hidden and _says_something(texts)}
    same = {}
    for column, texts in shown.items():
        told = texts[~texts.isin(NOTHING)] if column in KNOWN_TO_RUNS else texts
        if column in [*HOISTED, *KNOWN_TO_RUNS] and len(texts) > 1 and told.nunique() == 1:
            same[column] = told.iloc[0]
    told_with = [value for value in intervals if frame[f"{value}_low"].notna().any()]
    ahead = [column for column in first if column in shown and column not in same]
    columns = {
        _heading(column) + (INTERVAL_OF.get(column, INTERVAL) if column in told_with else ""): shown[column]
        for column in dict.fromkeys([*ahead, *shown])
        if column not in same
    }
    return pd.DataFrame(columns), len(ahead) or len(columns), same, differs


def _says_something(texts: "pd.Series[str]") -> bool:
    return bool((~texts.isin(NOTHING)).any()) or not len(texts)


def _remarks(frame: pd.DataFrame) -> tuple["pd.Series[str]", str]:
    """Return a remark per row, and what would be the same in the remarks of all rows that have one."""
    none = pd.Series("", frame.index, dtype=object)
    said = [column for column in WHY_NOT if column in frame]
    published = [column for column in frame.columns if str(column).startswith("published_")]
    # Where the paper has nothing, or there is nothing of ours, there is nothing to compare.
    compared = frame[published].notna().any(axis=1) & (frame["runs"] != "") if published and said else none != ""
    same, parts = [], []
    for column in said:
        why = frame[column].where(compared, "")
        if compared.sum() > 1 and why[compared].nunique() == 1:
            same.append(why[compared].iloc[0])
            why = none
        parts.append(why)
    remarks = ["; ".join(filter(None, row)) for row in zip(*parts, strict=True)] if parts else [""] * len(frame)
    # Without gaps it is the lower part of a table, whose rows have their remarks above.
    first = (frame[column] for column in ("extrapolated", "gap") if column in frame and "gap" in frame)
    told = [
        "; ".join(filter(None, (*row, f"not comparable: {remark}" if remark else "")))
        for *row, remark in zip(*first, remarks, strict=True)
    ]
    return pd.Series(told, frame.index, dtype=object), "; ".join(filter(None, same))


def _with_interval(frame: pd.DataFrame) -> list[str]:
    """Return the columns whose interval stands in two others, `<column>_low` and `<column>_high`."""
    return [column for column in frame.columns if {f"{column}_low", f"{column}_high"} <= set(frame.columns)]


def _style(column: pd.Series) -> str:
    """Return how a printed column looks on a page."""
    if column.name == "Model":
        return "row"  # it heads its row, and stays in sight while a narrow screen scrolls
    told = column[~column.isin([*NOTHING, "collapsed"])]
    if len(told) and told.str.match(r"([†<] |≈)?-?[\d,.]+(e-\d+)?( \(.*\))?$").all():
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


def _three_digits(value: Any) -> str:
    """Return a number with three digits, or all that stand before the point."""
    if pd.isna(value):
        return "–"
    return f"{value:,.{max(2 - math.floor(math.log10(abs(value))), 0) if value else 0}f}"


def _printer(column: str) -> Callable[[Any], str]:
    """Return how the values of a column are printed."""
    if column.removesuffix("_low").removesuffix("_high") in THREE_DIGITS:
        return _three_digits
    if column in TWO_DECIMALS:
        return lambda value: "–" if pd.isna(value) else f"{value:.2f}"
    if column == "mode":
        return lambda value: MODE_NAMES.get(value, _cell(value))
    if column == "learning_rate":
        return lambda value: "–" if pd.isna(value) else f"{value:.3g}"
    if column in P_VALUES:
        return lambda value: "< 0.001" if isinstance(value, float) and value < 0.0005 else _cell(value)
    return _cell


def _footnotes(frame: pd.DataFrame) -> list[str]:
    """Return what the printed table needs below it."""
    found = []
    if "interval" in frame and frame["auc_low"].notna().any():
        kinds = frame.loc[frame["auc_low"].notna(), "interval"].unique()
        found.append(f"95 % intervals: {', '.join(kinds)}.")
    if "below_floor" in frame and frame["below_floor"].any():
        found.append(
            "† At or below the colour floor: the AUC of a logistic regression on the mean and standard deviation of "
            "each patch's colours."
        )
    if {"seeds", "auc_low"} <= set(frame) and (frame["seeds"] > 1).any():
        found.append(
            "Metrics are means over the seeds that did not collapse; the intervals show the uncertainty of the test "
            "set alone."
        )
    if "runs" in frame and (frame["runs"] != "").any():
        found.append("The CSV file names the run folders behind each row.")
    return found


def _markdown(text: str) -> str:
    """Return text with what Markdown would take for HTML or for the edge of a cell escaped, on one line."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.split())
