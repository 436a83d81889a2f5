"""Searches for hyperparameters, here or in processes that are killed, and what they leave."""

import json
import random
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from histobench.core.runs import read_rows
from histobench.tuning import search_files
from support import jobs, processes
from support.small import search_specification

# What a trial depends on, and what came of it: neither its number, nor who ran it and how long that took.
SAME = ("learning_rate", "batch_size", "first_epoch", "last_epoch", "status", "score")
# A shorter search than the author's, of 8 trials and 17 epochs.
SHORT = {"max_epochs": 3, "factor": 2}


class Parts(NamedTuple):
    """What a search reads: a data set, and the features of a backbone on it."""

    data: Path
    features: Path


def _arguments(parts: Parts, **search) -> dict:
    return {"spec": search_specification("tiny", **(SHORT | search)), "features": str(parts.features)}


def start_search(parts: Parts, folder: Path, *, worker=1, workers=1, **search) -> subprocess.Popen:
    return processes.job("tune", parts.data, folder, **_arguments(parts, **search), worker=worker, workers=workers)


def search_here(parts: Parts, folder: Path, **search) -> None:
    """Search in this process."""
    jobs.run("tune", parts.data, folder, **_arguments(parts, **search))


def trials(folder: Path) -> list[dict[str, str]]:
    return read_rows(folder / search_files.TRIALS)


def tried(folder: Path) -> list[tuple[str, ...]]:
    return sorted(tuple(row[name] for name in SAME) for row in trials(folder))


def repeated(folder: Path) -> int:
    return sum(int(row["tries"]) - 1 for row in trials(folder))


def ended(folder: Path) -> int:
    """Return how many trials have ended so far."""
    begun = [json.loads(path.read_text()) for path in (folder / ".state" / "search").glob("trial_*/trial.json")]
    return sum(trial["status"] == "COMPLETED" for trial in begun)


def wait_for_trials(process: subprocess.Popen, folder: Path, number: int) -> None:
    """Wait until so many trials have ended."""
    processes.wait_until(lambda: ended(folder) >= number, process, seconds=900, pause=0.05)


def kill(process: subprocess.Popen, folder: Path, *, after: int, rng: random.Random) -> None:
    """Kill a search that has ended so many trials, within a second."""
    wait_for_trials(process, folder, after)
    time.sleep(rng.uniform(0, 1))
    processes.kill(process)
