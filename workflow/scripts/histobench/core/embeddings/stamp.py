"""STAMP (github.com/KatherLab/STAMP, `stamp/preprocessing`): a file per slide, the places in micrometres.

`feats` (n, width) float16 and `coords` (n, 2) float32; attributes of the file tell the extractor, the size of a tile
and the unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from histobench.core.embeddings import Rows, slides
from histobench.core.errors import HistobenchError


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all slides; see :func:`histobench.core.embeddings.read`."""
    microns = settings["microns_per_pixel"]
    if microns is None:
        raise HistobenchError(f"{folder}: STAMP's places are in micrometres, so the embeddings need microns_per_pixel")

    def pixels(path: Path, file: h5py.File) -> slides.Pixels:
        # Versions before 2 had another unit and did not tell it.
        if (unit := file.attrs.get("unit")) != "um":
            raise HistobenchError(
                f"{path}: expected an attribute unit that is um, found {unit!r}: it is of a version of STAMP before 2; "
                "extract the features with a newer one"
            )

        def convert(coords: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
            return np.asarray(np.rint(coords.astype(np.float64) / microns), np.int64)

        return convert

    yield from slides.read(folder, names, ("feats", "coords"), pixels, _said, microns)


def _said(file: h5py.File) -> Mapping[str, Any]:
    names = {"extractor": "encoder", "tile_size_um": "tile_size_um", "tile_size_px": "patch_size"}
    return {name: file.attrs.get(stamps) for stamps, name in names.items()}
