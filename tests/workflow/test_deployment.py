"""Which environments, modules and images Snakemake asks for, by stand-ins for what would provide them; and the workflow
in another working directory, and as a module of another workflow.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from support.project import TINY, TINY_CONFIG, program, snakemake

pytestmark = pytest.mark.slow


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


PAPER = "config/paper/table1.csv"


def test_in_another_working_directory_the_files_of_the_repository_are_found(project, tmp_path):
    there = tmp_path / "there"
    options = (*TINY_CONFIG, "--snakefile", str(project / "Snakefile"))
    claims = "results/tiny/tables/claims.md"
    output = snakemake(project, "-n", "--cores", "1", "--directory", str(there), *options, "--", claims)
    assert f" ../clone/{PAPER}," in output
    assert "Study tiny: 4 runs" in output
    # Its own configuration comes first.
    (there / "config").mkdir()
    own = yaml.safe_load((project / "config/config.yaml").read_text()) | {"study": "own"}
    (there / "config/config.yaml").write_text(yaml.safe_dump(own))
    assert "Study own: 121 runs" in snakemake(there, "--list-rules", "--snakefile", str(project / "Snakefile"))


MODULE = """
configfile: "config.yaml"

module histobench:
    snakefile: {snakefile}
    config: config["patches"]
    prefix: "sub"

use rule * from histobench as patches_*

rule theirs:
    output: "theirs/{{device}}"
    shell: "touch {{output}}"
"""


@pytest.fixture
def of_another(project, tmp_path) -> Path:
    """Another workflow, that has the tiny study as a module; a device of it needs an environment of its own."""
    config = yaml.safe_load((project / "config/config.yaml").read_text())
    update_config(config, yaml.safe_load((project / "tests/configs/tiny.yaml").read_text()))
    update_config(config, {"devices": {"cpu": {"environment": "tensorflow-k80"}}})
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "config.yaml").write_text(yaml.safe_dump({"patches": config}))
    snakefile = MODULE.format(snakefile=repr(str(project / "workflow/Snakefile")))
    (tmp_path / "another" / "Snakefile").write_text(snakefile)
    return tmp_path / "another"


def test_as_a_module_with_a_prefix_it_is_planned_checked_and_run(of_another):
    output = snakemake(of_another, "-n", "--cores", "1", "patches_all", "theirs/device-of-theirs")
    assert "patches_train " in output
    assert "sub/results/tiny/report.html" in output
    assert f" ../clone/{PAPER}," in output
    refusal = "device cpu needs the environment envs/tensorflow-k80.yaml"
    assert f"Would be refused at the start: {refusal}" in output
    scores = "sub/results/tiny/runs/pcam-simulated/b2/full/tiny/cpu/seed-1/run.json"
    assert refusal in snakemake(of_another, "--cores", "1", "--", scores, fails=True)
    assert [path.name for path in of_another.iterdir() if path.name in ("results", "sub")] == []

    snakemake(of_another, "--cores", "1", "--", "sub/results/data/pcam-simulated/manifest.json")
    assert not (of_another / "results").exists()
    started = json.loads((of_another / "sub/results/tiny/study.json").read_text())
    assert started["study"] == "tiny"


def test_from_a_repository_that_nobody_has_cloned_it_says_what_to_do(project, of_another):
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main"], cwd=project, check=True)
    subprocess.run(["git", "add", "workflow"], cwd=project, check=True)
    name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *name, "commit", "--quiet", "--message", "all"], cwd=project, check=True)
    remote = f'gitfile({str(project)!r}, path="workflow/Snakefile", ref="main")'
    (of_another / "Snakefile").write_text(MODULE.format(snakefile=remote))
    said = snakemake(of_another, "-n", fails=True)
    assert "histobench cannot be used from git+file://" in said
    assert "Clone the repository" in said
