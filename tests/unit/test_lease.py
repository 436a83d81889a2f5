"""The lease on a run folder: who holds it, who is dead, and that there is only one."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from histobench.core.errors import HistobenchError
from histobench.core.lease import Intervals, Lease, held, slurm, this_process
from histobench.core.lease.holder import TEMPORARY, Process, leases, parse, process
from histobench.core.lease.judge import UNKNOWN, Verdict, Watch, judge
from histobench.core.state import State

ME = replace(this_process(), job=None, restarts=None, cluster=None)
NEIGHBOUR = replace(ME, pid=4711, start=100)
ELSEWHERE = replace(NEIGHBOUR, host="node7", boot="another", job="77", restarts="0", cluster="c")
IN_SLURM = replace(ME, job="78", restarts="0", cluster="c")
QUICK = Intervals(beat=0.01, patience=0.1, look=0.01, ask=0.01, remind=1)


def lease_files(folder: Path) -> list[str]:
    return [path.name for _, path in leases(folder)]


def content(beat=0, released=False, holder=ELSEWHERE) -> bytes:
    return json.dumps({**vars(holder), "beat": {"count": beat}, "released": released}).encode()


# Who is dead.


NOT_ASKED = object()
RESTARTED = replace(IN_SLURM, job="77", restarts="1")


@pytest.mark.parametrize(
    ("holder", "judging", "same_pid", "states", "alive"),
    [
        # A process of this machine.
        (NEIGHBOUR, ME, None, NOT_ASKED, False),
        (NEIGHBOUR, ME, Process(100), NOT_ASKED, True),
        (NEIGHBOUR, ME, Process(100, alive=False), NOT_ASKED, False),  # a zombie
        (NEIGHBOUR, ME, Process(101), NOT_ASKED, False),  # another process has the number now
        (NEIGHBOUR, ME, Process(None), NOT_ASKED, None),  # hidden from us: it may be another one
        # Elsewhere the number of a process means nothing.
        *((replace(NEIGHBOUR, **{n: "other"}), ME, NOT_ASKED, NOT_ASKED, None) for n in ("host", "boot", "namespace")),
        # A job in SLURM; the last three: on a broken node, in an unknown state, no answer.
        *((ELSEWHERE, IN_SLURM, NOT_ASKED, {state}, True) for state in ("RUNNING", "COMPLETING", "SUSPENDED")),
        (ELSEWHERE, IN_SLURM, NOT_ASKED, {"PENDING", "RUNNING"}, True),
        *((ELSEWHERE, IN_SLURM, NOT_ASKED, states, False) for states in (set(), {"CANCELLED"}, {"PENDING"})),
        *((ELSEWHERE, IN_SLURM, NOT_ASKED, states, None) for states in ({"NODE_FAIL"}, {"NEW_IN_SLURM_30"}, None)),
        # SLURM may hide the jobs of other users, and does not know those of another cluster.
        (replace(ELSEWHERE, user="other"), IN_SLURM, NOT_ASKED, set(), None),
        (replace(ELSEWHERE, user="other"), IN_SLURM, NOT_ASKED, {"RUNNING"}, True),
        (replace(ELSEWHERE, cluster="d"), IN_SLURM, NOT_ASKED, NOT_ASKED, None),
        # A job that SLURM has started again knows that its former process is dead.
        (ELSEWHERE, RESTARTED, NOT_ASKED, NOT_ASKED, False),
        (replace(NEIGHBOUR, job="77", restarts="0", cluster="c"), RESTARTED, Process(None), NOT_ASKED, False),
        # It may be another process of the same job. SLURM would report that the job runs, whichever process is dead.
        *(
            (replace(ELSEWHERE, restarts=before), replace(RESTARTED, restarts=now), NOT_ASKED, NOT_ASKED, None)
            for before, now in (("0", "0"), (None, "1"), ("0", None), (None, None))
        ),
    ],
)
def test_whether_a_holder_is_alive(holder, judging, same_pid, states, alive):
    def process(pid):
        assert (pid, same_pid is NOT_ASKED) == (4711, False)
        return same_pid

    def squeue(job):
        assert (job, states is NOT_ASKED) == ("77", False)
        return states

    assert judge(holder, judging, process, squeue).alive is alive


def test_processes_of_this_machine():
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process(other.pid)
    assert started.alive
    assert started.start >= process(os.getpid()).start == ME.start
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert process(other.pid) == started._replace(alive=False)
    other.communicate()
    assert process(other.pid) is None


def test_this_process_in_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    monkeypatch.setattr(slurm, "_squeue", pytest.fail)
    assert (this_process().job, this_process().restarts) == ("12", "2")


@pytest.fixture
def fake_squeue(tmp_path, monkeypatch):
    def write(script: str) -> None:
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "squeue").chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm, "TIMEOUT", 0.5)
    return write


@pytest.mark.parametrize(
    ("script", "restarts"),
    [
        ('[ "$*" = "--noheader --jobs=12 --Format=RestartCnt" ] && echo "3                   "', "3"),
        ("echo 0", "0"),
        ("true", None),
        ("echo N/A", None),
        ("echo 3; exit 1", None),
        ("exec sleep 30", None),
    ],
)
def test_restarts_are_asked_for_where_the_environment_lacks_them(script, restarts, fake_squeue, monkeypatch):
    fake_squeue(script)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert this_process().restarts == restarts
    monkeypatch.delenv("SLURM_JOB_ID")
    assert this_process().restarts is None


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ('[ "$*" = "--noheader --all --states=all --format=%T --jobs=77" ] && echo RUNNING', {"RUNNING"}),
        ("echo PENDING; echo RUNNING", {"PENDING", "RUNNING"}),
        ("true", set()),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", set()),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
        ("exec sleep 30", None),
        ('[ -z "$SQUEUE_STATES$SLURM_CLUSTERS" ] && echo RUNNING', {"RUNNING"}),
        (None, None),  # it is not installed
    ],
)
def test_what_squeue_says(script, states, fake_squeue, tmp_path, monkeypatch):
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        fake_squeue(script)
    monkeypatch.setenv("SQUEUE_STATES", "COMPLETED")
    monkeypatch.setenv("SLURM_CLUSTERS", "other")
    assert slurm.squeue("77") == states


def test_slurm_is_not_asked_at_every_look():
    now, asked = iter((0, 0, 2, 58, 61, 61, 63, 119, 122, 122)), []  # the clock is read again after an answer
    remembered = slurm.cached(lambda job: asked.append(job) or {"RUNNING"}, 60, lambda: next(now))
    assert [remembered("77") for _ in range(7)] == [{"RUNNING"}] * 7
    assert len(asked) == 3


# Silence.


class Waiter:
    """A watch on its own clock, and what it says after some seconds more."""

    def __init__(self, verdict=UNKNOWN) -> None:
        self.now = 1e6
        self.watch = Watch(lambda holder: verdict, Intervals(), lambda: self.now)

    def over(self, seconds: float, data: bytes, number=3) -> str:
        self.now += seconds
        return self.watch.over(number, data)


LOOKS = st.lists(st.tuples(st.floats(0.1, 30), st.booleans()), max_size=120)


@given(LOOKS)
def test_a_heartbeat_keeps_the_lease_and_ten_minutes_of_silence_lose_it(looks):
    waiter, beat, since = Waiter(), 0, 0.0
    waiter.over(0, content())
    for seconds, beats in looks:
        beat += beats
        since = 0.0 if beats else since + seconds
        over = waiter.over(seconds, content(beat))
        assert bool(over) == (since >= 600) or abs(since - 600) < 1e-6


def test_a_waiter_that_was_stopped_itself_starts_to_listen_anew():
    waiter = Waiter()
    waiter.over(0, content())
    assert not waiter.over(3600, content())
    assert not waiter.over(2, content())


def test_only_an_unknown_holder_needs_a_heartbeat():
    alive = Waiter(Verdict(True, "its process is there"))
    assert not any(alive.over(30, content()) for _ in range(100))
    assert Waiter(Verdict(False, "its process is gone")).over(0, content()) == "its process is gone"
    assert alive.over(0, content(released=True)) == "released"


@given(st.binary())
def test_a_lease_that_cannot_be_read_is_held_until_the_patience_is_over(data):
    waiter = Waiter(Verdict(False, "must not be asked"))
    assert not any(waiter.over(30, data) for _ in range(20))
    assert waiter.over(30, data) == "no heartbeat for 600 s"


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "7", "é"]) | st.just([7])


@given(st.dictionaries(st.sampled_from([*vars(ELSEWHERE), "released"]), VALUES), st.booleans())
def test_whatever_a_lease_says_it_can_be_judged(changes, here):
    holder = NEIGHBOUR if here else ELSEWHERE
    parsed = parse(json.dumps({**vars(holder), "released": False} | changes).encode())
    if parsed:
        assert isinstance(str(parsed.holder), str)
        judge(parsed.holder, IN_SLURM, squeue=lambda job: {"RUNNING"})


# Only one.

ACTIONS = st.tuples(st.integers(0, 3), st.sampled_from(["look", "create", "clear", "release", "die"]))
TWO_HOLDERS_LATER = [(0, "look"), *((job, move) for job in (1, 2) for move in ("look", "create", "clear", "die"))][:-1]


@given(st.lists(ACTIONS, max_size=60))
@example([*TWO_HOLDERS_LATER, (0, "create")])  # the number is there no more, and yet it is not free
@pytest.mark.parametrize("links", [True, False])
def test_there_is_one_holder_however_slow_the_others_are(links, actions):
    """Each of four jobs stops for any time after each of its moves; also where hard links are refused."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        if not links:
            patch.setattr(os, "link", refuses)
        folder = Path(name)
        jobs = [Lease(folder) for _ in range(4)]
        free: dict[int, int] = {}  # the number that a job will create, since it saw the one before free
        holder = None
        for job, action in actions:
            if action == "look" and holder is None:
                free[job] = max([0, *(number for number, _ in leases(folder))]) + 1
            elif action == "create" and job in free and job != holder:
                jobs[job] = Lease(folder)
                if jobs[job]._create(free.pop(job)):
                    assert holder is None
                    holder = job
            elif job == holder:
                if action == "clear":
                    jobs[job]._clear()
                    assert lease_files(folder) == [f"lease-{jobs[job].number:06d}"]
                elif action in ("release", "die"):
                    if action == "release":
                        jobs[job].release()
                        assert parse((folder / lease_files(folder)[-1]).read_bytes()).released
                    holder = None
            if holder is not None:
                assert leases(folder)[-1][0] == jobs[holder].number
        assert not leases(folder, TEMPORARY)


