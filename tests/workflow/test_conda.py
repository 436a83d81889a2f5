"""Which environments a run asks conda for; a stand-in answers in its place."""

import os
import re

import pytest

from support.project import snakemake

CONDA = """#!/bin/sh
case "$1" in
info) echo '{"conda_prefix": "/nowhere", "platform": "linux-64", "conda_version": "24.7.1"}' ;;
config) echo '{"get": {"channel_priority": "strict"}}' ;;
*) echo conda 24.7.1 ;;
esac
"""


@pytest.mark.parametrize(("device", "own"), [("k80", {"tensorflow-k80"}), ("a100", set())])
def test_a_k80_has_an_environment_of_its_own(device, own, project):
    (project / "conda").write_text(CONDA)
    (project / "conda").chmod(0o755)
    done = snakemake(
        project, "-n", "--sdm", "conda", "--profile", "profiles/local",
        f"results/paper/runs/pcam/b6/full/timing/{device}/seed-1/predictions.csv",
        env={"PATH": f"{project}:{os.environ['PATH']}"},
    )  # fmt: skip
    asked = set(re.findall(r"Conda environment envs/(\S+)\.yaml will be created", done.stdout))
    assert asked == {"report", "tensorflow"} | own  # those of the download and of the records
