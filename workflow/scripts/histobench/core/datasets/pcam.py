"""PatchCamelyon: patches and labels in HDF5 files, gzipped or not, slides in CSV files; the split is by file.

What a file is, its first bytes say, not its name. The published files hold their patches contiguously: a gzipped one is
read as a stream. Those that others have written may hold them in chunks, in an order of their own, for which a stream
would start over again and again: a gzipped one is unpacked aside first.
"""

import csv
import io
import itertools
import logging
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt
from isal import igzip

from histobench.core.datasets import Patches, Tally, chunk
from histobench.core.datasets.upstream import text
from histobench.core.errors import HistobenchError
from histobench.core.formats import Dataset, pcam_file
from histobench.core.prepared import SPLITS

log = logging.getLogger(__name__)

GZIP = b"\x1f\x8b"
# Bytes. HDF5 keeps the chunks that a patch stands in until all their patches are read: 0.2 GB with those that h5py
# chooses by itself for the whole of PCam. There are more slots than chunks, since two in one slot evict each other.
LARGEST_CACHE = 2**30
SLOTS = 1_000_003
OF_SOURCE = "Delete the file and start again: it is downloaded, copied from the mirror or simulated anew"


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
def damage(path: Path, where: str = "", what: str = "HDF5, gzipped or not,", advice: str = OF_SOURCE) -> Iterator[None]:
    """Turn whatever a damaged file raises, at whatever depth, into an error that names it."""
    try:
        yield
    except (HistobenchError, MemoryError):
        raise
    except Exception as error:
        raise HistobenchError(
            f"{path}{where}: expected {what} that is whole, found: {error or type(error).__name__}. {advice}"
        ) from error


def _file(folder: Path, split: str, part: str) -> Path:
    path = folder / pcam_file(split, part)
    if not path.is_file():
        raise HistobenchError(f"{path}: not found; expected an upstream file of PCam")
    return path


@contextmanager
def open_dataset(path: Path, name: str, advice: str = OF_SOURCE) -> Iterator[h5py.Dataset]:
    """Open a data set of an HDF5 file. At the end a gzipped file is read to its end, where its checksum stands.

    Parameters
    ----------
    advice : what to do where the file is damaged.
    """
    with ExitStack() as stack:
        file, data = _opened(stack, path, name, advice)
        yield data
        if isinstance(file, _Stream):
            with damage(path, ", at its end", advice=advice):
                file.drain()


