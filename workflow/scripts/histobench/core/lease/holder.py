"""Who holds a lease: a process, identified across machines, containers and reboots, and the files that name it."""

import datetime
import json
import math
import os
import platform
import pwd
import re
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from histobench.core.lease.events import now
from histobench.core.lease.slurm import restart_count

NAME = re.compile(r"lease-(\d{6,})")
# A temporary file that is to get such a name.
TEMPORARY = re.compile(r"\.lease-(\d{6,})-\w+")


@dataclass(frozen=True)
class Holder:
    """A process that holds a lease, or waits for one.

    Attributes
    ----------
    host : name of its machine.
    boot, namespace : ids of the kernel's boot and of its PID namespace, which tell machines of one name, containers and
        reboots apart; None where there is no /proc.
    pid, start : process id, and start time in ticks since the boot, since process ids are reused.
    job, restarts, cluster : id, restart count and cluster of its SLURM job, which keeps its id when it is requeued;
        None outside of SLURM and if unknown.
    user : name of its user.
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
        """The scope in which its process id is unique."""
        return self.host, self.boot, self.namespace


def this_process() -> Holder:
    """Return the calling process."""
    boot = namespace = None
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    own = process(os.getpid())
    job = os.environ.get("SLURM_JOB_ID")
    return Holder(
        host=platform.node(),
        boot=boot,
        namespace=namespace,
        pid=os.getpid(),
        start=own.start if own else None,
        job=job,
        # In a SLURM job, Snakemake's step drops the variable.
        restarts=(os.environ.get("SLURM_RESTART_COUNT") or restart_count(job)) if job else None,
        cluster=os.environ.get("SLURM_CLUSTER_NAME") if job else None,
        user=user,
        since=now(),
    )


class Process(NamedTuple):
    """A process of this machine."""

    start: int | None  # start time in ticks since the boot; None if unknown
    alive: bool = True  # False for a zombie


def process(pid: int) -> Process | None:
    """Return a process of this machine, None if there is no process of this id."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # another user's process
    try:
        # The second field is the name of the program, in parentheses, and may hold any character.
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # The main thread can be gone while others are still in the middle of a write.
        ended = after_name[0] in (b"Z", b"X") and int(after_name[17]) <= 1
        return Process(start=int(after_name[19]), alive=not ended)
    except (OSError, IndexError, ValueError):
        return Process(start=None)


class Content(NamedTuple):
    """Content of a lease file."""

    holder: Holder
    released: bool


def parse(data: bytes) -> Content | None:
    """Return the content of a lease file, None if it is none, for instance empty after a power cut."""
    try:
        content = json.loads(data)
        values = {field.name: content[field.name] for field in fields(Holder)}
        released = content["released"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    scalars = all(value is None or isinstance(value, (str, int)) for value in values.values())
    if not scalars or not isinstance(values["pid"], int) or not isinstance(values["job"], str | None):
        return None
    return Content(Holder(**values), released is True)


def age(data: bytes) -> float:
    """Return the seconds since the last heartbeat of a lease, infinity if it can't be read."""
    try:
        beat = datetime.datetime.fromisoformat(json.loads(data)["beat"]["time"])
        return (datetime.datetime.now(datetime.UTC) - beat).total_seconds()
    except (ValueError, KeyError, TypeError):
        return math.inf


def read(path: Path) -> bytes:
    """Return the bytes of a lease file, b"" if it can't be read: it may just have been replaced."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def leases(folder: Path, pattern: re.Pattern[str] = NAME) -> list[tuple[int, Path]]:
    """Return numbers and paths of the lease files of a folder in ascending order: the last one counts."""
    matches = [(match, path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]
    return sorted((int(match[1]), path) for match, path in matches)
