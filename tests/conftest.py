"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from support.project import ROOT
from support.small import COUNTS, prepare

# As the rules' scripts set it; tests that import TensorFlow in this process want no banner either.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups when it is called
def pytest_collection_modifyitems(items) -> None:
    """Keep tests in one process with the others of their fixtures: those on the finished study, those of a file.

    Without effect for now: pytest-xdist 3.8 appends the group to `_nodeid`, which pytest 9.2 no longer reads.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            shared = "finished" if "finished" in item.fixturenames else item.path.name
            item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patches, or a skip that says why."""
    folder = Path(os.environ.get("HISTOBENCH_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real patches at {folder}; name their folder in HISTOBENCH_REAL_DATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    """A prepared data set of 40 px patches."""
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS)
