"""Patches of one's own that a table lists: a CSV or Parquet file with a row per patch, its image a file elsewhere.

Columns have whatever names they have: `columns` of the source says which is which, by a column's name, or by a text
with names of columns in braces that is filled in for every row. A `pattern` finds more columns in the path.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.core.datasets import Patches, Tally, archives, own, upstream
from histobench.core.errors import HistobenchError, nearest
from histobench.core.formats import Dataset, Source
from histobench.core.own_patches import Own, as_text, fields

DELIMITERS = ",;\t"


def files(source: Source) -> tuple[Path, list[str] | None]:
    """Return the folder of a source and the files in it that count: those that the table lists, and the table."""
    assert source.own is not None
    table = Path(source.folder)
    folder = _root(table, source.own)
    if folder.is_file():
        folder, names = folder.parent, [folder.name]
    else:
        names = [row["path"] for _, row in rows(table, source.own)]
    return folder, [*names, os.path.relpath(table, folder)]


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches that the table lists; see :func:`histobench.core.datasets.read`."""
    about, published = dataset.source.own, isinstance(dataset.split, str)
    assert about is not None
    with archives.opened(_root(folder, about)) as found:
        listed = _listed(folder, about, published=published)
        yield from own.read(dataset, found, listed, tally, "a column for `group`, see `columns`")


def _root(table: Path, about: Own) -> Path:
    """Return what the paths of a table are relative to."""
    return Path(about.root).expanduser() if about.root else table.parent


def _listed(table: Path, about: Own, *, published: bool) -> Iterator[own.Listed]:
    seen: set[str] = set()
    for where, row in rows(table, about):
        patch_id = row.get("id", row["path"])
        if patch_id in seen:
            raise HistobenchError(f"{where}: {patch_id!r} is the id of an earlier row, too; expected one row per patch")
        seen.add(patch_id)
        if published and "split" not in row:
            raise HistobenchError(
                f"{where}: expected the split of the patch. Name its column, `columns: {{split: ...}}`, or have a "
                "split drawn, see `datasets`"
            )
        yield own.Listed(
            row["path"],
            patch_id,
            own.label(about, row["label"], where),
            row.get("group", ""),
            own.split(about, row["split"], where) if published else "",
            *own.place(row.get("x", ""), row.get("y", ""), where),
        )


def rows(table: Path, about: Own) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where a row of the table stands, in words, and what it says, by the names of `own_patches.COLUMNS`.

    Raises
    ------
    HistobenchError
        if the table cannot be read, lacks a column, says nothing where it should, or lists an image twice.
    """
    pattern = re.compile(about.pattern) if about.pattern else None
    found = set(pattern.groupindex) if pattern else set()
    names, content = _content(table)
    _check(table, about, names, found)
    # What is not named has a column of its own name, if there is one.
    here = {key: key for key in ("id", "group", "split", "x", "y") if key in {*names, *found}} | dict(about.columns)
    fill = {key: _filled(text) for key, text in here.items()}
    lines: dict[str, str] = {}
    for line, values in content:
        where = f"{table}, {line}"
        row = dict(zip(names, map(as_text, values), strict=True))
        if not _chosen(row, about):
            continue
        path = fill["path"](row)
        if pattern:
            match = pattern.search(path)
            if match is None:
                raise HistobenchError(
                    f"{where}: expected a path in which the pattern {about.pattern!r} is found, found {path!r}"
                )
            row |= {key: value or "" for key, value in match.groupdict().items()}
            if not _chosen(row, about):
                continue
        said = {key: each(row) for key, each in fill.items()}
        for key in ("path", "label"):
            if not said[key]:
                raise HistobenchError(f"{where}: expected the {key} of the patch, found nothing")
        if (first := lines.setdefault(path, line)) != line:
            raise HistobenchError(
                f"{where}: {path!r} stands in {first}, too; expected one row per patch. Choose rows by `where`, or "
                "take one away"
            )
        yield where, said
    if not lines:
        chosen = f" for which {about.where}" if about.where else ""
        raise HistobenchError(f"{table}: expected rows{chosen}, found none")


def _chosen(row: Mapping[str, str], about: Own) -> bool:
    """Say whether a row counts, by those of its columns that are known."""
    return all(row[column] in values for column, values in about.where.items() if column in row)


def _filled(text: str) -> Callable[[Mapping[str, str]], str]:
    """Return a function from a row to what a column's name, or a text with such names in braces, makes of it."""
    return text.format_map if fields(text) else lambda row: row[text]


def _check(table: Path, about: Own, names: Sequence[str], found: set[str]) -> None:
    """Refuse a table that lacks a column."""
    if both := found & set(names):
        raise HistobenchError(
            f"{table}: has a column {min(both)!r}, which the pattern finds, too; give that group of the pattern "
            "another name"
        )
    for key, text in about.columns.items():
        for name in fields(text) or [text]:
            if name not in names and (name not in found or key == "path"):
                raise HistobenchError(
                    f"{table}: expected a column {name!r} for `{key}`{nearest(name, names)}; found "
                    f"{', '.join([*names, *sorted(found)])}. Name the columns under `columns` of the source"
                )
    for name in about.where:
        if name not in [*names, *sorted(found)]:
            raise HistobenchError(
                f"{table}: expected a column {name!r}, of `where`{nearest(name, names)}; found "
                f"{', '.join([*names, *sorted(found)])}"
            )


def _content(table: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    """Return the names of the columns of a table, and its rows: where each stands, and its values."""
    if not table.is_file():
        raise HistobenchError(f"{table}: not found; expected a CSV or Parquet file that lists patches")
    with table.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    return _parquet(table) if is_parquet else _csv(table)


def _parquet(table: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        whole = pyarrow.parquet.read_table(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise HistobenchError(f"{table}: expected a Parquet file that is whole, found: {error}") from error
    values = zip(*(column.to_pylist() for column in whole.columns), strict=True)
    return whole.column_names, ((f"row {number}", each) for number, each in enumerate(values))


def _csv(table: Path) -> tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]:
    text = upstream.text(table)
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(lines, [])]
    if twice := {name for name in names if names.count(name) > 1}:
        raise HistobenchError(f"{table}: expected columns of different names, found {min(twice)!r} twice")

    def content() -> Iterator[tuple[str, Sequence[Any]]]:
        try:
            for values in lines:
                if not values:
                    continue
                if len(values) != len(names):
                    raise HistobenchError(
                        f"{table}, line {lines.line_num}: expected {len(names)} values, found {len(values)}"
                    )
                yield f"line {lines.line_num}", values
        except csv.Error as error:
            raise HistobenchError(f"{table}, line {lines.line_num}: expected a table, found: {error}") from error

    return names, content()
