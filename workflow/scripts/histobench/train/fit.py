"""Training of a model, epoch by epoch, with separate times for training and validation."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core.decision import THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.core.features import Features
from histobench.core.modes import MODES
from histobench.core.prepared import Records
from histobench.core.recipes import lower_is_better
from histobench.core.state import State
from histobench.train import average_weights, checkpoints, nvml
from histobench.train.augmentation import Augmentation, draw
from histobench.train.batches import Batches, order, spans
from histobench.train.hardware import Machine
from histobench.train.inputs import join, nbytes
from histobench.train.keras_backend import compiled_by_xla
from histobench.train.model_size import multiply_adds
from histobench.train.models import unfreeze
from histobench.train.random_state import reseed
from histobench.train.schedules import History, LearningRate, stops

log = logging.getLogger(__name__)

# Seconds between two lines of progress within an epoch.
PROGRESS_EVERY = 20.0
# Columns of the history, named since their order differs between Keras 2 and 3.
MEASURES = ("accuracy", "auc", "loss")
# A block of steps without Python between them is no longer than this, so that progress shows.
MAX_BLOCK = 32


class Trainer:
    """A network, the layers in front of it, and the patches of its training and validation.

    Parameters
    ----------
    network : built by :mod:`histobench.train.models`; trained in place.
    train, valid : patches or features of the training and the validation part.
    spec : the run's specification, see :meth:`histobench.core.study.Study.specification`.
    machine : what the device of the job can take.

    Attributes
    ----------
    optimizer : of the epochs in progress; None before :meth:`compile`.
    resident : whether both parts lie on the device. Results do not depend on it.
    block : steps without Python between them. Results do not depend on it.
    """

    def __init__(
        self,
        network: keras.Model,
        train: Records | Features,
        valid: Records | Features,
        spec: dict[str, Any],
        machine: Machine,
    ) -> None:
        self.network, self.train, self.valid, self.spec = network, train, valid, spec
        self.kinds: list[str] = spec["recipe"].get("augmentation") or []
        self.resident = sum(map(nbytes, (train, valid))) <= machine.data_bytes
        step = 3 * multiply_adds(network) * spec["recipe"]["batch_size"]
        self.block = int(min(max(machine.block_multiply_adds // step, 1), MAX_BLOCK))
        augmentation = Augmentation(self.kinds, train.shape) if self.kinds else None
        self._trained = join(network, train, spec["input"], augmentation=augmentation, resident=self.resident)
        self._validated = join(network, valid, spec["input"], resident=self.resident)
        self._averages: average_weights.Averages | None = None
        self.optimizer: keras.optimizers.Optimizer | None = None

    def compile(self, epoch: int) -> None:
        """Compile for the training in an epoch, counted from 0.

        The loss is binary cross-entropy, in training with the recipe's label smoothing; the metrics are accuracy and
        AUC; optimizer and learning rate are those of the recipe. When fine-tuning goes on to the upper layers of the
        backbone it starts a new optimizer, and schedule, at the learning rate of `finetune`.
        """
        recipe = self.spec["recipe"]
        stage = next(stage for stage in _stages(self.spec) if epoch in stage)
        rate = recipe["optimizer"]["learning_rate"]
        if stage.start:
            unfreeze(self.network.layers[0], recipe["finetune"]["upper_layers"])
            rate = recipe["finetune"]["learning_rate"]
        steps = len(spans(covered(self.train, self.valid, self.spec)["train"], recipe["batch_size"]))
        self._rate = LearningRate(rate, recipe.get("schedule"), stage, steps)
        # The model for validation never uses the optimizer that Keras gives it.
        for model, smoothing, arguments in (
            (self._trained, recipe.get("label_smoothing", 0.0), {"optimizer": _optimizer(self.spec, self._rate)}),
            (self._validated, 0.0, {}),
        ):
            model.compile(
                **arguments,
                loss=keras.losses.BinaryCrossentropy(label_smoothing=smoothing),
                metrics=[
                    keras.metrics.BinaryAccuracy(name="accuracy", threshold=THRESHOLD),
                    keras.metrics.AUC(name="auc"),
                ],
                steps_per_execution=self.block,
                # By default, Keras 3 would turn XLA on if there is a GPU, and Keras 2, the paper's, would not.
                jit_compile=compiled_by_xla(recipe),
            )
        self.optimizer = self._trained.optimizer
        # Before `fit`, inside whose graph ScheduleFreeAdamW of Keras 3.15 would start from weights of zero.
        self.optimizer.build(self._trained.trainable_variables)
        self._averages = average_weights.Averages(self._trained) if average_weights.arguments(recipe) else None

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network have its average weights for a while, where the recipe asks for an average."""
        return self._averages.in_place() if self._averages else nullcontext()

    def batches(self, epoch: int) -> Batches:
        """Return the batches of an epoch of training, counted from 0."""
        seed, recipe = self.spec["run"]["seed"], self.spec["recipe"]
        draws = draw(self.kinds, seed, epoch, len(self.train), self.train.shape)
        positions = order(len(self.train), seed, epoch)[: covered(self.train, self.valid, self.spec)["train"]]
        return Batches(
            self.train,
            positions,
            recipe["batch_size"],
            resident=self.resident,
            draws=draws,
            weights=self._sample_weights,
        )

    @cached_property
    def _sample_weights(self) -> npt.NDArray[np.float32] | None:
        """The weight of each training patch in the loss, None where all weigh the same."""
        return balanced(self.train.labels) if self.spec["recipe"].get("class_weights") == "balanced" else None

    def fit(self, history: History) -> dict[str, float]:
        """Train for the epoch that follows a history; return its `MEASURES`, and the learning rate of its last step."""
        epoch = len(history)
        reseed(self.network, self.spec["run"]["seed"], epoch)
        self._rate.before(self.optimizer, history)
        batches, epochs = self.batches(epoch), self.spec["recipe"]["epochs"]
        lines = _ProgressLines(epoch, epochs, len(batches))
        fitted = self._trained.fit(
            batches.for_keras(), initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[lines], shuffle=False
        )
        measures = {name: float(fitted.history[name][-1]) for name in MEASURES}
        return measures | {"learning_rate": self._rate.of_last_step(history)}

    @cached_property
    def _validation(self) -> Any:
        positions = np.arange(covered(self.train, self.valid, self.spec)["valid"])
        batch_size = self.spec["recipe"]["batch_size"]
        return Batches(self.valid, positions, batch_size, resident=self.resident).for_keras()

    def validate(self) -> dict[str, float]:
        """Return the `MEASURES` of the validation part, by the average weights where the recipe asks for these."""
        with self.averaged():
            measured = self._validated.evaluate(self._validation, verbose=0, return_dict=True)
        return {name: float(measured[name]) for name in MEASURES}


