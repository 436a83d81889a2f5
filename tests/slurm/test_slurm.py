"""The workflow on a real SLURM: where jobs land; one cancelled, timed out or orphaned costs an epoch at most."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from histobench.core.runs import read_json
from histobench.tuning.search_files import RECIPE, TRIALS
from slurm import cluster as slurm
from slurm.study import (
    Snakemake,
    assert_lost_the_epoch_in_flight,
    disturbable,
    last_epoch,
    long_run,
    records,
    resumed_after,
    running,
    signal_to_training,
    trainings,
    wait_for_epoch,
    wait_until,
)
from support import slides
from support.processes import STARTED, assert_equal_runs, events, kill
from support.project import program, snakemake

ON_CARDS = {"train", "predict", "extract_features"}
# What the wildcards of its jobs begin with, see `long_run`.
OF_LONG_RUNS = "idc-simulated"


def minutes(limit: str) -> int:
    """Return the minutes of a time limit as SLURM prints it, [days-]hours:minutes:seconds."""
    return pd.Timedelta(limit.replace("-", " days ")) // pd.Timedelta("1 min")


@contextmanager
def in_background(
    project: Path, *arguments: str, profile: str = "slurm", env: dict[str, str] | None = None
) -> Iterator[Snakemake]:
    """Yield a study that outlives the test in which it starts."""
    study = Snakemake(project, "--nolock", *arguments, profile=profile, env=env)
    STARTED.pop(study.process)
    try:
        yield study
    finally:
        study.process.kill()
        study.process.wait()


@pytest.fixture(scope="module")
def left_alone(project) -> Iterator[tuple[Path, Snakemake]]:
    """The run that is disturbed below, at work beside the others; by --gres, for a SLURM that knows no other way."""
    folder, arguments = long_run(project, "undisturbed")
    with in_background(project, *arguments, profile="slurm-gres") as study:
        wait_for_epoch(folder, 1)  # so that nobody else prepares its data set
        yield folder, study


@pytest.fixture(scope="module")
def disturbed(project, left_alone) -> Iterator[tuple[Snakemake, list[tuple[Path, str, str, int]]]]:
    """Two runs: one has been cancelled, the other waits for its time limit, which takes minutes of tests.

    Of each its folder, the state in which SLURM ends it, its card, and how many epochs at least it has finished then.
    """
    (cancelled, arguments), (late, (*_, target)) = (
        long_run(project, "disturbed", device) for device in ("a100", "v100")
    )
    # A first try has two minutes, too little for a job that is stopped in it; the second has three.
    times = ("--set-resources", "train:runtime=attempt", "predict:runtime=1")  # whose sum a job of both asks for
    with in_background(project, *times, *arguments, target) as study:
        wait_for_epoch(late, 1)
        signal_to_training(late, signal.SIGSTOP)
        wait_for_epoch(cancelled, 2)
        runs = [
            (folder, state, device, last_epoch(folder))
            for folder, state, device in ((cancelled, "CANCELLED", "a100"), (late, "TIMEOUT", "v100"))
        ]
        slurm.client("scancel", *trainings(of=study.submitted(), device="a100"))
        yield study, runs


@pytest.fixture(scope="module")
def wrong_card(project, left_alone) -> Iterator[tuple[Path, Snakemake]]:
    """A run whose node has another card than its device's, which is tried twice beside other tests."""
    folder, arguments = long_run(project, "wrong-card")
    with in_background(project, "--retries", "1", *arguments, env={"HISTOBENCH_TEST_CARD": "v100"}) as study:
        yield folder, study


@pytest.fixture(scope="module")
def undisturbed(left_alone) -> Path:
    folder, study = left_alone
    study.succeed()
    by_rule = {rule: entry for entry in records(study.submitted()) for rule in entry["rules"]}
    assert {"train", "predict", "prepare"} <= set(by_rule)
    for rule, entry in by_rule.items():
        gres = entry.get("TresPerNode"), entry.get("TresPerJob"), entry["Partition"], entry["NodeList"]
        expected = ("gres:gpu:a100:1", None, "a100", "a100") if rule in ON_CARDS else (None, None, "cpu", "cpu")
        assert gres == expected, rule
    return folder


