"""Jobs that train, extract and search: called in the tests' process, or as processes of their own that can be killed.

As a process: ``python -m support.jobs train|extract|tune DATA FOLDER JSON``, or several one after another,
``python -m support.jobs several JSON``. Each has one thread, so that processes side by side take no core from one
another and give the same bytes. Keras's backend is that of TEST_BACKEND.
"""

import contextlib
import functools
import gc
import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from histobench.core.job import COLLECT_AFTER, Task, pin

THREADS = 1

if __name__ == "__main__":
    gc.set_threshold(COLLECT_AFTER)
    pin(THREADS, card="", backend=os.environ.get("TEST_BACKEND", "tensorflow"))


def train(
    data: Path,
    folder: Path,
    spec: dict,
    features: Path | str | None = None,
    weights: Path | None = None,
    code: str = "c",
) -> None:
    """Train, and score the patches."""
    from histobench.train import predict, run

    task = Task(spec, data, Path(features) if features else None, weights, code=code, threads=THREADS)
    run.train(task, folder)
    predict.predict(replace(task, weights=folder / "best.weights.h5"), folder / "predictions.csv")


def extract(
    data: Path, folder: Path, spec: dict, chunk: int = 2048, weights: Path | str | None = None, code: str = "c"
) -> None:
    from histobench.train import extract

    task = Task(spec, data, weights=Path(weights) if weights else None, code=code, threads=THREADS)
    extract.extract(task, folder, chunk)


def tune(
    data: Path,
    folder: Path,
    spec: dict,
    features: str | None = None,
    code: str = "c",
    worker: int = 1,
    workers: int = 1,
) -> None:
    from histobench.tuning.worker import run

    run(Task(spec, data, Path(features) if features else None, code=code, threads=THREADS), folder, worker, workers)


def optimizers(data: Path, folder: Path) -> None:
    from histobench.core import optimizers
    from histobench.core.files import write_json
    from support.optimizers import signatures

    write_json(folder / "optimizers.json", {"source": optimizers.classes(), "signatures": signatures()})


def run(name: str, data: Path, folder: Path, stop: tuple[str, str] | None = None, **arguments: Any) -> None:
    """Do one job in this process, as in a fresh one; with `stop`, it must be stopped there: see `support.stops`."""
    import keras

    from support import stops, tiny

    tiny.install()
    keep_what_is_imported()
    keras.backend.clear_session()
    folder.mkdir(parents=True, exist_ok=True)
    job = {"train": train, "extract": extract, "tune": tune, "optimizers": optimizers}[name]
    with stops.stopped_at(*stop) if stop else contextlib.nullcontext():
        job(data, folder, **arguments)


@functools.cache
def keep_what_is_imported() -> None:
    """Keep it out of the garbage collections that Keras and KerasTuner ask for, which would take 0.25 s more each."""
    gc.collect()
    gc.freeze()


def several(jobs: list[dict[str, Any]]) -> None:
    """Do jobs one after another; what one of them prints when it fails goes to `log` in its folder."""
    for job in jobs:
        folder = Path(job.pop("folder"))
        try:
            run(job.pop("name"), Path(job.pop("data")), folder, **job)
        except Exception:
            (folder / "log").write_text(traceback.format_exc())


if __name__ == "__main__":
    if sys.argv[1] == "several":
        several(json.loads(sys.argv[2]))
    else:
        name, data, folder, arguments = sys.argv[1:]
        run(name, Path(data), Path(folder), **json.loads(arguments))
