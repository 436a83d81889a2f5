"""What `prepare` leaves behind for a data set, and reading it: shards, index and manifest.

A shard is a TFRecord file whose records are the raw bytes of one patch each. All records of a data set have the same
length, so any patch can be picked without TensorFlow and without reading the others; whoever has TensorFlow can read it
with ``tf.data.TFRecordDataset`` and ``tf.io.decode_raw``.

Damage is found when it is read: the manifest holds a digest of its own content and of the index, and the index a
checksum of every patch.
"""

import math
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.core.errors import HistobenchError
from histobench.core.files import as_written, read_sealed, written_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

SPLITS = ("train", "valid", "test")
# The one part of a data set that is cross-validated: which of its patches are what, each fold says.
WHOLE = "all"
# Patch i of a split is record i // SHARDS of shard i % SHARDS: known before the number of patches is.
SHARDS = 4
# Bytes of a TFRecord before its data, their length and its checksum, and after them, their checksum.
BEFORE_IMAGE, AFTER_IMAGE = 12, 4
# Columns of the index, in order.
INDEX = (
    "split", "position", "patch_id", "group", "label", "x", "y",
    "red_mean", "green_mean", "blue_mean", "red_std", "green_std", "blue_std",
    "pixel_sha256",  # the first 32 digits: equal for patches that are equal pixel for pixel
    "crc32",  # of the same bytes, by which every patch is checked when it is read: nine times as fast
)  # fmt: skip
# The files that the patches were made of: path, bytes, sha256.
SOURCE_FILES = "source_files.csv"


def shard_names(split: str) -> list[str]:
    """Return the file names of a split's shards, as TensorFlow's tools write them."""
    return [f"{split}-{number:05d}-of-{SHARDS:05d}.tfrecord" for number in range(SHARDS)]


def manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a prepared data set."""
    return read_sealed(folder / "manifest.json")


def index(folder: Path, columns: Sequence[str] = INDEX, split: str | None = None) -> "pd.DataFrame":
    """Read the index of a prepared data set: one row per patch, in the order of the records of its split.

    Parameters
    ----------
    columns : to read; the others take neither time nor memory.
    split : to read; by default all.

    Raises
    ------
    HistobenchError
        if it is not the one that the manifest was written with.
    """
    import pandas as pd

    path = folder / "index.parquet"
    as_written(path, manifest(folder)["index_sha256"], "the manifest", "`prepare`")
    chosen = None if split is None else [("split", "==", split)]
    return pd.read_parquet(path, columns=list(columns), filters=chosen)


def parts(folder: Path) -> list[str]:
    """Return the parts in which the patches of a prepared data set lie."""
    found = manifest(folder)["patches"]
    return [part for part in (*SPLITS, WHOLE) if part in found]


def tested(folder: Path) -> str:
    """Return the part that is tested on: all patches of a data set that is cross-validated."""
    return WHOLE if WHOLE in parts(folder) else "test"


class Split:
    """What is known of the patches of one split, by position.

    Attributes
    ----------
    labels : (n,) float32, 1 is tumour.
    checksums : (n,) uint32, the CRC-32 of each patch's bytes.
    ids, groups : n texts each, read when they are asked for: training does not need them.
    stored : folder of the data set whose records these are: another one's, where this one is a selection.
    """

    def __init__(self, folder: Path, split: str) -> None:
        import numpy as np

        self.split = split
        self._folder = folder
        selection = manifest(folder).get("selection")
        self.stored = folder.parent / selection["of"] if selection else folder
        rows = index(folder, ["label", "crc32", *(["part", "record"] if selection else [])], split)
        self.labels: npt.NDArray[np.float32] = rows["label"].to_numpy(np.float32)
        self.checksums: npt.NDArray[np.uint32] = rows["crc32"].to_numpy(np.uint32)
        # The parts that the patches lie in; for each patch which of them, and where there: None where that is as here.
        self._parts, self._part, self._record = [split], None, None
        if selection:
            codes = rows["part"].astype("category").cat
            self._parts = codes.categories.tolist()
            self._part, self._record = codes.codes.to_numpy(np.int8), rows["record"].to_numpy(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def _places(self, positions: "npt.NDArray[np.int64]") -> "tuple[npt.NDArray[Any], npt.NDArray[Any]]":
        """Return in which of the parts patches lie, and where there."""
        import numpy as np

        if self._part is None or self._record is None:
            return np.zeros(len(positions), np.int8), positions
        return self._part[positions], self._record[positions].astype(np.int64)

    def _sizes(self) -> dict[str, int]:
        """Return how many patches are stored in each of the parts."""
        if self._part is None:
            return {self.split: len(self)}
        counts = manifest(self.stored)["patches"]
        return {part: counts[part]["n"] for part in self._parts}

    @cached_property
    def ids(self) -> list[str]:
        """The names of the patches."""
        return self._texts("patch_id").tolist()

    @cached_property
    def groups(self) -> list[str]:
        """The slide or patient of each patch, "" where unknown."""
        # One object for all patches of a group.
        return self._texts("group").astype("category").astype(object).tolist()

    def _texts(self, column: str) -> "pd.Series[Any]":
        return index(self._folder, [column], self.split)[column]

    def positions(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of the patches of these names, in so far as there are any."""
        wanted = set(ids)
        return {name: position for position, name in enumerate(self.ids) if name in wanted}


