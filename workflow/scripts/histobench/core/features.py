"""What `extract_features` leaves behind for a backbone on a data set, and reading it."""

from pathlib import Path
from typing import TYPE_CHECKING

from histobench.core.errors import HistobenchError
from histobench.core.prepared import Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ABOUT = "features.json"  # specification, hashes, device, seconds


def file_name(split: str) -> str:
    """Return the name of the file with the features of a split: (patches, features) float32, in NumPy's format."""
    return f"{split}.npy"


class Features(Split):
    """The features of one split, by the position of the patch, mapped from their file.

    Attributes
    ----------
    shape : (features,).
    dtype : float32.
    """

    dtype = "float32"

    def __init__(self, data: Path, folder: Path, split: str) -> None:
        """Map the features of a split.

        Parameters
        ----------
        data : folder of the prepared data set.
        folder : where the features lie.
        split : "train", "valid" or "test".
        """
        import numpy as np

        super().__init__(data, split)
        path = folder / file_name(split)
        try:
            self._features: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise HistobenchError(
                f"{path}: expected features in NumPy's format, NumPy says: {error}; delete it and start again: "
                "`extract_features` writes it anew"
            ) from error
        if len(self._features) != len(self):
            raise HistobenchError(
                f"{path}: expected the features of {len(self)} patches, found {len(self._features)}; delete it and "
                "start again: `extract_features` writes it anew"
            )
        self.shape: tuple[int] = self._features.shape[1:]

    def take(self, positions: "npt.NDArray[np.int64]") -> "npt.NDArray[np.float32]":
        """Return the features at these positions: (len(positions), features) float32."""
        import numpy as np

        return np.asarray(self._features[positions])
