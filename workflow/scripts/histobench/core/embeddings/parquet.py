"""Parquet files with a row per patch: its id, and its features as one column of lists or as columns of floats.

The id is the column `patch_id`, `patch_ids`, `id` or `ids`. Features are the column of lists `features`, `embeddings`,
`embedding` or `feats`; without one, the columns of floats with one name and a number each, f0, f1 and so on, by these
numbers. No other column counts, since it may tell the label. A column `label` or `labels` is compared with the labels
of the patches.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from histobench.core.embeddings import ROWS, Ids, Rows
from histobench.core.errors import HistobenchError

IDS, LABELS = ("patch_id", "patch_ids", "id", "ids"), ("label", "labels")
FEATURES = ("features", "embeddings", "embedding", "feats")
NUMBERED = re.compile(r"(.*?)(\d+)")


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all files; see :func:`histobench.core.embeddings.read`."""
    del settings
    for name in names:
        path = folder / name
        try:
            # Else it would hold whole row groups, which may be all of the file.
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
                ids, features, label = _columns(path, file.schema_arrow)
                wanted = [ids, *features, *([label] if label else [])]
                said = {"columns": " to ".join(dict.fromkeys((features[0], features[-1])))}
                start = 0
                for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
                    if batch.num_rows:
                        values = _values(path, [batch[each] for each in features])
                        labels = np.array(batch[label].to_pylist(), object) if label else None
                        texts = batch[ids].cast(pa.string()).to_pylist()
                        if None in texts:
                            raise HistobenchError(
                                f"{path}: expected the id of a patch in the column {ids} of each row, found none in "
                                f"row {start + texts.index(None)}, counted from 0"
                            )
                        yield Rows(path, values.shape[1], Ids(texts), values.__getitem__, labels, said)
                        start += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise HistobenchError(
                f"{path}: expected a Parquet file that is whole, found: {error}; write it anew"
            ) from error


def _columns(path: Path, schema: pa.Schema) -> tuple[str, list[str], str | None]:
    """Return the names of the columns with ids, features and labels."""

    def first(known: Sequence[str]) -> str | None:
        return next((name for name in known if name in schema.names), None)

    ids, label = first(IDS), first(LABELS)
    lists = [name for name in FEATURES if name in schema.names and _is_list(schema.field(name).type)]
    features = lists[:1] or _numbered(path, schema)
    if ids is None or not features:
        raise HistobenchError(
            f"{path}: expected a column {' or '.join(IDS)}, and a column of lists {' or '.join(FEATURES)} or columns "
            "of floats with a number each, f0, f1 and so on, found "
            f"{', '.join(f'{field.name} ({field.type})' for field in schema)}"
        )
    return ids, features, label


def _numbered(path: Path, schema: pa.Schema) -> list[str]:
    """Return the columns of floats that have one name and a number each, by these numbers; [] where there are none."""
    found: dict[str, dict[int, str]] = {}
    for field in schema:
        if pa.types.is_floating(field.type) and (match := NUMBERED.fullmatch(field.name)):
            found.setdefault(match[1], {})[int(match[2])] = field.name
    if len(found) > 1:
        kinds = ", ".join(next(iter(each.values())) for each in found.values())
        raise HistobenchError(
            f"{path}: expected features in columns of one name with a number each, found several such names: {kinds}; "
            f"write the features into one column of lists, {FEATURES[0]}, or leave out the other columns"
        )
    by_number = dict(sorted(next(iter(found.values()), {}).items()))
    for before, number in itertools.pairwise(by_number):
        if number != before + 1:
            raise HistobenchError(
                f"{path}: expected a column of floats for each number between {by_number[before]} and "
                f"{by_number[number]}, found none; write all features as floats, or into one column of lists, "
                f"{FEATURES[0]}"
            )
    return list(by_number.values())


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _values(path: Path, columns: list[pa.Array]) -> npt.NDArray[Any]:
    """Return the features of some rows, (n, width)."""
    if not _is_list(columns[0].type):
        return np.stack([np.asarray(column) for column in columns], axis=1)
    (column,) = columns
    lengths = set(column.value_lengths().to_pylist()) if len(column) else set()
    if len(lengths) != 1 or None in lengths:
        found = ", ".join("no list" if each is None else str(each) for each in sorted(lengths, key=str)[:5])
        raise HistobenchError(f"{path}: expected lists of one length in each row, found lengths {found}")
    return np.asarray(column.flatten()).reshape(len(column), *lengths)
