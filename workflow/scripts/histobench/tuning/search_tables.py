"""Searches for hyperparameters: what each has tried, what that has cost, and what its find is worth."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from histobench.core import runs as run_folder
from histobench.results.cells import NAMES
from histobench.results.performance import by_cell
from histobench.tuning import search_files, tuned_recipe

PUBLISHED_NOTE = "Published values: Bonnet 2024; the author's search for InceptionV3 had three iterations of Hyperband."
NOTES = [
    "A search trains on training patches and scores on validation patches; it never sees the test patches. The best "
    "trial became the recipe, by which runs were trained anew, on seeds of their own; their AUC is that on the test "
    "patches.",
    "Device seconds are those of all trials, models built and epochs trained, of workers side by side added up; tries "
    "that were killed are not in them.",
    "Random search has as many epochs as Hyperband by the same words, spent on as many configurations as they pay for; "
    "it tries the same values in the same order.",
]
TRIALS_NOTES = [
    "The best first. A trial of a later round goes on from the best epoch of an earlier one with the same values, its "
    "configuration; its epochs are counted on.",
]

VALUES = list(tuned_recipe.HYPERPARAMETERS)

SEARCHES = [
    *("data_set", "key", "model", "mode", "recipe", "device", "method", "space"),
    *("trials", "failed", "repeated", "epochs", "search_seconds", "workers"),
    *("objective", "best_score", *VALUES),
    *("auc", "auc_low", "auc_high", "untuned_auc", "untuned_auc_low", "untuned_auc_high", "published_auc", "seeds"),
    *("gap", "folder"),
]
TRIALS = [
    *("data_set", "key", "model", "mode", "recipe", "device", "trial", "configuration", "bracket", "round", *VALUES),
    *("first_epoch", "last_epoch", "objective", "score", "status"),
    *("trial_seconds", "training_seconds", "validation_seconds", "worker", "tries", "folder"),
]


class Search(NamedTuple):
    """A search that has ended: what `search.json` says, its trials, and its folder."""

    about: dict[str, Any]
    trials: pd.DataFrame
    folder: str


def read(folders: Iterable[Path]) -> dict[tuple[str, ...], Search]:
    """Read searches that have ended.

    Parameters
    ----------
    folders : theirs, ``results/{study}/searches/...``.

    Returns
    -------
    found : by the names of their cell, `cells.NAMES`.
    """
    found = {}
    for folder in folders:
        about = run_folder.read_json(folder / search_files.ABOUT)
        trials = pd.read_csv(folder / search_files.TRIALS, dtype={"trial": str, "configuration": str})
        names = about["specification"]["run"]
        found[tuple(names[name] for name in NAMES)] = Search(about, trials, str(folder))
    return found


def searches(
    cells: pd.DataFrame,
    searched: Sequence[str],
    found: Mapping[tuple[str, ...], Search],
    performance: pd.DataFrame,
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Return a table of the searches of a study, one row per cell whose recipe has one.

    Parameters
    ----------
    cells : as in `cells.csv`.
    searched : the recipes with a search.
    found : see :func:`read`.
    performance : see `performance.read`.
    published : `dataset` (a format), `model`, `mode`, `auc` of the models that the paper tuned, by Hyperband.

    Returns
    -------
    table : in the order of the matrix, with the columns `SEARCHES`. `space` are the names of what was searched for.
        `search_seconds` are device seconds. `best_score` is that of the best trial on validation patches, and `VALUES`
        are its values. `auc` is that of the runs by the found recipe on the test patches, `untuned_auc` that of the
        recipe it was tuned from, on the same device; NaN where there is none. `published_auc` is the paper's, by a
        search of its own. `gap` says why a search, or its runs,
        have no result.
    """
    printed = published.set_index(["dataset", "model", "mode"])["auc"]
    scores = by_cell(performance).set_index(NAMES)[["auc", "auc_low", "auc_high", "seeds"]]
    rows = []
    asked = cells[cells["recipe"].isin(searched) & ~cells["left_out"].astype(bool)]
    for cell in asked.to_dict("records"):
        names = tuple(cell[name] for name in NAMES)
        before = tuple(cell["tuned_from"] if name == "recipe" else cell[name] for name in NAMES)
        row = {
            "data_set": cell["dataset"],
            "key": cell["model"],
            "model": cell["name"],
            **{name: cell[name] for name in ("mode", "recipe", "device", "gap")},
            **_scores(scores, names, ""),
            "seeds": scores["seeds"].get(names, 0),
            **_scores(scores, before, "untuned_"),
        }
        if names in found:
            row |= _of_search(found[names].about) | {"folder": found[names].folder}
            if row["method"] == "hyperband":
                row["published_auc"] = printed.get((cell["format"], cell["model"], cell["mode"]), np.nan)
        rows.append(row)
    table = pd.DataFrame(rows, columns=SEARCHES)
    whole = ["trials", "failed", "repeated", "epochs", "workers", "batch_size", "dense_units"]
    texts = ["method", "space", "objective", "folder"]
    table[texts] = table[texts].astype(object).fillna("")
    return table.astype(dict.fromkeys(whole, "Int64"))


