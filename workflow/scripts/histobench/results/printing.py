"""Tables for print: a frame as CSV, Markdown, a page, and the texts that the report shows.

The CSV keeps full precision, every column, every row, and the run folders behind each; the others round and are for
reading. They have the columns that matter first, say once, below the table, what is the same in all of its rows, and in
one line which cells cannot run. A page shows the first columns at once, the others on demand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import pandas as pd
import tabulate
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from histobench.core.files import write_json, write_text
from histobench.core.runs import LEFT_OUT, read_json
from histobench.results.columns import ALL_ROWS, KNOWN_ROWS, MISSING, MODEL_NAME, REMARK, Column

tabulate.MIN_PADDING = 0  # else every column of a Markdown table is two characters wider than what stands in it

NOT_COMPARABLE = "Not comparable with the published values"
"""What the note begins with that says why."""

NOTHING = [MISSING, ""]

MARKS = ("†", "≈")
"""What stands in front of a number that a footnote explains; the footnote begins with it."""

LONG = 60
"""Characters from which on a cell is a sentence."""

COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Table:
    """A table, to be printed.

    Attributes
    ----------
    title : of the table; print adds the study.
    frame : its rows.
    columns : of the frame. One that is not among them is printed under its name.
    notes : warnings, "what: the rest".
    footnotes : what stands below the table.
    grids : what print shows of a table that is too wide for a page, one frame below the other, by their titles; a title
        may be "". By default all of `frame`.
    first : names of columns that matter first, in their order, "remark" among them. They lead in print, and a page
        shows them alone at first. By default all columns, as they stand in the frame.
    """

    title: str
    frame: pd.DataFrame
    columns: Sequence[Column] = ()
    notes: Sequence[str] = ()
    footnotes: Sequence[str] = ()
    grids: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    first: Sequence[str] = ()


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
    title : what it shows.
    grids : a table that is too wide for a page is cut into several, which stand one above the other.
    notes : warnings, "what: the rest". Markdown has them above the table; a page has them folded below it, with
        `warnings` in sight.
    left_out : which cells cannot run, and why; "" where all can.
    footnotes : what stands below the table; a page folds those that are `folded`.
    runs : run folders behind it.
    study : whose table it is, "" for none.
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

    @property
    def full_title(self) -> str:
        """The title of the table by itself, outside the page of its study."""
        return f"{self.title}, study {self.study}" if self.study else self.title

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


def write(table: Table, stem: Path, study: str = "") -> None:
    """Write a table as `stem`.csv, `stem`.md and `stem`.html, and as `stem`.json for the report.

    Parameters
    ----------
    table : the table.
    stem : folder and file name without suffix.
    study : its name, for the title.
    """
    done = printed(table, stem.name, study)
    to_csv(table.frame, stem.with_name(f"{stem.name}.csv"))
    write_text(stem.with_name(f"{stem.name}.md"), markdown(done))
    write_text(stem.with_name(f"{stem.name}.html"), html(done))
    write_json(stem.with_name(f"{stem.name}.json"), asdict(done))


def read(path: Path) -> Printed:
    """Read a table in print, `stem`.json, as `write` left it."""
    told = read_json(path)
    return Printed(**told | {"grids": [Grid(**grid) for grid in told["grids"]]})


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV in full precision: reading it gives the same floats."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def printed(table: Table, name: str, study: str = "") -> Printed:
    """Return a table in print, by what its columns say, see :class:`histobench.results.columns.Column`.

    A column without any value is left out. Rows of cells that cannot run are one line, `left_out`.

    Parameters
    ----------
    table : the table.
    name : stem of its files.
    study : its name.
    """
    frame, known = table.frame, {column.name: column for column in (*table.columns, REMARK)}
    gaps = frame["gap"] if "gap" in frame else pd.Series("", frame.index)
    out = gaps.astype(str).str.startswith(LEFT_OUT).astype(bool)
    grids, differs = [], ""
    same: dict[str, str] = {}
    for title, part in (table.grids or {"": frame}).items():
        columns = [known.get(each, Column(each)) for each in map(str, part.columns)]
        grid, same_here, differs_here = _grid(title, part[~out], columns, table.first)
        grids.append(grid)
        same |= same_here
        differs = differs or differs_here
    said = ", ".join(f"{heading[0].lower()}{heading[1:]} {value}" for heading, value in same.items())
    footnotes = [column.footnote(frame) for column in table.columns if column.footnote]
    return Printed(
        name=name,
        title=table.title,
        study=study,
        grids=grids,
        notes=[*table.notes, *([f"{NOT_COMPARABLE}: {differs}."] if differs else [])],
        left_out=_left_out(frame, known, out) if out.any() else "",
        footnotes=[*([f"In every row: {said}."] if said else []), *filter(None, footnotes), *table.footnotes],
        runs=list(dict.fromkeys(folder for row in frame["runs"] for folder in row.split())) if "runs" in frame else [],
    )


def markdown(table: Printed) -> str:
    """Return a table as a Markdown document."""
    announcements = [f"> **{_markdown(note)}**" for note in table.notes]
    nothing = "" if table.left_out else "Nothing yet."
    # An empty quoted line keeps two announcements apart, an empty line two paragraphs.
    parts = [
        f"# {_markdown(table.full_title)}",
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
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["words"] = words
    return templates


def _left_out(frame: pd.DataFrame, known: Mapping[str, Column], out: "pd.Series[bool]") -> str:
    """Return in a line which cells cannot run and why; recipe and device stand in it where the table has several."""
    names = ["mode", *(name for name in ("recipe", "device") if frame[name].nunique() > 1)]
    told = []
    for gap, some in frame[out].groupby("gap", sort=False):
        # Models that cannot run in the same ways stand together.
        models: dict[str, list[str]] = {}
        for model, cells in some.groupby("model_name", sort=False):
            told_of = [words(list(cells[name].map(known[name].format).unique())) for name in names]
            models.setdefault(", ".join(told_of), []).append(str(model))
        cells_in_words = "; ".join(f"{words(which)}, {how}" for how, which in models.items())
        told.append(f"{cells_in_words}: {str(gap).removeprefix(LEFT_OUT)}.")
    return f"Cannot run: {' '.join(told)}"


def _grid(
    title: str, frame: pd.DataFrame, columns: Sequence[Column], first: Sequence[str]
) -> tuple[Grid, dict[str, str], str]:
    """Return rows and columns in print; what is the same in all rows, by heading; why no row is comparable."""
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
            # In front, so that the figures stay aligned at the right.
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
        told = text[name][~text[name].isin(NOTHING)] if column.once == KNOWN_ROWS else text[name]
        if column.once in (ALL_ROWS, KNOWN_ROWS) and len(frame) > 1 and told.nunique() == 1:
            same[name] = told.iloc[0]
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
    """Return a remark per row, and what would be the same in the remarks of all rows that have one."""
    none = pd.Series("", frame.index, dtype=object)
    said = [column.name for column in columns if column.remark == "not comparable"]
    published = [column.name for column in columns if column.name.startswith("published_")]
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
    as_it_is = [frame[column.name] for column in columns if column.remark == "as it is" and "gap" in frame]
    told = [
        "; ".join(filter(None, (*row, f"not comparable: {remark}" if remark else "")))
        for *row, remark in zip(*as_it_is, remarks, strict=True)
    ]
    return pd.Series(told, frame.index, dtype=object), "; ".join(filter(None, same))


def _style(column: Column, texts: "pd.Series[str]") -> str:
    """Return how a printed column looks on a page."""
    if column.name == MODEL_NAME.name:
        return "row"  # it heads its row, and stays in sight while a narrow screen scrolls
    told = texts[~texts.isin([*NOTHING, COLLAPSED])]
    if len(told) and told.str.match(r"([†<] |≈)?-?[\d,.]+(e-\d+)?( \(.*\))?$").all():
        return "number"
    return "prose" if texts.str.len().max() > LONG else ""  # sentences wrap, other cells do not


def _markdown(text: str) -> str:
    """Return text with what Markdown would take for HTML or for the edge of a cell escaped, on one line."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    return " ".join(escaped.split())
