"""The cluster that the tests of this folder share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.cluster import INSTALL, PAPER, Cluster, missing
from slurm.study import installed_on_site


@pytest.fixture(scope="session")
def installed() -> None:
    """Stop where no SLURM can be started: a test that is skipped would pass for one that was run."""
    if os.geteuid() != 0:
        pytest.exit("tests of SLURM start its daemons and replace /etc/slurm: run them as root", returncode=1)
    if absent := missing():
        pytest.exit(f"tests of SLURM need {', '.join(absent)}, which are not installed: {INSTALL}", returncode=1)


@pytest.fixture(scope="module")
def cluster(installed) -> Iterator[Cluster]:
    """Four nodes with the paper's cards, one with a site's own, one without any; no accounting."""
    with Cluster((*PAPER, "rtx_6000")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def project(cluster, tmp_path_factory) -> Path:
    return installed_on_site(tmp_path_factory.mktemp("slurm") / "clone")
