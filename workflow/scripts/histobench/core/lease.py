"""No two jobs at work in one folder: whoever comes second waits until the first has ended.

After a SIGKILL of Snakemake its SLURM jobs run on, and the next start submits them again: both would write one state.

A ``.state`` holds numbered files, ``lease-000001``, ``lease-000002`` and so on, of which the highest number counts.
Once its holder has released it or is dead, a job takes the lease by creating the next number: of several waiters one
succeeds, and nobody changes what another may still hold. A holder renews its own file by a heartbeat and marks it as
released in the end.

Whether a holder is dead, its machine knows best, then SLURM (:func:`judge`). Where neither can say, silence counts: a
heartbeat that does not change for `Pace.patience`, by the clock of whoever waits, so that no two clocks are compared.
That can be wrong, of a node that was cut off from the file system, for instance. So a holder looks with every
heartbeat, and before it gives a step its name, whether there is a higher number, and ends if so (`Lease.check`); what
it had not finished stays under a name of its own. Between such a look and the rename lies a moment that nothing closes.

Only exclusive creation, by a hard link, and rename are asked of the file system, both of which NFS has. NFS itself is
untested.
"""

import datetime
import json
import logging
import math
import os
import platform
import pwd
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from histobench.core.errors import HistobenchError

log = logging.getLogger(__name__)

NAME = re.compile(r"lease-(\d{6,})")
# A file on its way to such a name.
ASIDE = re.compile(r"\.lease-(\d{6,})-\w+")
# What the event of an error starts with.
FAILED = "failed: "
# Seconds after which `squeue` counts as not answering.
ANSWER = 20.0
# States of a SLURM job whose processes may still write, and those in which they are gone: it is over or back in the
# queue. Any other says nothing: on a node that failed (NODE_FAIL) a process may live on, cut off.
MAY_WRITE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"}
GONE = {
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL", "REVOKED"),
    *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}


def add_event(folder: Path, text: str) -> None:
    """Add a line to the ``events`` of a ``.state``, and to the log."""
    log.info("%s", text)
    job = os.environ.get("SLURM_JOB_ID", "-")
    path = folder / "events"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{_now()} {platform.node()} pid {os.getpid()} job {job}: {text}\n")
    except OSError as error:  # a full disk must not end a job that only waits
        log.warning("%s: can't be written: %s", path, error)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Pace(NamedTuple):
    """How often something happens, in seconds.

    Attributes
    ----------
    beat : between two heartbeats of a holder.
    patience : silence of a heartbeat after which its holder counts as dead, where nothing else is known.
    look : between two looks of a waiter at the lease.
    ask : between two questions of a waiter to SLURM.
    remind : between two lines in the log of a waiter.
    """

    beat: float = 30
    patience: float = 600
    look: float = 2
    ask: float = 60
    remind: float = 300


PACE = Pace()


@dataclass(frozen=True)
class Holder:
    """A process, told apart from any other one, wherever and whenever.

    Attributes
    ----------
    host : name of its machine.
    boot, namespace : of the kernel and of its numbers of processes, so that machines of one name, containers and a
        reboot are told apart; None where there is no /proc.
    pid, start : its number, and when it started, in ticks since the boot: numbers are given again.
    job, restarts, cluster : of its SLURM job, which keeps its id when it is requeued; None outside of SLURM, and where
        SLURM does not say.
    user : whom it belongs to.
    since : date and time.
    """

    host: str
    boot: str | None
    namespace: str | None
    pid: int
    start: int | None
    job: str | None
    restarts: str | None
    cluster: str | None
    user: str
    since: str

    def __str__(self) -> str:
        job = f", SLURM job {self.job}" if self.job else ""
        return f"pid {self.pid} on {self.host}{job}, user {self.user}, since {self.since}"

    @property
    def machine(self) -> tuple[str, str | None, str | None]:
        """Where its number is that of a process."""
        return self.host, self.boot, self.namespace


