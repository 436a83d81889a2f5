"""Training of a model, epoch by epoch, with separate times for training and validation."""

import logging
import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from histobench.core.decision import THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.core.features import Features
from histobench.core.modes import MODES
from histobench.core.prepared import Records
from histobench.core.recipes import jit_compile
from histobench.core.state import State
from histobench.train import checkpoints, nvml
from histobench.train.augmentation import augment
from histobench.train.batches import batches, order
from histobench.train.models import unfreeze
from histobench.train.random_state import reseed

log = logging.getLogger(__name__)

# Seconds between two lines of progress within an epoch.
PROGRESS_EVERY = 20.0
# Columns of the history, named since their order differs between Keras 2 and 3.
MEASURES = ("accuracy", "auc", "loss")
# Steps of a head on cached features are so short that the time between them matters.
STEPS_ON_FEATURES = 32


def compile_model(model: keras.Model, spec: dict[str, Any], epoch: int) -> None:
    """Compile a model for the training in an epoch, counted from 0.

    The loss is binary cross-entropy, the metrics are accuracy and AUC; optimizer and learning rate are those of the
    recipe. When fine-tuning goes on to the upper layers of the backbone it starts a new optimizer, at the learning
    rate of `finetune`.
    """
    recipe = spec["recipe"]
    rate = recipe["optimizer"]["learning_rate"]
    if epoch >= _unfreezes_at(spec):
        unfreeze(model.layers[0], recipe["finetune"]["upper_layers"])
        rate = recipe["finetune"]["learning_rate"]
    model.compile(
        optimizer=_optimizer(spec, rate),
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=THRESHOLD), keras.metrics.AUC(name="auc")],
        steps_per_execution=STEPS_ON_FEATURES if spec["input"] is None else 1,
        # By default, Keras 3 would turn XLA on if there is a GPU, and Keras 2, the paper's, would not.
        jit_compile=jit_compile(recipe),
    )
    # Before `fit`, inside whose graph ScheduleFreeAdamW of Keras 3.15 would start from weights of zero.
    model.optimizer.build(model.trainable_variables)


def _optimizer(spec: dict[str, Any], rate: float) -> "keras.optimizers.Optimizer":
    """Return the optimizer of a recipe, by its class: of a name and arguments Keras 2 makes one of its older kind."""
    arguments = spec["recipe"]["optimizer"] | {"learning_rate": float(rate)}
    classes = {name.lower(): value for name, value in vars(keras.optimizers).items()}
    try:
        return classes[arguments.pop("name")](**arguments)
    except (TypeError, ValueError) as error:
        raise HistobenchError(
            f"recipes.{spec['run']['recipe']}.optimizer: Keras {keras.__version__} does not take {arguments}: {error}"
        ) from error


def covered(train: Records | Features, valid: Records | Features, spec: dict[str, Any]) -> dict[str, int]:
    """Return the number of patches of "train" and "valid" in an epoch, which the recipe's number of steps may limit."""
    recipe = spec["recipe"]
    steps = {"train": recipe.get("steps_per_epoch", math.inf), "valid": recipe.get("validation_steps", math.inf)}
    parts = {"train": train, "valid": valid}
    return {name: int(min(len(part), steps[name] * recipe["batch_size"])) for name, part in parts.items()}


def _unfreezes_at(spec: dict[str, Any]) -> float:
    """Return the epoch, counted from 0, from which fine-tuning trains upper layers as well; infinity in other modes."""
    mode = MODES[spec["run"]["mode"]]
    return mode.frozen_epochs(spec["recipe"]) if mode.unfreezes else math.inf


class _ProgressLines(keras.callbacks.Callback):
    """Log the progress every `PROGRESS_EVERY` seconds."""

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
    """Return whether an epoch is better than the best one so far; of equal epochs the first one is better.

    Parameters
    ----------
    value, best : the metric in this epoch and in the best one; None if there is none yet. NaN is worse than any number.
    rule : the recipe's `best_epoch`: "val_accuracy", "val_auc", "val_loss" or "last".
    """
    if rule == "last" or best is None:
        return True
    if math.isnan(value):
        return False
    if math.isnan(best):
        return True
    return value < best if rule == "val_loss" else value > best


