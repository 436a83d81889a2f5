"""What ``run.json`` says about a run, so that a number can be traced and a run repeated."""

import datetime
import platform
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Any

from histobench.files import digest, write_json
from histobench.train import hardware

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "snakemake")


def write(
    path: Path,
    *,
    spec: dict[str, Any],
    facts: dict[str, Any],
    code: str,
    inputs: dict[str, Path | None],
    threads: int,
    gpu_model: str,
    started: datetime.datetime,
) -> None:
    """Write ``run.json``.

    Parameters
    ----------
    path : the file.
    spec, facts : the run's specification, and what training returned.
    code : digest of the code that the result depends on.
    inputs : files whose sha256 is recorded, by role.
    threads : CPU threads of the job; the result depends on them in the last bits.
    gpu_model : the card that the run was meant for, "" for a CPU.
    started : when the job began.
    """
    ended = datetime.datetime.now(datetime.UTC)
    write_json(
        path,
        {
            "specification": spec,
            **facts,
            "code": code,
            "inputs_sha256": {role: digest(file) if file else None for role, file in inputs.items()},
            "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
            "threads": threads,
            "device": hardware.describe(gpu_model),
            "started": started.isoformat(timespec="seconds"),
            "ended": ended.isoformat(timespec="seconds"),
            "seconds": round((ended - started).total_seconds(), 1),
            "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    )
