"""Queries to SLURM about jobs."""

import math
import os
import subprocess
from collections.abc import Callable

# Seconds after which `squeue` counts as not answering.
TIMEOUT = 20.0

Squeue = Callable[[str], set[str] | None]


def squeue(job: str) -> set[str] | None:
    """Return the states of a SLURM job: empty if SLURM does not know the job (any more), None if it does not answer."""
    answer = _squeue("--all", "--states=all", "--format=%T", f"--jobs={job}")
    if answer is None:
        return None
    if answer.returncode == 0:
        return set(answer.stdout.split())
    return set() if "Invalid job id" in answer.stderr else None


def restart_count(job: str) -> str | None:
    """Return how often SLURM has restarted a job, None if unknown."""
    answer = _squeue(f"--jobs={job}", "--Format=RestartCnt")
    count = answer.stdout.strip() if answer and answer.returncode == 0 else ""
    return count if count.isdecimal() else None


def _squeue(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    # The user's own variables for squeue would filter the list or ask other clusters.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SLURM_CLUSTERS"))}
    command = ["squeue", "--noheader", *arguments]
    try:
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def cached(squeue: Squeue, seconds: float, clock: Callable[[], float]) -> Squeue:
    """Return `squeue` with its last answer kept for some seconds: many jobs may wait, and SLURM answers all of them."""
    answers: dict[str, tuple[float, set[str] | None]] = {}

    def ask(job: str) -> set[str] | None:
        asked, states = answers.get(job, (-math.inf, None))
        if clock() - asked >= seconds:
            states = squeue(job)
            answers[job] = clock(), states
        return states

    return ask
