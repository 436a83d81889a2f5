"""Patches of one's own that lie in image files, in an archive of these, or in an HDF5 file as of PCam."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.core.datasets import Tally, archives, images, own, pcam
from histobench.core.errors import HistobenchError

# Nobody downloads a file of one's own again.
ADVICE = "Copy the file anew"
HDF5 = (".h5", ".hdf5", ".h5.gz", ".hdf5.gz")


@dataclass(frozen=True)
class Patches:
    """Patches that can be read.

    Attributes
    ----------
    names : of each: its path, or its number in an HDF5 file.
    read : from positions among the names, (n,), to patches, (n, side, side, 3) uint8.
    readers : how many threads may read at once.
    left_out : how many files are no patches, by reason.
    tally : its notes count what was converted of those that were read.
    """

    names: list[str]
    read: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
    readers: int
    left_out: dict[str, int]
    tally: Tally


@contextmanager
def opened(path: Path, side: int) -> Iterator[Patches]:
    """Open patches of one's own.

    Parameters
    ----------
    path : of a folder, an archive, or an HDF5 file, gzipped or not, with patches in its data set `x`.
    side : height and width of a patch in pixels.

    Raises
    ------
    HistobenchError
        if there is none of this size, or a file is damaged.
    """
    if path.name.lower().endswith(HDF5):
        yield from _of_hdf5(path, side)
    else:
        with archives.opened(path) as files:
            yield _of_images(files, side, readers=2 if path.is_dir() else 1)


def _of_hdf5(path: Path, side: int) -> Iterator[Patches]:
    if not path.is_file():
        raise HistobenchError(f"{path}: not found; expected an HDF5 file of patches")
    with pcam.open_dataset(path, "x", ADVICE) as data:
        if data.ndim != 4 or data.shape[1:] != (side, side, 3) or data.dtype != np.uint8:
            raise HistobenchError(
                f"{path}: expected x of shape (n, {side}, {side}, 3) and type uint8, as the model takes patches, found "
                f"{data.shape} and {data.dtype}"
            )

        def read(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
            # In the order of the file, which a gzipped one can be read in alone.
            with pcam.damage(path, f", patches {positions[0]} to {positions[-1]}", advice=ADVICE):
                return np.asarray(data[int(positions[0]) : int(positions[-1]) + 1])

        yield Patches([str(number) for number in range(len(data))], read, 1, {}, Tally())


def _of_images(files: archives.Files, side: int, readers: int) -> Patches:
    tally = Tally()
    names, _ = files.names()
    found: list[str] = []
    for name in names:
        if own.suffix(name) not in images.SUFFIXES:
            tally.count(tally.excluded, "not an image by the suffix", name)
            continue
        with images.reading(files.where(name)), files.open(name) as file:
            sides = images.size(file)
        if images.fits(sides, side):
            found.append(name)
        else:
            tally.count(tally.excluded, f"not {side}x{side} px", "{}, {}x{} px".format(name, *sides))
    if not found:
        what = "; ".join(tally.in_words(tally.excluded)) or "no files"
        raise HistobenchError(
            f"{files.path}: expected images of {side}x{side} px, as the model takes patches, found {what}"
        )

    def read(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        pixels: list[Any] = []
        for name in (found[position] for position in positions):
            with images.reading(files.where(name)), files.open(name) as file:
                pixels.append(images.decode(file.read(), side, name, tally))
        return np.stack(pixels)

    return Patches(found, read, readers, dict(tally.excluded), tally)
