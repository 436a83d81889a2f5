"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest

from histobench.datasets import Patches, Tally
from support.project import ROOT
from support.small import COUNTS, patches

# As the rules' scripts set it; tests that import TensorFlow in this process want no banner either.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def pytest_collection_modifyitems(items) -> None:
    """Keep the tests of a file in one process, where their fixtures are, but for those that say otherwise."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patches, or a skip that says why."""
    folder = Path(os.environ.get("HISTOBENCH_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real patches at {folder}; name their folder in HISTOBENCH_REAL_DATA")
    return folder.resolve()


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
