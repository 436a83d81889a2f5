"""The files of a search: their names, and what came of a trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError
from histobench.core.files import digest, read_sealed, write_sealed, written_by

# Outputs: all trials, the specification and cost of the search, and the values of the best trial as keys of a recipe.
TRIALS = "trials.csv"
ABOUT = "search.json"
RECIPE = "recipe.yaml"
# KerasTuner's folder, in the `.state` of the search, and in its folder of each trial that has ended the name of the
# worker, the seconds, metrics and seconds of each epoch, and whether it diverged.
PROJECT, TRIAL = "search", "epochs.json"
# Status of a trial among all trials where its loss was no number, besides those of KerasTuner.
DIVERGED = "DIVERGED"


def write_trial(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what came of a trial, with digests of what the next round of it goes on from."""
    files = {path.name: digest(path) for path in sorted(folder.glob("checkpoint*")) + sorted(folder.glob("build*"))}
    write_sealed(folder / TRIAL, {**record, "sha256": files})


def read_trial(folder: Path) -> dict[str, Any]:
    """Read what came of a trial; refuse damage of it, or of what the next round of it goes on from."""
    record = read_sealed(folder / TRIAL)
    for name, expected in record["sha256"].items():
        with written_by("a trial"):
            found = digest(folder / name)
        if found != expected:
            raise HistobenchError(f"{folder / name}: expected the sha256 that {TRIAL} tells, {expected}, found {found}")
    return record


def worker_name(number: int) -> str:
    """Return the name of a worker, whose number starts at 1."""
    return f"worker-{number}"


def worker_folder(name: str) -> str:
    """Return the folder, within that of the search, on which a worker holds a lease while it works."""
    return f".{name}"
