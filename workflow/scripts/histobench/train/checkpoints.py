"""The state of a run after each of its epochs, in steps of :class:`histobench.core.state.State`.

``epoch-0007/`` stands for seven finished epochs: ``model.npz`` (every variable of model and optimizer),
``best.weights.h5`` and ``progress.json``.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from histobench.core.files import write_text
from histobench.core.state import State

PREFIX = "epoch-"
# The one before the last is what a damaged last one falls back to.
KEPT = 2
MODEL, BEST, PROGRESS = "model.npz", "best.weights.h5", "progress.json"


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    epoch : finished epochs.
    history, timing : a row per finished epoch, see :func:`histobench.train.fit.fit`.
    best_epoch : the best so far, from 1; 0 before the first.
    best : its value of the metric that the recipe picks by.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None


def load(state: State, model: keras.Model, compile_for: Callable[[int], None]) -> Progress:
    """Restore a model, its optimizer included, to the last finished epoch and return the progress.

    A damaged epoch is kept under another name and the one before it taken; without any the model stays as it was built.

    Parameters
    ----------
    state : of the run.
    model : built, not yet compiled.
    compile_for : compiles the model as it is trained in an epoch, counted from 0: the variables of its optimizer may
        change from one to another.
    """
    for path in reversed(state.steps(PREFIX)):
        if state.whole(path, "falling back to the one before"):
            progress = Progress(**json.loads((path / PROGRESS).read_text(encoding="utf-8")))
            compile_for(progress.epoch - 1)
            with np.load(path / MODEL) as values:
                for variable, name in zip(_variables(model), values.files, strict=True):
                    variable.assign(values[name])
            state.event(f"going on after epoch {progress.epoch}")
            return progress
    state.event("starting at epoch 1")
    return Progress()


def save(state: State, model: keras.Model, progress: Progress) -> None:
    """Save the state after an epoch; when this returns, a killed job loses nothing of it."""
    with state.step(f"{PREFIX}{progress.epoch:04d}") as folder:
        with (folder / MODEL).open("wb") as file:
            np.savez(file, *map(np.asarray, _variables(model)))
        if progress.best_epoch == progress.epoch:
            model.save_weights(folder / BEST)
        else:
            os.link(best_weights(state), folder / BEST)
        # A loss that is no number must not stop the run, so not `write_json`.
        write_text(folder / PROGRESS, json.dumps(asdict(progress)))
    for old in state.steps(PREFIX)[:-KEPT]:
        shutil.rmtree(old)


def best_weights(state: State) -> Path:
    """Return the weights of the best epoch so far."""
    return state.steps(PREFIX)[-1] / BEST


def _variables(model: keras.Model) -> "list[keras.Variable]":  # quoted: Keras 2 has no such class
    optimizer = model.optimizer
    if not getattr(optimizer, "built", False):  # else Keras 3 would start the scale of the loss anew
        optimizer.build(model.trainable_variables)
    # Not always among the optimizer's variables: in Keras 2 the scale of the loss, of float16, and in both Kerases what
    # Nadam multiplies from step to step.
    scale = getattr(getattr(optimizer, "_loss_scale", None), "_weights", {})
    product = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_u_product", None)
    return [*model.variables, *optimizer.variables, *scale.values(), *([] if product is None else [product])]
