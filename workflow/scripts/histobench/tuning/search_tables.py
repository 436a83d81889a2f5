"""Searches for hyperparameters: what each has tried, what that has cost, and what its find is worth."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from histobench.core import runs as run_folder
from histobench.results.cells import NAMES
from histobench.results.columns import ALL_ROWS, BOOTSTRAP, CELL, GAP, Column, general, names, pick, text, three_digits
from histobench.results.inputs import Inputs
from histobench.results.printing import Table
from histobench.results.tables import performance
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

HYPERPARAMETERS = [
    Column("learning_rate", format=general),
    *(Column(name) for name in VALUES if name not in ("learning_rate", "augmentation")),
    text("augmentation"),
]
OBJECTIVE = text("objective", once=ALL_ROWS)
COLUMNS = [
    *CELL,
    text("method"),
    text("space"),
    Column("trials"),
    Column("failed"),
    Column("repeated"),
    Column("epochs"),
    Column("search_seconds", "Device seconds", three_digits),
    Column("workers"),
    OBJECTIVE,
    Column("best_score"),
    *HYPERPARAMETERS,
    *pick(performance.COLUMNS, "auc"),
    Column("untuned_auc", "AUC, untuned", interval=BOOTSTRAP),
    *pick(performance.COLUMNS, "published_auc", "seeds"),
    GAP,
    text("folder"),
]
TRIALS = [
    *CELL,
    text("trial"),
    text("configuration"),
    Column("bracket"),
    Column("round"),
    *HYPERPARAMETERS,
    Column("first_epoch"),
    Column("last_epoch"),
    OBJECTIVE,
    Column("score"),
    text("status"),
    Column("trial_seconds", "Seconds", three_digits),
    Column("training_seconds"),
    Column("validation_seconds"),
    text("worker"),
    Column("tries"),
    text("folder"),
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
        run = about["specification"]["run"]
        found[tuple(run[name] for name in NAMES)] = Search(about, trials, str(folder))
    return found


def searches(
    cells: pd.DataFrame,
    searched: Sequence[str],
    found: Mapping[tuple[str, ...], Search],
    scores_of_cells: pd.DataFrame,
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Return a table of the searches of a study, one row per cell whose recipe has one.

    Parameters
    ----------
    cells : as in `cells.csv`.
    searched : the recipes with a search.
    found : see :func:`read`.
    scores_of_cells : see `performance.read`.
    published : `format`, `model`, `mode`, `auc` of the models that the paper tuned, by Hyperband.

    Returns
    -------
    table : in the order of the matrix, with the columns `COLUMNS`. `space` are the names of what was searched for.
        `search_seconds` are device seconds. `best_score` is that of the best trial on validation patches, and `VALUES`
        are its values. `auc` is that of the runs by the found recipe on the test patches, `untuned_auc` that of the
        recipe it was tuned from, on the same device; NaN where there is none. `published_auc` is the paper's, by a
        search of its own. `gap` says why a search, or its runs,
        have no result.
    """
    printed = published.set_index(["format", "model", "mode"])["auc"]
    scores = scores_of_cells.set_index(NAMES)[["auc", "auc_low", "auc_high", "seeds"]]
    rows = []
    asked = cells[cells["recipe"].isin(searched) & ~cells["left_out"].astype(bool)]
    for cell in asked.to_dict("records"):
        key = tuple(cell[name] for name in NAMES)
        before = tuple(cell["tuned_from"] if name == "recipe" else cell[name] for name in NAMES)
        row = {
            **{name: cell[name] for name in (*NAMES, "model_name", "gap")},
            **_scores(scores, key, ""),
            "seeds": scores["seeds"].get(key, 0),
            **_scores(scores, before, "untuned_"),
        }
        if key in found:
            row |= _of_search(found[key].about) | {"folder": found[key].folder}
            if row["method"] == "hyperband":
                row["published_auc"] = printed.get((cell["format"], cell["model"], cell["mode"]), np.nan)
        rows.append(row)
    table = pd.DataFrame(rows, columns=names(COLUMNS))
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
        key = tuple(cell[name] for name in NAMES)
        if key not in found:
            continue
        about, of_search, folder = found[key]
        part = of_search.sort_values("score", ascending=False, kind="stable").rename(
            columns={"seconds": "trial_seconds"}
        )
        parts.append(
            part.assign(
                **{name: cell[name] for name in (*NAMES, "model_name")},
                objective=about["specification"]["recipe"]["search"]["objective"],
                folder=folder,
            )
        )
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names(TRIALS))
    table = table.reindex(columns=names(TRIALS))
    whole = ["bracket", "round", "first_epoch", "last_epoch", "tries", "batch_size", "dense_units"]
    return table.astype(dict.fromkeys(whole, "Int64"))


IN_PRINT = ["model_name", "mode", "dataset", "recipe", "device"]

FIRST = [
    *(*IN_PRINT, "auc", "untuned_auc", "published_auc", "remark"),
    *("best_score", *VALUES),
    *("trials", "epochs", "search_seconds"),
]
TRIALS_FIRST = [*IN_PRINT, "trial", "score", "last_epoch", "learning_rate", "batch_size"]
"""Columns in print that matter first, of either table."""


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what print shows of :func:`searches`, by titles."""
    worth = [f"{arm}auc{end}" for arm in ("", "untuned_") for end in ("", "_low", "_high")]
    return {
        "": table[[*IN_PRINT, *worth, "published_auc", "seeds", "gap"]],
        "What was found": table[[*IN_PRINT, "method", "objective", "best_score", *VALUES]],
        "What it cost": table[
            [*IN_PRINT, "method", "trials", "failed", "repeated", "epochs", "search_seconds", "workers"]
        ],
    }


def trials_in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what print shows of :func:`trials`."""
    epochs = ["first_epoch", "last_epoch", "objective", "score", "trial_seconds"]
    return {"": table[[*IN_PRINT, "trial", *VALUES, *epochs]]}


def searches_table(inputs: Inputs) -> Table:
    """Return the table of the study's searches."""
    found = read(inputs.folders("search_outputs"))
    scores = performance.read(inputs.files["performance"])
    table = searches(inputs.cells, inputs.study["searched"], found, scores, inputs.published.tuned)
    below = [PUBLISHED_NOTE] * bool(table["published_auc"].notna().any()) + NOTES
    title = "Searches for hyperparameters"
    return Table(title, table, COLUMNS, inputs.announcements(), below, grids=in_print(table), first=FIRST)


def trials_table(inputs: Inputs) -> Table:
    """Return the table of the trials of the study's searches."""
    table = trials(inputs.cells, read(inputs.folders("search_outputs")))
    return Table(
        "Trials of the searches",
        table,
        TRIALS,
        inputs.announcements(),
        TRIALS_NOTES,
        grids=trials_in_print(table),
        first=TRIALS_FIRST,
    )
