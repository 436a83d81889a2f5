"""Exported models, opened to score."""

import json
import math
from collections.abc import Mapping
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
# What results tell of the model.
TOLD = ("study", "dataset", "run", "model_name", "mode", "recipe", "patch_size", "microns_per_pixel", "threshold")


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


def _check(told: Mapping[str, Any]) -> None:
    """Raise whatever says that something is missing or wrong of what scores are computed by, or told with."""
    [told[name] for name in TOLD], told["data"]["patches_are"]
    side, scale, threshold = told["patch_size"], told["microns_per_pixel"], told["threshold"]
    if type(side) is not int or side < 1:
        raise ValueError(f"patch_size {side!r}")
    if scale is not None and not (type(scale) in (int, float) and 0 < scale < math.inf):
        raise ValueError(f"microns_per_pixel {scale!r}")
    if threshold is not None and not (type(threshold) in (int, float) and 0 <= threshold <= 1):
        raise ValueError(f"threshold {threshold!r}")


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
        expected = told["sha256"][FILES[1]]
        _check(told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistobenchError(
            f"{paths[0]}: expected what a study writes beside its exported model, found {error!r}; copy the folder "
            "anew, or export the model again by this version of histobench"
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
    path, side = folder / FILES[1], told["patch_size"]
    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
        takes, gives = tuple(network.input_shape), tuple(network.output_shape)
    except Exception as error:  # of whatever kind, by what the file holds
        written = told.get("versions", {}).get("keras", "a version that it does not tell")
        raise HistobenchError(
            f"{path}: expected a model that Keras opens without running code of its own, written by Keras {written}, "
            f"found, by Keras {keras.__version__}: {type(error).__name__}: {error}. Copy the folder anew; if Keras "
            "here is the older one, export the model again by this version of histobench"
        ) from error
    if takes != (None, side, side, 3) or gives != (None, 1):
        raise HistobenchError(
            f"{path}: expected a network from patches of {side} x {side} px, (None, {side}, {side}, 3), to one score "
            f"each, (None, 1), found one from {takes} to {gives}; copy the folder anew"
        )
    return Exported(folder, told, network, d4)