def test_a_study_of_two_models_on_two_cards_and_one_on_three_more(project, disturbed):
    # Tables are enough: figures and page are made where these are, not in the queue.
    tables = [f"results/cluster/tables/{name}" for name in ("speed.md", "performance_pcam-simulated.md")]
    Snakemake(project, "--nolock", "--", *tables).succeed()
    entries = [entry for entry in records() if not entry["wildcards"].startswith(OF_LONG_RUNS)]
    assert {entry["JobState"] for entry in entries} == {"COMPLETED"}

    # Every job that needs a card had one of its device's, on its partition; no other took any.
    devices = (*slurm.PAPER, "rtx_6000")
    landed = set()
    for entry in entries:
        where = entry["Partition"], entry["NodeList"], entry.get("TresPerJob")
        if entry["rules"] & ON_CARDS:
            (device,) = [name for name in devices if re.search(rf"[-_]{name}([-_]|$)", entry["wildcards"])]
            assert where == (device, device, f"gres:gpu:{device}:1"), entry["wildcards"]
            # No more than a partition allows, so that no job is refused.
            assert (minutes(entry["TimeLimit"]) == 20) == (device == "rtx_6000")
            landed.add(device)
        else:
            assert where == ("cpu", "cpu", None), entry["rules"]
    assert landed == set(devices)

    # What a run says of itself is what SLURM says of it.
    jobs = {entry["JobId"]: entry["wildcards"] for entry in entries if "train" in entry["rules"]}
    runs = sorted((project / "results" / "cluster" / "runs").glob("*/*/*/*/*/seed-*/run.json"))
    assert len(runs) == len(jobs) == 2 * 2 + 3
    for path in runs:
        about = read_json(path)
        run = about["specification"]["run"]
        named = run["dataset"], run["model"], *((run["device"],) if run["mode"] == "tl" else tuple(run.values())[2:])
        assert jobs.pop(about["device"]["slurm_job"]) == "-".join(map(str, named))
        assert about["device"]["node"] == about["specification"]["run"]["device"]

    # What takes seconds ran here, not in the queue.
    assert not set().union(*(entry["rules"] for entry in entries)) & {"collect_runs", "print_tables"}
    assert "rtx_6000" in (project / "results" / "cluster" / "tables" / "speed.md").read_text()


def test_a_cancelled_job_and_one_at_its_time_limit_are_tried_again(disturbed, undisturbed):
    """Each goes on after its last finished epoch, and the second try has more time."""
    study, runs = disturbed
    study.succeed()
    for folder, state, device, epochs in runs:
        tries = [slurm.record(job) for job in trainings(of=study.submitted(), device=device)]
        assert [entry["JobState"] for entry in tries] == [state, "COMPLETED"]
        assert [entry["TimeLimit"] for entry in tries] == ["00:02:00", "00:03:00"]
        # SIGTERM comes before SIGKILL, and leaves the state whole.
        assert events(folder).count("SIGTERM: ending; what is finished so far is safe") == 1
        assert_lost_the_epoch_in_flight(folder, epochs, undisturbed)


def test_two_workers_share_a_search_and_one_that_is_killed_costs_its_trial(project, undisturbed, wrong_card):
    """On a100 by two jobs; on v100 by one that nobody disturbs."""
    shared, alone = (
        project / f"results/cluster/searches/pcam-simulated/mobilenet/tl/tuned/{device}" for device in ("a100", "v100")
    )
    targets = [shared / RECIPE, shared / "worker-2.json", alone / RECIPE]
    study = Snakemake(project, "--", *(str(path.relative_to(project)) for path in targets))
    wait_until(lambda: re.search(r"pid (\d+) job \d+: worker-2 begins", events(shared)), "the second worker is at work")
    wait_until(lambda: events(shared).count("worker-2 begins") >= 2, "it has ended a trial")
    os.kill(int(re.findall(r"pid (\d+) job \d+: worker-2 begins", events(shared))[-1]), signal.SIGKILL)
    study.succeed()
    by_folder = {folder: pd.read_csv(folder / TRIALS) for folder in (shared, alone)}
    for trials in by_folder.values():
        assert trials["status"].tolist() == ["COMPLETED"] * 30
    assert by_folder[shared]["tries"].sum() <= 30 + 1
    assert set(by_folder[shared]["worker"]) == {"worker-1", "worker-2"}
    tried = [
        sorted(trials[["learning_rate", "batch_size", "first_epoch", "last_epoch", "score"]].itertuples(index=False))
        for trials in by_folder.values()
    ]
    assert tried[0] == tried[1]
    jobs = {entry["wildcards"]: entry["NodeList"] for entry in records() if entry["rules"] & {"tune", "tune_worker"}}
    assert {node for wildcards, node in jobs.items() if "_a100" in wildcards} == {"a100"}


