"""Which environments, modules and images Snakemake asks for; stand-ins answer in their place."""

import os
import re

import pytest

from support.project import TINY, snakemake

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


RUN = "results/tiny/runs/pcam-simulated/b2/full/tiny/cpu/seed-1/run.json"


def test_modules_are_loaded_for_jobs_on_devices_and_no_others(project):
    loaded = project / "loaded"
    (project / "modules.sh").write_text(f"module() {{ echo $* >> {loaded}; }}; export -f module")
    (project / "site.yaml").write_text("env_modules: [CUDA/12.5.1, cuDNN/9.3.0]")
    arguments = (*TINY, "site.yaml", "--sdm", "env-modules", "--")
    environ = {"BASH_ENV": str(project / "modules.sh")}
    snakemake(project, *arguments, "results/data/pcam-simulated/manifest.json", env=environ)
    assert not loaded.exists()
    snakemake(project, *arguments, RUN, env=environ)
    assert set(loaded.read_text().splitlines()) == {"purge", "load CUDA/12.5.1 cuDNN/9.3.0"}


def test_a_devices_jobs_run_in_its_image(project):
    calls = project / "calls"
    (project / "bin").mkdir()
    (project / "bin" / "apptainer").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo apptainer version 1.3.4 || {{ echo "$@" >> {calls}; exit 3; }}\n'
    )
    (project / "bin" / "apptainer").chmod(0o755)
    (project / "cnn.sif").write_text("")
    (project / "site.yaml").write_text("devices: {cpu: {container: cnn.sif}}")
    done = snakemake(
        project, *TINY, "site.yaml", "--sdm", "apptainer", "--apptainer-args=--nv", "--", RUN,
        env={"PATH": f"{project / 'bin'}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert done.returncode  # the stand-in runs nothing
    (call,) = calls.read_text().splitlines()
    assert re.search(r"^exec .*--nv .* cnn.sif bash -c .*\.train\.py", call)
    assert (project / "results/data/pcam-simulated/manifest.json").exists()  # made by a job without a device
