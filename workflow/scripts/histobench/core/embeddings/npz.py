"""Plain NumPy archives (`numpy.savez`): arrays with the ids of patches, their features and, if there are any, labels.

`ids` (or `patch_id`, `patch_ids`) (n,) texts, `features` (or `embeddings`, `feats`) (n, width), `labels` (or `label`)
(n,).
"""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from histobench.core.embeddings import ROWS, Ids, Rows
from histobench.core.errors import HistobenchError

IDS, FEATURES, LABELS = ("ids", "patch_id", "patch_ids"), ("features", "embeddings", "feats"), ("labels", "label")


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all archives; see :func:`histobench.core.embeddings.read`."""
    del settings
    for name in names:
        path = folder / name
        with _opened(path) as archive:
            ids_name, features_name = (_named(path, archive.files, known) for known in (IDS, FEATURES))
            ids = archive[ids_name]
            labels_name = next((each for each in LABELS if each in archive.files), None)
            labels = archive[labels_name] if labels_name else None
            if ids.dtype.kind != "U" or ids.ndim != 1:
                raise HistobenchError(
                    f"{path}: expected {ids_name} of shape (n,) and a type of texts, found {ids.shape}, {ids.dtype}; "
                    "save ids.astype(str)"
                )
            # Not at once: the features of a data set may be larger than the memory.
            with archive.zip.open(f"{features_name}.npy") as file:
                shape, dtype = _header(path, file, features_name)
                if len(shape) != 2 or shape[0] != len(ids) or dtype.kind != "f":
                    raise HistobenchError(
                        f"{path}: expected {features_name} of shape ({len(ids)}, width), floats, a row for each of the "
                        f"{ids_name}, found {shape}, {dtype}"
                    )
                if labels is not None and labels.shape != ids.shape:
                    raise HistobenchError(f"{path}: expected {len(ids)} {labels_name}, found {labels.shape}")
                for start in range(0, len(ids), ROWS):
                    part = slice(start, min(start + ROWS, len(ids)))
                    size = part.stop - start, shape[1]
                    values = np.frombuffer(file.read(math.prod(size) * dtype.itemsize), dtype).reshape(size)
                    some = None if labels is None else labels[part]
                    yield Rows(path, shape[1], Ids(ids[part].tolist()), values.__getitem__, some)


def _header(path: Path, file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = header(file)
    if by_column:
        raise HistobenchError(
            f"{path}: expected {name} row by row, found it by columns; save numpy.ascontiguousarray(...)"
        )
    return shape, dtype


def _named(path: Path, there: Sequence[str], known: Sequence[str]) -> str:
    for name in known:
        if name in there:
            return name
    raise HistobenchError(f"{path}: expected an array {' or '.join(known)}, found {', '.join(there) or 'none'}")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an archive, and turn what reading of a damaged one raises into an error for users."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise HistobenchError(
                f"{path}: expected a NumPy archive with the ids of patches and their features, as numpy.savez writes "
                f"it, found one array of shape {found.shape}, as numpy.save writes it; save both by numpy.savez"
            )
        with found as archive:
            yield archive
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise HistobenchError(
            f"{path}: expected a NumPy archive of texts and numbers, as numpy.savez writes it, that is whole, found: "
            f"{error}; write it anew"
        ) from error
