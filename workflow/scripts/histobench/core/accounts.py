"""What SLURM's accounts say of whole jobs, where it keeps any."""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

# Seconds after which `sacct` counts as not answering.
TIMEOUT = 20.0
# Jobs that are asked for at a time: command lines have an end.
AT_A_TIME = 500
FIELDS = ("JobIDRaw", "ElapsedRaw", "TimelimitRaw", "ReqMem", "MaxRSS", "ReqCPUS", "TotalCPU", "Start", "End")


class Measures(NamedTuple):
    """What a job asked for and took; None for what accounts do not tell. Names as in `histobench.core.usage.Usage`.

    Attributes
    ----------
    requested_minutes, requested_mb, requested_cores : time limit, memory and cores.
    seconds : from start to end.
    peak_memory_mib : the most that its batch script has held, which is a Snakemake, and the most that one of its steps
        has, of which one at a time runs beside it.
    cores : used on average.
    """

    requested_minutes: float | None
    seconds: float
    requested_mb: float | None
    peak_memory_mib: float | None
    requested_cores: float | None
    cores: float | None


class Account(NamedTuple):
    """A job by SLURM's accounts: when it started and ended, in seconds since 1970, and what it asked for and took."""

    started: float
    ended: float
    usage: Measures


def of_jobs(jobs: Sequence[str]) -> dict[str, Account]:
    """Return what the accounts say of jobs that have ended, by their ids; nothing where there are no accounts.

    It never fails and never waits for long: after the first question that SLURM does not answer it asks no other.
    """
    found: dict[str, Account] = {}
    for start in range(0, len(jobs), AT_A_TIME):
        answer = _sacct(jobs[start : start + AT_A_TIME])
        if answer is None:
            break
        found |= read(answer)
    return found


def read(text: str) -> dict[str, Account]:
    """Return the accounts in the answer of `sacct`, a line of `FIELDS` for each job and each of its steps."""
    jobs: dict[str, dict[str, str]] = {}
    peaks: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        fields = dict(zip(FIELDS, line.split("|"), strict=False))
        if len(fields) < len(FIELDS):
            continue
        job, _, step = fields["JobIDRaw"].partition(".")
        if not step:
            jobs[job] = fields
        elif (peak := _mib(fields["MaxRSS"])) is not None:
            peaks[job][step] = peak
    return {job: account for job, fields in jobs.items() if (account := _account(fields, peaks[job])) is not None}


def _account(fields: Mapping[str, str], peaks: Mapping[str, float]) -> Account | None:
    """Return the account of a job, None of one that has not ended, or has not run."""
    seconds, cores = _number(fields["ElapsedRaw"]), _number(fields["ReqCPUS"])
    started, ended = _number(fields["Start"]), _number(fields["End"])
    if not (seconds and started and ended):
        return None
    used = _seconds(fields["TotalCPU"])
    steps = [peak for step, peak in peaks.items() if step != "batch"]
    memory = _mib(fields["ReqMem"])
    if memory is not None and fields["ReqMem"].endswith("c"):  # for each core, as SLURM before 21.08 says
        memory = memory * cores if cores else None
    usage = Measures(
        requested_minutes=_number(fields["TimelimitRaw"]),
        seconds=seconds,
        requested_mb=memory,  # what Snakemake's plugin calls MB is SLURM's M
        peak_memory_mib=peaks.get("batch", 0) + max(steps) if steps else None,
        requested_cores=cores,
        cores=used / seconds if used else None,
    )
    return Account(started, ended, usage)


def _sacct(jobs: Sequence[str]) -> str | None:
    """Return the answer of `sacct` about these jobs, None if there is none."""
    # The user's own variables would ask for other fields, or other clusters.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SACCT_", "SLURM_CLUSTERS"))}
    environ["SLURM_TIME_FORMAT"] = "%s"  # seconds since 1970
    command = [
        "sacct",
        "--noheader",
        "--parsable2",
        "--units=M",
        f"--format={','.join(FIELDS)}",
        f"--jobs={','.join(jobs)}",
    ]
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _number(text: str) -> float | None:
    with suppress(ValueError):
        return float(text)
    return None


def _mib(text: str) -> float | None:
    """Return a size, such as "2100.50M" or, of older SLURMs, "8000Mn" (for each node), in MiB."""
    match = re.fullmatch(r"([\d.]+)M[nc]?", text)
    return _number(match[1]) if match else None


def _seconds(text: str) -> float | None:
    """Return a time, as "1-02:03:04" or "03:04.567", in seconds."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not match:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds
