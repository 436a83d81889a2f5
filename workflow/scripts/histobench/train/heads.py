"""Training of a run where others may be trained in the same process.

A head on cached features takes seconds, and so does the import of Keras. So of the heads that one job of the scheduler
is to train, the first is trained by a process that goes on with the others. Each has its own folder, lease and state,
as ever: its own process then finds it finished, and needs no Keras.
"""

import logging
from pathlib import Path

from histobench.core.job import Task, heads_beside
from histobench.core.lease import held
from histobench.core.state import State
from histobench.train import provenance

log = logging.getLogger(__name__)


def train(task: Task, folder: Path) -> None:
    """Train a run into its folder, or restore it, and then train the heads beside it that nobody has trained yet."""
    if _restored(task, folder):
        return
    from histobench.train import run

    run.train(task, folder)
    for other, place in heads_beside(task, folder):
        try:
            if not _restored(other, place):
                import keras

                keras.backend.clear_session()
                log.info("in the same process: %s", place)
                run.train(other, place)
        except Exception as error:  # its own job says so
            log.warning("%s: left to its own job: %s", place, error)


def _restored(task: Task, folder: Path) -> bool:
    """Rebuild the outputs of a finished run from its state, if there is one."""
    if not (folder / ".state").is_dir():
        return False
    identity = provenance.About(task).identity
    with held(folder / ".state") as lease:
        state = State(folder / ".state", identity, lease)
        if not state.finished():
            return False
        state.publish(folder)
        return True
