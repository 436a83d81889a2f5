"""A recipe's search for hyperparameters: what it will try, what it may spend, and what it leaves behind.

References
----------
- Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
  Optimization", JMLR 18 (2018) 1-52. Sizes of brackets are those of KerasTuner, which differ a little from theirs.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from histobench.core.errors import HistobenchError
from histobench.core.files import write_text
from histobench.core.recipes import AUGMENTATIONS

# What a search leaves: all its trials, what it spent and on what, and the best trial as a recipe.
TRIALS = "trials.csv"
ABOUT = "search.json"
FOUND = "recipe.yaml"
# While it runs, in the folder of a trial that has ended, in KerasTuner's folder `PROJECT` within the state: who ran it,
# and what each of its epochs gave and cost.
PROJECT, TRIAL = "search", "epochs.json"

# What can be searched for. Each stands in a recipe under the same name, but for the rate, which is the optimizer's.
HYPERPARAMETERS = ("learning_rate", "batch_size", "dense_units", "dropout", "augmentation")
# Of values in a space that are lists in a recipe: several kinds of augmentation, or none.
JOINT, NOTHING = "+", "none"


class Rung(NamedTuple):
    """Trials of one round of a bracket: they go on from epoch `first` to epoch `last`, both counted from 0."""

    trials: int
    first: int
    last: int


def hyperband(max_epochs: int, factor: int) -> list[list[Rung]]:
    """Return the brackets of one iteration of Hyperband, each a list of rounds, the most aggressive first.

    Parameters
    ----------
    max_epochs : epochs of a configuration that survives all rounds.
    factor : how many times fewer trials each round has, with so many times more epochs.

    Notes
    -----
    As KerasTuner's `HyperbandOracle` counts them: 30 trials and 120 epochs for 10 and 3.
    """
    number, epochs = 0, float(max_epochs)
    while epochs >= 1:
        number, epochs = number + 1, epochs / factor
    survivors = math.ceil(1 + math.log(max_epochs, factor))
    found = []
    for bracket in reversed(range(number)):
        rungs: list[Rung] = []
        for place in range(bracket + 1):
            trials = math.ceil(survivors / (bracket + 1) * factor ** (bracket - place))
            last = math.ceil(max_epochs / factor ** (bracket - place))
            rungs.append(Rung(trials, rungs[-1].last if rungs else 0, last))
        found.append(rungs)
    return found


def rungs(search: Mapping[str, Any]) -> Iterator[Rung]:
    """Yield what a search will run, in so far as that is known before: Hyperband's rounds, or random configurations.

    Parameters
    ----------
    search : `recipes.<name>.search` of the configuration.
    """
    iteration = [rung for bracket in hyperband(search["max_epochs"], search["factor"]) for rung in bracket]
    if search["method"] == "hyperband":
        yield from iteration * search["iterations"]
    else:
        # As many as the same words would buy of Hyperband, and one at least.
        epochs = search["iterations"] * sum(rung.trials * (rung.last - rung.first) for rung in iteration)
        yield Rung(max(1, epochs // search["max_epochs"]), 0, search["max_epochs"])


def budget(search: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many trials a search has, and how many epochs they train in all."""
    planned = list(rungs(search))
    return sum(rung.trials for rung in planned), sum(rung.trials * (rung.last - rung.first) for rung in planned)


