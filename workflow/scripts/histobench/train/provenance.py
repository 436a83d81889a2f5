"""The record of a run in ``run.json``, by which its results can be traced and repeated."""

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
    """Return the versions of Python and of installed packages."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # Snakemake has its own environment
            versions[name] = version(name)
    return versions


@dataclass
class About:
    """The facts about a run that are known when its job starts.

    Attributes
    ----------
    spec : the run's specification.
    code : digest of the code that the result depends on.
    inputs : sha256 of the input files, by role.
    threads : CPU threads of the job, on which the last bits of the result depend.
    card : the card that the run is meant for; "" for a CPU.
    started : start of the job that finishes the run; ``.state/events`` lists earlier jobs.
    """

    spec: dict[str, Any]
    code: str
    inputs: dict[str, str | None]
    threads: int
    card: str
    started: datetime.datetime = field(default_factory=_now)

    @property
    def identity(self) -> dict[str, Any]:
        """Specification, code and inputs, see :class:`histobench.core.state.State`."""
        return {"specification": self.spec, "code": self.code, "inputs": self.inputs}

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write ``run.json``, with the facts that training has added."""
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
