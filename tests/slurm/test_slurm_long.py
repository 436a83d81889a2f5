"""What happens to nodes, queues and daemons in a week: each test disturbs a run and looks at what it cost."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from histobench.core import usage
from histobench.core.runs import read_json
from slurm import cluster as slurm
from slurm.cluster import PAPER, Cluster
from slurm.study import (
    Snakemake,
    assert_lost_the_epoch_in_flight,
    disturbable,
    last_epoch,
    long_run,
    records,
    resumed_after,
    running,
    trainings,
    wait_for_epoch,
    wait_until,
)
from support.processes import assert_equal_runs, events
from support.project import snakemake

KILLS = 10


@pytest.fixture(scope="module")
def cluster(installed) -> Iterator[Cluster]:
    """As that of the other tests, with accounting."""
    with Cluster((*PAPER, "rtx_6000"), accounting=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(project) -> Path:
    folder, arguments = long_run(project, "undisturbed")
    Snakemake(project, *arguments).succeed()
    return folder


def kill_all(job: str) -> None:
    """End all processes of a job as a machine does that loses power, the daemon's own for it among them."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            theirs = f"SLURM_JOB_ID={job}\0".encode() in (path / "environ").read_bytes()
            if theirs or f"slurmstepd: [{job}.".encode() in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)


def test_a_drained_node_finishes_its_job(project, undisturbed):
    folder, study, job = disturbable(project, "drained", 2)
    slurm.client("scontrol", "update", "nodename=a100", "state=drain", "reason=a test")
    study.succeed()
    slurm.client("scontrol", "update", "nodename=a100", "state=resume")
    assert records([job])[0]["rules"] == {"train", "predict"}
    assert resumed_after(folder) == []
    assert_equal_runs(folder, undisturbed)


def test_a_lost_node_costs_the_epoch_in_flight(cluster, project, undisturbed):
    folder, study, job = disturbable(project, "lost", 3)
    done = last_epoch(folder)
    cluster.end("a100", by=signal.SIGKILL)
    kill_all(job)
    # After SlurmdTimeout, 30 s here, the controller counts the node as lost and puts the job back into the queue.
    wait_until(lambda: slurm.record(job)["JobState"] != "RUNNING", "the node counts as lost")
    cluster.start_node("a100")
    cluster.wait_for_nodes("a100")
    study.succeed()
    assert trainings(study.submitted()) == [job]  # under its own number
    assert slurm.record(job)["Restarts"] == "1"
    assert "SIGTERM" not in events(folder)
    assert_lost_the_epoch_in_flight(folder, done, undisturbed)


def test_a_preempted_job_goes_back_into_the_queue_and_on_after_its_last_epoch(project, undisturbed):
    folder, study, job = disturbable(project, "preempted", 3)
    done = last_epoch(folder)
    urgent = slurm.client(
        "sbatch", "--parsable", "--partition=urgent", "--nodelist=a100", "--gpus=a100:2", "--mem=100", "--time=2",
        "--output=/dev/null", "--wrap=sleep 15",
    ).strip()  # fmt: skip
    wait_until(lambda: running(urgent), "the urgent job has the cards")
    assert not running(job)
    study.succeed()
    assert trainings(study.submitted()) == [job]
    assert slurm.record(job)["Restarts"] == "1"
    assert "SIGTERM: ending; what is finished so far is safe" in events(folder)
    assert_lost_the_epoch_in_flight(folder, done, undisturbed)


def test_a_study_killed_at_random_ten_times_ends_with_the_results_of_an_undisturbed_one(cluster, project):
    """Snakemake, the controller, a node's daemon and the jobs themselves, by SIGKILL; whoever is killed comes back."""
    rng = random.Random(20241108)
    before = set(slurm.jobs())
    undisturbed, (*_, target) = long_run(project, "undisturbed", recipe="longer")
    Snakemake(project, "--config", "study=undisturbed", "--", target).succeed()
    runs = [long_run(project, "killed", device, recipe="longer") for device in ("a100", "v100")]
    (first, arguments), (_, (*_, target)) = runs
    # The jobs that are killed are more than a profile has tries for.
    arguments = ["--retries", str(KILLS), *arguments, target]
    study = Snakemake(project, *arguments)
    wait_for_epoch(first, 1)

    def kill_snakemake() -> None:
        nonlocal study
        study.process.kill()
        study.process.wait()
        snakemake(project, "--profile", "profiles/local", "--unlock")
        study = Snakemake(project, *arguments)

    def kill_controller() -> None:
        cluster.end("slurmctld", by=signal.SIGKILL)
        time.sleep(rng.uniform(0, 5))
        cluster.start_controller()

    def kill_daemon() -> None:
        node = rng.choice(["a100", "v100"])
        cluster.end(node, by=signal.SIGKILL)
        time.sleep(rng.uniform(0, 5))
        cluster.start_node(node)

    def kill_job() -> None:
        jobs = set(slurm.jobs()) - before
        live = [job for device in ("a100", "v100") for job in trainings(jobs, device) if running(job)]
        if live:
            kill_all(rng.choice(live))

    # Each of them at least twice, in an order of its own.
    disturbances = [kill_snakemake, kill_controller, kill_daemon, kill_job] * 2 + [kill_snakemake, kill_job]
    assert len(disturbances) == KILLS
    rng.shuffle(disturbances)
    for disturb in disturbances:
        time.sleep(rng.uniform(1, 12))
        assert not all((folder / "run.json").exists() for folder, _ in runs), "all was done before the last kill"
        disturb()
        print(f"{disturb.__name__}: finished epochs {[last_epoch(folder) for folder, _ in runs]}")
    if study.wait():
        # As somebody would who comes back to a study that has stopped with an error.
        study = Snakemake(project, *arguments)
        study.succeed()
    for folder, _ in runs:
        assert_equal_runs(folder, undisturbed)
        # Nothing was trained twice but epochs that were in flight: no try starts before what was finished.
        starts = resumed_after(folder)
        assert starts == sorted(starts)
        assert events(folder).count("starting at epoch 1") == 1
        print(folder, starts)


