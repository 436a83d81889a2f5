"""Which environments, modules and images Snakemake asks for. Stand-ins take the place of what would provide them."""

import re
import shutil
from pathlib import Path

import pytest

from support.project import TINY, program, snakemake


def test_a_k80_has_an_environment_of_its_own(project, conda):
    """That others ask for none of it is seen in test_reruns.py."""
    target = "results/paper/runs/pcam/b6/full/timing/k80/seed-1/predictions.csv"
    output = snakemake(project, "-n", "--sdm", "conda", "--", target, env=conda)
    asked = set(re.findall(r"Conda environment envs/(\S+)\.yaml will be created", output))
    # The first two are those of the download and of the records.
    assert asked == {"report", "tensorflow", "tensorflow-k80"}


RUN = "results/tiny/runs/pcam-simulated/b2/full/tiny/cpu/seed-1/run.json"
CONTROL = "results/tiny/controls/pcam-simulated/shuffled_labels.json"


@pytest.fixture
def to_do(copy) -> Path:
    """The finished study without one run, whose job is for a device, and without a control, whose job is for none."""
    shutil.rmtree((copy / RUN).parent)
    (copy / CONTROL).unlink()
    return copy


def test_modules_are_loaded_for_jobs_on_devices_and_no_others(to_do):
    loaded = to_do / "loaded"
    (to_do / "modules.sh").write_text(f"module() {{ echo $* >> {loaded}; }}; export -f module")
    (to_do / "site.yaml").write_text("env_modules: [CUDA/12.5.1, cuDNN/9.3.0]")
    environ = {"BASH_ENV": str(to_do / "modules.sh")}
    arguments = (*TINY, "site.yaml", "--sdm", "env-modules", "--")
    snakemake(to_do, *arguments, CONTROL, env=environ)
    assert not loaded.exists()
    snakemake(to_do, *arguments, RUN, env=environ)
    assert set(loaded.read_text().splitlines()) == {"purge", "load CUDA/12.5.1 cuDNN/9.3.0"}


def test_a_devices_jobs_run_in_its_image(to_do):
    calls = to_do / "calls"
    # It tells how it was called, and runs nothing.
    environ = program(
        to_do / "bin" / "apptainer",
        f'#!/bin/sh\n[ "$1" = --version ] && echo apptainer version 1.3.4 || {{ echo "$@" >> {calls}; exit 3; }}\n',
    )
    (to_do / "cnn.sif").write_text("")
    (to_do / "site.yaml").write_text("devices: {cpu: {container: cnn.sif}}")
    options = ("site.yaml", "--sdm", "apptainer", "--apptainer-args=--nv")
    snakemake(to_do, *TINY, *options, "--", CONTROL, RUN, env=environ, fails=True)
    (call,) = calls.read_text().splitlines()
    assert re.search(r"^exec .*--nv .* cnn.sif bash -c .*\.train\.py", call)
    assert (to_do / CONTROL).exists()  # made by a job without a device
