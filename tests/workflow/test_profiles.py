"""The profiles, as far as they can be looked at without a cluster; with one, see tests/slurm."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.project import NOTHING, ROOT, snakemake

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
    assert default == {"rerun-triggers", "rerun-incomplete"}
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
    assert len(on_cards) == sum("**on_device(" in text for text in rules) + 1
    assert {"tune", "tune_worker"} <= set(on_cards)