# Takes the first job without saying so, and refuses the second request. Requests may come at the same moment, so each
# makes the folder of its number.
BUSY = """#!/bin/sh
number=1
until mkdir {folder}/request-$number 2> /dev/null; do number=$((number + 1)); done
fail() {{ echo "sbatch: error: Batch job submission failed: $1" >&2; exit 1; }}
case $number in
1) {sbatch} "$@" > /dev/null; fail "Socket timed out on send/recv operation" ;;
2) fail "Resource temporarily unavailable" ;;
esac
exec {sbatch} "$@"
"""


def test_heads_share_a_job_in_which_a_kill_costs_an_epoch_of_one_while_sbatch_is_busy(project, undisturbed, tmp_path):
    """On a100 with the kill; on v100 without."""
    env = program(tmp_path / "bin" / "sbatch", BUSY.format(folder=tmp_path, sbatch=shutil.which("sbatch")))
    by_device = {
        device: [
            Path(f"results/heads/runs/pcam-simulated/mobilenet/tl/longer/{device}/seed-{seed}") for seed in (1, 2, 3)
        ]
        for device in ("a100", "v100")
    }
    targets = [str(folder / "metrics.json") for folders in by_device.values() for folder in folders]
    study = Snakemake(project, "--config", "study=heads", "--", *targets, env=env)
    killed, alone = ([project / folder for folder in folders] for folders in by_device.values())
    wait_until(lambda: any(3 < last_epoch(folder) < 50 for folder in killed), "a head is trained", 600)
    signal_to_training(next(folder for folder in killed if 3 < last_epoch(folder) < 50), signal.SIGKILL)
    study.succeed()

    for device, folders, states in (("a100", killed, ["FAILED", "COMPLETED"]), ("v100", alone, ["COMPLETED"])):
        entries = records(trainings(study.submitted(), device))
        assert [entry["JobState"] for entry in entries] == states
        for entry in entries:
            assert entry["rules"] == {"train", "predict", "evaluate"}
            assert entry["TresPerJob"] == f"gres:gpu:{device}:1"
        begun = [re.findall(r" pid (\d+) job \d+: starting", events(folder)) for folder in folders]
        assert sum(len(pids) for pids in begun) == len(folders)
    assert len({pid for (pid,) in begun}) == 1  # all in one process
    assert sorted(map(len, map(resumed_after, killed))) == [0, 0, 1]
    for one, two in zip(killed, alone, strict=True):
        assert_equal_runs(one, two)
    # The first job was taken, though sbatch said that it was not.
    log = (project / "results/logs/heads/sbatch.log").read_text()
    assert "it was submitted nevertheless, as job " in log
    assert "Resource temporarily unavailable; trying again" in log
    assert len(set(study.submitted())) == len(study.submitted()) == len(list(tmp_path.glob("request-*"))) - 1


def test_after_a_kill_of_snakemake_a_second_job_waits_for_the_first(project, undisturbed):
    folder, study, first = disturbable(project, "orphaned", 2)
    kill(study.process)
    assert running(first)
    signal_to_training(folder, signal.SIGSTOP)  # else it might have finished before the second is there

    snakemake(project, "--profile", "profiles/local", "--unlock")
    again = Snakemake(project, *long_run(project, "orphaned")[1])
    wait_until(lambda: f"SLURM job {first}" in events(folder), "the second job names the first")
    assert running(first)
    signal_to_training(folder, signal.SIGCONT, of=first)
    again.succeed()

    (second,) = trainings(of=again.submitted())
    assert [slurm.record(job)["JobState"] for job in (first, second)] == ["COMPLETED"] * 2
    told = events(folder)
    assert re.search(rf"job {second}: in use by pid \d+ on \S+, SLURM job {first}, .*: waiting until that job", told)
    assert resumed_after(folder) == []  # the first has trained it all
    assert told.count(f"job {first}: finished") == 1
    assert f"job {second}: finished before; the outputs are rebuilt from the state" in told
    assert_equal_runs(folder, undisturbed)