def _scores(scores: pd.DataFrame, names: tuple[str, ...], prefix: str) -> dict[str, float]:
    columns = ("auc", "auc_low", "auc_high")
    return {f"{prefix}{column}": scores[column].get(names, np.nan) for column in columns}


def _of_search(about: Mapping[str, Any]) -> dict[str, Any]:
    search, spent = about["specification"]["recipe"]["search"], about["spent"]
    return {
        "method": search["method"],
        "space": ", ".join(name.replace("_", " ") for name in search["space"]),
        **{name: spent[name] for name in ("trials", "failed", "repeated", "epochs")},
        "search_seconds": spent["seconds"],
        "workers": len(about["workers"]),
        "objective": search["objective"],
        "best_score": about["best"]["score"],
        **about["best"]["values"],
    }


def trials(cells: pd.DataFrame, found: Mapping[tuple[str, ...], Search]) -> pd.DataFrame:
    """Return a table of all trials, one row each, search after search in the order of the matrix, the best first.

    Parameters
    ----------
    cells : as in `cells.csv`.
    found : see :func:`read`.

    Returns
    -------
    table : with the columns `TRIALS`, see :mod:`histobench.tuning.outputs`; `trial_seconds` are those of the whole
        trial.
    """
    parts = []
    for cell in cells.to_dict("records"):
        names = tuple(cell[name] for name in NAMES)
        if names not in found:
            continue
        about, of_search, folder = found[names]
        part = of_search.sort_values("score", ascending=False, kind="stable").rename(
            columns={"seconds": "trial_seconds"}
        )
        parts.append(
            part.assign(
                data_set=cell["dataset"],
                key=cell["model"],
                model=cell["name"],
                **{name: cell[name] for name in ("mode", "recipe", "device")},
                objective=about["specification"]["recipe"]["search"]["objective"],
                folder=folder,
            )
        )
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TRIALS)
    table = table.reindex(columns=TRIALS)
    whole = ["bracket", "round", "first_epoch", "last_epoch", "tries", "batch_size", "dense_units"]
    return table.astype(dict.fromkeys(whole, "Int64"))


CELL = ["model", "mode", "data_set", "recipe", "device"]

FIRST = [
    *(*CELL, "auc", "untuned_auc", "published_auc", "remark"),
    *("best_score", *VALUES),
    *("trials", "epochs", "search_seconds"),
]
TRIALS_FIRST = [*CELL, "trial", "score", "last_epoch", "learning_rate", "batch_size"]
"""Columns in print that matter first, of either table."""


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what print shows of :func:`searches`, by titles."""
    worth = [f"{arm}auc{end}" for arm in ("", "untuned_") for end in ("", "_low", "_high")]
    return {
        "": table[[*CELL, *worth, "published_auc", "seeds", "gap"]],
        "What was found": table[[*CELL, "method", "objective", "best_score", *VALUES]],
        "What it cost": table[[*CELL, "method", "trials", "failed", "repeated", "epochs", "search_seconds", "workers"]],
    }


def trials_in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what print shows of :func:`trials`."""
    epochs = ["first_epoch", "last_epoch", "objective", "score", "trial_seconds"]
    return {"": table[[*CELL, "trial", *VALUES, *epochs]]}
