"""One small study, run once, that the tests of this folder look at and copy."""

from pathlib import Path

import pytest

from support.project import TINY, copy_project, snakemake


@pytest.fixture
def project(tmp_path) -> Path:
    """A fresh clone."""
    return copy_project(tmp_path / "clone")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A clone in which the tiny study has run; tests that change it take a copy."""
    folder = copy_project(tmp_path_factory.mktemp("study") / "clone")
    snakemake(folder, *TINY)
    return folder
