"""Tables as CSV, Markdown and HTML files, and as JSON for the report.

The CSV file keeps full precision, all columns, all rows, and the run folders behind each. The others are for reading:
numbers are rounded, important columns come first, and what all rows share and which cells cannot run is printed once,
below the table. A page shows the first columns at once, the others on demand.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd
import tabulate
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from histobench.core.files import read_sealed, write_sealed, write_text
from histobench.core.runs import LEFT_OUT
from histobench.results.columns import ALL_ROWS, KNOWN_ROWS, MISSING, MODEL_NAME, REMARK, Column, write_csv

tabulate.MIN_PADDING = 0  # else every column of a Markdown table is two characters wider than its content

NOT_COMPARABLE = "Not comparable with the published values"
"""Beginning of the note with the reasons."""

NOTHING = [MISSING, ""]

MARKS = ("†", "≈")
"""Marks in front of numbers; the footnote that explains one begins with it."""

LONG = 60
"""Number of characters above which the text of a cell is laid out as prose."""

COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Table:
    """A table to be printed.

    Attributes
    ----------
    title : of the table; the name of the study is added.
    frame : its rows.
    columns : of the frame; columns of the frame that are missing here are printed with default settings.
    notes : warnings, "keyword: sentence".
    footnotes : printed below the table, after those of the columns.
    grids : parts of the frame to print one below the other if it is too wide for a page, by title (may be ""). By
        default all of `frame`.
    first : names of the most important columns, in order, which may include "remark". They are printed first, and a
        page shows only them at first. By default all columns in the order of the frame.
    to_copy : lines to be copied from below the table as they are, "" for none.
    on_page : whether the page of the study shows it; its files are there either way.
    """

    title: str
    frame: pd.DataFrame
    columns: Sequence[Column] = ()
    notes: Sequence[str] = ()
    footnotes: Sequence[str] = ()
    grids: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    first: Sequence[str] = ()
    to_copy: str = ""
    on_page: bool = True


@dataclass(frozen=True)
class Grid:
    """Printed rows and columns, all of them strings.

    Attributes
    ----------
    title : of this part of the table, "" if the table's title is enough.
    headings, styles : of the columns; a style is "row" for the header of a row, "number", "prose" for sentences, or "".
    rows : one string per row and column.
    first : number of columns, from the left, that a page shows at once; the others open on demand.
    """

    title: str
    headings: list[str]
    styles: list[str]
    rows: list[list[str]]
    first: int


@dataclass(frozen=True)
class Printed:
    """A printed table.

    Attributes
    ----------
    name : stem of its files.
    title : of the table.
    grids : its parts, one if it is not too wide for a page.
    notes : warnings, "keyword: sentence". They stand above a Markdown table, and collapsed below the table on a page,
        where only `warnings` are visible.
    left_out : which cells cannot run, and why; "" if all can.
    footnotes : printed below the table; on a page those that are `folded` are collapsed.
    runs : run folders behind it.
    study : name of the study, may be "".
    to_copy : lines to be copied as they are, "" for none.
    on_page : whether the page of the study shows it.
    """

    kind: ClassVar[str] = "table"
    name: str
    title: str
    grids: list[Grid]
    notes: list[str]
    left_out: str
    footnotes: list[str]
    runs: list[str]
    study: str = ""
    to_copy: str = ""
    on_page: bool = True

    @property
    def full_title(self) -> str:
        """The title of the table outside the page of its study."""
        return f"{self.title}, study {self.study}" if self.study else self.title

    @property
    def warnings(self) -> list[str]:
        """The keywords of the notes."""
        return list(dict.fromkeys(note.partition(":")[0] for note in self.notes))

    @property
    def explaining(self) -> list[str]:
        """Footnotes that explain a mark; they stay visible, as the mark does."""
        return [footnote for footnote in self.footnotes if footnote.startswith(MARKS)]

    @property
    def folded(self) -> list[str]:
        """The other footnotes."""
        return [footnote for footnote in self.footnotes if not footnote.startswith(MARKS)]


def write(table: Table, stem: Path, study: str = "") -> None:
    """Write a table as `stem`.csv, `stem`.md and `stem`.html, and as `stem`.json for the report."""
    done = printed(table, stem.name, study)
    write_csv(stem.with_name(f"{stem.name}.csv"), table.frame)
    write_text(stem.with_name(f"{stem.name}.md"), markdown(done))
    write_text(stem.with_name(f"{stem.name}.html"), html(done))
    write_sealed(stem.with_name(f"{stem.name}.json"), asdict(done))


def read(path: Path) -> Printed:
    """Read a printed table from `stem`.json, see :func:`write`."""
    fields = read_sealed(path)
    return Printed(**fields | {"grids": [Grid(**grid) for grid in fields["grids"]]})


def printed(table: Table, name: str, study: str = "") -> Printed:
    """Return a printed table, as its columns declare, see :class:`histobench.results.columns.Column`.

    Columns without any value are left out. Rows of cells that cannot run are summarized in `left_out`.
    """
    frame, known = table.frame, {column.name: column for column in (*table.columns, REMARK)}
    gaps = frame["gap"] if "gap" in frame else pd.Series("", frame.index)
    out = gaps.astype(str).str.startswith(LEFT_OUT).astype(bool)
    grids, differs = [], ""
    same: dict[str, str] = {}
    for title, part in (table.grids or {"": frame}).items():
        columns = [known.get(each, Column(each)) for each in map(str, part.columns)]
        grid, same_here, differs_here = _grid(title, part[~out[part.index]], columns, table.first)
        grids.append(grid)
        same |= same_here
        differs = differs or differs_here
    shared = ", ".join(f"{heading[0].lower()}{heading[1:]} {value}" for heading, value in same.items())
    footnotes = [column.footnote_of(frame) for column in table.columns]
    return Printed(
        name=name,
        title=table.title,
        study=study,
        to_copy=table.to_copy,
        on_page=table.on_page,
        grids=grids,
        notes=[*table.notes, *([f"{NOT_COMPARABLE}: {differs}."] if differs else [])],
        left_out=_left_out(frame, known, out) if out.any() else "",
        footnotes=[*([f"In every row: {shared}."] if shared else []), *filter(None, footnotes), *table.footnotes],
        runs=list(dict.fromkeys(folder for row in frame["runs"] for folder in row.split())) if "runs" in frame else [],
    )


def markdown(table: Printed) -> str:
    """Return a table as a Markdown document."""
    announcements = [f"> **{_markdown(note)}**" for note in table.notes]
    nothing = "" if table.left_out else "Nothing yet."
    # An empty quoted line keeps two announcements apart, an empty line two paragraphs.
    parts = [f"# {_markdown(table.full_title)}", "\n>\n".join(announcements)]
    for grid in table.grids:
        parts += [f"## {_markdown(grid.title)}" if grid.title else "", _rows(grid) or nothing]
    parts += [f"```yaml\n{table.to_copy.rstrip()}\n```" if table.to_copy else ""]
    parts += map(_markdown, (table.left_out, *table.footnotes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(grid: Grid) -> str:
    """Return a grid as a Markdown table, "" if it has no rows."""
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
    """Return a table as an HTML page that needs no other file."""
    return environment().get_template("table.html.j2").render(table=table)


def words(names: Sequence[str]) -> str:
    """Return names joined for a sentence: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def code(text: str) -> Markup:
    """Return text for a page in which keys that stand between backticks, as in reasons, are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def environment() -> Environment:
    """Return the Jinja environment of the templates beside this file."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["words"] = words
    templates.filters["code"] = code
    return templates


