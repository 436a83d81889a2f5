"""PatchCamelyon: patches and labels in gzipped HDF5 files, slides in CSV files; the split is by file."""

import csv
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from isal import igzip

from histobench.core.datasets import Patches, Tally, chunk
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset, pcam_file
from histobench.core.prepared import SPLITS


class _Stream(io.RawIOBase):
    """A gzip file as the seekable file that HDF5 wants, without decompressing it twice.

    HDF5 asks for the size first, which gzip knows only at the end of the stream: it is told one that is large enough.
    Patches are stored contiguously, so reading them in order never seeks backwards far; where it does, igzip starts
    over.
    """

    SIZE = 1 << 62

    def __init__(self, path: Path) -> None:
        self._gzip = igzip.open(path, "rb")
        self._at_end = False

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._at_end = True
            return self.SIZE + offset
        self._at_end = False
        return int(self._gzip.seek(offset, whence))

    def tell(self) -> int:
        return self.SIZE if self._at_end else int(self._gzip.tell())

    def readinto(self, buffer: Any) -> int:
        # HDF5 takes a short answer for an error, and gzip answers with what one block held.
        view, done = memoryview(buffer), 0
        while done < len(view) and (got := self._gzip.readinto(view[done:])):
            done += got
        return done

    def drain(self) -> None:
        """Read to the end, where gzip holds the checksum of everything."""
        while self._gzip.read(1 << 20):
            pass

    def close(self) -> None:
        self._gzip.close()
        super().close()


@contextmanager
def _damage(path: Path, where: str = "") -> Iterator[None]:
    """Turn what a damaged file raises, at whatever depth, into an error that names it."""
    try:
        yield
    except (EOFError, OSError, KeyError, ValueError, RuntimeError, zlib.error, igzip.BadGzipFile) as error:
        raise HistobenchError(
            f"{path}{where}: expected gzipped HDF5 that is whole, found: {error}. "
            "Delete the file and start again: it is downloaded or simulated anew"
        ) from error


def _file(folder: Path, split: str, part: str) -> Path:
    path = folder / pcam_file(split, part)
    if not path.is_file():
        raise HistobenchError(f"{path}: not found; expected an upstream file of PCam")
    return path


def _labels(path: Path) -> npt.NDArray[np.uint8]:
    with _damage(path):
        stream = _Stream(path)
        with stream, h5py.File(stream, "r") as file:
            labels = file["y"][()]
            stream.drain()
    labels = labels.reshape(-1)
    if wrong := sorted(set(np.unique(labels).tolist()) - {0, 1}):
        first = int(np.flatnonzero(labels == wrong[0])[0])
        raise HistobenchError(f"{path}, patch {first}: expected a label of 0 or 1, found {wrong[0]}")
    return np.asarray(labels, np.uint8)


def _slides(path: Path, labels: npt.NDArray[np.uint8]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the slide and the place of each patch, after checking that they go with the labels."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    needed = {"coord_x", "coord_y", "center_tumor_patch", "wsi"}
    if rows and (missing := needed - set(rows[0])):
        raise HistobenchError(f"{path}: expected columns {', '.join(sorted(needed))}; missing: {', '.join(missing)}")
    if len(rows) != len(labels):
        raise HistobenchError(f"{path}: expected {len(labels)} rows, one for each label, found {len(rows)}")
    places = np.empty((len(rows), 2), np.int32)
    for number, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        if (row["center_tumor_patch"].strip().lower() in ("true", "1")) != bool(label):
            raise HistobenchError(
                f"{path}, patch {number} of slide {row['wsi']}: center_tumor_patch is {row['center_tumor_patch']}, "
                f"but the label file says {label}: the two files do not belong together"
            )
        try:
            places[number] = int(row["coord_x"]), int(row["coord_y"])
        except ValueError:
            raise HistobenchError(
                f"{path}, patch {number}: expected whole numbers in coord_x and coord_y, "
                f"found {row['coord_x']!r} and {row['coord_y']!r}"
            ) from None
    return [row["wsi"] for row in rows], places


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of PCam's three splits; see :func:`histobench.core.datasets.read`."""
    source = dataset.source
    labels = {split: _labels(_file(folder, split, "y")) for split in SPLITS}
    for split in SPLITS:
        if len(labels[split]) != source.expected[split]:
            raise HistobenchError(
                f"{_file(folder, split, 'y')}: expected {source.expected[split]} labels "
                f"(sources.{source.name}.expected.{split}), found {len(labels[split])}"
            )
    tally.total = sum(map(len, labels.values()))
    for split in SPLITS:
        if pcam_file(split, "meta") in source.files:
            groups, places = _slides(_file(folder, split, "meta"), labels[split])
        else:
            groups, places = [""] * len(labels[split]), np.full((len(labels[split]), 2), -1, np.int32)
        yield from _split(_file(folder, split, "x"), split, source.patch_size, labels[split], groups, places)


def _split(
    path: Path,
    split: str,
    size: int,
    labels: npt.NDArray[np.uint8],
    groups: list[str],
    places: npt.NDArray[np.int32],
) -> Iterator[Patches]:
    stream = _Stream(path)
    with stream:
        with _damage(path):
            file = h5py.File(stream, "r")
            images = file["x"]
        with file:
            shape = (len(labels), size, size, 3)
            if images.shape != shape or images.dtype != np.uint8:
                raise HistobenchError(
                    f"{path}: expected x of shape {shape} and type uint8, one patch for each label, "
                    f"found {images.shape} and {images.dtype}"
                )
            held = chunk(size)
            for start in range(0, len(labels), held):
                part = slice(start, min(start + held, len(labels)))
                with _damage(path, f", patches {part.start} to {part.stop - 1}"):
                    pixels = images[part]
                ids = [f"{split}-{number:06d}" for number in range(part.start, part.stop)]
                yield Patches(split, pixels, labels[part], ids, groups[part], places[part])
            with _damage(path, ", at its end"):
                stream.drain()
