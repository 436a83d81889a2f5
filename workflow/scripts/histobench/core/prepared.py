"""What `prepare` leaves behind for a data set, and reading it: shards, index and manifest.

A shard is a TFRecord file whose records are the raw bytes of one patch each. All records of a data set have the same
length, so NumPy can map a shard and pick any patch without TensorFlow and without reading the others; whoever has
TensorFlow can read it with ``tf.data.TFRecordDataset`` and ``tf.io.decode_raw``.

Damage is found when it is read: the manifest holds a digest of its own content and of the index, and the index a
checksum of every patch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histobench.core.errors import HistobenchError
from histobench.core.files import as_written, read_sealed, written_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

SPLITS = ("train", "valid", "test")
# Patch i of a split is record i // SHARDS of shard i % SHARDS: known before the number of patches is.
SHARDS = 4
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


def index(folder: Path, columns: Sequence[str] = INDEX) -> "pd.DataFrame":
    """Read the index of a prepared data set: one row per patch, in the order of the records of its split.

    Raises
    ------
    HistobenchError
        if it is not the one that the manifest was written with.
    """
    import pandas as pd

    path = folder / "index.parquet"
    as_written(path, manifest(folder)["index_sha256"], "the manifest", "`prepare`")
    return pd.read_parquet(path, columns=list(columns))


class Split:
    """What is known of the patches of one split, by position.

    Attributes
    ----------
    labels : (n,) float32, 1 is tumour.
    ids, groups : n texts each.
    checksums : n integers, the CRC-32 of each patch's bytes.
    """

    def __init__(self, folder: Path, split: str) -> None:
        import numpy as np

        self.split = split
        rows = index(folder, ["split", "patch_id", "group", "label", "crc32"])
        rows = rows[rows["split"] == split]
        self.labels: npt.NDArray[np.float32] = rows["label"].to_numpy(np.float32)
        self.ids: list[str] = rows["patch_id"].tolist()
        self.groups: list[str] = rows["group"].tolist()
        self.checksums: list[int] = rows["crc32"].tolist()

    def __len__(self) -> int:
        return len(self.labels)


class Records(Split):
    """The patches of one split, by position, mapped from the shards.

    Attributes
    ----------
    shape : (height, width, 3) of a patch in pixels.
    dtype : uint8.
    """

    dtype = "uint8"

    def __init__(self, folder: Path, split: str) -> None:
        import numpy as np

        super().__init__(folder, split)
        self.shape: tuple[int, int, int] = tuple(manifest(folder)["shape"])
        # The frame of a TFRecord: length, its checksum, the data, their checksum.
        frame = np.dtype([("length", "<u8"), ("length_crc", "<u4"), ("image", "u1", self.shape), ("image_crc", "<u4")])
        self._paths = [folder / name for name in shard_names(split)]
        self._shards: list[npt.NDArray[np.uint8]] = []
        for number, path in enumerate(self._paths):
            count = len(range(number, len(self.labels), SHARDS))
            with written_by("`prepare`"):
                size = path.stat().st_size
            if size != count * frame.itemsize:
                raise HistobenchError(
                    f"{path}: expected {count} records of {frame.itemsize} bytes, found {size} bytes; "
                    "delete it and start again: `prepare` writes it anew"
                )
            if count:
                self._shards.append(np.memmap(path, frame, mode="r")["image"])
            else:  # an empty file cannot be mapped
                self._shards.append(np.empty((0, *self.shape), np.uint8))

    def take(self, positions: "npt.NDArray[np.int64]") -> "npt.NDArray[np.uint8]":
        """Return the patches at these positions: (len(positions), height, width, 3) uint8.

        Raises
        ------
        HistobenchError
            if one of them is not the patch that the index tells of.
        """
        import numpy as np
        from isal import isal_zlib

        result = np.empty((len(positions), *self.shape), np.uint8)
        for row, position in enumerate(positions):
            result[row] = self._shards[position % SHARDS][position // SHARDS]
            if (found := isal_zlib.crc32(result[row])) != self.checksums[position]:
                raise HistobenchError(
                    f"{self._paths[position % SHARDS]}, record {position // SHARDS}, patch {self.ids[position]}: "
                    f"expected bytes of CRC-32 {self.checksums[position]:08x}, found {found:08x}; delete the file and "
                    "start again: `prepare` writes it anew"
                )
        return result