def _left_out(frame: pd.DataFrame, known: Mapping[str, Column], out: "pd.Series[bool]") -> str:
    """Return which cells cannot run and why, naming recipe and device if the table has several."""
    names = ["mode", *(name for name in ("recipe", "device") if frame[name].nunique() > 1)]
    reasons = []
    for gap, some in frame[out].groupby("gap", sort=False):
        # Models that cannot run in the same modes are listed together.
        models: dict[str, list[str]] = {}
        for model, cells in some.groupby("model_name", sort=False):
            values = [words(list(cells[name].map(known[name].format).unique())) for name in names]
            models.setdefault(", ".join(values), []).append(str(model))
        listed = "; ".join(f"{words(which)}, {values}" for values, which in models.items())
        reasons.append(f"{listed}: {str(gap).removeprefix(LEFT_OUT)}.")
    return f"Cannot run: {' '.join(reasons)}"


def _grid(
    title: str, frame: pd.DataFrame, columns: Sequence[Column], first: Sequence[str]
) -> tuple[Grid, dict[str, str], str]:
    """Return the printed grid; the values that all rows share, by heading; and why no row is comparable."""
    bounds = {bound for column in columns for bound in column.names[1:]}
    columns = [column for column in columns if column.name not in bounds]
    text = {column.name: frame[column.name].map(column.format).astype(object) for column in columns}
    text["remark"], differs = _remarks(frame, columns)
    with_interval = set()
    for column in columns:
        value = text[column.name]
        if column.interval and column.names[1] in frame:
            low, high = (frame[bound].map(column.format) for bound in column.names[1:])
            dash = " to " if (frame[column.names[1]] < 0).any() else "–"  # a minus beside a dash is hard to read
            known = frame[column.names[1]].notna()
            value = value.where(~known, value + " (" + low + dash + high + ")")
            if known.any():
                with_interval.add(column.name)
        if column.after in text:
            value = value + text[column.after]
        if column.mark and column.mark[0] in frame:
            # In front, so that the digits stay aligned at the right.
            value = value.where(~frame[column.mark[0]].astype(bool), column.mark[1] + value)
        if column.collapsible and COLLAPSED in frame:
            value = value.where((frame["seeds"] > 0) | (frame[COLLAPSED] == 0), COLLAPSED)
        text[column.name] = value
    shown = {
        column.name: column
        for column in (*columns, REMARK)
        if column.shown and ((~text[column.name].isin(NOTHING)).any() or not len(frame))
    }
    same = {}
    for name, column in shown.items():
        values = text[name][~text[name].isin(NOTHING)] if column.once == KNOWN_ROWS else text[name]
        if column.once in (ALL_ROWS, KNOWN_ROWS) and len(frame) > 1 and values.nunique() == 1:
            same[name] = values.iloc[0]
    leading = [name for name in first if name in shown and name not in same]
    order = [shown[name] for name in dict.fromkeys([*leading, *shown]) if name not in same]
    grid = Grid(
        title=title,
        headings=[column.title + (column.interval if column.name in with_interval else "") for column in order],
        styles=[_style(column, text[column.name]) for column in order],
        rows=pd.DataFrame({column.name: text[column.name] for column in order}).to_numpy().tolist(),
        first=len(leading) or len(order),
    )
    return grid, {shown[name].title: value for name, value in same.items()}, differs


