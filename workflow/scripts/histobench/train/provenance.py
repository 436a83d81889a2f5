"""What ``run.json`` says about a run, so that a number can be traced and a run repeated."""

import contextlib
import datetime
import platform
import resource
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histobench.core.files import write_json
from histobench.train import hardware

PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "snakemake")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # Snakemake has its own environment
            found[name] = version(name)
    return found


@dataclass
class About:
    """What is known of a run when its job starts.

    Attributes
    ----------
    spec : the run's specification.
    code : digest of the code that the result depends on.
    inputs : sha256 of the input files, by role.
    threads : CPU threads of the job; the result depends on them in the last bits.
    card : the card that the run is meant for, "" for a CPU.
    started : when the job started that finished the run; earlier ones stand in ``.state/events``.
    """

    spec: dict[str, Any]
    code: str
    inputs: dict[str, str | None]
    threads: int
    card: str
    started: datetime.datetime = field(default_factory=_now)

    @property
    def identity(self) -> dict[str, Any]:
        """What the result depends on, see :class:`histobench.core.state.State`."""
        return {"specification": self.spec, "code": self.code, "inputs": self.inputs}

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write ``run.json``, with what training found out besides."""
        ended = _now()
        write_json(
            path,
            {
                "specification": self.spec,
                **facts,
                "code": self.code,
                "inputs_sha256": self.inputs,
                "versions": _versions(),
                "threads": self.threads,
                "device": hardware.describe(self.card),
                "peak_device_memory_mib": hardware.peak_memory_mib(self.card),
                "started": self.started.isoformat(timespec="seconds"),
                "ended": ended.isoformat(timespec="seconds"),
                "seconds": round((ended - self.started).total_seconds(), 1),
                "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            },
        )
