"""A trial of a search: a model trained for some epochs with some values, by KerasTuner's tuner."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from histobench.core import recipes, searches
from histobench.core.features import Features
from histobench.core.files import write_json
from histobench.core.prepared import Records
from histobench.train import fit, fresh, models
from histobench.train.oracle import COMPLETED

log = logging.getLogger(__name__)

# In the folder of a trial: a line whenever somebody begins it.
TRIES = "tries"


class Model(kt.HyperModel):
    """What is built and trained with the values of a trial; all else is as the recipe says.

    Parameters
    ----------
    spec : see :meth:`histobench.core.study.Study.search_specification`.
    train, valid : patches, or their features. There is no test part here, so no search sees one.
    weights : of the backbone, see :func:`histobench.train.models.backbone`.

    Attributes
    ----------
    epochs : history and timing of the last trial, a row per epoch.
    """

    def __init__(
        self, spec: dict[str, Any], train: Records | Features, valid: Records | Features, weights: Path | None
    ) -> None:
        super().__init__()
        self._spec, self._train, self._valid, self._weights = spec, train, valid, weights
        self.epochs: list[dict[str, Any]] = []

    def build(self, hp: kt.HyperParameters) -> keras.Model:
        """Return the model, not compiled."""
        # Each time: KerasTuner clears Keras's session before, and with it the policy.
        with models.policy(recipes.precision(self._spec["recipe"])):
            return fresh.model(self._with(hp), self._train, self._weights)[0]

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

        The optimizer starts anew at `initial_epoch`: KerasTuner hands on weights alone, those of the best epoch.
        """
        spec = self._with(hp)
        spec["recipe"]["epochs"] = epochs
        told = keras.callbacks.CallbackList(callbacks, model=model)
        self.epochs = []
        with models.policy(recipes.precision(spec["recipe"])):
            fit.compile_model(model, spec, initial_epoch)
            for row, timing in fit.epochs(model, self._train, self._valid, spec, initial_epoch):
                told.on_epoch_end(int(row["epoch"]) - 1, row)
                self.epochs.append(row | timing)
        objective = self._spec["recipe"]["search"]["objective"]
        numbers = [row[objective] for row in self.epochs if not math.isnan(row[objective])]
        return {objective: max(numbers, default=math.nan)}  # of which KerasTuner makes a failed trial

    def _with(self, hp: kt.HyperParameters) -> dict[str, Any]:
        return self._spec | {"recipe": searches.lay_over(self._spec["recipe"], hp.values)}


class Tuner(kt.Hyperband):
    """KerasTuner's tuner, for Hyperband and for random search: which of them it is decides the oracle.

    Parameters
    ----------
    oracle : see :func:`histobench.train.oracle.build`; it gives away no trial here, see `client`.
    client : of the chief, from whom trials come.
    model : what trials train.
    folder : where KerasTuner keeps the search.
    worker : our name.
    event : adds a line to the search's ``events``.
    check : called after each trial, before the chief is told: raises an error if the job is to end.
    """

    def __init__(
        self,
        oracle: kt.Oracle,
        client: Any,
        model: Model,
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
        """Build no model to find the space: it stands in the configuration."""

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Train, and keep what each epoch gave and cost."""
        start = time.perf_counter()
        result = super().run_trial(trial, *args, **kwargs)
        told = {"worker": self.tuner_id, "seconds": time.perf_counter() - start, "epochs": self.hypermodel.epochs}
        write_json(Path(self.get_trial_dir(trial.trial_id)) / searches.TRIAL, told)
        return result

    def on_trial_begin(self, trial: Any) -> None:
        """Say what is tried."""
        values = searches.rounded(trial.hyperparameters.values)
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        self._event(f"{self.tuner_id} begins trial {trial.trial_id}: {told}")
        with (Path(self.get_trial_dir(trial.trial_id)) / TRIES).open("a", encoding="utf-8") as file:
            file.write(f"{self.tuner_id}\n")

    def on_trial_end(self, trial: Any) -> None:
        """Tell the chief."""
        self._check()
        if trial.status != COMPLETED:
            log.error("trial %s failed: %s", trial.trial_id, trial.message)
        self.oracle.end_trial(trial)