class Pieces:
    """A file that a rule has written, read in pieces; several threads may do so at once.

    By system calls, since what is read of a mapped file counts as memory of the process: a scheduler would end a job
    whose data set takes more than the job has asked for.
    """

    def __init__(self, path: Path, rule: str) -> None:
        self.path = path
        with written_by(rule):
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        self.bytes = os.fstat(self.descriptor).st_size

    def read(self, offset: int, memory: "npt.NDArray[Any]") -> None:
        """Read what stands from a byte of the file on into an array, whose memory is in one piece.

        Raises
        ------
        HistobenchError
            if it cannot be read, or the file ends before.
        """
        try:
            found: object = os.preadv(self.descriptor, (memory.data,), offset)
        except OSError as error:
            found = error.strerror
        if found != memory.nbytes:
            raise HistobenchError(f"{self.path}: expected {memory.nbytes} bytes from byte {offset} on, found: {found}")

    def announce(self, offset: int, size: int) -> None:
        """Tell the system that bytes will be read soon."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.descriptor, offset, size, os.POSIX_FADV_WILLNEED)


# On a system that does not know this it counts for nothing.
AT_ONCE = getattr(os, "RWF_NOWAIT", 0)


def read(pieces: "Iterable[tuple[Pieces, int, npt.NDArray[Any]]]") -> Iterator[int]:
    """Read pieces of files, each given by its file, its first byte and the array to read it into.

    A disk or a network is asked for all that the system does not have in memory before the first answer is waited for.

    Yields
    ------
    number : of a piece, as soon as it has been read.
    """
    waiting = []
    for number, (file, offset, memory) in enumerate(pieces):
        # Written out: a call for each piece would take a twentieth of the time.
        try:
            found = os.preadv(file.descriptor, (memory.data,), offset, AT_ONCE)
        except OSError:
            found = 0
        if found == memory.nbytes:
            yield number
        else:
            waiting.append((number, file, offset, memory))
    for _, file, offset, memory in waiting:
        file.announce(offset, memory.nbytes)
    for number, file, offset, memory in waiting:
        file.read(offset, memory)
        yield number


class Records(Split):
    """The patches of one split, by position, read from the shards.

    Attributes
    ----------
    shape : (height, width, 3) of a patch in pixels.
    dtype : uint8.
    """

    dtype = "uint8"

    def __init__(self, folder: Path, split: str) -> None:
        super().__init__(folder, split)
        self.shape: tuple[int, int, int] = tuple(manifest(folder)["shape"])
        self._frame = BEFORE_IMAGE + math.prod(self.shape) + AFTER_IMAGE
        self._shards = []
        for part, size in self._sizes().items():
            for number, name in enumerate(shard_names(part)):
                shard = Pieces(self.stored / name, "`prepare`")
                count = len(range(number, size, SHARDS))
                if shard.bytes != count * self._frame:
                    raise HistobenchError(
                        f"{shard.path}: expected {count} records of {self._frame} bytes, found {shard.bytes} bytes; "
                        "delete it and start again: `prepare` writes it anew"
                    )
                self._shards.append(shard)

    def take(self, positions: "npt.NDArray[np.int64]") -> "npt.NDArray[np.uint8]":
        """Return the patches at these positions: (len(positions), height, width, 3) uint8.

        Several threads may call it at once.

        Raises
        ------
        HistobenchError
            if one of them cannot be read, or is not the patch that the index tells of.
        """
        import numpy as np
        from isal import isal_zlib

        result = np.empty((len(positions), *self.shape), np.uint8)
        parts, places = self._places(positions)
        records, shards = np.divmod(places, SHARDS)
        files = [self._shards[shard] for shard in (parts * np.int64(SHARDS) + shards).tolist()]
        checksums = self.checksums[positions].tolist()
        pieces = zip(files, (records * self._frame + BEFORE_IMAGE).tolist(), result, strict=True)
        for row in read(pieces):
            if (found := isal_zlib.crc32(result[row])) != checksums[row]:
                raise HistobenchError(
                    f"{files[row].path}, record {records[row]}, patch {self.ids[positions[row]]}: "
                    f"expected bytes of CRC-32 {checksums[row]:08x}, found {found:08x}; delete the file and "
                    "start again: `prepare` writes it anew"
                )
        return result
