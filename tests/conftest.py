"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest

from support.project import ROOT

# As the rules' scripts set it; tests that import TensorFlow in this process want no banner either.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real patches, or a skip that says why."""
    folder = Path(os.environ.get("HISTOBENCH_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "pcam").is_dir():
        pytest.skip(f"no real patches at {folder}; name their folder in HISTOBENCH_REAL_DATA")
    return folder.resolve()
