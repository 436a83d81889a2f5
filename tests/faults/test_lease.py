"""Two jobs on one folder, killed, stopped and cut off: only one of them ever writes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from histobench.core.lease import Intervals, held, this_process
from support.processes import epochs_done, events, job, start
from support.small import features_specification, specification

EPOCHS = 3
QUICK = {"beat": 0.05, "patience": 0.4, "look": 0.02, "ask": 0.1, "remind": 0.3}


def python(log: Path, *arguments: str) -> subprocess.Popen:
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as file:
        return start([sys.executable, *arguments], file)


def train(data: Path, folder: Path) -> subprocess.Popen:
    return job("train", data, folder, spec=specification("b6", epochs=EPOCHS))


def write_lease(folder: Path, number: int, **holder: object) -> None:
    """Write a lease as another job does, here this process, or whom `holder` says."""
    content = {**vars(this_process()), "beat": {"count": 0}, "released": False} | holder
    (folder / ".state").mkdir(exist_ok=True)
    (folder / ".state" / f"lease-{number:06d}").write_text(json.dumps(content))


def wait_for(what: Callable[[], object], *processes: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        assert all(process.poll() is None for process in processes), "a process ended before"
        time.sleep(0.005)


def stopped_in_the_middle(data: Path, folder: Path) -> subprocess.Popen:
    """A run after two of its epochs, stopped by SIGSTOP."""
    process = train(data, folder)
    wait_for((folder / ".state" / "epoch-0002").exists, process)
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
    wait_for(lambda: waits(folder, second, first), second)
    assert temporary.exists()  # a job that waits does not touch the state
    first.send_signal(signal.SIGCONT)
    for process in (first, second):
        assert process.wait(timeout=120) == 0, (folder / "log").read_text()[-3000:]
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
    arguments = {"spec": features_specification("mobilenet"), "chunk": 64}
    with held(tmp_path / ".state"):
        (tmp_path / ".state" / ".tmp-of-ours").touch()
        before = sorted((tmp_path / ".state").iterdir())
        process = python(
            *(tmp_path / "log", "-m", "support.jobs", "extract"),
            *(str(prepared_folder), str(tmp_path), json.dumps(arguments)),
        )
        wait_for(lambda: "in use by" in events(tmp_path), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 128 + signal.SIGTERM
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


def hold(folder: Path, *, seconds: float = 0.02, start: int = 0, **pace: float) -> subprocess.Popen:
    """Start a job that finishes a step every few `seconds`."""
    return python(folder / "log", "-c", HOLD, str(folder), json.dumps(QUICK | pace), str(start), str(seconds))


def test_a_stopped_holder_keeps_its_lease_one_that_ends_releases_it_and_one_that_is_killed_loses_it(tmp_path):
    first = hold(tmp_path)
    wait_for(lambda: epochs_done(tmp_path), first)
    first.send_signal(signal.SIGSTOP)
    second = hold(tmp_path, start=5000)
    wait_for(lambda: waits(tmp_path, second, first), second)
    before = epochs_done(tmp_path)
    time.sleep(4 * QUICK["patience"])
    assert epochs_done(tmp_path) == before
    assert second.poll() is None
    assert events(tmp_path).count("in use by") > 2  # it says so again
    first.send_signal(signal.SIGTERM)
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=10) == 128 + signal.SIGTERM
    wait_for(lambda: "epoch-5000" in epochs_done(tmp_path), second, seconds=5)
    assert ": released" in events(tmp_path)
    third = hold(tmp_path, start=9000)
    wait_for(lambda: waits(tmp_path, third, second), third)
    second.kill()  # but do not wait for it: until its parent does, it is a zombie
    wait_for(lambda: "epoch-9000" in epochs_done(tmp_path), third, seconds=5)
    assert "its process is gone" in events(tmp_path)
    for process in (second, third):
        process.kill()
        process.wait()


@pytest.mark.parametrize("noticed_by", ["heartbeat", "step"])
def test_a_job_that_lost_its_lease_ends_and_writes_nothing_more(noticed_by, tmp_path):
    # Either it sleeps until its end but for its heart, or that beats every ten minutes only.
    seconds, beat = {"heartbeat": (300, 0.05), "step": (0.02, 600)}[noticed_by]
    process = hold(tmp_path, seconds=seconds, beat=beat)
    wait_for(lambda: epochs_done(tmp_path), process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.02)  # until all its threads have
    write_lease(tmp_path, 2)
    before = epochs_done(tmp_path), (tmp_path / ".state" / "lease-000001").read_bytes()
    process.send_signal(signal.SIGCONT)
    expected = 128 + signal.SIGTERM if noticed_by == "heartbeat" else 1
    assert process.wait(timeout=10) == expected
    assert (epochs_done(tmp_path), (tmp_path / ".state" / "lease-000001").read_bytes()) == before
    if noticed_by == "heartbeat":
        assert "lease-000001 is lost: another job took this one for dead" in events(tmp_path)
    else:
        assert f"found lease-000002 of pid {os.getpid()}" in (tmp_path / "log").read_text()


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
    wait_for(lambda: epochs_done(tmp_path), dead)
    dead.kill()
    dead.wait()
    pace = json.dumps(QUICK | {"look": 0.001})
    jobs = [python(tmp_path / f"log-{i}", "-c", CONTEND, str(tmp_path), pace, str(i % 2)) for i in range(10)]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    for i, contender in enumerate(jobs):
        assert contender.wait(timeout=60) == (-signal.SIGKILL if i % 2 else 0), (tmp_path / f"log-{i}").read_text()[
            -2000:
        ]
    turns = (tmp_path / "turns").read_text().split()
    assert {int(pid): turns.count(pid) for pid in turns} == {job.pid: 3 for job in jobs}


# SLURM.

INVALID = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Make `squeue` answer by a line of shell."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c")
    (tmp_path / "bin").mkdir()

    def answer(line: str) -> None:
        new = tmp_path / "bin" / "new"
        new.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n{line}\n")
        new.chmod(0o755)
        new.rename(tmp_path / "bin" / "squeue")

    return answer


ON_A_NODE = {"host": "node7", "boot": "another", "job": "77", "restarts": "0", "cluster": "c"}


def test_a_holder_that_slurm_runs_is_waited_for_however_silent(slurm, tmp_path):
    slurm("echo RUNNING")
    write_lease(tmp_path, 1, **ON_A_NODE)
    second = hold(tmp_path)
    wait_for(lambda: "SLURM says RUNNING" in events(tmp_path), second)
    time.sleep(3 * QUICK["patience"])
    assert not epochs_done(tmp_path)
    slurm(INVALID)
    wait_for(lambda: epochs_done(tmp_path), second, seconds=5)
    assert "SLURM knows no such job" in events(tmp_path)
    second.kill()
    second.wait()


@pytest.mark.parametrize("line", ["echo 'Unable to contact slurm controller' >&2; exit 1", "exec sleep 30"])
def test_where_slurm_does_not_answer_the_heartbeat_counts(line, slurm, tmp_path, monkeypatch):
    monkeypatch.setattr("histobench.core.lease.slurm.TIMEOUT", 0.2)
    slurm(line)
    write_lease(tmp_path, 1, **ON_A_NODE)
    start = time.monotonic()
    with held(tmp_path / ".state", Intervals(**QUICK)):
        assert time.monotonic() - start >= QUICK["patience"]
    assert "asked" in (tmp_path / "asked").read_text()
    assert "no heartbeat for" in events(tmp_path)
