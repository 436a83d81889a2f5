"""Jobs that are really killed, while they compute and while they write."""

import random
import signal
import subprocess
import time
from pathlib import Path

from support.processes import epochs_done, finish, job, log
from support.small import features_specification, specification


def start_training(data: Path, folder: Path, epochs: int) -> subprocess.Popen:
    return job("train", data, folder, spec=specification("b6", epochs=epochs))


def kill_at(process: subprocess.Popen, folder: Path, moment: str, rng: random.Random) -> str:
    """Kill the process within an epoch or a save, once it has finished another epoch; return what its state held."""
    before = epochs_done(folder)
    while process.poll() is None and epochs_done(folder) == before:
        time.sleep(0.001)
    if moment == "save":
        while process.poll() is None and not list((folder / ".state").glob(".tmp-epoch-*/*")):
            time.sleep(0.0002)
    else:
        time.sleep(rng.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, f"it finished before it could be killed: {log(folder)[-3000:]}"
    return ", ".join(sorted(path.name for path in (folder / ".state").iterdir()))


def parts_done(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".state").glob("t*-*")} | {
        path.name for path in (folder / ".state").glob("valid-*")
    }


def kill_extraction(model: str, data: Path, folder: Path, kills: int, chunk: int) -> list[int]:
    """Kill an extraction so often, each time when it has finished a part more, within a part or a save."""
    rng, done = random.Random(kills), []
    arguments = {"spec": features_specification(model), "chunk": chunk}
    for _ in range(kills):
        process = job("extract", data, folder, **arguments)
        before = parts_done(folder)
        while process.poll() is None and parts_done(folder) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL, log(folder)[-3000:]
        done.append(len(parts_done(folder)))
    finish(job("extract", data, folder, **arguments), folder)
    return done
