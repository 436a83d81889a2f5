"""One small study, run once, that the tests of this folder look at and copy."""

import shutil
from pathlib import Path

import pytest

from support.project import TINY, copy_project, snakemake


@pytest.fixture
def project(tmp_path) -> Path:
    """A fresh clone."""
    return copy_project(tmp_path / "clone")


@pytest.fixture(scope="session")
def finished(once) -> Path:
    """A clone in which the tiny study has run; tests that change it take a copy."""

    def make(folder: Path) -> None:
        snakemake(copy_project(folder), *TINY)

    return once("finished", make)


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """The finished study, moved to another folder: dates and metadata as they were."""
    return Path(shutil.copytree(finished, tmp_path / "moved", symlinks=True))
