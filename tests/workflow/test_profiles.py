"""Profiles for a cluster, as far as they can be looked at without one; with one, see tests/slurm."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from support.project import ROOT, jobs, snakemake


def install(project: Path, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "install-profile"], cwd=project, env=os.environ | {"XDG_CONFIG_HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_installed_profile_is_found_by_name_and_stays_this_projects(project, tmp_path):
    for _ in range(2):  # again, since that must not hurt
        assert install(project, tmp_path).returncode == 0
    for name in ("slurm", "slurm-gres"):
        found = tmp_path / "snakemake" / name
        assert found.readlink() == project / "profiles" / name
        done = snakemake(project, "-n", "--profile", name, env={"XDG_CONFIG_HOME": str(tmp_path)})
        assert f"Using profile {name}" in done.stdout
        assert jobs(done.stdout)["train"] > 50


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_a_profile_of_somebody_else_is_left_alone(project, tmp_path, name):
    theirs = tmp_path / "snakemake" / name
    theirs.mkdir(parents=True)
    (theirs / "config.yaml").write_text("jobs: 1")
    done = install(project, tmp_path)
    assert done.returncode
    assert f"{theirs} is there already, and not from here" in done.stderr
    assert (theirs / "config.yaml").read_text() == "jobs: 1"
    assert not theirs.is_symlink()


def test_every_card_of_the_papers_study_has_a_partition_to_start_from():
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    partitions = yaml.safe_load((ROOT / "profiles" / "slurm" / "partitions.yaml").read_text())["partitions"]
    asked = {config["devices"][name].get("gpu_model") for block in config["matrix"] for name in block["devices"]}
    assert len(asked) >= 4
    offered = {model for partition in partitions.values() for model in partition.get("available_gpu_models", [])}
    assert asked - {None} <= offered
    assert any("max_gpu" not in partition for partition in partitions.values())


def test_both_profiles_say_the_same_but_for_how_cards_are_asked_for():
    slurm, gres = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("slurm", "slurm-gres")
    )
    assert gres.pop("slurm-partition-config") == "../slurm/partitions.yaml"
    assert slurm.pop("slurm-partition-config") == "partitions.yaml"
    on_cards = gres.pop("set-resources")
    assert slurm == gres
    rules = [path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    # `tune_worker` is `tune` by another name.
    assert len(on_cards) == sum("        gpu=gpu,\n" in text for text in rules) + 1
    assert {"tune", "tune_worker"} <= set(on_cards)