def _optimizer(spec: dict[str, Any], rate: LearningRate) -> "keras.optimizers.Optimizer":
    """Return the optimizer of a recipe, by its class: of a name and arguments Keras 2 makes one of its older kind."""
    arguments = (
        spec["recipe"]["optimizer"] | average_weights.arguments(spec["recipe"]) | {"learning_rate": rate.for_keras}
    )
    classes = {name.lower(): value for name, value in vars(keras.optimizers).items()}
    try:
        return classes[arguments.pop("name")](**arguments)
    except (TypeError, ValueError) as error:
        raise HistobenchError(
            f"recipes.{spec['run']['recipe']}.optimizer: Keras {keras.__version__} does not take {arguments}: {error}"
        ) from error


def balanced(labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a weight for each label, by which both classes weigh the same: n / (2 x patches of its class).

    As `class_weight="balanced"` of scikit-learn. Where there is one class alone, all weigh 1/2.
    """
    classes = labels.astype(int)
    counts = np.bincount(classes, minlength=2)
    weights: npt.NDArray[np.float32] = (len(classes) / (2 * np.maximum(counts, 1))).astype(np.float32)
    return np.asarray(weights[classes])


def covered(train: Records | Features, valid: Records | Features, spec: dict[str, Any]) -> dict[str, int]:
    """Return the number of patches of "train" and "valid" in an epoch, which the recipe's number of steps may limit."""
    recipe = spec["recipe"]
    steps = {"train": recipe.get("steps_per_epoch", math.inf), "valid": recipe.get("validation_steps", math.inf)}
    parts = {"train": train, "valid": valid}
    return {name: int(min(len(part), steps[name] * recipe["batch_size"])) for name, part in parts.items()}


def _stages(spec: dict[str, Any]) -> list[range]:
    """Return the stages of training by their epochs, counted from 0: two of fine-tuning, one of other modes."""
    mode, epochs = MODES[spec["run"]["mode"]], int(spec["recipe"]["epochs"])
    ends = [mode.frozen_epochs(spec["recipe"]), epochs] if mode.unfreezes else [epochs]
    starts = [0, *ends[:-1]]
    return [range(start, min(end, epochs)) for start, end in zip(starts, ends, strict=True) if start < epochs]


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
    return value < best if lower_is_better(rule) else value > best


def stopped(spec: dict[str, Any], history: History) -> bool:
    """Return whether the recipe's early stopping ends training after this history.

    Only the epochs of the last stage count.
    """
    return stops(spec["recipe"].get("early_stopping"), history[_stages(spec)[-1].start :])


def epochs(trainer: Trainer, *, before: History) -> Iterator[tuple[dict[str, float], dict[str, float | None]]]:
    """Train from the epoch that follows a history to the last one, and yield metrics and seconds of each epoch.

    They are rows of `history` and `timing`, see :func:`fit`. The trainer is compiled, unless there was no epoch before.
    Of the history a recipe without schedule and early stopping needs the length alone.
    """
    count, history = trainer.spec["recipe"]["epochs"], list(before)
    starts = [stage.start for stage in _stages(trainer.spec)]
    while len(history) < count and not stopped(trainer.spec, history):
        epoch = len(history)
        if epoch in starts:
            trainer.compile(epoch)
        joules = nvml.energy()
        start = time.perf_counter()
        fitted = trainer.fit(history)
        middle = time.perf_counter()
        validated = trainer.validate()
        end = time.perf_counter()
        joules_after = nvml.energy()
        row = {"epoch": epoch + 1} | fitted | {f"val_{name}": value for name, value in validated.items()}
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
            count,
            *(row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy", "val_auc")),
            middle - start,
            end - middle,
        )
        history.append(row)
        yield row, timing


def fit(trainer: Trainer, state: State) -> checkpoints.Progress:
    """Train from the last saved epoch to the recipe's last epoch, or until it stops early.

    Parameters
    ----------
    trainer : not compiled.
    state : each epoch is saved there, with the weights of the best epoch so far.

    Returns
    -------
    progress : its `history` has a row per epoch: epoch (from 1), loss, accuracy, auc, learning_rate (of its last step),
        and the first three with `val_`; its `timing` has epoch, training_seconds, validation_seconds, and
        energy_joules, the energy that the card used in both, None if it is not measured.
    """
    recipe = trainer.spec["recipe"]
    progress = checkpoints.load(state, trainer)
    for row, timing in epochs(trainer, before=progress.history):
        progress.epoch += 1
        progress.history.append(row)
        progress.timing.append(timing)
        value = row.get(recipe["best_epoch"], 0.0)
        if better(value, progress.best, recipe["best_epoch"]):
            progress.best_epoch, progress.best = progress.epoch, value
            log.info("epoch %d is the best so far", progress.epoch)
        checkpoints.save(state, trainer, progress)
    if progress.epoch < recipe["epochs"]:
        log.info("stopped early, after epoch %d of %d", progress.epoch, recipe["epochs"])
    return progress
