"""THUNDER (github.com/MICS-Lab/thunder, its task `pre_computing_embeddings`): patches by their positions in a split.

`{train,val,test}/embeddings.h5` has an array for each image, called "0", "1" and so on, `labels.h5` beside it their
labels.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from histobench.core.embeddings import SPLIT, Positions, Rows
from histobench.core.embeddings.slides import array, damage, opened
from histobench.core.errors import HistobenchError

# Images that are read at a time: each is an array of its own.
IMAGES = 1024


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of the three splits; see :func:`histobench.core.embeddings.read`."""
    del settings
    for name in names:
        if not name.endswith("/embeddings.h5"):
            continue
        theirs, path = name.split("/")[0], folder / name
        labels = _labels(folder / theirs / "labels.h5") if f"{theirs}/labels.h5" in names else None
        with opened(path) as file:
            numbers = _numbers(path, file)
            if labels is not None and labels.keys() != set(numbers):
                raise HistobenchError(
                    f"{folder / theirs / 'labels.h5'}: expected a label for each of the {len(numbers)} images of "
                    f"{path.name}, found {len(labels)}; the two files do not belong together"
                )
            for start in range(0, len(numbers), IMAGES):
                some = numbers[start : start + IMAGES]
                values = [array(path, file, str(number)) for number in some]
                widths = {value.shape for value in values}
                if len(widths) > 1 or len(next(iter(widths))) != 1:
                    raise HistobenchError(
                        f"{path}, images {some[0]} to {some[-1]}: expected an array of shape (width,) for each, found "
                        f"{', '.join(map(str, sorted(widths)))}"
                    )

                def take(
                    rows: npt.NDArray[np.int64], path: Path = path, values: list[h5py.Dataset] = values
                ) -> npt.NDArray[Any]:
                    with damage(path):
                        return np.stack([values[row][()] for row in rows.tolist()])

                yield Rows(
                    path,
                    next(iter(widths))[0],
                    Positions(SPLIT[theirs], np.array(some, np.int64)),
                    take,
                    None if labels is None else np.array([labels[number] for number in some]),
                )


def _numbers(path: Path, file: h5py.File) -> list[int]:
    """Return the numbers of the images in a file, in order."""
    try:
        return sorted(map(int, file))
    except ValueError as error:
        raise HistobenchError(
            f'{path}: expected arrays called "0", "1" and so on, one for each image, found: {error}'
        ) from error


def _labels(path: Path) -> dict[int, Any]:
    with opened(path) as file:
        return {number: file[str(number)][()] for number in _numbers(path, file)}
