"""Columns of tables: their names in CSV files, and how print shows them.

A table's module declares its columns once, in the order of its CSV file. Those that several tables have stand here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histobench.results.cells import MODE_NAMES

MISSING = "–"
"""What a cell without a value prints."""

ALL_ROWS, KNOWN_ROWS = "all rows", "rows with a value"
"""Where a column must hold one value to be printed once, below the table: a run that is missing knows no value."""

BOOTSTRAP = " (95\N{NO-BREAK SPACE}% interval)"
OF_THE_MEAN = " (95\N{NO-BREAK SPACE}% interval of the mean)"
RANGE = " (range)"
"""What a heading says of an interval that stands beside the value."""

Format = Callable[[Any], str]


def plain(value: Any) -> str:
    """Return a value as text: floats with three decimals, whole numbers with a comma between thousands."""
    if pd.isna(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}"
    return str(value)


def two_decimals(value: Any) -> str:
    """Return a number with two decimals."""
    return MISSING if pd.isna(value) else f"{value:.2f}"


def three_digits(value: Any) -> str:
    """Return a number with three significant digits, or with all that stand before its point."""
    if pd.isna(value):
        return MISSING
    return f"{value:,.{max(2 - math.floor(math.log10(abs(value))), 0) if value else 0}f}"


def general(value: Any) -> str:
    """Return a number with three significant digits, as "0.001" or "1e-05"."""
    return MISSING if pd.isna(value) else f"{value:.3g}"


def p_value(value: Any) -> str:
    """Return a p-value with three decimals, of which none is a 0.000."""
    return "< 0.001" if isinstance(value, float) and value < 0.0005 else plain(value)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : in the CSV file.
    heading : in print; "" for the name with spaces and a capital letter.
    format : from a value to its text in print.
    is_text : whether the CSV file holds texts, where "" is a text and not a missing number.
    once : `ALL_ROWS` or `KNOWN_ROWS` if print says the value once below the table where these rows share it, else "".
    interval : what the heading says of an interval whose bounds are the columns `<name>_low` and `<name>_high`; "" for
        a column without one.
    shown : False if print has no such column: the CSV file alone has it, or another column or the remark shows it.
    after : another column, whose text is added to this one's.
    mark : another column and a mark; the mark stands in front of the value where the other column holds a true value.
    collapsible : whether print says "collapsed" instead of a value where all seeds collapsed.
    remark : "as it is" or "not comparable" if the texts of the column are parts of the row's remark, else "".
    footnote : from the table to what stands below it because of this column, "" for nothing.
    """

    name: str
    heading: str = ""
    format: Format = plain
    is_text: bool = False
    once: str = ""
    interval: str = ""
    shown: bool = True
    after: str = ""
    mark: tuple[str, str] | None = None
    collapsible: bool = False
    remark: str = ""
    footnote: Callable[[pd.DataFrame], str] | None = None

    @property
    def title(self) -> str:
        """What heads the column in print."""
        return self.heading or self.name.replace("_", " ").capitalize()

    @property
    def names(self) -> list[str]:
        """Names in the CSV file: the column's own, and those of the bounds of its interval."""
        return [self.name, *(f"{self.name}_{end}" for end in ("low", "high") if self.interval)]


def text(name: str, heading: str = "", **options: Any) -> Column:
    """Return a column of texts."""
    return Column(name, heading, is_text=True, **options)


def hidden(name: str, **options: Any) -> Column:
    """Return a column of texts that print does not have as a column."""
    return text(name, shown=False, **options)


def names(columns: Iterable[Column]) -> list[str]:
    """Return the names that a CSV file of these columns has, in their order."""
    return [name for column in columns for name in column.names]


def pick(columns: Sequence[Column], *wanted: str) -> list[Column]:
    """Return the columns of these names, in the order of the names."""
    known = {column.name: column for column in columns}
    return [known[name] for name in wanted]


def read(path: Path, columns: Iterable[Column]) -> pd.DataFrame:
    """Read a CSV file of these columns: an empty text is "", a missing number NaN, and a model may be called "NA"."""
    return read_csv(path, [column.name for column in columns if column.is_text])


def read_csv(path: Path, texts: Iterable[str]) -> pd.DataFrame:
    """Read a CSV file of which some columns are `texts`, see :func:`read`."""
    texts = set(texts)
    there = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(texts & set(there), str),
        keep_default_na=False,
        na_values={name: [""] for name in there if name not in texts},
    )


MODEL = hidden("model")  # its key in the configuration
MODEL_NAME = text("model_name", "Model")
MODE = text("mode", format=lambda value: MODE_NAMES.get(value, plain(value)))
CELL = [
    text("dataset", "Data set", once=ALL_ROWS),
    MODEL,
    MODEL_NAME,
    MODE,
    text("recipe", once=ALL_ROWS),
    text("device", once=ALL_ROWS),
]
"""What names a cell of the matrix."""

GAP = hidden("gap", remark="as it is")  # why there is no result
REMARK = text("remark", once=ALL_ROWS)  # made for print, of the columns with a `remark`
RUNS = hidden(
    "runs",  # folders, separated by spaces
    footnote=lambda table: "The CSV file names the run folders behind each row." if (table["runs"] != "").any() else "",
)
