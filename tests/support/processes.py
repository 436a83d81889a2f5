"""Jobs of :mod:`support.jobs` as processes, what their run folders hold, and whether two of these are equal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from histobench.core.runs import read_json
from support.project import ROOT

PYTHONPATH = os.pathsep.join(str(ROOT / place) for place in ("tests", "workflow/scripts"))
SAME_BYTES = ("history.csv", "predictions.csv")


def job(name: str, data: Path, folder: Path, *, python: Path = Path(sys.executable), **arguments) -> subprocess.Popen:
    """Start a job; what it prints goes to `log` in its folder."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("a") as log:
        return start([python, "-m", "support.jobs", name, str(data), str(folder), json.dumps(arguments)], log)


# By the test that runs now. What is left of them is ended after it, see tests/faults/conftest.py.
STARTED: list[subprocess.Popen] = []


def start(command: list[str | Path], log: IO[str]) -> subprocess.Popen:
    """Start a Python that finds the library and the tests' own modules."""
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": PYTHONPATH}, stdout=log, stderr=log)
    STARTED.append(process)
    return process


def log(folder: Path) -> str:
    return (folder / "log").read_text()


def finish(process: subprocess.Popen, folder: Path, seconds: float = 300) -> None:
    assert process.wait(timeout=seconds) == 0, log(folder)[-3000:]


def wait_until(condition: Callable[[], object], process: subprocess.Popen, pause: float = 0.001) -> None:
    """Wait until a condition holds, or a process has ended."""
    while process.poll() is None and not condition():
        time.sleep(pause)


def kill(process: subprocess.Popen, folder: Path) -> None:
    """Kill a job, which must still be at work."""
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"it ended before it could be killed: {log(folder)[-3000:]}"


def epochs_done(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".state").glob("epoch-*"))


def events(folder: Path) -> str:
    path = folder / ".state" / "events"
    return path.read_text() if path.exists() else ""


def weights(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    with h5py.File(folder / "best.weights.h5") as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def assert_equal_runs(one: Path, two: Path) -> None:
    for name in SAME_BYTES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    first, second = weights(one), weights(two)
    assert len(first) > 4
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert read_json(one / "run.json")["best_epoch"] == read_json(two / "run.json")["best_epoch"]


def assert_equal_features(one: Path, two: Path) -> None:
    for split in ("train", "valid", "test"):
        assert (one / f"{split}.npy").read_bytes() == (two / f"{split}.npy").read_bytes()
    assert read_json(one / "features.json")["sha256"] == read_json(two / "features.json")["sha256"]
    assert np.load(one / "train.npy").std() > 1e-3
