"""Tables of the searches for hyperparameters: their trials, cost, and best values, and the AUC that these reach."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from histobench.core.files import read_sealed, unchanged
from histobench.results import columns
from histobench.results.cells import NAMES
from histobench.results.columns import ALL_ROWS, BOOTSTRAP, CELL, GAP, Column, names, pick, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table
from histobench.results.tables import performance
from histobench.tuning import search_files, tuned_recipe

PUBLISHED_NOTE = (
    "Published values: Bonnet 2024; the author searched for InceptionV3 with three iterations of Hyperband."
)
NOTES = [
    "A search trains on training patches and scores on validation patches; it does not use the test patches. The "
    "values of its best trial make up the tuned recipe, with which new runs were trained, with seeds of their own. "
    "Their AUC is on the test patches.",
    "Device seconds: the sum over all trials and workers, for building models and training epochs, without tries that "
    "were killed.",
    "Random search with the same settings as Hyperband trains for as many epochs in total; it tries the same "
    "configurations in the same order.",
    "A trial whose loss was no longer a number has diverged; it counts with a score of 0 and is never the best.",
]
TRIALS_NOTES = [
    "The best first. A trial of a later round continues from the best epoch of an earlier one with the same values "
    "(the same configuration), and so does its count of epochs.",
]

VALUES = list(tuned_recipe.HYPERPARAMETERS)

HYPERPARAMETERS = [
    Column("learning_rate", format=columns.general),
    *(Column(name) for name in VALUES if name not in ("learning_rate", "augmentation")),
    text("augmentation"),
]
OBJECTIVE = text("objective", once=ALL_ROWS)
COLUMNS = [
    *CELL,
    *map(text, ("method", "space")),
    *map(Column, ("trials", "failed", "diverged", "repeated", "epochs")),
    Column("search_seconds", "Device seconds", columns.three_digits),
    Column("workers"),
    OBJECTIVE,
    Column("best_score"),
    *HYPERPARAMETERS,
    *pick(performance.COLUMNS, "auc"),
    Column("untuned_auc", "AUC, untuned", interval=BOOTSTRAP),
    Column("published_auc", "Published AUC", columns.two_decimals, footnote=PUBLISHED_NOTE),
    *pick(performance.COLUMNS, "seeds"),
    GAP,
    text("folder"),
]
TRIALS = [
    *CELL,
    *map(text, ("trial", "configuration")),
    *map(Column, ("bracket", "round")),
    *HYPERPARAMETERS,
    *map(Column, ("first_epoch", "last_epoch")),
    OBJECTIVE,
    Column("score"),
    text("status"),
    Column("trial_seconds", "Seconds", columns.three_digits),
    *map(Column, ("training_seconds", "validation_seconds")),
    text("worker"),
    Column("tries"),
    text("folder"),
]


class Search(NamedTuple):
    """A search that has ended: the content of `search.json`, its trials, and its folder."""

    about: dict[str, Any]
    trials: pd.DataFrame
    folder: str


def read(folders: Iterable[Path]) -> dict[tuple[str, ...], Search]:
    """Read searches that have ended, from their folders, by the `cells.NAMES` of their cell."""
    found = {}
    for folder in folders:
        about = read_sealed(folder / search_files.ABOUT)
        trials = pd.read_csv(unchanged(folder / search_files.TRIALS), dtype={"trial": str, "configuration": str})
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
    """Return a table of the searches of a study, one row per cell of a recipe with a search.

    Parameters
    ----------
    cells : as in `cells.csv`.
    searched : the recipes with a search.
    found : see :func:`read`.
    scores_of_cells : see `performance.read`.
    published : `format`, `model`, `mode`, `auc` of the models that the paper tuned, by Hyperband.

    Returns
    -------
    table : in the order of the matrix, with the columns `COLUMNS`. `space`: names of the hyperparameters. `best_score`:
        of the best trial on the validation patches, and `VALUES`: its values. `auc`: of the runs with the tuned recipe
        on the test patches; `untuned_auc`: of those with the recipe before tuning, on the same device. `published_auc`:
        of the paper's own search. `gap`: why the search, or its runs, have no result.
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
    whole = ["trials", "failed", "diverged", "repeated", "epochs", "workers", "batch_size", "dense_units"]
    texts = ["method", "space", "objective", "folder"]
    table[texts] = table[texts].astype(object).fillna("")
    return table.astype(dict.fromkeys(whole, "Int64"))


