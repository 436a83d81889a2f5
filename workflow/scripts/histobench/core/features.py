"""Files with the features of a frozen backbone, as `extract_features` writes them, and reading them."""

from pathlib import Path
from typing import TYPE_CHECKING

from histobench.core.errors import HistobenchError
from histobench.core.files import as_written, read_sealed
from histobench.core.prepared import Pieces, Records, Split, read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ABOUT = "features.json"  # specification, hashes, device, seconds


def file_name(split: str) -> str:
    """Return the name of the NumPy file with the features of a split, of shape (patches, features), float32."""
    return f"{split}.npy"


class Features(Split):
    """The features of one split, by the position of the patch, read when they are taken.

    Attributes
    ----------
    shape : (features,), of one patch.
    dtype : "float32".
    """

    dtype = "float32"

    def __init__(self, data: Path, folder: Path, split: str) -> None:
        """Open the features of a split in a folder; `data` is the folder of the prepared data set.

        Raises
        ------
        HistobenchError
            if the file is not the one that was extracted, or has another number of patches.
        """
        import numpy as np

        super().__init__(data, split)
        self._files, self._starts = [], []
        for part, size in self._sizes().items():
            path = folder / file_name(part)
            as_written(path, read_sealed(folder / ABOUT)["sha256"][part], ABOUT, "`extract_features`")
            mapped = np.load(path, mmap_mode="r")
            if len(mapped) != size:
                raise HistobenchError(
                    f"{path}: expected the features of {size} patches, found {len(mapped)}; delete it and "
                    "start again: `extract_features` writes it anew"
                )
            self.shape: tuple[int] = mapped.shape[1:]
            self._starts.append(mapped.offset)
            self._files.append(Pieces(path, "`extract_features`"))

    def take(self, positions: "npt.NDArray[np.int64]") -> "npt.NDArray[np.float32]":
        """Return the features at `positions`, of shape (len(positions), features), float32.

        Several threads may call it at once.
        """
        import numpy as np

        result = np.empty((len(positions), *self.shape), np.float32)
        parts, rows = self._places(positions)
        offsets = np.array(self._starts)[parts] + rows * (4 * self.shape[0])
        for _ in read(zip([self._files[part] for part in parts.tolist()], offsets.tolist(), result, strict=True)):
            pass
        return result


def open_splits(data: Path, features: Path | None, *splits: str) -> list[Records | Features]:
    """Open the patches of some splits, or their cached features if a folder of these is given."""
    return [Features(data, features, split) if features else Records(data, split) for split in splits]
