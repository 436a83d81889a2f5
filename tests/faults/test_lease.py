"""Two jobs on one folder, killed, stopped and cut off: only one of them ever writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from histobench.core.lease import held, this_process
from support.processes import epochs_done, events, finish, job, kill, start, wait_until
from support.project import program
from support.small import features_specification, specification

EPOCHS = 3
QUICK = {"beat": 0.05, "patience": 0.4, "look": 0.02, "ask": 0.1, "remind": 0.3}


def train(data: Path, folder: Path) -> subprocess.Popen:
    return job("train", data, folder, spec=specification("b6", epochs=EPOCHS))


def write_lease(folder: Path, number: int, **holder: object) -> None:
    """Write a lease as another job does, here this process, or whom `holder` says."""
    content = {**vars(this_process()), "beat": {"count": 0}, "released": False} | holder
    (folder / ".state").mkdir(exist_ok=True)
    (folder / ".state" / f"lease-{number:06d}").write_text(json.dumps(content))


def stopped_in_the_middle(data: Path, folder: Path) -> subprocess.Popen:
    """A run after two of its epochs, stopped by SIGSTOP."""
    process = train(data, folder)
    wait_until((folder / ".state" / "epoch-0002").exists, process)
    process.send_signal(signal.SIGSTOP)
    return process


def waits(folder: Path, second: subprocess.Popen, first: subprocess.Popen) -> bool:
    text = f" pid {second.pid} job -: in use by pid {first.pid} on {this_process().host}, user "
    return text in events(folder)


def test_the_second_job_waits_and_ends_well_without_training(prepared_folder, tmp_path):
    folder = tmp_path / "run"
    first = stopped_in_the_middle(prepared_folder, folder)
    temporary = folder / ".state" / ".tmp-of-the-first"
    temporary.mkdir()
    second = train(prepared_folder, folder)
    wait_until(lambda: waits(folder, second, first), second)
    assert temporary.exists()  # a job that waits does not touch the state
    first.send_signal(signal.SIGCONT)
    for process in (first, second):
        finish(process, seconds=120)
    lines = events(folder).splitlines()
    assert [line.partition(" pid ")[2].partition(" job ")[0] for line in lines if "starting at epoch" in line] == [
        str(first.pid)
    ]
    assert "going on" not in events(folder)
    ours = [line for line in lines if f" pid {second.pid} " in line]
    assert "its process is there" in ours[0]
    assert ours[-2].endswith(": released")
    assert ours[-1].endswith("finished before; the outputs are rebuilt from the state")
    assert not list(folder.glob(".tmp-*"))
    assert (folder / "history.csv").samefile(folder / ".state" / "outputs" / "history.csv")


def test_a_run_that_was_taken_for_dead_ends_and_writes_nothing_more(prepared_folder, tmp_path):
    folder = tmp_path / "run"
    first = stopped_in_the_middle(prepared_folder, folder)
    write_lease(folder, 2)  # of this process
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=60) != 0
    assert f"found lease-000002 of pid {os.getpid()} on " in (folder / "log").read_text()
    assert epochs_done(folder) == ["epoch-0001", "epoch-0002"]
    assert {path.name for path in folder.iterdir()} == {".state", "log"}


def test_an_extraction_waits_and_a_waiter_ends_on_sigterm(prepared_folder, tmp_path):
    with held(tmp_path / ".state"):
        (tmp_path / ".state" / ".tmp-of-ours").touch()
        before = sorted((tmp_path / ".state").iterdir())
        process = job("extract", prepared_folder, tmp_path, spec=features_specification("mobilenet"), chunk=64)
        wait_until(lambda: "in use by" in events(tmp_path), process)
        process.send_signal(signal.SIGTERM)
        finish(process, 128 + signal.SIGTERM, seconds=10)
        assert sorted({*(tmp_path / ".state").iterdir()} - {tmp_path / ".state" / "events"}) == before
    assert f" pid {process.pid} job -: SIGTERM: ending" in events(tmp_path)


# The same without TensorFlow.

HOLD = """
import json, sys, time
from pathlib import Path
from histobench.core.lease import Intervals, held
from histobench.core.state import State
folder = Path(sys.argv[1])
with held(folder / ".state", Intervals(**json.loads(sys.argv[2]))) as lease:
    state = State(folder / ".state", {}, lease)
    for number in range(int(sys.argv[3]), 10_000):
        with state.step(f"epoch-{number:04d}"):
            pass
        time.sleep(float(sys.argv[4]))