def test_the_first_one_and_its_successor(tmp_path):
    folder = tmp_path / "run" / ".state"
    with held(folder, QUICK) as first:
        assert lease_files(folder) == ["lease-000001"]
        parsed = parse((folder / "lease-000001").read_bytes())
        assert (parsed.holder, parsed.released) == (first._me, False)
    assert parse((folder / "lease-000001").read_bytes()).released
    assert not (folder / "events").exists()
    with held(folder, QUICK):
        assert lease_files(folder) == ["lease-000002"]
    assert "lease taken after pid" in (folder / "events").read_text()


def last_event(folder: Path) -> str:
    return (folder / "events").read_text().splitlines()[-1].partition(": ")[2]


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (
            HistobenchError("shard.tfrecord: expected 3 records,\nfound 2"),
            "shard.tfrecord: expected 3 records, found 2",
        ),
        (MemoryError(), "MemoryError:"),
        (ValueError("a\n\tb"), "ValueError: a b"),
    ],
)
def test_an_error_is_noted_before_the_lease_is_released(error, event, tmp_path, monkeypatch):
    noted, release = [], Lease.release
    monkeypatch.setattr(Lease, "release", lambda lease: (noted.append(last_event(tmp_path)), release(lease)))
    with pytest.raises(type(error)), held(tmp_path, QUICK):
        raise error
    assert noted == [f"failed: {event}"]
    assert parse((tmp_path / "lease-000001").read_bytes()).released


