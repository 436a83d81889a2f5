"""The `search` of a recipe: whether it is possible, how many trials and epochs it has, what its result depends on.

References
----------
- Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
  Optimization", JMLR 18 (2018) 1-52. Sizes of brackets are those of KerasTuner, which differ a little from theirs.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from histobench.core.augmentations import AUGMENTATIONS
from histobench.core.errors import HistobenchError, number_as_text
from histobench.tuning.tuned_recipe import JOINT, NOTHING


class Rung(NamedTuple):
    """Trials of one round of a bracket: each trains from epoch `first` to epoch `last`, both counted from 0."""

    trials: int
    first: int
    last: int


def hyperband(max_epochs: int, factor: int) -> list[list[Rung]]:
    """Return the brackets of one iteration of Hyperband, each a list of rounds, the most aggressive first.

    Parameters
    ----------
    max_epochs : epochs of a configuration that survives all rounds.
    factor : from one round to the next, trials are divided and epochs are multiplied by it.

    Notes
    -----
    As KerasTuner's `HyperbandOracle` counts them: 30 trials and 120 epochs for 10 and 3.
    """
    number, epochs = 0, float(max_epochs)
    while epochs >= 1:
        number, epochs = number + 1, epochs / factor
    survivors = math.ceil(1 + math.log(max_epochs, factor))
    brackets = []
    for bracket in reversed(range(number)):
        rungs: list[Rung] = []
        for place in range(bracket + 1):
            trials = math.ceil(survivors / (bracket + 1) * factor ** (bracket - place))
            last = math.ceil(max_epochs / factor ** (bracket - place))
            rungs.append(Rung(trials, rungs[-1].last if rungs else 0, last))
        brackets.append(rungs)
    return brackets


def rungs(search: Mapping[str, Any]) -> Iterator[Rung]:
    """Yield the trials that the `search` of a recipe will have: the rounds of Hyperband, or one of random search."""
    iteration = [rung for bracket in hyperband(search["max_epochs"], search["factor"]) for rung in bracket]
    if search["method"] == "hyperband":
        yield from iteration * search["iterations"]
    else:
        # As many trials as the epochs of Hyperband with the same settings are enough for, and at least one.
        epochs = search["iterations"] * sum(rung.trials * (rung.last - rung.first) for rung in iteration)
        yield Rung(max(1, epochs // search["max_epochs"]), 0, search["max_epochs"])


def budget(search: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of trials of a search, and of the epochs of all trials together."""
    planned = list(rungs(search))
    return sum(rung.trials for rung in planned), sum(rung.trials * (rung.last - rung.first) for rung in planned)


def workers(search: Mapping[str, Any]) -> int:
    """Return the number of jobs that share a search."""
    return int(search.get("workers", 1))


def relevant_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a recipe that its search depends on: not those searched for or used in training only."""
    space = recipe["search"]["space"]
    kept = {key: value for key, value in recipe.items() if key not in ("epochs", "best_epoch", *space)}
    return kept | {"optimizer": {key: value for key, value in recipe["optimizer"].items() if key not in space}}


def check(name: str, recipe: Mapping[str, Any]) -> None:
    """Refuse a search that could not run.

    Raises
    ------
    HistobenchError
        if a range is empty, a value is not possible, or augmentation is searched for on cached features.
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
            "changes the patch in every epoch; leave out one of them, or set `transfer: end_to_end`"
        )


# The smallest normal and the largest number of the type in which chief and workers exchange values.
FLOAT32 = (2.0**-126, (2 - 2.0**-23) * 2.0**127)
IN_FLOAT32 = f"(in float32: {FLOAT32[0]:.1e} to {FLOAT32[1]:.1e})"
EXAMPLE = "{values: [none, d4, d4+stain]}"


def _check_value(where: str, key: str, value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = ("a whole number, 1 or more", isinstance(value, int) and number and value >= 1)
    expected = {
        "learning_rate": (f"a number above 0 {IN_FLOAT32}", number and FLOAT32[0] <= value <= FLOAT32[1]),
        "batch_size": whole,
        "dense_units": whole,
        "dropout": ("a number from 0 to below 1", number and 0 <= value < 1),
        "augmentation": (
            f"kinds of augmentation joined by {JOINT!r} ({', '.join(AUGMENTATIONS)}), or {NOTHING!r}, as {EXAMPLE}",
            isinstance(value, str) and (value == NOTHING or set(value.split(JOINT)) <= set(AUGMENTATIONS)),
        ),
    }
    description, possible = expected[key]
    if not possible:
        raise HistobenchError(f"{where}: expected {description}, found {value!r}{number_as_text(value)}")