def base(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a search depends on of its recipe: not what it looks for, nor what concerns the training after it."""
    space = recipe["search"]["space"]
    words = {key: value for key, value in recipe.items() if key not in ("epochs", "best_epoch", *space)}
    optimizer = {key: value for key, value in recipe["optimizer"].items() if key not in space}
    return words | {"optimizer": optimizer}


def workers(search: Mapping[str, Any]) -> int:
    """Return how many jobs share a search."""
    return int(search.get("workers", 1))


def worker_name(number: int) -> str:
    """Return how a worker is called in all that is written of a search."""
    return f"worker-{number}"


def worker_folder(name: str) -> str:
    """Return the name of the folder, in that of the search, on which a worker holds a lease while it is at work."""
    return f".{name}"


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a search that could not run.

    Raises
    ------
    HistobenchError
        if a range is empty, a value can't be, or augmentation is searched for on cached features.
    """
    where = f"configuration: recipes.{name}.search"
    for key, entry in recipe["search"]["space"].items():
        if "values" in entry:
            for value in entry["values"]:
                _check_value(f"{where}.space.{key}", key, value)
            continue
        if key == "augmentation":
            raise HistobenchError(f"{where}.space.{key}: expected `values`, found a range; for instance {EXAMPLE}")
        if entry["min"] >= entry["max"]:
            raise HistobenchError(f"{where}.space.{key}: expected min < max, found {entry['min']} and {entry['max']}")
        if entry.get("sampling") == "log" and entry["min"] <= 0:
            raise HistobenchError(f"{where}.space.{key}: `sampling: log` needs a min above 0, found {entry['min']}")
        for value in (entry["min"], entry["max"]):
            _check_value(f"{where}.space.{key}", key, value)
    if "augmentation" in recipe["search"]["space"] and recipe.get("transfer") == "cached":
        raise HistobenchError(
            f"{where}.space.augmentation: `transfer: cached` computes the features of a patch once, augmentation "
            "changes the patch in every epoch; leave out one of them, or say `transfer: end_to_end`"
        )


EXAMPLE = "{values: [none, d4, d4+stain]}"


def _check_value(where: str, key: str, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    expected = {
        "learning_rate": ("a number above 0", number and value > 0),
        "batch_size": ("a whole number, 1 or more", isinstance(value, int) and number and value >= 1),
        "dense_units": ("a whole number, 1 or more", isinstance(value, int) and number and value >= 1),
        "dropout": ("a number from 0 to below 1", number and 0 <= value < 1),
        "augmentation": (
            f"kinds of augmentation joined by {JOINT!r} ({', '.join(AUGMENTATIONS)}), or {NOTHING!r}, as {EXAMPLE}",
            isinstance(value, str) and (value == NOTHING or set(value.split(JOINT)) <= set(AUGMENTATIONS)),
        ),
    }
    words, fits = expected[key]
    if not fits:
        raise HistobenchError(f"{where}: expected {words}, found {value!r}")


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a trial, KerasTuner's own left out, as they are tried and written: to six digits.

    KerasTuner's chief and workers send them to each other as float32.
    """
    return {
        key: float(f"{values[key]:.6g}") if isinstance(values[key], float) else values[key]
        for key in HYPERPARAMETERS
        if key in values
    }


def lay_over(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with values that a search has tried.

    Parameters
    ----------
    recipe : of the configuration.
    values : of a trial, see :func:`rounded`.
    """
    found = rounded(values)
    changed = dict(recipe)
    if "learning_rate" in found:
        changed["optimizer"] = {**recipe["optimizer"], "learning_rate": found.pop("learning_rate")}
    if "augmentation" in found:
        kinds = found.pop("augmentation")
        found["augmentation"] = [] if kinds == NOTHING else kinds.split(JOINT)
    return changed | found


def write_found(path: Path, recipe: Mapping[str, Any], values: Mapping[str, Any], comment: str) -> None:
    """Write what a search has found: the words of the recipe that it has set, to be read, or copied into a recipe.

    Parameters
    ----------
    path : the file.
    recipe : the recipe with the search.
    values : of the best trial.
    comment : where they come from.
    """
    changed = lay_over(recipe, values)
    told = {key: value for key, value in changed.items() if recipe.get(key) != value or key in values}
    write_text(path, f"# {comment}\n{yaml.safe_dump(told, sort_keys=False)}")


def read_found(path: Path) -> dict[str, Any]:
    """Read what :func:`write_found` has written: words of a recipe."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise HistobenchError(
            f"{path}: expected words of a recipe, found {type(found).__name__}; delete it: it is made anew"
        )
    return found


def with_found(spec: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return a run's specification with what a search has found for its recipe; as it is where there was none."""
    return dict(spec) if path is None else {**spec, "recipe": {**spec["recipe"], **read_found(path)}}
