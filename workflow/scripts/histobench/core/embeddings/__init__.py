"""Features that others have computed, by patch: for each of `FORMATS` a module with the same `read`.

Who writes these files, and what stands in them, says each module. How what it reads finds its patches is
:mod:`histobench.core.embeddings.joining`.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.core.datasets import upstream
from histobench.core.errors import HistobenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# By format the files that it consists of, as patterns of paths below its folder.
FORMATS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("trident", "clam", "stamp"), ("*.h5",)),
    "eva": ("manifest.csv", "*.pt"),
    "thunder": tuple(f"{split}/{file}.h5" for split in ("train", "val", "test") for file in ("embeddings", "labels")),
    "npz": ("*.npz",),
    "parquet": ("*.parquet",),
}
# Splits as our index calls them, by the names of others.
SPLIT = {"train": "train", "val": "valid", "test": "test"}
# Most rows that are read at a time: 84 MB of the widest encoder's 2,560 features.
ROWS = 8192


@dataclass(frozen=True)
class Ids:
    """Patches known by their names, `patch_id` of the index."""

    names: Sequence[str]


@dataclass(frozen=True)
class Places:
    """Patches of one slide, `group` of the index, known by their places.

    Attributes
    ----------
    slide : its name.
    pixels : (n, 2) int64, x and y of the upper left corner.
    microns_per_pixel : by which they were computed from micrometres, so that they may be off by one pixel; None where
        the file counts pixels.
    """

    slide: str
    pixels: "npt.NDArray[np.int64]"
    microns_per_pixel: float | None = None


@dataclass(frozen=True)
class Positions:
    """Patches known by their positions, (n,) int64, in a split of the index."""

    split: str
    numbers: "npt.NDArray[np.int64]"


@dataclass(frozen=True)
class Rows:
    """Some rows of a table of embeddings.

    Attributes
    ----------
    file : that holds them, for errors.
    width : number of features of a patch.
    patches : whose features they are. A slide that has a file, but no place, has no rows, and any width.
    take : returns the features of some of these rows, by their numbers, as (k, width) of the type that the file has.
    labels : (n,), what the file says of the patches, of the type that it has; -1, NaN, None or "" where it says
        nothing. None if it has no labels.
    found : what the file says of how it was made, the same in all files of a table.
    """

    file: Path
    width: int
    patches: Ids | Places | Positions
    take: "Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]"
    labels: "npt.NDArray[Any] | None" = None
    found: Mapping[str, str] = field(default_factory=dict)


def files(kind: str, path: Path) -> tuple[Path, list[str]]:
    """Return the folder of a table of embeddings, and its files by their paths below it.

    Parameters
    ----------
    kind : one of `FORMATS`.
    path : of its folder, or of the one file that it consists of.

    Raises
    ------
    HistobenchError
        if there is nothing that belongs to such a table.
    """
    if path.is_file():
        folder, there = path.parent, [path.name]
    else:
        folder, there = path, upstream.walk(path)[0]
    if names := [name for name in there if any(fnmatchcase(name, pattern) for pattern in FORMATS[kind])]:
        return folder, names
    some = f"{', '.join(there[:3])}{', ...' if len(there) > 3 else ''}" or "nothing"
    raise HistobenchError(
        f"{path}: expected embeddings in the format {kind}, {' or '.join(FORMATS[kind])}, found {some}; correct "
        "`path` or `format` of the model's embeddings"
    )


def read(kind: str, folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Generator[Rows]:
    """Yield all rows of a table of embeddings, some at a time.

    Parameters
    ----------
    kind : one of `FORMATS`.
    folder, names : see :func:`files`.
    settings : `microns_per_pixel`, of the pixels in which places are counted, or None.

    Raises
    ------
    HistobenchError
        if a file is damaged or does not hold what it should; the message names the file and the item.
    """
    module = import_module(f"histobench.core.embeddings.{kind}")
    yield from module.read(folder, names, settings)
