"""A small prepared data set for unit tests of the training side."""

from pathlib import Path

import pytest

from histobench.datasets import Patches, Tally
from support.small import COUNTS, patches


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    """A prepared data set of 40 px patches, written in chunks as `prepare` gets them."""
    from histobench.train import records

    folder = tmp_path_factory.mktemp("prepared")
    chunks = []
    for seed, (split, n) in enumerate(COUNTS.items()):
        whole = patches(split, n, seed)
        for start in range(0, n, 16):
            part = slice(start, start + 16)
            fields = (getattr(whole, name)[part] for name in ("images", "labels", "ids", "groups", "places"))
            chunks.append(Patches(split, *fields))
    about = {"dataset": "small", "patches_are": "simulated", "split": "published", "leaky": False, "format": "pcam"}
    records.write(folder, chunks, Tally(total=sum(COUNTS.values())), about)
    return folder
