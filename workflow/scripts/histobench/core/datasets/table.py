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
from histobench.core.own_patches import IN_BRACES, Own, as_text, fields

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Characters in which header and first row are looked for.
BEGINNING = 2**20


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
    root = _root(table, about)
    lines: dict[str, str] = {}
    for line, values in content:
        where = f"{table}, {line}"
        row = dict(zip(names, map(as_text, values), strict=True))
        if not _chosen(row, about):
            continue
        path = fill["path"](row)
        _check_said(where, "path", path, here["path"], row)
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
        for key in ("label", "id"):
            if key in said:
                _check_said(where, key, said[key], here[key], row)
        # However its path is written.
        image = os.path.normpath(os.path.join(root, path))  # noqa: PTH118  # a Path takes five times as long
        if (first := lines.setdefault(image, line)) != line:
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
    """Return a function from a row to what a column's name, or a text with such names in braces, makes of it.

    Of a row in which one of these columns is empty it makes "": by the text "slide {number}", all patches without a
    number would be of one slide else.
    """
    names = fields(text)
    if not names:
        return lambda row: row[text]
    return lambda row: IN_BRACES.sub(lambda found: row[found[1]], text) if all(row[name] for name in names) else ""


def _check_said(where: str, key: str, value: str, text: str, row: Mapping[str, str]) -> None:
    """Refuse a row that does not say what each patch must have."""
    if not value:
        empty = next(name for name in fields(text) or [text] if not row[name])
        raise HistobenchError(f"{where}: expected the {key} of the patch, found nothing in the column {empty!r}")


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
    delimiter = _delimiter(text[:BEGINNING])
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(lines, [])]
    if twice := {name for name in names if names.count(name) > 1}:
        raise HistobenchError(
            f"{table}: expected columns of different names, between {DELIMITERS[delimiter]}, found {min(twice)!r} twice"
        )

    def content() -> Iterator[tuple[str, Sequence[Any]]]:
        try:
            for values in lines:
                if not values:
                    continue
                if len(values) != len(names):
                    raise HistobenchError(
                        f"{table}, line {lines.line_num}: expected {len(names)} values between "
                        f"{DELIMITERS[delimiter]}, as in the header, found {len(values)}"
                    )
                yield f"line {lines.line_num}", values
        except csv.Error as error:
            raise HistobenchError(f"{table}, line {lines.line_num}: expected a table, found: {error}") from error

    return names, content()


def _delimiter(text: str) -> str:
    """Return what stands between values: by which header and first row have equally many, and most of these."""

    def fits(delimiter: str) -> tuple[bool, int]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            header, first = next(lines, []), next(filter(None, lines), [])
        except csv.Error:
            return False, 0
        return len(header) == len(first) > 1, len(header)

    return max(DELIMITERS, key=fits)
