"""Columns of tables: their names in the CSV file and how they are printed.

The module of a table declares its columns once, in the order of the CSV file. This one holds those of several tables.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histobench.core.files import unchanged, write_with_digest
from histobench.results.cells import MODE_NAMES

MISSING = "–"
"""Printed in a cell without a value."""

ALL_ROWS, KNOWN_ROWS = "all rows", "rows with a value"
"""Rows that must share a value of a column for it to be printed once, below the table; missing runs have no value."""

BOOTSTRAP = " (95\N{NO-BREAK SPACE}% interval)"
OF_THE_MEAN = " (95\N{NO-BREAK SPACE}% interval of the mean)"
RANGE = " (range)"
"""What the heading of a column with an interval adds."""

Format = Callable[[Any], str]


def plain(value: Any) -> str:
    """Return a value as text: floats with three decimals, integers with a comma between thousands."""
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
    """Return a number with three significant digits, and no fewer than those before the decimal point."""
    if pd.isna(value):
        return MISSING
    return f"{value:,.{max(2 - math.floor(math.log10(abs(value))), 0) if value else 0}f}"


def general(value: Any) -> str:
    """Return a number with three significant digits, as "0.001" or "1e-05"."""
    return MISSING if pd.isna(value) else f"{value:.3g}"


def p_value(value: Any) -> str:
    """Return a p-value with three decimals, or "< 0.001"."""
    return "< 0.001" if isinstance(value, float) and value < 0.0005 else plain(value)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : in the CSV file.
    heading : in print; by default the name, capitalised, with spaces.
    format : function from a value to its printed text.
    is_text : whether the column holds strings, of which "" is one and not a missing number.
    once : `ALL_ROWS` or `KNOWN_ROWS`: if these rows share one value, it is printed once, below the table; "" for never.
    interval : what the heading adds if `<name>_low` and `<name>_high` hold an interval; "" without one.
    shown : False if it is not printed as a column: only in the CSV file, or as part of another column or the remark.
    after : another column, whose text is appended to this one's.
    mark : another column and a mark, which is printed in front of the value if the other column is true.
    collapsible : whether "collapsed" is printed instead of the value if all seeds collapsed.
    remark : "as it is" or "not comparable" if the column's texts become part of the row's remark, else "".
    footnote : printed below the table if the column holds a value; or a function from the table to the footnote, ""
        for none.
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
    footnote: str | Callable[[pd.DataFrame], str] = ""

    @property
    def title(self) -> str:
        """The printed heading."""
        return self.heading or self.name.replace("_", " ").capitalize()

    @property
    def names(self) -> list[str]:
        """Names in the CSV file: the column's own, and those of the bounds of its interval."""
        return [self.name, *(f"{self.name}_{end}" for end in ("low", "high") if self.interval)]

    def footnote_of(self, table: pd.DataFrame) -> str:
        """Return the footnote that the column adds to a table, "" for none."""
        if callable(self.footnote):
            return self.footnote(table)
        return self.footnote if self.footnote and table[self.name].notna().any() else ""


def text(name: str, heading: str = "", **options: Any) -> Column:
    """Return a column of strings."""
    return Column(name, heading, is_text=True, **options)


def hidden(name: str, **options: Any) -> Column:
    """Return a column of strings that is not printed as a column."""
    return text(name, shown=False, **options)


def names(columns: Iterable[Column]) -> list[str]:
    """Return the names of these columns in the CSV file, in order."""
    return [name for column in columns for name in column.names]


def pick(columns: Sequence[Column], *wanted: str) -> list[Column]:
    """Return the columns with these names, in the order of the names."""
    known = {column.name: column for column in columns}
    return [known[name] for name in wanted]


def read(path: Path, columns: Iterable[Column]) -> pd.DataFrame:
    """Read a CSV file of these columns: an empty string is "", a missing number NaN; "NA" is a string."""
    return read_csv(path, [column.name for column in columns if column.is_text])


def read_csv(path: Path, texts: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file in which the columns `texts` hold strings, see :func:`read`."""
    table = pd.read_csv(unchanged(path), dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""])
    return table.fillna(dict.fromkeys(texts, ""))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV in full precision, so that reading it gives the same floats."""
    write_with_digest(path, table.to_csv(index=False, lineterminator="\n"))


MODEL = hidden("model")  # its key in the configuration
MODEL_NAME = text("model_name", "Model")
MODE = text("mode", format=lambda value: MODE_NAMES.get(value, plain(value)))
_names = (text("recipe", once=ALL_ROWS), text("device", once=ALL_ROWS))
CELL = [text("dataset", "Data set", once=ALL_ROWS), MODEL, MODEL_NAME, MODE, *_names]
"""What identifies a cell of the matrix."""


def _backends_are(table: pd.DataFrame) -> str:
    """Return a note on Keras's backends, "" where all is TensorFlow's."""
    others = table[~table["backend"].isin(["", "tensorflow"])].drop_duplicates(["backend", "device"])
    words = [f"on {row.backend} (device {row.device})" for row in others.itertuples()]
    return f"Keras ran {', '.join(words)}, and on tensorflow on all other devices." if words else ""


BACKEND = hidden("backend", footnote=_backends_are)
GAP = hidden("gap", remark="as it is")  # why there is no result
REMARK = text("remark", once=ALL_ROWS)  # made when printing, from the columns with a `remark`
FOLDERS_NOTE = "The CSV file names the run folders behind each row."
RUNS = hidden("runs", footnote=lambda table: FOLDERS_NOTE if (table["runs"] != "").any() else "")  # separated by spaces