def test_a_run_on_another_card_fails_at_once_and_says_what_it_found(project, wrong_card):
    folder, study = wrong_card
    assert study.wait() == 1
    log = (project / "results/logs/wrong-card" / Path(*folder.parts[-6:]) / "train.log").read_text()
    assert "device 'a100'" in log
    assert "found on a100: Tesla V100-SXM2-16GB" in log
    assert "ERROR" in study.text()
    assert not (folder / "run.json").exists()
    assert "starting at epoch" not in events(folder)
    # A second try asks for twice the time and the memory.
    first, second = map(slurm.record, trainings(of=study.submitted()))
    assert minutes(second["TimeLimit"]) == 2 * minutes(first["TimeLimit"]) > 20
    assert int(second["MinMemoryNode"][:-1]) == 2 * int(first["MinMemoryNode"][:-1])


def test_each_slide_is_a_job_on_a_card_and_one_that_fails_stops_no_other(project):
    """By a model of elsewhere, so that nothing else is submitted."""
    slides.export(project / "mine" / "model")
    for number, name in enumerate("abc"):
        slides.write(project / f"mine/slides/{name}.tif", slides.tissue(500, 300, seed=number), microns_per_pixel=0.5)
    cut = project / "mine/slides/b.tif"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    block = "{ward: {model: mine/model, slides: mine/slides, device: a100}}"
    study = Snakemake(
        project, "--nolock", "--retries", "0", "--config", "study=slides", f"apply={block}", "--", "apply"
    )
    assert study.wait() == 1
    assert re.search(r"b\.tif: expected a slide that OpenSlide reads", study.text())
    entries = {entry["wildcards"]: entry for entry in records(study.submitted())}
    assert {wildcards[-1]: entry["JobState"] for wildcards, entry in entries.items()} == {
        "a": "COMPLETED", "b": "FAILED", "c": "COMPLETED",
    }  # fmt: skip
    for entry in entries.values():
        assert entry["rules"] == {"score_slide"}
        assert (entry["Partition"], entry["TresPerJob"]) == ("a100", "gres:gpu:a100:1")
    scored = project / "results/slides/apply/ward/a100"
    for name in "ac":  # maps are drawn where Snakemake runs
        assert {"scores.parquet", "scores.geojson", "map.png"} <= {path.name for path in (scored / name).iterdir()}
    assert not list((scored / "b").glob("[!.]*"))


def refused(project: Path, *options: str) -> str:
    """Start a study that must stop before anything is submitted; return what it says."""
    before = set(slurm.jobs())
    study = Snakemake(project, *options, "--config", "study=refused")
    assert study.wait() == 1
    assert set(slurm.jobs()) == before
    return study.text()


def test_a_device_without_a_partition_stops_the_study_before_anything_is_submitted(project, undisturbed):
    partitions = (project / "profiles" / "slurm" / "partitions.yaml").read_text()
    (project / "mine.yaml").write_text(re.sub(r"\n *(v100|rtx_6000|cpu):.*", "", partitions))
    said = refused(project, "--slurm-partition-config", "mine.yaml")
    for whom in (r"device v100 \(gpu_model v100\)", r"device rtx_6000 \(gpu_model rtx_6000\)", "jobs without a card"):
        assert re.search(rf"mine.yaml: {whom}: no partition has", said), said
    assert "device a100" not in said
    assert "Nothing was submitted" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # Ways to ask for jobs that would wait for ever.
        (["--slurm-status-command", "sacct"], "this cluster keeps no accounts"),
        (
            ["--slurm-init-seconds-before-status-checks", "501"],
            r"forgets ended jobs after 1500 s .* Set that to 500 or less",
        ),
        # Nobody makes the environment of a device.
        (
            ["--configfile", "tests/configs/slurm.yaml", "old.yaml"],
            "device k80 needs the environment envs/tensorflow-k80.yaml",
        ),
    ],
)
def test_what_would_wait_or_fail_in_the_queue_stops_the_study_before_anything_is_submitted(
    project, undisturbed, options, said
):
    (project / "old.yaml").write_text("devices: {k80: {environment: tensorflow-k80}}\n")
    text = refused(project, *options)
    assert re.search(said, text), text
