"""The saved state of a run after each epoch, as steps of :class:`histobench.core.state.State`.

``epoch-0007/`` is the state after seven epochs: ``model.npz`` (all variables of model and optimizer),
``best.weights.h5`` and ``progress.json``.
"""

import errno
import json
import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from histobench.core.files import link, write_text
from histobench.core.runs import read_json
from histobench.core.state import State

PREFIX = "epoch-"
# The second one is used if the last one is damaged.
KEPT = 2
# Bytes that a weights file may have beside its arrays; the largest models of keras.applications have 2.7 million.
HDF5_OVERHEAD = 4 << 20
MODEL, BEST, PROGRESS = "model.npz", "best.weights.h5", "progress.json"


@dataclass
class Progress:
    """The progress of a run.

    Attributes
    ----------
    epoch : number of finished epochs.
    history, timing : a row per finished epoch, see :func:`histobench.train.fit.fit`.
    best_epoch : the best epoch so far, from 1; 0 before the first.
    best : its value of the recipe's `best_epoch` metric.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None


class Trained(Protocol):
    """What is saved: see :class:`histobench.train.fit.Trainer`."""

    network: keras.Model
    optimizer: Any

    def compile(self, epoch: int) -> None:
        """Make the optimizer for an epoch, counted from 0."""

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network have the weights that are scored."""


def load(state: State, trainer: Trained) -> Progress:
    """Restore network and optimizer to the last finished epoch and return the progress.

    If the last epoch is damaged, the one before it is used. Without any, the network stays as it is: not yet compiled.
    The variables of the optimizer may differ between epochs.
    """
    for path in reversed(state.steps(PREFIX)):
        if state.whole(path, "falling back to the one before"):
            progress = Progress(**read_json(path / PROGRESS))
            trainer.compile(progress.epoch - 1)
            with np.load(path / MODEL) as values:
                for variable, name in zip(_variables(trainer), values.files, strict=True):
                    variable.assign(values[name])
            state.event(f"going on after epoch {progress.epoch}")
            return progress
    state.event("starting at epoch 1")
    return Progress()


def save(state: State, trainer: Trained, progress: Progress) -> None:
    """Save the state after an epoch; once this returns, the epoch survives a kill."""
    with state.step(f"{PREFIX}{progress.epoch:04d}") as folder:
        with (folder / MODEL).open("wb") as file:
            np.savez(file, *map(np.asarray, _variables(trainer)))
        if progress.best_epoch == progress.epoch:
            # HDF5 ends the process by a segmentation fault where the disk is full when it closes a file.
            if shutil.disk_usage(folder).free < (folder / MODEL).stat().st_size + HDF5_OVERHEAD:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / BEST))
            with trainer.averaged():
                trainer.network.save_weights(folder / BEST)
        else:
            link(best_weights(state), folder / BEST)
        # `write_json` would refuse a loss that is NaN, which must not stop the run.
        write_text(folder / PROGRESS, json.dumps(asdict(progress)))
    for old in state.steps(PREFIX)[:-KEPT]:
        shutil.rmtree(old)


def best_weights(state: State) -> Path:
    """Return the weights of the best epoch so far."""
    return state.steps(PREFIX)[-1] / BEST


def _variables(trainer: Trained) -> "list[keras.Variable]":  # quoted, since Keras 2 has no such class
    optimizer = trainer.optimizer
    # Not always among the optimizer's variables: the scale of the loss, in Keras 2 with mixed_float16, and the product
    # that Nadam keeps from step to step.
    scale = getattr(getattr(optimizer, "_loss_scale", None), "_weights", {})
    product = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_u_product", None)
    return [*trainer.network.variables, *optimizer.variables, *scale.values(), *([] if product is None else [product])]
