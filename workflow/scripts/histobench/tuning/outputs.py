"""The outputs of a search that has ended: all trials, the cost of the search, and the best trial as a recipe."""

import math
from pathlib import Path
from typing import Any

import yaml

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.state import State
from histobench.train import provenance
from histobench.tuning import search_files, tuned_recipe
from histobench.tuning.oracle import COMPLETED, WORST
from histobench.tuning.search_settings import budget
from histobench.tuning.tuner import TRIES

SECONDS = ("training_seconds", "validation_seconds")


def write(state: State, oracle: Any, about: provenance.About) -> None:
    """Write the outputs of a search, see :mod:`histobench.tuning.search_files`, and delete KerasTuner's folder.

    Raises
    ------
    HistobenchError
        if all trials failed or diverged.
    """
    rows = [_row(oracle, trial_id) for trial_id in oracle.start_order]
    completed = [row for row in rows if row["status"] == COMPLETED]
    diverged = [row for row in rows if row["status"] == search_files.DIVERGED]
    recipe, names = about.task.spec["recipe"], about.task.spec["run"]
    search = recipe["search"]
    if diverged and not completed:
        raise HistobenchError(
            f"recipes.{names['recipe']}.search: {len(diverged)} of its {len(rows)} trials diverged: their loss was no "
            f"number, and no other was finished. There is no best {', '.join(search['space'])}. Narrow their ranges, "
            f"now {_in_one_line(search['space'])}, that of the learning rate above all. What was tried stands in "
            f"{state.folder}/events"
        )
    if not completed:
        raise HistobenchError(
            f"{state.folder}: all {len(rows)} trials of the search failed. The error of the last one is: "
            f"{oracle.trials[oracle.start_order[-1]].message}"
        )
    best = max(completed, key=lambda row: row["score"])  # the first of equal ones
    values = {name: best[name] for name in search["space"]}
    trials, epochs = budget(search)
    facts = {
        "planned": {"trials": trials, "epochs": epochs},
        "spent": {
            "trials": len(rows),
            "failed": len(rows) - len(completed) - len(diverged),
            "diverged": len(diverged),
            "repeated": sum(row["tries"] - 1 for row in rows),
            "epochs": sum(row["epochs"] for row in rows),
            **{name: math.fsum(row[name] for row in rows) for name in ("seconds", *SECONDS)},
        },
        "best": {"trial": best["trial"], "score": best["score"], "values": values},
        "workers": sorted({row["worker"] for row in completed}),
    }
    with state.finish() as folder:
        runs.write_rows(folder / search_files.TRIALS, rows)
        about.write(folder / search_files.ABOUT, facts)
        comment = (
            f"{search['method']}, {names['dataset']}, {names['model']}, {names['mode']}: trial {best['trial']} of "
            f"{len(rows)}, {search['objective']} {best['score']:.4f}"
        )
        tuned_recipe.write(folder / search_files.RECIPE, recipe, values, comment)


def _in_one_line(space: dict[str, Any]) -> str:
    """Return a search space as the configuration says it."""
    text: str = yaml.safe_dump(space, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.strip()


def _row(oracle: Any, trial_id: str) -> dict[str, Any]:
    """Return the row of a trial in the table of all trials.

    Returns
    -------
    trial, configuration : ids of the trial, and of the first trial with the same values.
    bracket, round : of Hyperband; 0 in random search.
    ... : the values of the hyperparameters.
    first_epoch, last_epoch : epochs that the trial was to train, counted from 1.
    status, score : KerasTuner's status or `search_files.DIVERGED`, and the best value of the objective: the worst
        possible if the trial diverged, NaN if it failed.
    epochs, seconds : epochs that it has trained, and seconds including the building of the model.
    training_seconds, validation_seconds : of its epochs.
    worker, tries : name of the worker, and how often the trial was begun.
    """
    trial = oracle.trials[trial_id]
    values = trial.hyperparameters.values
    first = trial
    while parent := first.hyperparameters.values.get("tuner/trial_id"):
        first = oracle.trials[parent]
    folder = Path(oracle._get_trial_dir(trial_id))
    record: dict[str, Any] = {"epochs": [], "seconds": 0.0, "worker": "", "diverged": False}
    if (folder / search_files.TRIAL).exists():
        record = search_files.read_trial(folder)
    return {
        "trial": trial_id,
        "configuration": first.trial_id,
        "bracket": first.hyperparameters.values.get("tuner/bracket", 0),
        "round": values.get("tuner/round", 0),
        **tuned_recipe.rounded(values),
        "first_epoch": values.get("tuner/initial_epoch", 0) + 1,
        "last_epoch": values.get("tuner/epochs", oracle.max_epochs),
        "status": search_files.DIVERGED if record["diverged"] else trial.status,
        # The oracle's own score was float32 on its way.
        "score": WORST
        if record["diverged"]
        else max((row[oracle.objective.name] for row in record["epochs"]), default=math.nan),
        "epochs": len(record["epochs"]),
        "seconds": record["seconds"],
        **{name: math.fsum(row[name] for row in record["epochs"]) for name in SECONDS},
        "worker": record["worker"],
        "tries": len((folder / TRIES).read_bytes().splitlines()) if (folder / TRIES).exists() else 1,
    }
