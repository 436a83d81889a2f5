"""What a search leaves when it has ended: every trial, what they cost, and the best one as a recipe."""

import math
from pathlib import Path
from typing import Any

from histobench.core import runs, searches
from histobench.core.errors import HistobenchError
from histobench.core.state import State
from histobench.train import provenance
from histobench.train.oracle import COMPLETED
from histobench.train.trials import TRIES


def write(state: State, oracle: Any, about: provenance.About) -> None:
    """Write the outputs of a search, see :mod:`histobench.core.searches`, and delete KerasTuner's folder.

    Parameters
    ----------
    state : of the search.
    oracle : of a search that has ended.
    about : what is known of the search and of the job that ends it.
    """
    rows = [_row(oracle, trial_id) for trial_id in oracle.start_order]
    completed = [row for row in rows if row["status"] == COMPLETED]
    if not completed:
        raise HistobenchError(
            f"{state.folder}: none of the search's {len(rows)} trials has come to its end. The last one says: "
            f"{oracle.trials[oracle.start_order[-1]].message}"
        )
    best = max(completed, key=lambda row: row["score"])  # of equal ones the first
    recipe = about.spec["recipe"]
    search = recipe["search"]
    values = {name: best[name] for name in search["space"]}
    trials, epochs = searches.budget(search)
    facts = {
        "planned": {"trials": trials, "epochs": epochs},
        "spent": {
            "trials": len(rows),
            "failed": len(rows) - len(completed),
            "repeated": sum(row["tries"] - 1 for row in rows),
            "epochs": sum(row["epochs"] for row in rows),
            **{name: math.fsum(row[name] for row in rows) for name in ("seconds", *SECONDS)},
        },
        "best": {"trial": best["trial"], "score": best["score"], "values": values},
        "workers": sorted({row["worker"] for row in completed}),
    }
    with state.finish() as outputs:
        runs.write_rows(outputs / searches.TRIALS, rows)
        about.write(outputs / searches.ABOUT, facts)
        names = about.spec["run"]
        searches.write_found(
            outputs / searches.FOUND,
            recipe,
            values,
            f"{search['method']}, {names['dataset']}, {names['model']}, {names['mode']}: trial {best['trial']} of "
            f"{len(rows)}, {search['objective']} {best['score']:.4f}",
        )


SECONDS = ("training_seconds", "validation_seconds")


def _row(oracle: Any, trial_id: str) -> dict[str, Any]:
    """Return what there is to say of a trial.

    Returns
    -------
    trial, configuration : ids of the trial, and of the first that was given the same values.
    bracket, round : of Hyperband, 0 where there are none.
    ... : the values.
    first_epoch, last_epoch : that it was to train, from 1.
    status : KerasTuner's. score : the best value of the objective, NaN where it failed.
    epochs : that it has trained. seconds : of the trial, with the building of the model; `SECONDS` : of its epochs.
    worker : who. tries : how often it was begun.
    """
    trial = oracle.trials[trial_id]
    values = trial.hyperparameters.values
    first = trial
    while parent := first.hyperparameters.values.get("tuner/trial_id"):
        first = oracle.trials[parent]
    folder = Path(oracle._get_trial_dir(trial_id))
    told: dict[str, Any] = {"epochs": [], "seconds": 0.0, "worker": ""}
    if (folder / searches.TRIAL).exists():
        told = runs.read_json(folder / searches.TRIAL)
    return {
        "trial": trial_id,
        "configuration": first.trial_id,
        "bracket": first.hyperparameters.values.get("tuner/bracket", 0),
        "round": values.get("tuner/round", 0),
        **searches.rounded(values),
        "first_epoch": values.get("tuner/initial_epoch", 0) + 1,
        "last_epoch": values.get("tuner/epochs", oracle.max_epochs),
        "status": trial.status,
        # Not the oracle's, which has been float32 on its way.
        "score": max((row[oracle.objective.name] for row in told["epochs"]), default=math.nan),
        "epochs": len(told["epochs"]),
        "seconds": told["seconds"],
        **{name: math.fsum(row[name] for row in told["epochs"]) for name in SECONDS},
        "worker": told["worker"],
        "tries": len((folder / TRIES).read_text(encoding="utf-8").splitlines()),
    }
