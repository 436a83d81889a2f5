"""Training of a trial: a model with the values of the trial, trained for some epochs."""

import logging
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from histobench.core import recipes
from histobench.core.errors import HistobenchError, for_user
from histobench.core.features import Features
from histobench.core.prepared import Records
from histobench.train import fit, initial_model, models
from histobench.train.hardware import Machine
from histobench.tuning import search_files, tuned_recipe
from histobench.tuning.oracle import COMPLETED, WORST

log = logging.getLogger(__name__)

# File in the folder of a trial: a line with the worker's name each time that the trial is begun.
TRIES = "tries"


class FatalHistobenchError(HistobenchError, kt.errors.FatalError):
    """An error for users, such as a damaged file: it ends the search, since every trial would meet it."""


class HyperModel(kt.HyperModel):
    """Builds and trains the model of a trial, by the recipe with the values of the trial.

    Parameters
    ----------
    spec : see :meth:`histobench.core.study.Study.search_specification`.
    train, valid : patches, or their features. There is no test part here, so no search sees one.
    weights : of the backbone, see :func:`histobench.train.models.backbone`.
    machine : what the device of the job can take.

    Attributes
    ----------
    epochs : history and timing of the last trial, a row per epoch; None for what is no number.
    diverged : whether a loss or metric of the last trial was no number.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        train: Records | Features,
        valid: Records | Features,
        weights: Path | None,
        machine: Machine,
    ) -> None:
        super().__init__()
        self._spec, self._train, self._valid, self._weights, self._machine = spec, train, valid, weights, machine
        self.epochs: list[dict[str, Any]] = []
        self.diverged = False

    def build(self, hp: kt.HyperParameters) -> keras.Model:
        """Return the model, not compiled."""
        # The policy is set for each model, since KerasTuner clears Keras's session before.
        with models.policy(recipes.precision(self._spec["recipe"])):
            return initial_model.build(self._with(hp), self._train, self._weights)[0]

    def fit(
        self,
        hp: kt.HyperParameters,
        model: keras.Model,
        *,
        callbacks: list[keras.callbacks.Callback],
        epochs: int,
        initial_epoch: int = 0,
    ) -> dict[str, float]:
        """Train from `initial_epoch`, counted from 0, to `epochs`, and return the best value of the objective.

        A trial that diverges ends there, with the worst value: its weights are of no use. The optimizer is reset at
        `initial_epoch`, since KerasTuner only restores weights, those of the best epoch.
        """
        spec = self._with(hp)
        spec["recipe"]["epochs"] = epochs
        called = keras.callbacks.CallbackList(callbacks, model=model)
        self.epochs, self.diverged = [], False
        with models.policy(recipes.precision(spec["recipe"])):
            trainer = fit.Trainer(model, self._train, self._valid, spec, self._machine)
            trainer.compile(initial_epoch)
            try:
                for row, timing in fit.epochs(trainer, before=[{}] * initial_epoch):
                    numbers = {name: value if math.isfinite(value) else None for name, value in row.items()}
                    self.epochs.append(numbers | timing)
                    self.diverged = None in numbers.values()
                    if self.diverged:
                        break
                    called.on_epoch_end(int(row["epoch"]) - 1, row)
            except Exception as error:
                if for_user(error) or not _is_of_numbers(error, model):
                    raise
                log.warning("an error that tells of values that are no numbers: %s", error)
                self.diverged = True
        objective = self._spec["recipe"]["search"]["objective"]
        return {objective: WORST if self.diverged else max(row[objective] for row in self.epochs)}

    def _with(self, hp: kt.HyperParameters) -> dict[str, Any]:
        return self._spec | {"recipe": tuned_recipe.with_values(self._spec["recipe"], hp.values)}


def _is_of_numbers(error: Exception, model: keras.Model) -> bool:
    """Return whether training has raised an error because values had become infinite or NaN."""
    return (
        isinstance(error, FloatingPointError | OverflowError)
        or re.search(r"\b(nan|inf|not finite)\b", str(error), re.IGNORECASE) is not None
        or not all(np.isfinite(weights).all() for weights in model.get_weights())
    )


class Tuner(kt.Hyperband):
    """KerasTuner's tuner for Hyperband, which also does random search if its oracle is one for random search.

    Parameters
    ----------
    oracle : an oracle of this search, see :func:`histobench.tuning.oracle.build`. Trials come from `client` instead.
    client : of the chief.
    model : builds and trains the models.
    folder : KerasTuner's folder of the search.
    worker : name of this worker.
    event : adds a line to the ``events`` of the search.
    check : raises an error if the job is to end; called after each trial, before the chief gets the result.
    """

    def __init__(
        self,
        oracle: kt.Oracle,
        client: Any,
        model: HyperModel,
        folder: Path,
        worker: str,
        event: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        # Not that of Hyperband, which would make an oracle of its own.
        kt.Tuner.__init__(
            self, oracle=oracle, hypermodel=model, directory=folder.parent, project_name=folder.name, tuner_id=worker
        )
        self.oracle = client
        self._event, self._check = event, check

    def _populate_initial_space(self) -> None:
        """Build no model to find out the search space, which the configuration gives."""

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Train, and save metrics and seconds of each epoch.

        A trial that was to go on where another one diverged has diverged, too.
        """
        start, model = time.perf_counter(), self.hypermodel
        try:
            before = trial.hyperparameters.values.get("tuner/trial_id")
            if before and search_files.read_trial(Path(self.get_trial_dir(before)))["diverged"]:
                model.epochs, model.diverged = [], True
                result = {self.oracle.objective.name: WORST}
            else:
                result = super().run_trial(trial, *args, **kwargs)
        except Exception as error:
            if known := for_user(error):
                raise FatalHistobenchError(str(known)) from error
            raise
        if model.diverged:
            self._event(f"trial {trial.trial_id} has diverged: its loss is no number, and its score {WORST:g}")
        record = {
            "worker": self.tuner_id,
            "seconds": time.perf_counter() - start,
            "epochs": model.epochs,
            "diverged": model.diverged,
        }
        search_files.write_trial(Path(self.get_trial_dir(trial.trial_id)), record)
        return result

    def on_trial_begin(self, trial: Any) -> None:
        """Log the values of the trial."""
        values = tuned_recipe.rounded(trial.hyperparameters.values)
        listed = ", ".join(f"{name} {value}" for name, value in values.items())
        self._event(f"{self.tuner_id} begins trial {trial.trial_id}: {listed}")
        with (Path(self.get_trial_dir(trial.trial_id)) / TRIES).open("a", encoding="utf-8") as file:
            file.write(f"{self.tuner_id}\n")

    def on_trial_end(self, trial: Any) -> None:
        """Send the result to the chief."""
        self._check()
        if trial.status != COMPLETED:
            log.error("trial %s failed: %s", trial.trial_id, trial.message)
        self.oracle.end_trial(trial)
