"""Recipes with the values of a trial, in particular of the best one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from histobench.core.errors import HistobenchError
from histobench.core.files import write_text

# What can be searched for. Each is a key of a recipe, except for the learning rate, which is a key of its optimizer.
HYPERPARAMETERS = ("learning_rate", "batch_size", "dense_units", "dropout", "augmentation")
# Kinds of augmentation are a list in a recipe and a text in a search space: joined by "+", or "none" for no kind.
JOINT, NOTHING = "+", "none"
# Start of the last line, before a digest of the keys.
DIGEST = "# sha256 of these values: "
AGAIN = "Delete the file and start again: it is made anew"


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters among the values of a KerasTuner trial, floats rounded to six digits.

    KerasTuner's chief and workers exchange values as float32; rounded, they are the same for both.
    """
    return {
        key: float(f"{values[key]:.6g}") if isinstance(values[key], float) else values[key]
        for key in HYPERPARAMETERS
        if key in values
    }


def with_values(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with the values of a KerasTuner trial in place of its own."""
    changes = rounded(values)
    if "learning_rate" in changes:
        changes["optimizer"] = {**recipe["optimizer"], "learning_rate": changes.pop("learning_rate")}
    if "augmentation" in changes:
        kinds = changes["augmentation"]
        changes["augmentation"] = [] if kinds == NOTHING else kinds.split(JOINT)
    return {**recipe, **changes}


def write(path: Path, recipe: Mapping[str, Any], values: Mapping[str, Any], comment: str) -> None:
    """Write the keys of a recipe that its search has set, as YAML that can be copied into a recipe, after a comment."""
    tuned = {
        key: value for key, value in with_values(recipe, values).items() if recipe.get(key) != value or key in values
    }
    write_text(path, f"# {comment}\n{_yaml(tuned)}{DIGEST}{_digest(tuned)}\n")


def read(path: Path) -> dict[str, Any]:
    """Read the keys of a recipe that :func:`write` has written; refuse others."""
    try:
        text = path.read_text(encoding="utf-8")
        tuned = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise HistobenchError(f"{path}: expected keys of a recipe, found: {error}. {AGAIN}") from error
    if not isinstance(tuned, dict) or f"{DIGEST}{_digest(tuned)}\n" not in text:
        raise HistobenchError(
            f"{path}: expected the keys of a recipe that the search has written, found others than its digest tells. "
            f"{AGAIN}; for values of your own write a recipe into the configuration"
        )
    return tuned


def _yaml(tuned: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(tuned), sort_keys=False))


def _digest(tuned: Mapping[str, Any]) -> str:
    return hashlib.sha256(_yaml(tuned).encode()).hexdigest()


def apply(spec: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return a run's specification with the tuned recipe of a file; unchanged if `path` is None."""
    return dict(spec) if path is None else {**spec, "recipe": {**spec["recipe"], **read(path)}}
