"""What scores are worth when patches are turned, stained otherwise, compressed or out of focus."""

import io
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from histobench.core import runs as run_files
from histobench.core.changes import FLIPS_AND_TURNS, UNCHANGED
from histobench.core.datasets.pcam import CENTRE
from histobench.core.datasets.upstream import text as text_of
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.results import bootstrap, chosen_runs, figure_data, metrics, statistics
from histobench.results.columns import (
    ALL_ROWS,
    BOOTSTRAP,
    CELL,
    RUNS,
    Column,
    hidden,
    names,
    read_csv,
    text,
    two_decimals,
)
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

ALL_WAYS = "flips and turns"
OUTSIDE = "tumour outside the centre"

COLUMNS = [
    *(replace(column, once=ALL_ROWS) if column.shown else column for column in CELL),
    Column("seed", once=ALL_ROWS),
    hidden("label"),
    text("change"),
    Column("n", "Test patches"),
    Column("positives"),
    Column("auc", "AUC", interval=BOOTSTRAP),
    Column("difference", "AUC, less that of unchanged ones", interval=BOOTSTRAP),
    Column("score_change", "Mean change of score"),
    Column("absolute_change", "Mean size of the change"),
    Column("flipped", "Decisions that change, %", two_decimals),
    text("unit", "Resampled unit", once=ALL_ROWS),
    RUNS,
]

FIRST = [
    *("model_name", "mode", "recipe", "device", "seed"),
    *("change", "auc", "difference", "score_change", "absolute_change", "flipped"),
]

NOTES = [
    "All patches change in the same way. Intervals of all rows are from the same resamples, so that differences are "
    "paired.",
    f"{ALL_WAYS.capitalize()}: means over the {len(FLIPS_AND_TURNS)} others of the eight ways to lay down a square.",
    "Stain: each stain's concentration, by colour deconvolution, is so much less or more; glass stays as bright.",
    "JPEG: by Pillow, colours at half the resolution (4:2:0). Blur: Gaussian, with this standard deviation.",
    "Decisions are those at the threshold of the run's own validation patches.",
]
OUTSIDE_NOTE = (
    f"{OUTSIDE.capitalize()}: no change, but another choice of patches. PCam's label is that of the central 32 px; "
    "these negatives show tumour outside of them. The AUC is that of all positives against these, and the change of "
    "score their mean score less that of the other negatives."
)


def rows_of_run(scores: pd.DataFrame, threshold: float | None, outside: Set[str]) -> list[dict[str, Any]]:
    """Return what the scores of a run are worth in each change.

    Parameters
    ----------
    scores : `change`, `patch_id`, `group`, `label`, `score`; the same patches in each change.
    threshold : of the run's decisions; None if it has none.
    outside : names of negative patches with tumour outside the centre, some of which may not be among these.

    Returns
    -------
    rows : with these `COLUMNS`: `change`, the changes of `FLIPS_AND_TURNS` as one, whose values are means over them;
        `n` and `positives` of the patches; `auc` and its `difference` from that of unchanged patches, with percentile
        intervals over resamples; `score_change` and `absolute_change`, means over patches; `flipped`, per cent of the
        decisions. Without both classes there is no AUC.
    """
    first = scores[scores["change"] == UNCHANGED].sort_values("patch_id")
    by_change = scores.pivot(index="patch_id", columns="change", values="score").loc[first["patch_id"]]
    labels = first["label"].to_numpy(np.int64)
    units, unit, _ = bootstrap.resampled_units(first["group"])
    everything = np.ones(len(first), bool)

    def aucs(change: str, chosen: NDArray[np.bool_]) -> tuple[float, "pd.Series[float]"]:
        values = by_change[change].to_numpy(np.float64)[chosen]
        if len(np.unique(labels[chosen])) < 2:
            return np.nan, pd.Series(dtype=np.float64)
        replicates = metrics.auc_replicates(labels[chosen], values, units[chosen], int(units.max()) + 1)
        return float(roc_auc_score(labels[chosen], values)), replicates

    unchanged = by_change[UNCHANGED]
    whole = aucs(UNCHANGED, everything)

    def compared(found: list[tuple[float, "pd.Series[float]"]]) -> dict[str, float]:
        auc, replicates = float(np.mean([each[0] for each in found])), pd.concat([each[1] for each in found], axis=1)
        mean = replicates.mean(axis=1)
        differences = statistics.bounds("difference", (mean - whole[1]).dropna())
        return {"auc": auc, "difference": auc - whole[0]} | statistics.bounds("auc", mean) | differences

    rows: list[dict[str, Any]] = []
    for name, changes in _rows_of_table(scores["change"].unique().tolist()).items():
        row = {"change": name, "n": len(first), "positives": int(labels.sum()), "unit": unit}
        if name == UNCHANGED:
            rows.append(row | {"auc": whole[0]} | statistics.bounds("auc", whole[1]))
            continue
        changed = by_change[changes]
        row |= compared([aucs(change, everything) for change in changes])
        apart = changed.sub(unchanged, axis=0).to_numpy(np.float64)
        row |= {"score_change": apart.mean(), "absolute_change": np.abs(apart).mean()}
        if threshold is not None:
            flips = (changed > threshold).ne(unchanged > threshold, axis=0)
            row["flipped"] = 100 * flips.to_numpy(np.float64).mean()
        rows.append(row)
    there = first["patch_id"].isin(outside).to_numpy()
    if there.any():
        chosen, values = (labels == 1) | there, unchanged.to_numpy(np.float64)
        of_others = values[(labels == 0) & ~there]
        change = values[there].mean() - of_others.mean() if len(of_others) else np.nan
        row = {"change": OUTSIDE, "n": int(chosen.sum()), "positives": int(labels.sum()), "unit": unit}
        rows.append(row | compared([aucs(UNCHANGED, chosen)]) | {"score_change": change})
    return rows