def epochs(
    model: keras.Model, train: Records | Features, valid: Records | Features, spec: dict[str, Any], first: int
) -> Iterator[tuple[dict[str, float], dict[str, float | None]]]:
    """Train a model from an epoch, counted from 0, to the recipe's last, and yield metrics and seconds of each epoch.

    They are rows of `history` and `timing`, see :func:`fit`. The model is compiled, unless `first` is 0.
    """
    recipe, seed = spec["recipe"], spec["run"]["seed"]
    options = {"batch_size": recipe["batch_size"], "image": spec["input"]}
    covers = covered(train, valid, spec)
    validation = batches(valid, np.arange(covers["valid"]), **options)
    for epoch in range(first, recipe["epochs"]):
        if epoch in (0, _unfreezes_at(spec)):
            compile_model(model, spec, epoch)
        reseed(model, seed, epoch)
        kinds = recipe.get("augmentation")
        augmentation = partial(augment, kinds=kinds, seed=seed, epoch=epoch) if kinds else None
        data = batches(train, order(len(train), seed, epoch)[: covers["train"]], augment=augmentation, **options)
        lines = _ProgressLines(epoch, recipe["epochs"], int(data.cardinality()))
        joules = nvml.energy()
        start = time.perf_counter()
        fitted = model.fit(data, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[lines], shuffle=False)
        middle = time.perf_counter()
        validated = model.evaluate(validation, verbose=0, return_dict=True)
        end = time.perf_counter()
        joules_after = nvml.energy()
        row = {"epoch": epoch + 1} | {name: float(fitted.history[name][-1]) for name in MEASURES}
        row |= {f"val_{name}": float(validated[name]) for name in MEASURES}
        timing = {
            "epoch": epoch + 1,
            "training_seconds": middle - start,
            "validation_seconds": end - middle,
            "energy_joules": None if joules is None or joules_after is None else joules_after - joules,
        }
        log.info(
            "epoch %d/%d: loss %.4f, accuracy %.4f, val_loss %.4f, val_accuracy %.4f, val_auc %.4f; "
            "%.1f s training, %.1f s validation",
            epoch + 1,
            recipe["epochs"],
            *(row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_auc")),
            middle - start,
            end - middle,
        )
        yield row, timing


def fit(
    model: keras.Model, train: Records | Features, valid: Records | Features, spec: dict[str, Any], state: State
) -> checkpoints.Progress:
    """Train a model from its last saved epoch to the recipe's last epoch.

    Parameters
    ----------
    model : built by :mod:`histobench.train.models`; trained in place.
    train, valid : patches or features of the training and the validation part.
    spec : the run's specification, see :meth:`histobench.core.study.Study.specification`.
    state : each epoch is saved there, with the weights of the best epoch so far.

    Returns
    -------
    progress : its `history` has a row per epoch: epoch (from 1), loss, accuracy, auc, and the same with `val_`; its
        `timing` has epoch, training_seconds, validation_seconds, and energy_joules, the energy that the card used in
        both, None if it is not measured.
    """
    recipe = spec["recipe"]
    progress = checkpoints.load(state, model, partial(compile_model, model, spec))
    for row, timing in epochs(model, train, valid, spec, progress.epoch):
        progress.epoch += 1
        progress.history.append(row)
        progress.timing.append(timing)
        value = row.get(recipe["best_epoch"], 0.0)
        if better(value, progress.best, recipe["best_epoch"]):
            progress.best_epoch, progress.best = progress.epoch, value
            log.info("epoch %d is the best so far", progress.epoch)
        checkpoints.save(state, model, progress)
    return progress
