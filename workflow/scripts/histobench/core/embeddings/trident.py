"""TRIDENT (github.com/mahmoodlab/TRIDENT, `trident/IO.py`): a file per slide, the places in pixels of level 0.

`features` (n, width) and `coords` (n, 2), whose attributes tell patch size and magnification.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from histobench.core.embeddings import Rows, slides


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all slides; see :func:`histobench.core.embeddings.read`."""
    del settings
    yield from slides.read(folder, names, ("features", "coords"), lambda path, _: partial(slides.whole, path), _said)


def _said(file: h5py.File) -> Mapping[str, Any]:
    coords = file["coords"].attrs
    return {
        "encoder": file["features"].attrs.get("encoder"),
        **{name: coords.get(name) for name in ("patch_size", "target_magnification")},
    }
