"""One small study, run once, that the tests of this folder look at and copy."""

import os
import shutil
from pathlib import Path

import pytest

from support.project import TINY, copy_project, program, snakemake

# What planning asks of conda, which is not installed for the tests.
CONDA = """#!/bin/sh
case "$1" in
info) echo '{"conda_prefix": "/nowhere", "platform": "linux-64", "conda_version": "24.7.1"}' ;;
config) echo '{"get": {"channel_priority": "strict"}}' ;;
*) echo conda 24.7.1 ;;
esac
"""


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


@pytest.fixture(scope="session")
def cloned(finished, tmp_path_factory) -> Path:
    """A fresh clone with the results of the finished study, whose configuration is its only one. Nobody changes it."""
    clone = copy_project(tmp_path_factory.mktemp("cloned") / "clone")
    shutil.copy(finished / "results/tiny/study.json", clone / "config/config.yaml")
    path = clone / "workflow/scripts/histobench/train/fit.py"
    path.write_text(f"# another comment\n{path.read_text()}")
    for path in filter(Path.is_file, clone.rglob("*")):
        os.utime(path)  # as git leaves them: written now
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, clone / name, symlinks=True, dirs_exist_ok=True)
    return clone


@pytest.fixture
def conda(tmp_path) -> dict[str, str]:
    """The environment in which Snakemake finds a stand-in for conda."""
    return program(tmp_path / "bin" / "conda", CONDA)