@pytest.mark.parametrize("ending", [SystemExit(143), KeyboardInterrupt()])
def test_a_job_that_is_told_to_end_has_not_failed(ending, tmp_path):
    with pytest.raises(type(ending)), held(tmp_path, QUICK):
        raise ending
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize("noticed_by", ["the end", "the next check"])
def test_sigterm_ends_a_job_whatever_a_library_makes_of_it(noticed_by, tmp_path):
    with pytest.raises(SystemExit) as ended, held(tmp_path, QUICK) as lease:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except SystemExit as error:
            if noticed_by == "the end":
                raise RuntimeError("an operation failed") from error
        lease.check()
        pytest.fail("it would go on to the end")
    assert ended.value.code == 128 + signal.SIGTERM
    assert last_event(tmp_path) == "SIGTERM: ending; what is finished so far is safe"
    assert parse((tmp_path / "lease-000001").read_bytes()).released


def test_a_job_that_lost_its_lease_notes_no_failure(tmp_path):
    with pytest.raises(HistobenchError), held(tmp_path) as lease:
        (tmp_path / "lease-000002").write_bytes(content())
        lease.check()
    assert not (tmp_path / "events").exists()


def test_a_heartbeat_on_its_way_does_not_undo_the_release(tmp_path, monkeypatch):
    with held(tmp_path, QUICK) as lease:
        aside, on_its_way = lease._temporary, threading.Event()

        def slow(number, *, released=False):
            path = aside(number, released=released)
            if not released:
                on_its_way.set()
                time.sleep(0.1)
            return path

        monkeypatch.setattr(lease, "_temporary", slow)
        assert on_its_way.wait(10)
    time.sleep(0.2)
    assert parse((tmp_path / "lease-000001").read_bytes()).released


