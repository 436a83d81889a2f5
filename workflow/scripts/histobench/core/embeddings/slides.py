"""HDF5 files with features and places of the patches of one slide each, as TRIDENT, CLAM and STAMP write them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from histobench.core.embeddings import ROWS, Places, Rows
from histobench.core.errors import HistobenchError

Pixels = Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]]


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn what reading of a damaged HDF5 file raises into an error for users."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise HistobenchError(
            f"{path}: expected an HDF5 file that is whole, found: {error}; write or copy it anew"
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; see :func:`damage`."""
    with damage(path), h5py.File(path, "r") as file:
        yield file


def read(
    folder: Path,
    names: Sequence[str],
    arrays: tuple[str, str],
    pixels: Callable[[Path, h5py.File], Pixels],
    said: Callable[[h5py.File], Mapping[str, Any]],
    microns_per_pixel: float | None = None,
) -> Iterator[Rows]:
    """Yield the rows of files whose names, without suffix, are those of slides.

    Parameters
    ----------
    folder, names : see :func:`histobench.core.embeddings.files`.
    arrays : names of the arrays with features, (n, width), and places, (n, 2).
    pixels : returns for a file a function from its places to pixels, (n, 2) int64; it may refuse the file.
    said : returns what a file says of how it was made; what is None or "None" counts as not said.
    microns_per_pixel : see :class:`Places`.
    """
    slides: dict[str, str] = {}
    for name in names:
        path, slide = folder / name, PurePosixPath(name).name.removesuffix(".h5")
        if (other := slides.setdefault(slide, name)) != name:
            raise HistobenchError(
                f"{path}: expected one file for the slide {slide}, found {folder / other} as well; name the folder of "
                "one encoder's features, or take one of the two away"
            )
        with opened(path) as file:
            features, coords = (array(path, file, each) for each in arrays)
            if not len(features) and not len(coords):  # a slide without tissue
                yield Rows(path, 0, Places(slide, np.empty((0, 2), np.int64)), _picker(path, features, 0))
                continue
            if features.ndim != 2 or coords.shape != (len(features), 2):
                raise HistobenchError(
                    f"{path}: expected {arrays[0]} of shape (n, width) and {arrays[1]} of shape (n, 2), found "
                    f"{features.shape} and {coords.shape}"
                )
            convert = pixels(path, file)
            found = {key: str(value) for key, value in said(file).items() if value is not None and value != "None"}
            for start in range(0, len(features), ROWS):
                part = slice(start, start + ROWS)
                places = Places(slide, convert(coords[part]), microns_per_pixel)
                yield Rows(path, features.shape[1], places, _picker(path, features, start), found=found)


def array(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return an array of a file; refuse what is none, or is not stored there, see :func:`check_stored`."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise HistobenchError(
            f"{path}: expected an array {name}, found {', '.join(file) or 'nothing'}; correct `format` of the model's "
            "embeddings, or name the folder with the features themselves"
        )
    if not found.shape:
        what = "nothing in it" if found.shape is None else "a single value"
        raise HistobenchError(f"{path}: expected an array {name}, found {what}; write it anew")
    check_stored(path, found)
    return found


def check_stored(path: Path, array: h5py.Dataset) -> None:
    """Refuse an array whose numbers are not in its file, or not all of them: HDF5 would give zeros for these.

    Raises
    ------
    HistobenchError
        if they are in other files, which nobody looks at for changes, or the writer was interrupted.
    """
    name = array.name.lstrip("/")
    if array.is_virtual or array.external:
        raise HistobenchError(f"{path}: expected the values of {name} in this file, found links to other files")
    if array.chunks:
        expected = math.prod(math.ceil(length / chunk) for length, chunk in zip(array.shape, array.chunks, strict=True))
        if (found := array.id.get_num_chunks()) != expected:
            raise HistobenchError(
                f"{path}: expected {expected} chunks of {name}, found {found}: the file was not written to its end; "
                "write it anew"
            )
    elif array.size and not array.id.get_storage_size():
        raise HistobenchError(f"{path}: expected the values of {name}, found none: nothing was written; write it anew")


def _picker(path: Path, features: h5py.Dataset, start: int) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]:
    def take(rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        # In one piece: HDF5 is slow where it picks rows.
        first, last = int(rows.min()), int(rows.max())
        with damage(path):
            values: npt.NDArray[Any] = features[start + first : start + last + 1][rows - first]
        return values

    return take


def whole(path: Path, coords: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return places as whole numbers; refuse others."""
    result = np.rint(coords.astype(np.float64)).astype(np.int64)
    if (wrong := np.flatnonzero((result != coords).any(axis=1))).size:
        raise HistobenchError(
            f"{path}: expected places in whole pixels, found {tuple(coords[wrong[0]].tolist())}; places in "
            "micrometres are those of the format stamp"
        )
    return result
