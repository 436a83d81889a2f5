"""The profiles, as far as they can be looked at without a cluster; with one, see tests/slurm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.project import NOTHING, ROOT, program, snakemake

PROFILES = ROOT / "profiles"


def read(path: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / path).read_text())


def install(project: Path, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "install-profile"], cwd=project, env=os.environ | {"XDG_CONFIG_HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_default_profile_holds_what_correctness_needs_and_overrides_no_other_profile():
    """What these lines are needed for is seen in test_reruns.py."""
    default = set(read("default/config.yaml"))
    assert default == {"rerun-triggers", "rerun-incomplete", "benchmark-extended"}
    others = {path.name for path in PROFILES.iterdir()} - {"default"}
    assert {"local", "demo", "slurm", "slurm-gres"} <= others
    for name in others:
        assert not default & set(read(f"{name}/config.yaml"))


def test_an_installed_profile_is_found_by_name_and_the_default_one_beside_it_from_another_folder(cloned, tmp_path):
    for _ in range(2):  # again, since that must not hurt
        assert install(cloned, tmp_path).returncode == 0
    elsewhere = ("--snakefile", str(cloned / "Snakefile"), "--directory", str(cloned))
    for name in ("slurm", "slurm-gres"):
        assert (tmp_path / "snakemake" / name).readlink() == cloned / "profiles" / name
        output = snakemake(tmp_path, "-n", "--profile", name, *elsewhere, env={"XDG_CONFIG_HOME": str(tmp_path)})
        assert f"{name} and workflow specific profile {cloned}/profiles/default for" in output
        assert NOTHING in output


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_a_profile_of_somebody_else_is_left_alone(tmp_path, name):
    theirs = tmp_path / "snakemake" / name
    theirs.mkdir(parents=True)
    (theirs / "config.yaml").write_text("jobs: 1")
    done = install(ROOT, tmp_path)
    assert done.returncode
    assert f"{theirs} is there already, and not from here" in done.stderr
    assert (theirs / "config.yaml").read_text() == "jobs: 1"
    assert not theirs.is_symlink()


def test_every_card_of_the_papers_study_has_a_partition_to_start_from():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    partitions = read("slurm/partitions.yaml")["partitions"].values()
    asked = {config["devices"][name].get("gpu_model") for block in config["matrix"] for name in block["devices"]}
    assert len(asked) >= 4
    offered = {model for partition in partitions for model in partition.get("available_gpu_models", [])}
    assert asked - {None} <= offered
    assert any("max_gpu" not in partition for partition in partitions)


def test_both_slurm_profiles_say_the_same_but_for_how_cards_are_asked_for():
    slurm, gres = (read(f"{name}/config.yaml") for name in ("slurm", "slurm-gres"))
    assert gres.pop("slurm-partition-config") == "../slurm/partitions.yaml"
    assert slurm.pop("slurm-partition-config") == "partitions.yaml"
    on_cards = gres.pop("set-resources")
    assert slurm == gres
    rules = [path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    # `tune_worker` is `tune` by another name.
    assert len(on_cards) == sum(text.count("**on_device(") for text in rules) + 1
    assert {"tune", "tune_worker", "predict_turned", "predict_external"} <= set(on_cards)


SLURM_STUDY = ("--configfile", "tests/configs/slurm.yaml")


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """The environment in which the client commands of a SLURM are found; none can be used."""
    for name in ("sbatch", "squeue", "sinfo", "sacct"):
        program(tmp_path / "bin" / name, f"#!/bin/sh\necho called >> {tmp_path}/{name}; exit 1\n")
    return program(tmp_path / "bin" / "scontrol", "#!/bin/sh\necho MinJobAge = 300 sec\necho MaxArraySize = 1001\n")


def test_jobs_that_no_partition_takes_stop_a_start_and_the_reason_is_the_true_one(project, tmp_path, slurm):
    (project / "small.yaml").write_text(
        "partitions:\n  cpu: {max_mem_mb: 1999}\n  a100: {available_gpu_models: [a100], max_gpu: 1, max_mem_mb: 8000}\n"
        "  v100: {available_gpu_models: [v100], max_gpu: 1, max_mem_mb: 3999}\n"
    )
    # Of rtx_6000 the profile asks for a card of the device's name.
    (project / "mine.yaml").write_text("devices: {rtx_6000: {gpu_model: a100}}")
    options = ("--profile", "profiles/slurm-gres", "--slurm-partition-config", "small.yaml", *SLURM_STUDY, "mine.yaml")
    said = snakemake(project, *options, env=slurm, fails=True)
    assert "small.yaml: jobs without a card: cpu: a job of rule" in said
    assert "small.yaml: device v100 (gpu_model v100): v100: a job of rule" in said
    assert (
        "small.yaml: device rtx_6000 (gpu_model a100): a job of rule train asks for rtx_6000 (gres='gpu:rtx_6000:1'"
        in said
    )
    assert "device a100" not in said
    assert "Nothing was submitted" in said
    assert not (tmp_path / "sbatch").exists()


def test_a_partition_file_that_is_wrong_stops_a_start_before_the_plugin_reads_it(project, tmp_path, slurm):
    (project / "wrong.yaml").write_text("partitions: {a100: {max_gpus: 1}}")
    # As the plugin does, from the environment, too.
    (project / "site").mkdir()
    (project / "site" / "config.yaml").write_text("executor: slurm\njobs: 2\nslurm-status-command: squeue")
    env = slurm | {"SNAKEMAKE_SLURM_PARTITIONS": "wrong.yaml"}
    said = snakemake(project, "--profile", "site", *SLURM_STUDY, env=env, fails=True)
    assert "wrong.yaml: partition a100: unknown key 'max_gpus'; did you mean 'max_gpu'?" in said
    assert not (tmp_path / "sbatch").exists()


def test_a_start_without_slurm_says_so_and_a_plan_does_not_need_it(project, tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("sh", "bash", "which"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    env = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{tmp_path / 'bin'}"}
    options = ("--profile", "profiles/slurm", "--slurm-partition-config", "tests/slurm/partitions.yaml", *SLURM_STUDY)
    assert "submits jobs to SLURM, but sbatch, scontrol, squeue cannot" in snakemake(
        project, *options, env=env, fails=True
    )
    assert "\ntotal " in snakemake(project, "-n", *options, env=env)


def test_an_overlay_that_replaces_the_demos_own_is_seen(project):
    (project / "mine.yaml").write_text("downloads: {mirror: elsewhere}")
    demo = ("--list-rules", "--profile", "profiles/demo")
    assert "Study paper: 121 runs" in snakemake(project, *demo, "--configfile", "mine.yaml")
    assert "Study demo: 9 runs" in snakemake(project, *demo, "--configfile", "config/demo.yaml", "mine.yaml")
