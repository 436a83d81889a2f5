"""KerasTuner's oracles, extended to survive kills: every decision is saved on disk before anybody acts on it.

KerasTuner 1.4 writes its JSON files in place, repeats a finished trial if it is killed between two of them, and waits
forever for a worker that is gone.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner as kt

from histobench.core.files import read_sealed, write_sealed
from histobench.tuning import search_files
from histobench.tuning.search_settings import budget

COMPLETED, FAILED, STOPPED = "COMPLETED", "FAILED", "STOPPED"
# Score of a trial that diverged, which to KerasTuner is a completed one: the least that an accuracy or AUC can be.
WORST = 0.0


class _Surviving(kt.Oracle):
    """What both oracles add to those of KerasTuner.

    Attributes
    ----------
    alive : returns whether the worker of a name is at work.
    event : adds a line to the ``events`` of the search.
    check : raises an error if another job has become the chief.
    over : whether the search has ended, so that workers that ask for a trial are told to stop.
    """

    alive: Callable[[str], bool]
    event: Callable[[str], None]
    check: Callable[[], None]
    over = False

    def save(self) -> None:
        """Write the state of the search atomically."""
        self.check()
        write_sealed(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Any) -> None:
        write_sealed(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Continue from the state that an earlier chief has saved, if there is one.

        Raises
        ------
        HistobenchError
            if it is damaged.
        """
        path = Path(self._get_oracle_fname())
        if not path.exists():  # killed before the first trial was given out
            return
        saved = read_sealed(path)
        ongoing = saved["ongoing_trials"]
        begun = {Path(self._get_trial_dir(trial_id)) for trial_id in saved["start_order"]}
        for folder in begun | {file.parent for file in path.parent.glob("trial_*/trial.json")}:
            if read_sealed(folder / "trial.json")["status"] == COMPLETED:
                search_files.read_trial(folder)
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):  # written, but never given out
            del self.trials[trial_id]
            shutil.rmtree(self._get_trial_dir(trial_id))
        for worker, trial_id in ongoing.items():
            trial = self.trials[trial_id]
            if trial.status in (COMPLETED, FAILED):  # killed before the state of the search was saved
                self._retry_queue.remove(trial_id)
                self.end_order.append(trial_id)
            elif self.alive(worker):
                self._retry_queue.remove(trial_id)
                self.ongoing_trials[worker] = trial
            else:
                self._report_gone(worker, trial_id)

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial for a worker, first of all one that was given to a worker that is gone."""
        if self.over:
            return kt.engine.trial.Trial(self.get_space(), status=STOPPED)
        for worker in [name for name in self.ongoing_trials if name != tuner_id]:
            if not self.alive(worker):
                trial = self.ongoing_trials.pop(worker)
                self.tuner_ids.discard(worker)
                self._retry_queue.append(trial.trial_id)
                self._report_gone(worker, trial.trial_id)
        return super().create_trial(tuner_id)

    def _report_gone(self, worker: str, trial_id: str) -> None:
        self.event(f"{worker} is gone: trial {trial_id} goes to the next worker that asks")

    @kt.synchronized
    def end_trial(self, trial: Any) -> None:
        """Take the result of a trial once.

        A worker repeats its call if the answer was lost. Two workers may also end the same trial, if one of them was
        wrongly taken for dead.
        """
        if trial.trial_id in self.end_order:
            return
        super().end_trial(trial)
        if trial.trial_id in self._retry_queue and self.trials[trial.trial_id].status == COMPLETED:
            self._retry_queue.remove(trial.trial_id)


class HyperbandOracle(_Surviving, kt.oracles.HyperbandOracle):
    """Hyperband.

    The trials depend neither on the number nor on the speed of the workers: before all trials of a round have ended,
    one is promoted only if it will be among the best whatever the others give.
    """


class RandomSearchOracle(_Surviving, kt.oracles.RandomSearchOracle):
    """Random search among configurations that are all trained for the same number of epochs, `max_epochs`."""

    def __init__(self, *, max_epochs: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.max_epochs = max_epochs


def build(search: Mapping[str, Any], folder: Path) -> HyperbandOracle | RandomSearchOracle:
    """Return the oracle of the `search` of a recipe without any trial; `folder` is KerasTuner's."""
    common = {
        "objective": kt.Objective(search["objective"], "max"),
        "hyperparameters": hyperparameters(search["space"]),
        "tune_new_entries": False,
        "allow_new_entries": False,
        "seed": search["seed"],
        "max_epochs": search["max_epochs"],
    }
    oracle: HyperbandOracle | RandomSearchOracle
    if search["method"] == "hyperband":
        oracle = HyperbandOracle(factor=search["factor"], hyperband_iterations=search["iterations"], **common)
    else:
        oracle = RandomSearchOracle(max_trials=budget(search)[0], **common)
    oracle.verbose = 0
    oracle._set_project_dir(folder.parent, folder.name)
    return oracle


def hyperparameters(space: Mapping[str, Mapping[str, Any]]) -> kt.HyperParameters:
    """Return the `search.space` of a recipe as KerasTuner describes it."""
    result = kt.HyperParameters()
    for name, entry in space.items():
        if "values" in entry:
            result.Choice(name, list(entry["values"]))
            continue
        whole = isinstance(entry["min"], int) and isinstance(entry["max"], int)
        kind = result.Int if whole else result.Float
        kind(name, entry["min"], entry["max"], step=entry.get("step"), sampling=entry.get("sampling", "linear"))
    return result
