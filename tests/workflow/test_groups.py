"""Jobs that are one job of the scheduler, counted where Snakemake would submit them; on a real SLURM in tests/slurm."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from support.project import at_startup, copy_project, program

pytestmark = pytest.mark.slow

LIBRARY = ["inceptionv3", "vgg19", "resnet50", "mobilenet", "densenet121", "densenet169", "densenet201"]
EFFICIENTNETS = [f"efficientnetv2b{number}" for number in range(3)]
BLOCK = {
    "datasets": ["pcam", "idc", "idc-random"],
    "models": ["b2", "b6", *LIBRARY, *EFFICIENTNETS],
    "modes": ["tl", "full"],
    "recipes": ["paper"],
    "devices": ["a100"],
    "seeds": [1, 2, 3, 4, 5],
}
# Instead of running jobs, Snakemake writes down what it would submit.
COUNT = """
import json, os
from snakemake.scheduling import job_scheduler

def schedule(self):
    dag = self.workflow.dag
    found = {dag.get_job_group(job) or job: None for job in dag.needrun_jobs() if not job.is_local}
    with open(os.environ["COUNTED"], "w") as file:
        json.dump([
            {
                "jobs": sorted(str(job.rule) for job in (each if each.is_group() else [each])),
                "runs": sorted({"/".join(job.wildcards) for job in (each if each.is_group() else [])}),
                "resources": {name: value for name, value in each.resources.items() if isinstance(value, int)},
            }
            for each in found
        ], file)
    return True

job_scheduler.JobScheduler.schedule = schedule
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("clone") / "clone")


@pytest.fixture
def submitted(clone, tmp_path):
    """Return a function to what would be submitted with profiles/slurm."""

    def submitted(config: dict, *arguments: str) -> list[dict]:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
        env = os.environ | at_startup(tmp_path / "startup", COUNT) | {"COUNTED": str(tmp_path / "counted.json")}
        for name in ("sbatch", "squeue", "sinfo", "sacct"):
            program(tmp_path / "bin" / name, "#!/bin/sh\nexit 1\n")
        env |= program(tmp_path / "bin" / "scontrol", "#!/bin/sh\necho MinJobAge = 300 sec\necho MaxArraySize = 1001\n")
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--profile",
            str(clone / "profiles/slurm"),
            "--directory",
            str(tmp_path),
        ]
        done = subprocess.run(
            [*command, "--configfile", str(tmp_path / "study.yaml"), *arguments], cwd=clone, env=env, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads((tmp_path / "counted.json").read_text())

    return submitted


def test_a_study_of_twelve_models_submits_a_third_of_its_jobs(submitted, clone, tmp_path):
    found = submitted({"study": "twelve", "matrix": [BLOCK]})
    jobs = sum(len(each["jobs"]) for each in found)
    assert len(found) <= jobs / 3
    # 12, 11 and 11 models trained in full; 10, 9 and 9 backbones.
    trainings = [each for each in found if "train" in each["jobs"]]
    full = [each for each in trainings if each["jobs"] == ["evaluate", "predict", "train"]]
    heads = [each for each in trainings if len(each["jobs"]) == 3 * 5]
    assert (len(full), len(heads)) == (5 * 34, 28)
    assert len(trainings) == len(full) + len(heads)
    for each in trainings:
        # One at a time: a card, and the memory of one.
        assert each["resources"]["gpu"] == 1
        assert each["resources"]["mem_mb"] <= 8000
        assert each["resources"]["runtime"] <= 48 * 60
    print(f"{jobs} jobs, {len(found)} submissions")
    # The plan says the same.
    planned = subprocess.run(
        [sys.executable, "-m", "histobench.core.plan", "--profile", "profiles/slurm", "--directory", str(tmp_path),
         "--configfile", str(tmp_path / "study.yaml")],
        cwd=clone, env=os.environ | {"PYTHONPATH": "workflow/scripts"}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert f"They are submitted as {len(found)} jobs of SLURM." in planned.stdout, planned.stderr


def test_recipes_share_and_a_search_a_failed_run_and_more_than_the_profile_allows_do_not(submitted, tmp_path):
    recipe = {
        "epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "learning_rate": 0.1}, "input_scaling": "paper",
        "best_epoch": "val_loss", "transfer": "cached",
    }  # fmt: skip
    block = BLOCK | {"datasets": ["pcam"], "models": ["vgg19"], "modes": ["tl"], "recipes": ["paper", "mine", "tuned"]}
    log = tmp_path / "results/logs/shared/pcam/vgg19/tl/mine/a100/seed-2/predict.log"
    log.parent.mkdir(parents=True)
    log.write_text("12:00:00 ERROR a score is no number\n")
    found = submitted({"study": "shared", "recipes": {"mine": recipe}, "matrix": [block]})
    sizes = sorted(len(each["runs"]) for each in found if "train" in each["jobs"])
    assert sizes == [1] * (5 + 1) + [9]
    (failed,) = [each for each in found if each["runs"] == ["pcam/vgg19/tl/mine/a100/2"]]
    assert failed["jobs"] == ["evaluate", "predict", "train"]
    found = submitted(
        {"study": "shared", "recipes": {"mine": recipe}, "matrix": [block]}, "--group-components", "heads=4"
    )
    assert max(len(each["runs"]) for each in found) == 4


def test_times_of_a_job_fit_the_partition_in_every_try(submitted, tmp_path):
    partitions = "partitions: {cpu: {}, a100: {available_gpu_models: [a100], max_gpu: 1, max_runtime: 2h}}"
    (tmp_path / "short.yaml").write_text(partitions)
    block = BLOCK | {"datasets": ["pcam"], "models": ["vgg19", "b6"]}
    found = submitted(
        {"study": "short", "matrix": [block]},
        "--slurm-partition-config",
        str(tmp_path / "short.yaml"),
        "--attempt",
        "4",
    )
    times = [each["resources"]["runtime"] for each in found if "train" in each["jobs"]]
    assert len(times) == 1 + 5 * 2
    assert max(times) <= 120


def test_single_targets_are_single_jobs(submitted):
    target = "results/one/runs/pcam/vgg19/tl/paper/a100/seed-{}/metrics.json"
    found = submitted({"study": "one", "matrix": [BLOCK]}, "--", target.format(3), target.format(77))
    assert [each["runs"] for each in found if "train" in each["jobs"]] == [
        ["pcam/vgg19/tl/paper/a100/3", "pcam/vgg19/tl/paper/a100/77"]
    ]
    assert not [each for each in found if re.search("controls|explain", " ".join(each["jobs"]))]
