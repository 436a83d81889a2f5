"""The data of the figures in `results/figures/`, from the tables and run folders of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histobench.core import runs as run_folder
from histobench.core.decision import THRESHOLD
from histobench.core.files import read_sealed, unchanged
from histobench.results import evaluation
from histobench.results.bootstrap import Floats, Integers
from histobench.results.cells import MODE_NAMES
from histobench.results.cells import NAMES as CELL
from histobench.results.tables.performance import DIFFERS

Seed = tuple[Integers, Floats, npt.NDArray[np.str_]]
"""Test patches of one run, sorted by patch id: labels, scores, and groups ("" if unknown); (n,) each."""

NO_RUN = "Every run on this data set collapsed to a constant."

PUBLISHED_NOTE = "Published values: Bonnet 2024."
NOT_COMPARABLE = "They are not comparable with ours on {}: the tables say why."


def labels(
    rows: pd.DataFrame, shown: Sequence[str] = ("model_name", "mode"), apart: Sequence[str] = ("recipe", "device")
) -> "pd.Series[str]":
    """Return printed names of runs or cells.

    Parameters
    ----------
    rows : `model_name`, `mode`, and the columns that follow.
    shown : columns that every name has.
    apart : columns that all names have where some model and mode has several of them among the rows.
    """
    kinds = rows.groupby(["model_name", "mode"], sort=False)
    parts = [*shown, *(name for name in apart if (kinds[name].nunique() > 1).any())]
    words = rows.assign(mode=rows["mode"].map(MODE_NAMES))[parts].astype(str)
    return pd.Series([", ".join(each) for each in words.to_numpy()], rows.index, dtype=object)


def points(cells: pd.DataFrame) -> pd.DataFrame:
    """Return our AUCs and the published ones, one row per cell and origin.

    Parameters
    ----------
    cells : see `performance.first_per_mode` and `performance.first_per_recipe`.

    Returns
    -------
    frame : `dataset`, `model`, `model_name`, `mode`, `recipe`, `origin` ("ours" or "published"), `auc`, `auc_low` and
        `auc_high` (95 % interval, may be NaN); only rows with an AUC.
    """
    ours = cells[["dataset", "model", "model_name", "mode", "recipe", "auc", "auc_low", "auc_high"]]
    papers = ours.assign(auc=cells["published_auc"], auc_low=np.nan, auc_high=np.nan)
    both = pd.concat([ours.assign(origin="ours"), papers.assign(origin="published")])
    # In the order of the matrix, also if the first data set has only published values.
    order = {dataset: place for place, dataset in enumerate(cells["dataset"].unique())}
    both = both[both["auc"].notna()]
    return both.sort_values("dataset", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)


def notes_on_published(cells: pd.DataFrame) -> list[str]:
    """Return the notes of a figure of `points` with published values beside ours; an empty list if it has none."""
    shown = cells[cells["published_auc"].notna()]
    if shown.empty:
        return []
    differ = (shown[DIFFERS] != "").any(axis=1) & shown["auc"].notna()
    where = ", ".join(shown.loc[differ, "dataset"].unique())
    return [PUBLISHED_NOTE + (" " + NOT_COMPARABLE.format(where) if where else "")]


def against_seconds(runs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return AUC and seconds of training, one row per cell, averaged over seeds.

    Parameters
    ----------
    runs : as in `runs.csv`.
    table : see `performance.read`.

    Returns
    -------
    frame : `dataset`, `model_name`, `mode`, `recipe`, `device`, `auc`, `auc_low`, `auc_high`, `seconds`: of training
        without validation, and for heads on cached features also of the extraction.
    """
    seconds = runs.assign(seconds=runs["train_seconds"] + runs["features_seconds"])
    seconds = seconds[~seconds["collapsed"].astype(bool)].groupby(CELL, sort=False)["seconds"].mean().reset_index()
    frame = table.merge(seconds, on=CELL)
    return frame[["dataset", "model_name", "mode", "recipe", "device", "auc", "auc_low", "auc_high", "seconds"]]