def test_by_sacct_every_job_landed_where_its_cell_belongs(project, undisturbed):
    devices = (*PAPER, "rtx_6000")
    runs = [f"pcam-simulated/b2/full/tiny-timing/{device}/seed-1" for device in devices]
    targets = [f"results/cluster/runs/{run}/run.json" for run in runs]
    study = Snakemake(project, "--slurm-status-command", "sacct", "--", *targets)
    study.succeed()
    columns = "JobIDRaw,State,Partition,NodeList,AllocTRES,Comment"
    lines = slurm.client("sacct", "--allocations", "--noheader", "--parsable2", f"--format={columns}").splitlines()
    ended = dict(zip(devices, [None] * len(devices), strict=True))
    for job, state, partition, node, tres, comment in (line.split("|") for line in lines):
        if job not in study.submitted() or not comment.startswith("rule_run-"):
            continue
        device = re.fullmatch(r"rule_run-pcam-simulated-b2-full-tiny-timing-(\w+)-1_train \w+", comment)[1]
        assert (state, partition, node) == ("COMPLETED", device, device)
        assert f"gres/gpu:{device}=1" in tres
        ended[device] = job
    assert None not in ended.values()
    for device, target in zip(devices, targets, strict=True):
        about = read_json(project / target)["device"]
        assert (about["slurm_job"], about["node"]) == (ended[device], device)


def test_lines_for_a_profile_are_what_jobs_ask_for_and_accounts_tell_of_whole_jobs(project):
    names = {"dataset": "pcam-simulated", "model": "mobilenet", "mode": "tl", "recipe": "tiny", "device": "a100"}
    shown = {"requested_minutes": 60, "seconds": 200, "requested_mb": 6000, "peak_memory_mib": 1500}
    block = usage.block([usage.Usage(rule, **names, **shown) for rule in ("train", "predict", "evaluate")])
    profile = project / "profiles/lines"
    profile.mkdir()
    lines = (project / "profiles/slurm/config.yaml").read_text() + block
    (profile / "config.yaml").write_text(lines.replace("partitions.yaml", "../slurm/partitions.yaml"))
    folders = [Path(f"results/lines/runs/pcam-simulated/mobilenet/tl/tiny/a100/seed-{seed}") for seed in (1, 2)]
    targets = [str(folder / "metrics.json") for folder in folders]
    study = Snakemake(project, "--config", "study=lines", "--", *targets, profile="profiles/lines")
    study.succeed()
    abouts = [read_json(project / folder / "run.json") for folder in folders]
    assert [about["requested"] for about in abouts] == [{"runtime": 10, "mem_mb": 3000}] * 2
    # The job knew its heads, although nothing of what it asks for is the rules' own.
    begun = [re.findall(r" pid (\d+) job \d+: starting", events(project / folder)) for folder in folders]
    assert begun[0] == begun[1]
    (job,) = {about["device"]["slurm_job"] for about in abouts}

    results, logs = project / "results/lines", project / "results/logs/lines"
    known = usage.of_study(results, logs, [project / folder for folder in folders], ["pcam-simulated"])
    account = next(each for each in usage.with_accounts(known) if each.accounted and each.slurm_job == job)
    parts = [each for each in known if each.rule in ("train", "predict", "evaluate")]
    assert [(each.requested_minutes, each.requested_mb) for each in parts] == [(10, 3000)] * 6
    # Times of a job's parts are summed up, its memory is the most that one asks for.
    assert (account.rule, account.requested_minutes, account.requested_mb) == ("train", 60, 3000)
    assert account.seconds > sum(each.seconds for each in parts)
    assert account.peak_memory_mib > max(each.peak_memory_mib for each in parts)
    assert 0 < account.cores <= account.requested_cores
    print(account, *parts, sep="\n")


def test_with_sacct_the_plugin_never_sees_that_a_job_was_cancelled(project, undisturbed):
    """What profiles/slurm/config.yaml and docs/cluster.md warn of: when this fails, the plugin has learned it."""
    _, study, job = disturbable(project, "cancelled-with-sacct", 1, "--slurm-status-command", "sacct")
    slurm.client("scancel", job)
    wait_until(lambda: slurm.record(job)["JobState"] == "CANCELLED", "the job is cancelled")
    time.sleep(90)  # looks after 3, 13, 23 and 33 s
    assert study.process.poll() is None
    assert trainings(study.submitted()) == [job]
