"""Studies on the cluster of the tests, as a user would start them: with profiles/slurm and a partition file."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from slurm import cluster
from support.processes import assert_equal_runs, epochs_done, events, start
from support.project import copy_project

# Looks so often that nobody waits, and no more jobs than the machine can take.
OPTIONS = (
    "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10", "--jobs", "4",
    "--configfile", "tests/configs/slurm.yaml",
)  # fmt: skip
RUN = "idc-simulated/b6/full/{recipe}/{device}/seed-1"


# Where the profiles are installed, in a project.
HOME = "home"


def installed_on_site(folder: Path) -> Path:
    """Return a clone as somebody has set it up for the cluster: profiles installed, partitions named, cards made up."""
    project = copy_project(folder)
    subprocess.run(
        ["make", "install-profile"], cwd=project, check=True, env=os.environ | {"XDG_CONFIG_HOME": str(project / HOME)}
    )
    shutil.copy(project / "tests" / "slurm" / "partitions.yaml", project / "profiles" / "slurm" / "partitions.yaml")
    with (project / "workflow" / "scripts" / "histobench" / "train" / "hardware.py").open("a") as file:
        file.write((project / "tests" / "slurm" / "cards.py").read_text())
    return project


class Snakemake:
    """Snakemake at work on a project, as a process."""

    def __init__(
        self, project: Path, *arguments: str, profile: str = "slurm", env: dict[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", "snakemake", "--profile", profile, *OPTIONS, *arguments]
        self.output = project / f"snakemake-{time.monotonic_ns()}.out"
        environ = cluster.environment() | {"XDG_CONFIG_HOME": str(project / HOME)} | (env or {})
        # `python` of the jobs is that of the tests.
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        self.process = start(command, self.output, cwd=project, env=environ)

    def wait(self, seconds: float = 900) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)

    def succeed(self) -> str:
        """Wait for its end, which must be a good one, and return what it printed."""
        code = self.wait()
        assert code == 0, f"snakemake ended with {code}:\n{self.text()[-8000:]}"
        return self.text()

    def text(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text()

    def submitted(self) -> list[str]:
        """Return the ids of the SLURM jobs that it has submitted so far, in their order."""
        return re.findall(r"has been submitted with SLURM jobid (\d+)", self.text())


def long_run(project: Path, study: str, device: str = "a100", recipe: str = "long") -> tuple[Path, list[str]]:
    """Return the folder of the run that takes long enough to be disturbed, and arguments that ask for its scores."""
    folder = Path("results", study, "runs", RUN.format(recipe=recipe, device=device))
    return project / folder, ["--config", f"study={study}", "--", str(folder / "predictions.csv")]


def disturbable(project: Path, study: str, epochs: int, *options: str) -> tuple[Path, Snakemake, str]:
    """Start the long run; return its folder, Snakemake and its SLURM job once it has finished so many epochs."""
    folder, arguments = long_run(project, study)
    snakemake = Snakemake(project, *options, *arguments)
    wait_for_epoch(folder, epochs)
    (job,) = trainings(snakemake.submitted())
    return folder, snakemake, job


def wait_until(condition: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{seconds} s have passed, still not: {what}"
        time.sleep(0.5)


def wait_for_epoch(folder: Path, number: int) -> None:
    """Wait until a run has finished an epoch, and is in the next."""
    wait_until(lambda: last_epoch(folder) >= number, f"epoch {number} of {folder}\n{events(folder)}")


def last_epoch(folder: Path) -> int:
    """Return how many epochs of a run are finished."""
    return max((int(name.removeprefix("epoch-")) for name in epochs_done(folder)), default=0)


def resumed_after(folder: Path) -> list[int]:
    """Return after which epochs a run was gone on with."""
    return list(map(int, re.findall(r": going on after epoch (\d+)", events(folder))))


def assert_lost_the_epoch_in_flight(folder: Path, finished: int, undisturbed: Path) -> None:
    """Compare a run that was disturbed once, after so many epochs at least, with one that was not."""
    (epoch,) = resumed_after(folder)
    assert epoch >= finished
    assert_equal_runs(folder, undisturbed)


def records(of: Iterable[str] | None = None) -> list[dict[str, str]]:
    """Return the controller's records of jobs, by default of all, with `rules` and `wildcards`, from the comment.

    Wildcards have hyphens between them where several rules are one job.
    """
    entries = []
    for job in sorted(cluster.jobs() if of is None else of, key=int):
        entry = cluster.record(job)
        comment = entry["Comment"].removeprefix("rule_")
        if group := re.fullmatch(r"(?:run|heads)-(\S+?)((?:_(?:train|predict|evaluate))+)", comment):
            wildcards, rules = group[1], group[2].strip("_").split("_")
        else:
            rule, _, wildcards = comment.partition("_wildcards_")
            rules = [rule]
        entries.append(entry | {"rules": set(rules), "wildcards": wildcards})
    return entries


def trainings(of: Iterable[str], device: str = "a100") -> list[str]:
    """Return which of these jobs train on a device, in the order of submission."""
    return [
        entry["JobId"]
        for entry in records(of)
        if "train" in entry["rules"] and re.search(rf"-{device}(-|$)", entry["wildcards"])
    ]


def signal_to_training(folder: Path, sent: signal.Signals, of: str = r"\d+") -> None:
    """Send a signal to the process that trains a run, of several the last, or that of a SLURM job."""
    (*_, pid) = re.findall(rf" pid (\d+) job {of}: (?:starting|going on)", events(folder))
    os.kill(int(pid), sent)


def running(job: str) -> bool:
    """Say whether a job runs."""
    return cluster.record(job)["JobState"] == "RUNNING"