def this_process() -> Holder:
    """Return the process that calls."""
    boot = namespace = None
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    found = process(os.getpid())
    job = os.environ.get("SLURM_JOB_ID")
    return Holder(
        host=platform.node(),
        boot=boot,
        namespace=namespace,
        pid=os.getpid(),
        start=found.start if found else None,
        job=job,
        # Snakemake's step in a SLURM job drops the variable.
        restarts=(os.environ.get("SLURM_RESTART_COUNT") or restart_count(job)) if job else None,
        cluster=os.environ.get("SLURM_CLUSTER_NAME") if job else None,
        user=user,
        since=_now(),
    )


class Process(NamedTuple):
    """A process of this machine.

    Attributes
    ----------
    start : when it started, in ticks since the boot; None if unknown.
    alive : False for one that has ended, but of which its parent has not taken notice.
    """

    start: int | None
    alive: bool = True


def process(pid: int) -> Process | None:
    """Return a process of this machine, None if there is none of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it is another user's
    try:
        # The second field is the name of the program, in parentheses, and may hold any character.
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # The first thread can be gone while others are still in the middle of a write.
        ended = after_name[0] in (b"Z", b"X") and int(after_name[17]) <= 1
        return Process(start=int(after_name[19]), alive=not ended)
    except (OSError, IndexError, ValueError):
        return Process(start=None)


def squeue(job: str) -> set[str] | None:
    """Return the states of a SLURM job, none if SLURM does not know it (any more), None if it does not answer."""
    found = _asked("--all", "--states=all", "--format=%T", f"--jobs={job}")
    if found is None:
        return None
    if found.returncode == 0:
        return set(found.stdout.split())
    return set() if "Invalid job id" in found.stderr else None


def restart_count(job: str) -> str | None:
    """Return how often SLURM has started a job again, None if it does not say."""
    found = _asked(f"--jobs={job}", "--Format=RestartCnt")
    count = found.stdout.strip() if found and found.returncode == 0 else ""
    return count if count.isdecimal() else None


def _asked(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Return what `squeue` says, None if it does not answer."""
    # Variables of its own would filter what it lists, or ask other clusters.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SLURM_CLUSTERS"))}
    command = ["squeue", "--noheader", *arguments]
    try:
        return subprocess.run(command, env=ours, capture_output=True, text=True, timeout=ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


class Verdict(NamedTuple):
    """Whether a holder is alive, None if unknown, and by what sign."""

    alive: bool | None
    sign: str


UNKNOWN = Verdict(None, "only its heartbeat can tell")


def judge(
    holder: Holder,
    judging: Holder,
    process: Callable[[int], Process | None] = process,
    squeue: Callable[[str], set[str] | None] = squeue,
) -> Verdict:
    """Say whether the holder of a lease is alive, by what is known of it but for its heartbeat.

    Parameters
    ----------
    holder : of the lease.
    judging : the process that asks.
    process, squeue : what this machine and what SLURM knows.
    """
    if holder.machine == judging.machine:
        found = process(holder.pid)
        if found is None or not found.alive:
            return Verdict(False, "its process is gone")
        if found.start is not None and holder.start is not None:
            # However old its heartbeat: a stopped process goes on some day.
            same = found.start == holder.start
            return Verdict(same, "its process is there" if same else "its process is gone, another has its number")
    if holder.job is None or holder.cluster != judging.cluster:
        return UNKNOWN  # another cluster counts its jobs by itself
    if holder.job == judging.job:
        if None not in (holder.restarts, judging.restarts) and holder.restarts != judging.restarts:
            return Verdict(False, "SLURM has started its job again")
        return UNKNOWN  # two processes of one allocation
    states = squeue(holder.job)
    if states is None:
        return UNKNOWN
    if not states:
        # SLURM may hide the jobs of others.
        return Verdict(False, "SLURM knows no such job") if holder.user == judging.user else UNKNOWN
    if states & MAY_WRITE:
        return Verdict(True, f"SLURM says {', '.join(sorted(states))}")
    return Verdict(False, f"SLURM says {', '.join(sorted(states))}") if states <= GONE else UNKNOWN


class Content(NamedTuple):
    """What a lease file says."""

    holder: Holder
    released: bool


def parse(data: bytes) -> Content | None:
    """Return what a lease file says, None if it is none: empty after a power cut, for instance."""
    try:
        found = json.loads(data)
        values = {field.name: found[field.name] for field in fields(Holder)}
        released = found["released"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = all(value is None or isinstance(value, (str, int)) for value in values.values())
    if not texts or not isinstance(values["pid"], int) or not isinstance(values["job"], str | None):
        return None
    return Content(Holder(**values), released is True)


def read(path: Path) -> bytes:
    """Return what a lease file holds, b"" where it can't be read: it may just have been replaced."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def leases(folder: Path, pattern: re.Pattern[str] = NAME) -> list[tuple[int, Path]]:
    """Return the lease files of a folder with their numbers, the one that counts last."""
    found = [(match, path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in found)


class Watch:
    """What a waiter has seen of the lease that it waits for.

    Parameters
    ----------
    judge : says of a holder whether it is alive, see :func:`judge`.
    pace : how often what happens.
    clock : seconds that never go back.
    """

    def __init__(self, judge: Callable[[Holder], Verdict], pace: Pace, clock: Callable[[], float]) -> None:
        self._judge, self._pace, self._clock = judge, pace, clock
        self._seen: tuple[int, bytes] | None = None
        self._looked = self._silent = 0.0
        self.verdict = UNKNOWN

    def over(self, number: int, data: bytes) -> str:
        """Look at the lease again; return why nobody holds it any more, "" while somebody may.

        Parameters
        ----------
        number, data : of the highest lease, see :func:`read`.
        """
        now, content = self._clock(), parse(data)
        if (number, data) != self._seen:
            self._seen, self._silent = (number, data), 0.0
        else:
            # A waiter that was itself stopped has not listened meanwhile.
            self._silent += min(now - self._looked, self._pace.beat)
        self._looked = now
        if content and content.released:
            return "released"
        self.verdict = self._judge(content.holder) if content else UNKNOWN
        if self.verdict.alive is None and self._silent >= self._pace.patience:
            return f"no heartbeat for {self._silent:.0f} s"
        return self.verdict.sign if self.verdict.alive is False else ""


class Remembered:
    """What SLURM said of a job, asked again after some seconds only: many jobs may wait, and SLURM answers them all."""

    def __init__(self, squeue: Callable[[str], set[str] | None], seconds: float, clock: Callable[[], float]) -> None:
        self._squeue, self._seconds, self._clock = squeue, seconds, clock
        self._answers: dict[str, tuple[float, set[str] | None]] = {}

    def __call__(self, job: str) -> set[str] | None:
        """Return its states, see :func:`squeue`."""
        asked, answer = self._answers.get(job, (-math.inf, None))
        if self._clock() - asked >= self._seconds:
            answer = self._squeue(job)
            self._answers[job] = self._clock(), answer
        return answer


class Onlooker:
    """Tells who is at work somewhere, without waiting for it.

    Parameters
    ----------
    thorough : ask SLURM, too, about holders whose heartbeat is young, so that a killed one is dead at once.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self._thorough = thorough
        self._me = this_process()
        self._squeue = Remembered(squeue, PACE.ask, time.monotonic)

    def holder(self, folder: Path) -> Holder | None:
        """Return who holds the lease on a folder, None if nobody seems to.

        By its machine if that is this one, else by its heartbeat, else by SLURM. Unlike a waiting job this compares the
        clocks of two machines: it may be wrong for a moment.
        """
        try:
            data = read(leases(folder)[-1][1])
        except (OSError, IndexError):
            return None
        content = parse(data)
        if content is None or content.released:
            return None
        holder = content.holder
        fresh = _age(data) < PACE.patience
        if fresh and holder.machine != self._me.machine and not self._thorough:
            return holder
        alive = judge(holder, self._me, squeue=self._squeue).alive
        return holder if alive or (alive is None and fresh) else None


def _age(data: bytes) -> float:
    """Return the seconds since the heartbeat of a lease."""
    try:
        beat = datetime.datetime.fromisoformat(json.loads(data)["beat"]["time"])
        return (datetime.datetime.now(datetime.UTC) - beat).total_seconds()
    except (ValueError, KeyError, TypeError):
        return math.inf


class Lease:
    """The lease on a ``.state``, see :func:`held`.

    Attributes
    ----------
    number : of our lease, 0 while it is not held.
    ending : the job is over, or ends.
    told_to_end : by SIGTERM.
    """

    def __init__(self, folder: Path, pace: Pace = PACE) -> None:
        self.folder = folder
        self.number = 0  # none yet
        self.ending = False
        self.told_to_end = False
        self._me, self._pace, self._beats = this_process(), pace, 0
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def take(self) -> None:
        """Wait until nobody holds the lease, and hold it."""
        ask = Remembered(squeue, self._pace.ask, time.monotonic)
        watch = Watch(lambda holder: judge(holder, self._me, squeue=ask), self._pace, time.monotonic)
        told, when = 0, 0.0
        while True:
            number, path = self._last()
            if path is None:
                if self._create(1):
                    break
                continue
            data = read(path)
            content = parse(data)
            whom = str(content.holder) if content else f"a job whose {path.name} can't be read"
            if why := watch.over(number, data):
                if self._create(number + 1):
                    add_event(self.folder, f"lease taken over from {whom}: {why}")
                    break
            elif number != told or time.monotonic() - when >= self._pace.remind:
                told, when = number, time.monotonic()
                add_event(self.folder, f"in use by {whom} ({watch.verdict.sign}): waiting until that job has ended")
            time.sleep(self._pace.look)
        self._clear()
        self._heart.start()

    def check(self) -> None:
        """Raise an error if another job has taken this one for dead and holds the lease now.

        SystemExit after a SIGTERM, whose own was lost on its way: Python drops what is raised in a `__del__`.
        """
        if self.told_to_end:
            raise _terminated()
        number, path = self._last()
        if path and number > self.number:
            content = parse(read(path))
            raise HistobenchError(
                f"{self.folder}: expected {self._path(self.number).name} of this job ({self._me}) to be the last, "
                f"found {path.name} of {content.holder if content else 'another job'}, which took this one for dead. "
                "It ends here; there is nothing to do: the other one goes on from what is finished"
            )

    def failed(self, error: Exception) -> None:
        """Note among the events what ended the job; of one that lost its lease nothing, since another goes on."""
        with suppress(OSError):  # which would hide this error
            if self._last()[0] <= self.number:
                kind = "" if isinstance(error, HistobenchError) else f"{type(error).__name__}: "
                # TensorFlow's can be pages long; the log has it all.
                add_event(self.folder, FAILED + (kind + " ".join(str(error).split()))[:500])

    def release(self) -> None:
        """Give the lease back, if it is held."""
        self.ending = True
        self._over.set()
        if self._heart.is_alive():
            self._heart.join()
        if self.number:
            try:
                self._renew(released=True)
            except OSError as error:
                log.warning("%s: can't be released, waiters must find out for themselves: %s", self.folder, error)

    def _path(self, number: int) -> Path:
        return self.folder / f"lease-{number:06d}"

    def _last(self) -> tuple[int, Path | None]:
        """Return the lease that counts, 0 and None if there is none."""
        found = leases(self.folder)
        return found[-1] if found else (0, None)

    def _aside(self, number: int, *, released: bool = False) -> Path:
        """Return a file to become a lease, flushed to disk, so that no reader ever sees half of one.

        Its name is not that of the temporary files of a state, which the next holder deletes when it starts.
        """
        path = self.folder / f".lease-{number:06d}-{uuid.uuid4().hex}"
        content = {**asdict(self._me), "beat": {"count": self._beats, "time": _now()}, "released": released}
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _create(self, number: int) -> bool:
        """Create a lease, unless there is or was one of this number; say whether it is ours.

        By a hard link, not by O_EXCL: that would show an empty file before it has content, and for good if its writer
        dies in between. The state publishes its outputs by hard links, too, so this asks no more of the file system.
        """
        aside, path = self._aside(number), self._path(number)
        try:
            os.link(aside, path)
            self.number = number
        except FileExistsError:
            # Over NFS, where an answer got lost, the same request is sent again, and fails by its own success.
            with suppress(FileNotFoundError):
                self.number = number if aside.stat().st_nlink == 2 else 0
        except FileNotFoundError:
            pass  # cleared away by whoever holds this number, or a later one
        finally:
            aside.unlink(missing_ok=True)
        if self.number and self._last()[0] > number:
            # We were slow: this number had its holder, was followed by another, and was cleared away.
            self.number = 0
            path.unlink(missing_ok=True)
        return bool(self.number)

    def _clear(self) -> None:
        """Delete the leases before ours and what killed jobs left half-written of them; never one that counts."""
        old = [path for number, path in leases(self.folder) if number < self.number]
        for path in old + [path for number, path in leases(self.folder, ASIDE) if number <= self.number]:
            path.unlink(missing_ok=True)

    def _renew(self, *, released: bool = False) -> bool:
        """Write our lease anew, unless another job has taken over; say whether it is ours."""
        self._beats += 1
        aside = self._aside(self.number, released=released)
        ours = self._last()[0] <= self.number
        if ours:
            aside.replace(self._path(self.number))
        else:
            aside.unlink(missing_ok=True)
        return ours

    def _beat(self) -> None:
        """Renew the lease until it is over; when it is lost, end the process as a scheduler would."""
        while not self._over.wait(self._pace.beat):
            try:
                ours = self._renew()
            except OSError as error:  # a full disk, for instance; the job may get by
                log.warning("%s: no heartbeat: %s", self.folder, error)
                continue
            if not ours:
                add_event(self.folder, f"{self._path(self.number).name} is lost: another job took this one for dead")
                os.kill(os.getpid(), signal.SIGTERM)
                return


@contextmanager
def held(folder: Path, pace: Pace = PACE) -> Iterator[Lease]:
    """Hold the lease on a ``.state``: wait while another live job does, and release it in the end.

    Meanwhile SIGTERM, which a scheduler sends at the time limit, ends the job cleanly, waiting or holding. So it ends
    when the lease is lost, too: the heartbeat then sends SIGTERM. An error inside becomes an event, `FAILED` and its
    message in one line.

    Parameters
    ----------
    folder : the ``.state``, which nobody may touch without its lease.
    pace : how often what happens.
    """
    lease = Lease(folder, pace)
    with _ending_on_sigterm(lease):
        try:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lease.take()
            except OSError as error:
                raise HistobenchError(
                    f"{folder}: expected a folder to write a lease into, without which two jobs could work there at "
                    f"once, found: {error}. Make room or mend the permissions, then start again"
                ) from error
            try:
                yield lease
            except Exception as error:
                if lease.told_to_end:  # a library whose code was interrupted may have made its own error of it
                    raise _terminated() from error
                lease.failed(error)
                raise
        finally:
            lease.release()


@contextmanager
def _ending_on_sigterm(lease: Lease) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not lease.ending:  # by now
            lease.ending = lease.told_to_end = True
            add_event(lease.folder, "SIGTERM: ending; what is finished so far is safe")
            raise _terminated()

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated() -> SystemExit:
    """Return what ends a process as a shell reports one that SIGTERM ended."""
    return SystemExit(128 + signal.SIGTERM)
