"""Jobs that are really killed, while they compute and while they write."""

import random
import subprocess
import time
from pathlib import Path

from histobench.core.prepared import SPLITS
from support.processes import epochs_done, finish, job, kill, wait_until
from support.small import features_specification, specification


def start_training(data: Path, folder: Path, epochs: int) -> subprocess.Popen:
    return job("train", data, folder, spec=specification("b6", epochs=epochs))


def kill_at(process: subprocess.Popen, folder: Path, moment: str, rng: random.Random) -> str:
    """Kill the process within an epoch or a save, once it has finished another epoch; return what its state held."""
    before = epochs_done(folder)
    wait_until(lambda: epochs_done(folder) != before, process, pause=0.001)
    if moment == "save":
        wait_until(lambda: list((folder / ".state").glob(".tmp-epoch-*/*")), process, pause=0.0002)
    else:
        time.sleep(rng.uniform(0, 0.1))
    kill(process)
    return ", ".join(sorted(path.name for path in (folder / ".state").iterdir()))


def parts_done(folder: Path) -> set[str]:
    return {path.name for split in SPLITS for path in (folder / ".state").glob(f"{split}-*")}


def kill_extraction(model: str, data: Path, folder: Path, kills: int, chunk: int) -> list[int]:
    """Kill an extraction so many times, each time after another finished part; return how many it had finished then."""
    rng, done = random.Random(kills), []
    arguments = {"spec": features_specification(model), "chunk": chunk}
    for _ in range(kills):
        process = job("extract", data, folder, **arguments)
        before = parts_done(folder)
        wait_until(lambda before=before: parts_done(folder) != before, process, pause=0.001)
        time.sleep(rng.uniform(0, 0.02))
        kill(process)
        done.append(len(parts_done(folder)))
    finish(job("extract", data, folder, **arguments))
    return done