def _opened(stack: ExitStack, path: Path, name: str, advice: str) -> tuple[_Stream | IO[bytes], h5py.Dataset]:
    with damage(path, advice=advice):
        file: _Stream | IO[bytes] = stack.enter_context(path.open("rb"))
        if packed := file.read(len(GZIP)) == GZIP:
            file = stack.enter_context(_Stream(path))
        content = stack.enter_context(h5py.File(file, "r"))
        data = content.get(name)
        if not isinstance(data, h5py.Dataset):
            raise LookupError(f"no values of {name}, which it needs, among {', '.join(content) or 'no names'}")
        if data.is_virtual or data.external:
            raise HistobenchError(f"{path}: expected the values of {name} in this file, found links to other files")
        if data.chunks:
            # At the edges of the data set chunks are filled up.
            stored = [math.ceil(length / chunk) * chunk for length, chunk in zip(data.shape, data.chunks, strict=True)]
            row, rows = math.prod(stored[1:]) * data.dtype.itemsize, stored[0]
            if packed:
                file = stack.enter_context(_unpacked(path, row * rows))
            cache = min(row * data.chunks[0], LARGEST_CACHE)
            data = stack.enter_context(h5py.File(file, "r", rdcc_nbytes=cache, rdcc_nslots=SLOTS))[name]
            chunks = math.prod(length // chunk for length, chunk in zip(stored, data.chunks, strict=True))
            if (found := data.id.get_num_chunks()) != chunks:
                raise HistobenchError(
                    f"{path}: expected {chunks} chunks of {name}, found {found}: the file was not written to its end"
                )
        elif not data.id.get_storage_size():
            raise HistobenchError(f"{path}: expected the values of {name}, found none: nothing was written")
        return file, data


@contextmanager
def _unpacked(path: Path, size: int) -> Iterator[IO[bytes]]:
    """Unpack a gzip file to a file of about `size` bytes in its folder.

    That has no name there, so the system frees its room when the job has read it or is killed.
    """
    folder, needs = path.parent, f"which needs {size / 1e9:.1f} GB in {path.parent} while it is read"
    log.info("%s: its values are stored in chunks, so it is unpacked first, %s", path, needs)
    advice = "Make room, or give the unpacked file, see `downloads` in config/README.md"
    if size > (free := shutil.disk_usage(folder).free):
        raise HistobenchError(
            f"{path}: its values are stored in chunks, so it must be unpacked, {needs}; "
            f"{free / 1e9:.1f} GB are free. {advice}"
        )
    with tempfile.TemporaryFile(dir=folder) as unpacked:
        try:
            with igzip.open(path, "rb") as file:
                shutil.copyfileobj(file, unpacked, 1 << 20)
            unpacked.flush()
        except OSError as error:
            if error.errno is None:  # of the content
                raise
            raise HistobenchError(f"{path}: cannot be unpacked, {needs}: {error}. {advice}") from error
        yield unpacked


def _labels(path: Path) -> npt.NDArray[np.uint8]:
    with open_dataset(path, "y") as data, damage(path):
        labels = data[()].reshape(-1)
    if labels.dtype.kind not in "biuf":
        raise HistobenchError(f"{path}: expected labels of 0 or 1, found values of type {labels.dtype}")
    if (wrong := np.flatnonzero(~np.isin(labels, (0, 1)))).size:
        raise HistobenchError(f"{path}, patch {wrong[0]}: expected a label of 0 or 1, found {labels[wrong[0]]}")
    return np.asarray(labels, np.uint8)


CENTRE = {"true": 1, "1": 1, "false": 0, "0": 0}
LARGEST = np.iinfo(np.int32).max


def _slides(path: Path, label_file: Path, labels: npt.NDArray[np.uint8]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the slide and the place of each patch, after checking that they go with the labels."""
    with damage(path, what="a table with commas"):
        content = text(path).encode()
        columns = next(_lines(content), [])
        found = sum(1 for _ in _lines(content)) - bool(columns)
    needed = ("coord_x", "coord_y", "center_tumor_patch", "wsi")
    if missing := set(needed) - set(columns):
        raise HistobenchError(
            f"{path}: expected columns {', '.join(needed)}, with commas between them; missing: "
            f"{', '.join(sorted(missing))}, found: {', '.join(columns) or 'none'}"
        )
    if found != len(labels):
        raise HistobenchError(f"{path}: expected {len(labels)} rows, one for each label, found {found}")
    at = [columns.index(name) for name in needed]
    places, slides = np.empty((found, 2), np.int32), []
    rows = itertools.islice(_lines(content), 1, None)
    for number, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        if len(row) != len(columns):
            raise HistobenchError(f"{path}, patch {number}: expected {len(columns)} values, found {len(row)}")
        x, y, tumour, slide = (row[column].strip() for column in at)
        if tumour.lower() not in CENTRE:
            raise HistobenchError(
                f"{path}, patch {number}: expected True or False in center_tumor_patch, found {tumour!r}"
            )
        if not slide:
            raise HistobenchError(
                f"{path}, patch {number}: expected the name of its slide in wsi, found none; where slides are "
                "unknown say `slide_metadata: false` in the configuration"
            )
        if CENTRE[tumour.lower()] != label:
            raise HistobenchError(
                f"{path}, patch {number} of slide {slide}: center_tumor_patch is {tumour}, "
                f"but {label_file} says {label}: the two files do not belong together"
            )
        slides.append(sys.intern(slide))
        places[number] = _place(path, number, (x, y))
    return slides, places


def _lines(content: bytes) -> Iterator[list[str]]:
    """Yield the lines of a table that are not empty, one by one: a list of all would take ten times the file's size."""
    yield from filter(None, csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")))


def _place(path: Path, number: int, texts: Sequence[str]) -> list[int]:
    try:
        place = [int(each) for each in texts]
    except ValueError:
        place = [LARGEST + 1]
    if max(map(abs, place)) > LARGEST:
        raise HistobenchError(
            f"{path}, patch {number}: expected whole numbers up to {LARGEST} in coord_x and coord_y, "
            f"found {' and '.join(map(repr, texts))}"
        )
    return place


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
            groups, places = _slides(_file(folder, split, "meta"), _file(folder, split, "y"), labels[split])
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
    with open_dataset(path, "x") as images:
        shape = (len(labels), size, size, 3)
        if images.shape != shape or images.dtype != np.uint8:
            raise HistobenchError(
                f"{path}: expected x of shape {shape} and type uint8, one patch for each label, "
                f"found {images.shape} and {images.dtype}"
            )
        held = chunk(size)
        for start in range(0, len(labels), held):
            part = slice(start, min(start + held, len(labels)))
            with damage(path, f", patches {part.start} to {part.stop - 1}"):
                pixels = images[part]
            ids = [f"{split}-{number:06d}" for number in range(part.start, part.stop)]
            yield Patches(split, pixels, labels[part], ids, groups[part], places[part])