def _remarks(frame: pd.DataFrame, columns: Sequence[Column]) -> tuple["pd.Series[str]", str]:
    """Return the remark of each row, and the reasons that all comparable rows share, which are left out of it."""
    reasons = [column.name for column in columns if column.remark == "not comparable"]
    published = [column.name for column in columns if column.name.startswith("published_")]
    # Only rows with a published value and a run of ours can be compared.
    compared = frame[frame[published].notna().any(axis=1) & (frame["runs"] != "")] if reasons else frame.head(0)
    shared = [name for name in reasons if len(compared) > 1 and compared[name].nunique() == 1]
    own = compared[[name for name in reasons if name not in shared]]
    told = pd.Series(["; ".join(filter(None, row)) for row in own.to_numpy()], own.index, dtype=object)
    told = ("not comparable: " + told[told != ""]).reindex(frame.index, fill_value="")
    # A part of a table without the column "gap" is a lower one; the remarks are in the upper one.
    as_it_is = [column.name for column in columns if column.remark == "as it is" and "gap" in frame]
    whole = ["; ".join(filter(None, row)) for row in frame[as_it_is].assign(told=told).to_numpy()]
    same = "; ".join(filter(None, compared[shared].head(1).to_numpy().ravel()))
    return pd.Series(whole, frame.index, dtype=object), same


def _style(column: Column, texts: "pd.Series[str]") -> str:
    """Return the style of a printed column, see `Grid`."""
    if column.name == MODEL_NAME.name:
        return "row"  # it stays visible while a narrow screen scrolls
    values = texts[~texts.isin([*NOTHING, COLLAPSED])]
    if len(values) and values.str.match(r"([†<] |≈)?-?[\d,.]+(e-\d+)?( \(.*\))?$").all():
        return "number"
    return "prose" if texts.str.len().max() > LONG else ""  # sentences wrap, other cells do not


def _markdown(text: str) -> str:
    """Return text on one line, with HTML and the separators of Markdown cells escaped."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.split())