def _rows_of_table(changes: list[str]) -> dict[str, list[str]]:
    """Return the changes of each row."""
    rows: dict[str, list[str]] = {}
    for change in changes:
        rows.setdefault(ALL_WAYS if change in FLIPS_AND_TURNS else change, []).append(change)
    return rows


def tumour_outside(path: Path, labels: Mapping[str, int]) -> set[str]:
    """Return the negative test patches of PCam that show tumour outside their centre.

    Parameters
    ----------
    path : PCam's table of the slides of its test patches; one without `tumor_patch` names none.
    labels : of test patches, by their names.

    Raises
    ------
    HistobenchError
        if a value is neither True nor False, or the table is that of other patches.
    """
    table = pd.read_csv(io.StringIO(text_of(path)), dtype=str, keep_default_na=False)
    if not {"tumor_patch", "center_tumor_patch"} <= set(table.columns):
        return set()
    found = {}
    for name in ("tumor_patch", "center_tumor_patch"):
        found[name] = table[name].str.strip().str.lower().map(CENTRE)
        if found[name].isna().any():
            number = int(found[name].isna().to_numpy().argmax())
            raise HistobenchError(
                f"{path}, patch {number}: expected True or False in {name}, found {table[name].iloc[number]!r}"
            )
    ids = pd.Index([f"test-{number:06d}" for number in range(len(table))])
    centre, anywhere = (pd.Series(found[name].to_numpy(int), ids) for name in ("center_tumor_patch", "tumor_patch"))
    expected = pd.Series(labels)
    if (wrong := expected.index[centre.reindex(expected.index).ne(expected)]).size:
        raise HistobenchError(
            f"{path}: expected {expected[wrong[0]]} in center_tumor_patch of patch {wrong[0]}, its label, found "
            f"{centre.get(wrong[0], 'no such row')}: it is the table of other patches; put the right one in its place"
        )
    return set(ids[(anywhere == 1) & (centre == 0)])


def table_of_runs(
    scores: pd.DataFrame, shown: pd.DataFrame, thresholds: Mapping[str, float | None], outside: Set[str] = frozenset()
) -> pd.DataFrame:
    """Return the table of some runs, which have the same test patches.

    Parameters
    ----------
    scores : as :mod:`histobench.train.robustness` writes them: `run` and the columns of :func:`rows_of_run`.
    shown : the runs, see :func:`named_runs`, in the order of the table.
    thresholds : of their decisions, by folder.
    outside : see :func:`rows_of_run`.

    Returns
    -------
    table : with the columns `COLUMNS`.
    """
    rows = []
    for folder, run in zip(shown.index, shown.to_dict("records"), strict=True):
        told = {name: run[name] for name in (*names(CELL), "seed", "label")} | {"runs": folder}
        found = rows_of_run(scores[scores["run"] == folder], thresholds[folder], outside)
        rows += [told | row for row in found]
    return pd.DataFrame(rows, columns=names(COLUMNS))


def named_runs(inputs: Inputs) -> pd.DataFrame:
    """Return the runs on the data set, collapsed ones included, with a `label` that names the seed, too; by folder."""
    runs = figure_data.labelled(inputs.runs.assign(collapsed=False), inputs.cells, inputs.dataset)
    return runs.assign(label=runs["label"] + ", seed " + runs["seed"].astype(str)).set_index("folder")


def robustness_table(inputs: Inputs) -> Table:
    """Return the table of the data set; without rows if no run on it has learnt."""
    chosen_by, scored = inputs.files["changed_scores"]
    chosen, scores = read_csv(chosen_by, ["run", "why", "better"]), read_csv(scored, ["run", "patch_id", "group"])
    runs, there = named_runs(inputs), set(scores["run"])
    shown = runs.loc[[folder for folder in chosen["run"] if folder in runs.index and folder in there]]
    thresholds = {
        folder: read_sealed(Path(folder) / run_files.METRICS)["test"]["at_validation_threshold"]["threshold"]
        for folder in shown.index
    }
    outside = set[str]()
    for path in inputs.files["slide_metadata"]:
        outside = tumour_outside(path, dict(zip(scores["patch_id"], scores["label"], strict=True)))
    table = table_of_runs(scores, shown, thresholds, outside)
    notes = [*_on_the_runs(chosen, runs), *_on_the_patches(table, shown), *NOTES]
    if (table["change"] == OUTSIDE).any():
        notes.append(OUTSIDE_NOTE)
    title = f"Scores of changed patches on {inputs.dataset}"
    return Table(title, table, COLUMNS, inputs.announcements(), notes, first=FIRST, on_page=bool(len(table)))


def _on_the_runs(chosen: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Return a note on the best run; `chosen` is as of `chosen_runs.chosen`, `runs` as of :func:`named_runs`."""
    labels: dict[str, str] = dict(zip(runs.index, runs["label"], strict=True))
    notes = []
    for row in chosen[chosen["why"] == chosen_runs.BEST].to_dict("records"):
        if row["run"] in labels and row["better"] in labels:
            notes.append(
                f"{labels[row['run']]}: of the runs that have a network here, the best on the validation patches. "
                f"{labels[row['better']]} is better, but has no network that could score changed patches."
            )
        elif row["run"] in labels:
            notes.append(f"{labels[row['run']]}: the best run on the validation patches.")
    return notes


def _on_the_patches(table: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Return a note on how many of the test patches were scored, if not all."""
    if table.empty or (scored := int(table["n"].iloc[0])) == (tested := int(shown["n_test"].iloc[0])):
        return []
    return [
        f"{scored:,} of the {tested:,} test patches were scored, evenly spaced over all in the order of their names."
    ]
