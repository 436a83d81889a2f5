"""CLAM (github.com/mahmoodlab/CLAM, `extract_features_fp.py`): a file per slide, the places in pixels of level 0.

`features` (n, width) and `coords` (n, 2), of which nothing is said. They are in `h5_files/`; the tensors in `pt_files/`
have no places.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from histobench.core.embeddings import Rows, slides


def read(folder: Path, names: Sequence[str], settings: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the rows of all slides; see :func:`histobench.core.embeddings.read`."""
    del settings
    yield from slides.read(
        folder, names, ("features", "coords"), lambda path, _: partial(slides.whole, path), lambda _: {}
    )
