"""The record of a run in ``run.json``, by which its results can be traced and repeated."""

import contextlib
import datetime
import platform
import resource
import sys
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from histobench.core import features, prepared, runs, source_files
from histobench.core.files import digest, read_sealed, write_sealed, written_by
from histobench.core.job import Task

PACKAGES = ("tensorflow", "jax", "jaxlib", "keras", "numpy", "h5py", "snakemake")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _versions() -> dict[str, str]:
    """Return the versions of Python and of installed packages."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # Snakemake has its own environment
            versions[name] = version(name)
    return versions


def _peak_memory_mib() -> int:
    """Return the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))  # macOS counts bytes, others KiB


def _sha256_of_weights(path: Path) -> str:
    """Return the sha256 of a weights file, which is as it was downloaded, or as a run has written it."""
    if path.with_name(runs.ABOUT).exists():
        return str(runs.trained(path.parent)["weights_sha256"])
    return source_files.verified(path)


class About:
    """The facts about a run, a search or features that are known when its job starts.

    Attributes
    ----------
    task : of the job.
    started : start of the job that finishes the task; ``.state/events`` lists earlier jobs.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.started = task, _now()

    @cached_property
    def inputs(self) -> dict[str, str | None]:
        """The sha256 of the patches, see :mod:`histobench.train.records`, and of the other input files, by role."""
        task = self.task
        digests = {
            "patches": prepared.manifest(task.data)["patches_sha256"],
            "weights": _sha256_of_weights(task.weights) if task.weights else None,
        }
        if task.features:
            sha256 = read_sealed(task.features / features.ABOUT)["sha256"]
            digests |= {f"features_{part}": sha256[part] for part in sha256 if part != "test"}
        if task.tuned:
            with written_by("`tune`"):
                digests["recipe"] = digest(task.tuned)
        return digests

    @property
    def identity(self) -> dict[str, Any]:
        """Specification, code and inputs, see :class:`histobench.core.state.State`."""
        return {"specification": self.task.spec, "code": self.task.code, "inputs": self.inputs}

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write ``run.json``, with the facts that training has added."""
        from histobench.train import hardware  # which imports Keras; a job that restores its outputs needs none

        ended = _now()
        write_sealed(
            path,
            {
                "specification": self.task.spec,
                **facts,
                "code": self.task.code,
                "inputs_sha256": self.inputs,
                "versions": _versions(),
                "threads": self.task.threads,
                "requested": self.task.requested,
                "settings": hardware.settings(),
                "device": hardware.describe(self.task.card),
                "peak_device_memory_mib": hardware.peak_memory_mib(self.task.card),
                "started": self.started.isoformat(timespec="seconds"),
                "ended": ended.isoformat(timespec="seconds"),
                "seconds": round((ended - self.started).total_seconds(), 1),
                "peak_memory_mib": _peak_memory_mib(),
            },
        )
