"""Jobs of :mod:`support.jobs` as processes, what their run folders hold, and whether two of these are equal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from histobench.core.runs import read_json
from support.project import ROOT

PYTHONPATH = os.pathsep.join(str(ROOT / place) for place in ("tests", "workflow/scripts"))


def job(
    name: str,
    data: Path,
    folder: Path,
    *,
    python: Path = Path(sys.executable),
    backend: str = "tensorflow",
    **arguments,
) -> subprocess.Popen:
    """Start a job; what it prints goes to `log` in its folder."""
    command = [python, "-m", "support.jobs", name, data, folder, json.dumps(arguments)]
    return start(command, folder / "log", backend=backend)


# By the test that runs now, and where it prints. What is left of them is ended after it, see tests/conftest.py.
STARTED: dict[subprocess.Popen, Path] = {}


def start(command: list[str | Path], output: Path, *, backend: str = "tensorflow", **options) -> subprocess.Popen:
    """Start a program, by default a Python that finds the library and the tests' own modules."""
    options = {"env": os.environ | {"PYTHONPATH": PYTHONPATH, "TEST_BACKEND": backend}} | options
    output.parent.mkdir(exist_ok=True)
    with output.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **options)
    STARTED[process] = output
    return process


def printed(process: subprocess.Popen) -> str:
    return STARTED[process].read_text()


def finish(process: subprocess.Popen, code: int = 0, seconds: float = 300) -> None:
    """Wait for the end of a process, which must be this one."""
    assert process.wait(timeout=seconds) == code, printed(process)[-3000:]


def wait_until(
    condition: Callable[[], object], *processes: subprocess.Popen, seconds: float = 60, pause: float = 0.005
) -> None:
    """Wait until a condition holds, while all these processes are at work."""
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, f"it ended before: {printed(process)[-3000:]}"
        assert time.monotonic() < end, f"{seconds} s have passed"
        time.sleep(pause)


def kill(process: subprocess.Popen) -> None:
    """Kill a process, which must still be at work."""
    process.send_signal(signal.SIGKILL)
    finish(process, -signal.SIGKILL)


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
    for name in ("history.csv", "predictions.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert len(weights(one)) >= 2
    np.testing.assert_equal(weights(one), weights(two))
    assert read_json(one / "run.json")["best_epoch"] == read_json(two / "run.json")["best_epoch"]


def assert_equal_features(one: Path, two: Path) -> None:
    for split in ("train", "valid", "test"):
        assert (one / f"{split}.npy").read_bytes() == (two / f"{split}.npy").read_bytes()
    assert read_json(one / "features.json")["sha256"] == read_json(two / "features.json")["sha256"]
    assert np.load(one / "train.npy").std() > 1e-3