def refuses(source, target):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))


def test_without_hard_links_a_slow_job_loses_to_a_later_holder(tmp_path, monkeypatch):
    """Which has cleared away what the slow one was about to rename."""
    (tmp_path / "lease-000005").write_bytes(content())

    def clears_and_refuses(source, target):
        Path(source).unlink()
        refuses(source, target)

    monkeypatch.setattr(os, "link", clears_and_refuses)
    assert not Lease(tmp_path)._create(2)
    assert leases(tmp_path)[-1][0] == 5


def test_an_answer_that_nfs_lost(tmp_path, monkeypatch):
    link = os.link

    def fails_by_its_own_success(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", str(target))

    monkeypatch.setattr(os, "link", fails_by_its_own_success)
    assert Lease(tmp_path)._create(1)
    monkeypatch.undo()
    assert not Lease(tmp_path)._create(1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_sees_whole_leases_only(tmp_path):
    with held(tmp_path, Intervals(beat=0.0001)):
        seen, end = set(), time.monotonic() + 1
        while time.monotonic() < end:
            data = (tmp_path / "lease-000001").read_bytes()
            assert parse(data), data
            seen.add(data)
    assert len(seen) > 10


def test_what_killed_jobs_left_half_written_is_cleared_away(tmp_path):
    for name in ("lease-000003", ".lease-000003-a", ".lease-000004-b", ".lease-000005-c"):
        (tmp_path / name).write_text("")
    with held(tmp_path, QUICK):
        assert lease_files(tmp_path) == ["lease-000004"]
        # Of number 5 somebody may be about to make a lease.
        assert [path.name for _, path in leases(tmp_path, TEMPORARY)][-1] == ".lease-000005-c"
        assert not any((tmp_path / name).exists() for name in (".lease-000003-a", ".lease-000004-b"))
    assert "a job whose lease-000003 can't be read: no heartbeat for" in (tmp_path / "events").read_text()


def test_a_full_disk_costs_heartbeats_only(tmp_path, monkeypatch, caplog):
    with held(tmp_path, QUICK) as lease:
        aside = lease._temporary
        monkeypatch.setattr(lease, "_temporary", lambda *_, **__: os.open("/dev/full/x", 0))
        time.sleep(0.1)
        monkeypatch.setattr(lease, "_temporary", aside)
        before = (tmp_path / "lease-000001").read_bytes()
        time.sleep(0.1)
        assert (tmp_path / "lease-000001").read_bytes() != before
    assert "no heartbeat" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(HistobenchError, match=r"run/\.state: expected a folder .* found: .*start again"):
        held(tmp_path / "run" / ".state").__enter__()


# Losing it.


def test_a_holder_that_lost_its_lease_writes_nothing(tmp_path):
    lease = Lease(tmp_path)
    assert lease._create(1)
    state = State(tmp_path, {}, lease)
    with state.step("epoch-0001"):
        pass
    (tmp_path / "lease-000002").write_bytes(content())
    before = (tmp_path / "lease-000001").read_bytes()
    with pytest.raises(HistobenchError, match="found lease-000002 of pid 4711 on node7, SLURM job 77"), state.finish():
        pass
    with pytest.raises(HistobenchError, match="took this one for dead"):
        state.publish(tmp_path)
    lease.release()
    assert (tmp_path / "lease-000001").read_bytes() == before
    assert [path.name for path in state.steps("epoch-")] == ["epoch-0001"]
    assert not state.outputs.exists()


def test_a_state_leaves_leases_alone(tmp_path):
    lease = Lease(tmp_path)
    assert lease._create(1)
    aside = lease._temporary(2)  # of somebody who waits
    for identity in ("one", "another"):
        state = State(tmp_path, {"identity": identity}, lease)
        with state.step("epoch-0001"):
            pass
    with state.finish() as outputs:
        (outputs / "history.csv").write_text("")
    assert lease_files(tmp_path) == ["lease-000001"]
    assert aside.exists()
    assert [path.name for path in (tmp_path / "set-aside").iterdir()] == ["epoch-0001"]


def test_outputs_published_twice_leave_nothing_beside_them(tmp_path):
    state = State(tmp_path / ".state", {})
    with state.finish() as outputs:
        (outputs / "history.csv").write_text("")
    state.publish(tmp_path)
    state.publish(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".state", "history.csv"}
