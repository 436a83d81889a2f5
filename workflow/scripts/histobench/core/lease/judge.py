"""Whether the holder of a lease is alive: by its process, by SLURM, or by its heartbeat."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from histobench.core.lease.holder import Holder, Process, age, leases, parse, process, read, this_process
from histobench.core.lease.slurm import Squeue, cached, squeue

# States of a SLURM job whose processes may still write, and those in which they are gone: the job is over, or back in
# the queue. Any other state is inconclusive: on a node that failed (NODE_FAIL) a process may live on, cut off.
MAY_WRITE = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT"}
GONE = {
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL", "REVOKED"),
    *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}


class Intervals(NamedTuple):
    """Times in seconds."""

    beat: float = 30  # between two heartbeats of a holder
    patience: float = 600  # without a heartbeat after which a holder counts as dead, if nothing else is known
    look: float = 2  # between two looks of a waiting job at the lease
    ask: float = 60  # between two calls of squeue by a waiting job
    remind: float = 300  # between two lines in the log of a waiting job


INTERVALS = Intervals()


class Verdict(NamedTuple):
    """Whether a holder is alive, None if unknown, and the reason."""

    alive: bool | None
    reason: str


UNKNOWN = Verdict(None, "only its heartbeat can tell")


def judge(
    holder: Holder,
    judging: Holder,
    process: Callable[[int], Process | None] = process,
    squeue: Squeue = squeue,
) -> Verdict:
    """Return whether the holder of a lease is alive, as the `judging` process finds it, whatever its heartbeat."""
    if holder.machine == judging.machine:
        same_pid = process(holder.pid)
        if same_pid is None or not same_pid.alive:
            return Verdict(False, "its process is gone")
        if same_pid.start is not None and holder.start is not None:
            # However old its heartbeat is: a stopped process may be continued.
            same = same_pid.start == holder.start
            return Verdict(same, "its process is there" if same else "its process is gone, another has its number")
    if holder.job is None or holder.cluster != judging.cluster:
        return UNKNOWN  # job ids of another cluster mean nothing here
    if holder.job == judging.job:
        if None not in (holder.restarts, judging.restarts) and holder.restarts != judging.restarts:
            return Verdict(False, "SLURM has started its job again")
        return UNKNOWN  # two processes of one job
    states = squeue(holder.job)
    if states is None:
        return UNKNOWN
    if not states:
        # SLURM may hide the jobs of other users.
        return Verdict(False, "SLURM knows no such job") if holder.user == judging.user else UNKNOWN
    if states & MAY_WRITE:
        return Verdict(True, f"SLURM says {', '.join(sorted(states))}")
    return Verdict(False, f"SLURM says {', '.join(sorted(states))}") if states <= GONE else UNKNOWN


class Watch:
    """The observations of a job that waits for a lease, by a clock in seconds that never goes back."""

    def __init__(self, judge: Callable[[Holder], Verdict], intervals: Intervals, clock: Callable[[], float]) -> None:
        self._judge, self._intervals, self._clock = judge, intervals, clock
        self._seen: tuple[int, bytes] | None = None
        self._looked = self._silent = 0.0
        self.verdict = UNKNOWN

    def over(self, number: int, data: bytes) -> str:
        """Return why the highest lease, in whose file `data` stands, is no longer held, "" while it may be held."""
        now, content = self._clock(), parse(data)
        if (number, data) != self._seen:
            self._seen, self._silent = (number, data), 0.0
        else:
            # If the waiting job itself was stopped, that time does not count as silence.
            self._silent += min(now - self._looked, self._intervals.beat)
        self._looked = now
        if content and content.released:
            return "released"
        self.verdict = self._judge(content.holder) if content else UNKNOWN
        if self.verdict.alive is None and self._silent >= self._intervals.patience:
            return f"no heartbeat for {self._silent:.0f} s"
        return self.verdict.reason if self.verdict.alive is False else ""


class HolderLookup:
    """Look up the holder of a lease without waiting for it.

    A thorough look-up asks SLURM even if the heartbeat is recent, so that a killed holder is noticed at once.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self._thorough = thorough
        self._me = this_process()
        self._squeue = cached(squeue, INTERVALS.ask, time.monotonic)

    def holder(self, folder: Path) -> Holder | None:
        """Return the holder of the lease on a folder, None if there seems to be none.

        A holder on this machine is looked up by its process, any other by its heartbeat, then by SLURM. Unlike a
        waiting job this compares the clocks of two machines, so it may be wrong for a moment.
        """
        try:
            data = read(leases(folder)[-1][1])
        except (OSError, IndexError):
            return None
        content = parse(data)
        if content is None or content.released:
            return None
        holder = content.holder
        recent = age(data) < INTERVALS.patience
        if recent and holder.machine != self._me.machine and not self._thorough:
            return holder
        alive = judge(holder, self._me, squeue=self._squeue).alive
        return holder if alive or (alive is None and recent) else None