"""


def hold(folder: Path, *, seconds: float = 0.02, first: int = 0, **pace: float) -> subprocess.Popen:
    """Start a job that finishes a step every few `seconds`."""
    command = [sys.executable, "-c", HOLD, folder, json.dumps(QUICK | pace), str(first), str(seconds)]
    return start(command, folder / "log")


def test_a_stopped_holder_keeps_its_lease_one_that_ends_releases_it_and_one_that_is_killed_loses_it(tmp_path):
    first = hold(tmp_path)
    wait_until(lambda: epochs_done(tmp_path), first)
    first.send_signal(signal.SIGSTOP)
    second = hold(tmp_path, first=5000)
    wait_until(lambda: waits(tmp_path, second, first), second)
    before = epochs_done(tmp_path)
    time.sleep(4 * QUICK["patience"])
    assert epochs_done(tmp_path) == before
    assert second.poll() is None
    assert events(tmp_path).count("in use by") > 2  # it says so again
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGCONT)
    finish(first, 128 + signal.SIGTERM, seconds=10)
    wait_until(lambda: "epoch-5000" in epochs_done(tmp_path), second, seconds=5)
    assert ": released" in events(tmp_path)
    third = hold(tmp_path, first=9000)
    wait_until(lambda: waits(tmp_path, third, second), third)
    second.kill()  # but do not wait for it: until its parent does, it is a zombie
    wait_until(lambda: "epoch-9000" in epochs_done(tmp_path), third, seconds=5)
    assert "its process is gone" in events(tmp_path)


def test_a_job_that_lost_its_lease_notices_it_by_its_heartbeat_and_writes_nothing_more(tmp_path):
    process = hold(tmp_path, seconds=300)  # it sleeps until its end but for its heart
    wait_until(lambda: epochs_done(tmp_path), process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.02)  # until all its threads have
    write_lease(tmp_path, 2)
    before = epochs_done(tmp_path), (tmp_path / ".state" / "lease-000001").read_bytes()
    process.send_signal(signal.SIGCONT)
    finish(process, 128 + signal.SIGTERM, seconds=10)
    assert (epochs_done(tmp_path), (tmp_path / ".state" / "lease-000001").read_bytes()) == before
    assert "lease-000001 is lost: another job took this one for dead" in events(tmp_path)


CONTEND = """
import json, os, random, signal, sys, time
from pathlib import Path
from histobench.core.lease import Intervals, held
folder, ends_by_kill = Path(sys.argv[1]), int(sys.argv[3])
while not (folder / "go").exists():
    time.sleep(0.001)
for turn in range(3):
    with held(folder / ".state", Intervals(**json.loads(sys.argv[2]))):
        os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
        time.sleep(random.uniform(0, 0.01))
        with (folder / "turns").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        (folder / "inside").unlink()
        if turn == 2 and ends_by_kill:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ten_jobs_contending_for_a_dead_lease_are_inside_one_at_a_time(tmp_path):
    dead = hold(tmp_path)
    wait_until(lambda: epochs_done(tmp_path), dead)
    kill(dead)
    pace = json.dumps(QUICK | {"look": 0.001})
    command = [sys.executable, "-c", CONTEND, tmp_path, pace]
    jobs = [start([*command, str(i % 2)], tmp_path / f"log-{i}") for i in range(10)]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    for i, contender in enumerate(jobs):
        finish(contender, -signal.SIGKILL if i % 2 else 0, seconds=60)
    turns = (tmp_path / "turns").read_text().split()
    assert {int(pid): turns.count(pid) for pid in turns} == {job.pid: 3 for job in jobs}


# SLURM.

INVALID = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


def test_a_holder_that_slurm_runs_is_waited_for_however_silent(tmp_path, monkeypatch):
    """Where SLURM does not answer, the heartbeat counts: see `unit/test_lease.py`."""
    answer = tmp_path / "answer"
    answer.write_text("echo RUNNING")
    for name, value in program(tmp_path / "bin" / "squeue", f"#!/bin/sh\n. {answer}\n").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c")
    write_lease(tmp_path, 1, host="node7", boot="another", job="77", restarts="0", cluster="c")
    second = hold(tmp_path)
    wait_until(lambda: "SLURM says RUNNING" in events(tmp_path), second)
    time.sleep(3 * QUICK["patience"])
    assert not epochs_done(tmp_path)
    (tmp_path / "invalid").write_text(INVALID)
    (tmp_path / "invalid").rename(answer)
    wait_until(lambda: epochs_done(tmp_path), second, seconds=5)
    assert "SLURM knows no such job" in events(tmp_path)
