"""A job of a search for hyperparameters: it trains trials until the search has ended.

One or several jobs, the workers, share a search; each may start and end at any time. They get their trials from the
chief, see :mod:`histobench.tuning.chief`, which is a thread in one of them.

``.state/search`` is KerasTuner's folder, which Snakemake does not know. When the search has ended, the chief writes the
outputs and deletes it, see :mod:`histobench.core.state`.
"""

import time
from functools import partial
from pathlib import Path

from histobench.core import optimizers
from histobench.core.features import open_splits
from histobench.core.job import Task
from histobench.core.lease import add_event, held
from histobench.core.state import OUTPUTS, State
from histobench.train import hardware, provenance
from histobench.tuning import oracle, search_files, tuner
from histobench.tuning.chief import POLL, STATE, Chief
from histobench.tuning.client import Client


def run(task: Task, folder: Path, worker: int, workers: int) -> None:
    """Take part in a search until it has ended; the first worker then publishes the outputs.

    Parameters
    ----------
    task : see :meth:`histobench.core.study.Study.search_specification` for its specification.
    folder : where the outputs go, see :mod:`histobench.tuning.search_files`; the same for all workers.
    worker : number of this worker, from 1. A second job with the same number waits until the first has ended.
    workers : number of workers.
    """
    spec, name = task.spec, search_files.worker_name(worker)
    with held(folder / search_files.worker_folder(name)) as lease:
        hardware.check(spec["run"]["device"], task.card)
        optimizers.check(spec["run"]["recipe"], spec["recipe"])
        about = provenance.About(task)
        chief = Chief(folder, about.identity, alone=workers == 1)
        chief.start()

        def check() -> None:
            lease.check()
            chief.check()

        try:
            search = spec["recipe"]["search"]
            train, valid = open_splits(task.data, task.features, "train", "valid")  # never "test"
            model = tuner.HyperModel(spec, train, valid, task.weights, hardware.machine(task.card))
            own_oracle = oracle.build(search, chief.project)
            client = Client(own_oracle, chief.find, check, name)
            event = partial(add_event, chief.folder)
            tuning = tuner.Tuner(own_oracle, client, model, chief.project, name, event, check)
            tuning.search(epochs=search["max_epochs"])
            while True:
                check()
                chief.finish(about)
                if (folder / STATE / OUTPUTS).exists():
                    break
                time.sleep(POLL)
        finally:
            chief.leave()
        if worker == 1:
            State(folder / STATE, about.identity).publish(folder)
