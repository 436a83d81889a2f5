"""eva (github.com/kaiko-ai/eva, `core/callbacks/writers/embeddings`): a file per image, named in a manifest.

`manifest.csv` has the columns origin, embeddings (the file), target and split; a `.pt` file holds a list of one tensor.
PCam's patches are known by their positions, as `camelyonpatch_level_2_split_{train,val,test}_x_{position}`; others by
their origin, which must be the `patch_id` of the index.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.core.datasets.upstream import text
from histobench.core.embeddings import SPLIT, Ids, Positions, Rows, torch_file
from histobench.core.errors import HistobenchError

MANIFEST, COLUMNS = "manifest.csv", ("origin", "embeddings", "target", "split")
PCAM = re.compile(r"camelyonpatch_level_2_split_(train|val|test)_x_(\d+)")
# Images that are read at a time.
IMAGES = 1024


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all images of the manifest; see :func:`histobench.core.embeddings.read`."""
    del settings
    path = folder / MANIFEST
    if MANIFEST not in names:
        raise HistobenchError(f"{path}: not found; expected the manifest that eva writes beside its embeddings")
    rows = csv.DictReader(io.StringIO(text(path), newline=""))
    if missing := set(COLUMNS) - set(rows.fieldnames or ()):
        raise HistobenchError(
            f"{path}: expected the columns {', '.join(COLUMNS)}; missing: {', '.join(sorted(missing))}, found: "
            f"{', '.join(rows.fieldnames or ()) or 'none'}"
        )
    there, waiting, of = set(names), list[dict[str, str]](), ""
    for row in rows:
        if row["embeddings"] not in there:
            raise HistobenchError(
                f"{path}, {row['origin']}: expected its embeddings in {folder / str(row['embeddings'])}, which is not "
                "there; copy all files that eva has written"
            )
        split = found[1] if (found := PCAM.fullmatch(row["origin"])) else ""
        if waiting and (split != of or len(waiting) == IMAGES):
            yield _rows(folder, waiting, of)
            waiting = []
        waiting.append(row)
        of = split
    if waiting:
        yield _rows(folder, waiting, of)


def _rows(folder: Path, rows: list[dict[str, str]], split: str) -> Rows:
    """Return some rows of the manifest, all of one of PCam's splits or, if that is "", of another data set."""
    values = [_vector(folder / row["embeddings"]) for row in rows]
    width = len(values[0])
    for row, value in zip(rows, values, strict=True):
        if len(value) != width:
            raise HistobenchError(
                f"{folder / row['embeddings']}: expected {width} features, as {folder / rows[0]['embeddings']} has, "
                f"found {len(value)}; embeddings of several encoders are mixed"
            )
    positions = [int(row["origin"].rpartition("_")[2]) for row in rows] if split else []
    patches = Positions(SPLIT[split], np.array(positions, np.int64)) if split else Ids([row["origin"] for row in rows])

    def take(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return np.stack([values[row] for row in chosen.tolist()])

    return Rows(folder / MANIFEST, width, patches, take, np.array([row["target"] for row in rows]))


def _vector(path: Path) -> npt.NDArray[np.float32]:
    found = torch_file.load(path)
    tensors = found if isinstance(found, list) else [found]
    if len(tensors) != 1 or not isinstance(tensors[0], np.ndarray) or tensors[0].ndim != 1:
        words = ", ".join(
            f"a tensor of shape {each.shape}" if isinstance(each, np.ndarray) else type(each).__name__
            for each in tensors[:3]
        )
        raise HistobenchError(
            f"{path}: expected a list of one tensor of shape (width,), the features of a patch, found "
            f"{len(tensors)} items: {words}"
        )
    return tensors[0].astype(np.float32)
