"""Exported models, opened to score."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.errors import HistobenchError
from histobench.core.files import digest
from histobench.train.changes import turned

FILES = ("model.json", "model.keras")


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes
    ----------
    folder : where it lies.
    about : the content of its ``model.json``.
    network : from patches, (n, side, side, 3) in 0 to 255, to the probability of tumour, (n, 1).
    d4 : whether scores are means over the eight flips and turns of a patch.
    """

    folder: Path
    about: dict[str, Any]
    network: keras.Model
    d4: bool

    def scores(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probability of tumour of patches, (n,) float32."""
        if not self.d4:
            return np.asarray(self.network.predict_on_batch(patches))[:, 0]
        turns = (turned(patches, number=number) for number in range(8))
        each = [np.asarray(self.network.predict_on_batch(some))[:, 0] for some in turns]
        return np.asarray(np.mean(each, axis=0, dtype=np.float64), np.float32)


def about(folder: Path) -> dict[str, Any]:
    """Return the content of a model's ``model.json``; refuse a folder whose files do not go together."""
    paths = [folder / name for name in FILES]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise HistobenchError(
            f"{folder}: expected the folder of an exported model, found no {' and no '.join(missing)}; copy the whole "
            "folder `results/<study>/models/<data set>`"
        )
    try:
        told: dict[str, Any] = json.loads(paths[0].read_text(encoding="utf-8"))
        side, expected = told["patch_size"], told["sha256"][FILES[1]]
        threshold = told["threshold"]
        if not isinstance(side, int) or not (threshold is None or 0 <= threshold <= 1):
            raise ValueError(f"patch_size {side!r} and threshold {threshold!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistobenchError(
            f"{paths[0]}: expected what a study writes beside its exported model, found {error!r}; copy the folder anew"
        ) from error
    if (found := digest(paths[1])) != expected:
        raise HistobenchError(
            f"{paths[1]}: expected the model that {FILES[0]} is about, sha256 {expected}, found {found}: files of two "
            "models lie in one folder, or it was not copied to its end; copy it anew"
        )
    return told


def opened(folder: Path, *, d4: bool) -> Exported:
    """Open an exported model; for errors see :func:`about`."""
    told = about(folder)
    network = keras.saving.load_model(folder / FILES[1], compile=False, safe_mode=True)
    side = told["patch_size"]
    if tuple(network.input_shape) != (None, side, side, 3):
        raise HistobenchError(
            f"{folder / FILES[1]}: expected a network that takes patches of {side} x {side} px, found one of "
            f"{tuple(network.input_shape)}; copy the folder anew"
        )
    return Exported(folder, told, network, d4)
