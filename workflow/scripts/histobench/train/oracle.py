"""KerasTuner's oracles, made to survive: what they decide is on disk, whole, before anybody acts on it.

KerasTuner 1.4 writes its JSON files in place, runs a finished trial again where it was killed between two of them, and
waits for ever for a worker that has gone. None of that is so here.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner as kt

from histobench.core import searches
from histobench.core.files import write_text

COMPLETED, FAILED, STOPPED = "COMPLETED", "FAILED", "STOPPED"


class _Surviving(kt.Oracle):
    """What both oracles add to KerasTuner's.

    Attributes
    ----------
    alive : says of a worker, by its name, whether it is at work.
    event : adds a line to the search's ``events``.
    check : raises an error if another job has become the chief meanwhile.
    over : the search has ended: whoever asks for a trial is sent home.
    """

    alive: Callable[[str], bool]
    event: Callable[[str], None]
    check: Callable[[], None]
    over = False

    def save(self) -> None:
        """Write what was decided, whole."""
        self.check()
        write_text(Path(self._get_oracle_fname()), json.dumps(self.get_state()))

    def _save_trial(self, trial: Any) -> None:
        write_text(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Go on with what an earlier chief has decided."""
        path = Path(self._get_oracle_fname())
        if not path.exists():  # killed before the first trial was given out
            return
        ongoing = json.loads(path.read_text(encoding="utf-8"))["ongoing_trials"]
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):  # written, but never given out
            del self.trials[trial_id]
            shutil.rmtree(self._get_trial_dir(trial_id))
        for worker, trial_id in ongoing.items():
            trial = self.trials[trial_id]
            if trial.status in (COMPLETED, FAILED):  # killed before the oracle's own file said so
                self._retry_queue.remove(trial_id)
                self.end_order.append(trial_id)
            elif self.alive(worker):
                self._retry_queue.remove(trial_id)
                self.ongoing_trials[worker] = trial
            else:
                self._tell(worker, trial_id)

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial for a worker; one that was given to a worker that has gone comes first."""
        if self.over:
            return kt.engine.trial.Trial(self.get_space(), status=STOPPED)
        for worker in [name for name in self.ongoing_trials if name != tuner_id]:
            if not self.alive(worker):
                trial = self.ongoing_trials.pop(worker)
                self.tuner_ids.discard(worker)
                self._retry_queue.append(trial.trial_id)
                self._tell(worker, trial.trial_id)
        return super().create_trial(tuner_id)

    def _tell(self, worker: str, trial_id: str) -> None:
        self.event(f"{worker} is gone: trial {trial_id} is for the next that asks")

    @kt.synchronized
    def end_trial(self, trial: Any) -> None:
        """Take what a worker has found, once: its answer may have got lost, and another may have been as good."""
        if trial.trial_id in self.end_order:
            return
        super().end_trial(trial)
        if trial.trial_id in self._retry_queue and self.trials[trial.trial_id].status == COMPLETED:
            self._retry_queue.remove(trial.trial_id)


class HyperbandOracle(_Surviving, kt.oracles.HyperbandOracle):
    """Hyperband.

    Its trials do not depend on how many workers there are, or on how fast they are: a trial is promoted before others
    of its round have ended only when it will be one of the best whatever they give.
    """


class RandomSearchOracle(_Surviving, kt.oracles.RandomSearchOracle):
    """Random search, of configurations that are all trained for the same number of epochs.

    Parameters
    ----------
    max_epochs : that number.
    """

    def __init__(self, *, max_epochs: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.max_epochs = max_epochs


def build(search: Mapping[str, Any], folder: Path) -> HyperbandOracle | RandomSearchOracle:
    """Return the oracle of a search, as it starts.

    Parameters
    ----------
    search : `recipes.<name>.search` of the configuration.
    folder : where KerasTuner keeps the search.
    """
    common = {
        "objective": kt.Objective(search["objective"], "max"),
        "hyperparameters": space(search["space"]),
        "tune_new_entries": False,
        "allow_new_entries": False,
        "seed": search["seed"],
    }
    oracle: HyperbandOracle | RandomSearchOracle
    if search["method"] == "hyperband":
        oracle = HyperbandOracle(
            max_epochs=search["max_epochs"],
            factor=search["factor"],
            hyperband_iterations=search["iterations"],
            **common,
        )
    else:
        oracle = RandomSearchOracle(max_epochs=search["max_epochs"], max_trials=searches.budget(search)[0], **common)
    oracle.verbose = 0
    oracle._set_project_dir(folder.parent, folder.name)
    return oracle


def space(words: Mapping[str, Mapping[str, Any]]) -> kt.HyperParameters:
    """Return a search space as KerasTuner describes it.

    Parameters
    ----------
    words : `search.space` of a recipe: by name either `values`, or `min` and `max`, with `step` and `sampling`.
    """
    found = kt.HyperParameters()
    for name, entry in words.items():
        if "values" in entry:
            found.Choice(name, list(entry["values"]))
            continue
        whole = isinstance(entry["min"], int) and isinstance(entry["max"], int)
        kind = found.Int if whole else found.Float
        kind(name, entry["min"], entry["max"], step=entry.get("step"), sampling=entry.get("sampling", "linear"))
    return found
