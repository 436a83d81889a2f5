"""Labels that somebody has put on slides, or patches, that an exported model scores.

Imported by the Snakefile, which checks them before anything is scored.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from histobench.core.datasets.upstream import text
from histobench.core.errors import HistobenchError

PLACE = ("x", "y")


class Labels(NamedTuple):
    """What a table of labels holds.

    Attributes
    ----------
    keys : columns by which slides or patches are named.
    rows : with `keys` and `label`, 1 for tumour and 0 for none; `x` and `y` are whole numbers, names are text.
    """

    keys: list[str]
    rows: list[dict[str, Any]]


def read(path: Path, *, of_patches: bool) -> Labels:
    """Return the labels of slides, or of patches.

    Parameters
    ----------
    path : of a CSV file with `label`, 1 is tumour and 0 is not, and one of: `slide`; `slide`, `x` and `y`, the upper
        left corner of a patch in pixels of level 0; `patch`.
    of_patches : whether patches are scored as they are, and no slides.

    Raises
    ------
    HistobenchError
        if it cannot be read, columns are missing, a label is neither 0 nor 1, a place is no pixel, or a slide or patch
        stands there twice.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    names = [name.strip() for name in header]
    keys = ["patch"] if of_patches else ["slide", *(PLACE if set(PLACE) & set(names) else ())]
    if any(names.count(name) != 1 for name in ("label", *keys)):
        raise HistobenchError(
            f"{path}: expected, with commas between them, the columns "
            f"{'label and patch' if of_patches else 'label and slide, or label, slide, x and y'}; found "
            f"{', '.join(names) or 'none'}"
        )
    rows: list[dict[str, Any]] = []
    first: dict[tuple[Any, ...], int] = {}
    for number, values in lines:
        where, row = f"{path}, line {number}", dict.fromkeys(names, "") | dict(zip(names, values, strict=False))
        if any(values[len(names) :]):
            raise HistobenchError(f"{where}: expected {len(names)} values, as in the header, found {len(values)}")
        _check(where, row["label"], "[01]", "the label 1 (tumour) or 0")
        told: dict[str, Any] = {name: row[name] for name in keys} | {"label": int(row["label"])}
        for name in set(PLACE) & set(keys):
            _check(where, row[name], r"\d{1,9}(\.0*)?", "a whole number of pixels")
            told[name] = int(row[name].partition(".")[0])
        key = tuple(told[name] for name in keys)
        if key in first:
            raise HistobenchError(
                f"{where}: expected each slide or patch once, found {in_words(told, keys)} again, which stands in line "
                f"{first[key]}; keep one of them"
            )
        first[key] = number
        rows.append(told)
    if not rows:
        raise HistobenchError(f"{path}: expected a label in each line below the header, found no line")
    return Labels(keys, rows)


def in_words(row: Mapping[Any, Any], keys: Iterable[Any]) -> str:
    """Return what names a slide or a patch."""
    return ", ".join(f"{name} {row[name]}" for name in keys)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a CSV file that hold something: the number, and the values without spaces around them."""
    # Some programs write a byte order mark twice.
    table = csv.reader(io.StringIO(text(path).removeprefix("\ufeff"), newline=""))
    try:
        for values in table:
            if any(stripped := [value.strip() for value in values]):
                yield table.line_num, stripped
    except csv.Error as error:
        raise HistobenchError(f"{path}: expected a CSV file with labels, found: {error}") from error


def _check(where: str, found: str, pattern: str, expected: str) -> None:
    if not re.fullmatch(pattern, found):
        raise HistobenchError(f"{where}: expected {expected}, found {found!r}")