def labelled(runs: pd.DataFrame, cells: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the runs on a data set that figures show, with a printed `label` for each cell, see :func:`labels`.

    Collapsed runs and those for timing only are left out.

    Parameters
    ----------
    runs, cells : as in `runs.csv` and `cells.csv`.
    dataset : its name.
    """
    of_seconds = cells.loc[cells["timing_only"].astype(bool), "recipe"]
    shown = runs[(runs["dataset"] == dataset) & ~runs["collapsed"].astype(bool) & ~runs["recipe"].isin(of_seconds)]
    return shown.assign(label=labels(shown))


def best_on_validation(shown: pd.DataFrame) -> list[str]:
    """Return the labels of `labelled` runs from the best to the worst mean AUC on the validation patches."""
    return shown.groupby("label", sort=False)["valid_auc"].mean().sort_values(ascending=False).index.tolist()


def best_first(shown: pd.DataFrame) -> pd.DataFrame:
    """Return `labelled` runs from the best to the worst AUC on the validation patches, without those that have none."""
    return shown[shown["valid_auc"].notna()].sort_values("valid_auc", ascending=False, kind="stable")


def scores(shown: pd.DataFrame) -> dict[str, list[Seed]]:
    """Return the test patches of `labelled` runs, a list of seeds per label, for `curves.roc`."""
    by_label: dict[str, list[Seed]] = {}
    for row in shown.itertuples():
        test = evaluation.read(Path(str(row.folder)) / run_folder.PREDICTIONS).query("split == 'test'")
        test = test.sort_values("patch_id")
        seed = (test["label"].to_numpy(np.int64), test["score"].to_numpy(np.float64), test["group"].to_numpy(np.str_))
        by_label.setdefault(str(row.label), []).append(seed)
    return by_label


def histories(shown: pd.DataFrame) -> dict[str, list[tuple[pd.DataFrame, int]]]:
    """Return the histories of `labelled` runs, each with its best epoch, a list of seeds per label."""
    by_label: dict[str, list[tuple[pd.DataFrame, int]]] = {}
    for row in shown.to_dict("records"):
        history = pd.read_csv(unchanged(Path(row["folder"]) / run_folder.HISTORY))
        by_label.setdefault(row["label"], []).append((history, int(row["best_epoch"])))
    return by_label


def groups(shown: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of `labelled` runs, one row per label and group, averaged over seeds.

    Returns
    -------
    frame : `label`, `group`, `n`, `positives`, `accuracy`; no rows if the groups of the patches are unknown.
    """
    rows = [
        {"label": row["label"], **{name: group[name] for name in ("group", "n", "positives", "accuracy")}}
        for row in shown.to_dict("records")
        for group in read_sealed(Path(row["folder"]) / run_folder.METRICS)["per_group"]
    ]
    frame = pd.DataFrame(rows, columns=["label", "group", "n", "positives", "accuracy"])
    return frame.groupby(["label", "group"], sort=False, as_index=False).agg(
        n=("n", "first"), positives=("positives", "first"), accuracy=("accuracy", "mean")
    )


def example_positions(labels: npt.NDArray[Any], per_class: int) -> npt.NDArray[np.int64]:
    """Return positions of patches of both classes, evenly spaced over a split so that they are from several slides."""
    chosen: list[int] = []
    for label in (1, 0):
        places = np.flatnonzero(labels == label)
        if len(places):
            chosen += places[np.unique(np.linspace(0, len(places) - 1, per_class).round().astype(int))].tolist()
    return np.array(chosen, np.int64)


def surest_errors(shown: pd.DataFrame, per_class: int) -> pd.DataFrame:
    """Return the most confident errors on the test patches of the run that is best on the validation patches.

    Parameters
    ----------
    shown : see `labelled`.
    per_class : maximum number of false positives and of false negatives.

    Returns
    -------
    errors : `run` (its folder), `patch_id`, `group`, `label`, `score`; false positives first, each kind from the most
        confident on. No rows without runs or errors.
    """
    columns = ["run", "patch_id", "group", "label", "score"]
    ranked = best_first(shown)
    if ranked.empty:
        return pd.DataFrame(columns=columns)
    run = ranked.iloc[0]
    test = evaluation.read(Path(run["folder"]) / run_folder.PREDICTIONS).query("split == 'test'")
    return surest(test.assign(run=run["folder"]), per_class)[columns]


def surest(scored: pd.DataFrame, per_class: int) -> pd.DataFrame:
    """Return the most confident errors among scored patches, those of either class at most `per_class`.

    Parameters
    ----------
    scored : `label`, `score` and other columns.

    Returns
    -------
    errors : rows of it; false positives first, each kind from the most confident on.
    """
    wrong = scored[(scored["score"] > THRESHOLD) != (scored["label"] == 1)]
    order = wrong.assign(sure=(wrong["score"] - THRESHOLD).abs())
    order = order.sort_values(["label", "sure"], ascending=[True, False], kind="stable")
    return order.groupby("label").head(per_class)[scored.columns].reset_index(drop=True)


def mean_scores(shown: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the test patches of `labelled` runs with their mean score over the runs; none was trained on them.

    Parameters
    ----------
    predictions : from a run's folder to its predictions, as in `predictions.csv`; one is held at a time.

    Returns
    -------
    scored : `patch_id`, `group`, `label`, `score`; `scored_by`, the number of runs, and `contradicting`, how many of
        them decide for the other label. By patch id.
    """
    known, sums = (
        pd.DataFrame(columns=["group", "label"]),
        pd.DataFrame(columns=["score", "scored_by", "contradicting"]),
    )
    for folder in shown["folder"]:
        test = predictions[folder].query("split == 'test'").set_index("patch_id").sort_index()
        values = pd.DataFrame(
            {
                "score": test["score"],
                "scored_by": 1,
                "contradicting": (test["score"] > THRESHOLD) != (test["label"] == 1),
            }
        ).astype({"contradicting": int})
        known = test[["group", "label"]] if known.empty else known.combine_first(test[["group", "label"]])
        sums = values if sums.empty else sums.add(values, fill_value=0)
    scored = known.join(sums).rename_axis("patch_id").reset_index()
    scored["score"] = (scored["score"] / scored["scored_by"]).astype(np.float64)
    return scored.astype({"label": int, "scored_by": int, "contradicting": int})