def _scores(scores: pd.DataFrame, key: tuple[str, ...], prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": scores[name].get(key, np.nan) for name in ("auc", "auc_low", "auc_high")}


def _of_search(about: Mapping[str, Any]) -> dict[str, Any]:
    search, spent = about["specification"]["recipe"]["search"], about["spent"]
    return (
        {"method": search["method"], "space": ", ".join(name.replace("_", " ") for name in search["space"])}
        | {name: spent.get(name, 0) for name in ("trials", "failed", "diverged", "repeated", "epochs")}
        | {"search_seconds": spent["seconds"], "workers": len(about["workers"]), "objective": search["objective"]}
        | {"best_score": about["best"]["score"], **about["best"]["values"]}
    )


def trials(cells: pd.DataFrame, found: Mapping[tuple[str, ...], Search]) -> pd.DataFrame:
    """Return a table of all trials, by search in the order of `cells.csv`, and from the best to the worst.

    Its columns are `TRIALS`, see :mod:`histobench.tuning.outputs`; `trial_seconds` are those of the whole trial.
    """
    parts = []
    for cell in cells.to_dict("records"):
        key = tuple(cell[name] for name in NAMES)
        if key not in found:
            continue
        about, of_search, folder = found[key]
        part = of_search.sort_values("score", ascending=False, kind="stable")
        part = part.rename(columns={"seconds": "trial_seconds"}).assign(folder=folder)
        of_cell = {name: cell[name] for name in (*NAMES, "model_name")}
        parts.append(part.assign(objective=about["specification"]["recipe"]["search"]["objective"], **of_cell))
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
"""The most important columns of the table of searches."""

TRIALS_FIRST = [*IN_PRINT, "trial", "score", "last_epoch", "learning_rate", "batch_size"]
"""Those of the table of trials."""


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the parts of :func:`searches` to print, by title."""
    aucs = [f"{arm}auc{end}" for arm in ("", "untuned_") for end in ("", "_low", "_high")]
    return {
        "": table[[*IN_PRINT, *aucs, "published_auc", "seeds", "gap"]],
        "What was found": table[[*IN_PRINT, "method", "objective", "best_score", *VALUES]],
        "What it cost": table[
            [*IN_PRINT, "method", "trials", "failed", "diverged", "repeated", "epochs", "search_seconds", "workers"]
        ],
    }


def trials_in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the columns of :func:`trials` to print."""
    epochs = ["first_epoch", "last_epoch", "objective", "score", "status", "trial_seconds"]
    return {"": table[[*IN_PRINT, "trial", *VALUES, *epochs]]}


def searches_table(inputs: Inputs) -> Table:
    """Return the table of the study's searches."""
    found = read(inputs.folders("search_outputs"))
    scores = performance.read(inputs.files["performance"])
    table = searches(inputs.cells, inputs.study["searched"], found, scores, inputs.published.tuned)
    title = "Searches for hyperparameters"
    return Table(title, table, COLUMNS, inputs.announcements(), NOTES, grids=in_print(table), first=FIRST)


def trials_table(inputs: Inputs) -> Table:
    """Return the table of the trials of the study's searches."""
    table = trials(inputs.cells, read(inputs.folders("search_outputs")))
    title, grids = "Trials of the searches", trials_in_print(table)
    return Table(title, table, TRIALS, inputs.announcements(), TRIALS_NOTES, grids=grids, first=TRIALS_FIRST)
