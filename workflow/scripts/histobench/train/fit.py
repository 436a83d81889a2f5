"""Train a model by a recipe: epoch after epoch, training and validation timed apart, the best epoch kept."""

import logging
import math
import time
from functools import partial
from typing import Any

import keras
import numpy as np

from histobench.datasets.prepared import Records
from histobench.train.augmentation import augment
from histobench.train.batches import batches, order
from histobench.train.random_state import reseed
from histobench.train.state import Progress, State

log = logging.getLogger(__name__)

# Seconds between two lines of progress within an epoch.
PROGRESS_EVERY = 20.0


def compile_model(model: keras.Model, recipe: dict[str, Any]) -> None:
    """Compile a model with the recipe's optimizer, binary cross-entropy, accuracy and AUC."""
    optimizer = recipe["optimizer"]
    model.compile(
        optimizer=keras.optimizers.get(
            {"class_name": optimizer["name"], "config": {"learning_rate": optimizer["learning_rate"]}}
        ),
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
    )


class _ProgressLines(keras.callbacks.Callback):
    """A line in the log every `PROGRESS_EVERY` seconds."""

    def __init__(self, epoch: int, epochs: int, steps: int) -> None:
        super().__init__()
        self._text = f"epoch {epoch + 1}/{epochs}"
        self._steps, self._start, self._next = steps, time.monotonic(), PROGRESS_EVERY

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self._start
        if seconds >= self._next:
            left = seconds / (batch + 1) * (self._steps - batch - 1)
            loss = (logs or {}).get("loss", math.nan)
            log.info("%s, step %d/%d, loss %.4f, %.0f s left", self._text, batch + 1, self._steps, loss, left)
            self._next = seconds + PROGRESS_EVERY


def better(value: float, best: float | None, rule: str) -> bool:
    """Say whether an epoch beats the best so far; of equal ones the first stays.

    `rule` is the recipe's `best_epoch`: "val_accuracy", "val_auc", "val_loss" or "last". A value that is no number
    never beats one that is.
    """
    if rule == "last" or best is None:
        return True
    if math.isnan(value):
        return False
    if math.isnan(best):
        return True
    return value < best if rule == "val_loss" else value > best


def fit(model: keras.Model, train: Records, valid: Records, spec: dict[str, Any], state: State) -> Progress:
    """Train a compiled model, from where its state says to the recipe's last epoch.

    Parameters
    ----------
    model : compiled by :func:`compile_model`; afterwards it is as the last epoch left it.
    train, valid : records of the training and the validation part; the test part never comes here.
    spec : the run's specification, see :meth:`histobench.study.Study.specification`.
    state : where every epoch is saved, the best one's weights included.

    Returns
    -------
    progress : its `history` has a row per epoch: epoch (from 1), loss, accuracy, auc, and the same with `val_`; its
        `timing` has epoch, seconds of training and of validation, apart.
    """
    recipe, seed = spec["recipe"], spec["run"]["seed"]
    options = {
        "batch_size": recipe["batch_size"],
        "input_scaling": recipe["input_scaling"],
        "preprocessing": spec["model"]["preprocessing"],
    }
    validation = batches(valid, np.arange(len(valid)), **options)
    progress = state.load(model)
    for epoch in range(progress.epoch, recipe["epochs"]):
        reseed(model, seed, epoch)
        kinds = recipe.get("augmentation")
        changed = partial(augment, kinds=kinds, seed=seed, epoch=epoch) if kinds else None
        data = batches(train, order(len(train), seed, epoch), augment=changed, **options)
        lines = _ProgressLines(epoch, recipe["epochs"], math.ceil(len(train) / recipe["batch_size"]))
        start = time.perf_counter()
        fitted = model.fit(data, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[lines], shuffle=False)
        middle = time.perf_counter()
        validated = model.evaluate(validation, verbose=0, return_dict=True)
        end = time.perf_counter()
        row = {"epoch": epoch + 1, **{name: float(values[-1]) for name, values in fitted.history.items()}}
        row |= {f"val_{name}": float(value) for name, value in validated.items()}
        progress.epoch = epoch + 1
        progress.history.append(row)
        progress.timing.append(
            {"epoch": epoch + 1, "training_seconds": middle - start, "validation_seconds": end - middle}
        )
        value = row.get(recipe["best_epoch"], 0.0)
        if better(value, progress.best, recipe["best_epoch"]):
            progress.best_epoch, progress.best = epoch + 1, value
        state.save(model, progress)
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.4f, val_loss %.4f, val_accuracy %.4f, val_auc %.4f; "
            "%.1f s training, %.1f s validation%s",
            epoch + 1,
            recipe["epochs"],
            *(row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_auc")),
            middle - start,
            end - middle,
            "; the best so far" if progress.best_epoch == epoch + 1 else "",
        )
    return progress
