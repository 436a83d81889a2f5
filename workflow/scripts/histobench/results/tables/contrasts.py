"""Paired contrasts of cells on one test set.

Transfer learning against full training, training against the baselines on the same frozen features, heads on embeddings
of others against a CNN that was trained in full, tuned against untuned, and those that the configuration names.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from histobench.core import recipes
from histobench.core.averaged import Member
from histobench.core.errors import HistobenchError
from histobench.core.modes import ENSEMBLE
from histobench.results import statistics
from histobench.results.bootstrap import RESAMPLES
from histobench.results.cells import MODE_NAMES, NAMES, Cell, averages, can_represent, runs_of
from histobench.results.columns import BOOTSTRAP, CELL, GAP, KNOWN_ROWS, RUNS, Column, names, p_value, pick, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

TRANSFER, TUNED = "TL − full", "tuned − untuned"
AVERAGED = {
    "d4": "mean over D4 − single",
    "seeds": "mean over seeds − single",
    "d4 seeds": "mean over D4 and seeds − single",
    ENSEMBLE: "ensemble − member",
}
"""By what is averaged: scores over the eight flips and turns of a patch, over the seeds of a cell, both, or cells."""
COMPARED = ("tl", "full")
"""Modes of `TRANSFER`."""
TRAINED = ("full", "finetune")
"""Modes that are contrasted with the baselines of the same backbone, which say what training it adds."""
BASELINES = (recipes.LINEAR_HEAD, recipes.KNN)
HEADS = (recipes.DENSE_HEAD, *BASELINES)
"""On embeddings of others, which no network here can be trained for, they are contrasted with a CNN."""

NOTES = [
    "Differences of the mean AUC on the test set, a minus b. Interval and p are from a paired bootstrap: both arms "
    "on the same resampled groups or patches (see Unit), within which the seeds of each arm are resampled. They do not "
    "include the spread over seeds of an arm with one seed, and half of its variance for an arm with two. A mean over "
    "D4, and an ensemble, share their seeds with what they are compared with, and these are resampled for both arms "
    "at once; the seeds that a mean is over are not resampled.",
    f"The smallest p of {RESAMPLES:,} resamples is {2 / (RESAMPLES + 1):.3f}; Holm's, of m contrasts, m times that.",
    "p Holm is adjusted for all contrasts of one data set; those with a linear head or k-NN, those of heads on "
    "embeddings, and those of averages of scores, are families of their own, by their names.",
    "DeLong's p is secondary. It treats patches as independent, which those of a slide or patient are not, so it is "
    "too small; and it uses only one seed, the lowest that both arms have.",
    "If there are several recipes and devices, TL − full uses the first with both modes, and what is less a linear "
    "head or k-NN, the first of each on a device that has both. Collapsed runs are left out.",
    "Heads on embeddings of others, the first of each kind, are less the CNN trained in full that is best on the "
    "validation patches: another model, on whichever device.",
]

COLUMNS = [
    *pick(CELL, "dataset"),
    text("contrast"),
    *pick(CELL, "model", "model_name", "mode", "recipe", "device"),
    *(Column(f"auc_{arm}", f"AUC {arm}") for arm in "ab"),
    Column("difference", interval=BOOTSTRAP),
    Column("p", "p", format=p_value),
    Column("p_holm", "p, Holm", format=p_value),
    Column("delong_p", "p, DeLong", format=p_value),
    *map(Column, ("seeds_a", "seeds_b")),
    text("unit", once=KNOWN_ROWS),
    GAP,
    RUNS,
]

FIRST = [
    *("model_name", "contrast", "mode", "dataset", "recipe", "device"),
    *("auc_a", "auc_b", "difference", "p_holm", "remark"),
]


def contrasts(
    runs: pd.DataFrame,
    cells: pd.DataFrame,
    replicates: Mapping[str, pd.DataFrame],
    predictions: Mapping[str, pd.DataFrame],
    encoders: Sequence[str] = (),
    named: Sequence[Sequence[Sequence[str]]] = (),
) -> pd.DataFrame:
    """Return the contrasts of a study.

    `TRANSFER` is of every model with both modes, each of the `TRAINED` modes less each of the `BASELINES` of every
    model with both, `TUNED` of every tuned recipe.

    The arms of `TRANSFER` are the first cells of the two modes with the same recipe and device, in transfer learning
    with a dense head; if no recipe has both modes, with the same device. So are those of a mode and a baseline, by
    whichever recipes. The arms of `TUNED` are the cell of the tuned recipe and that of the recipe it was
    tuned from, with the same data set, model, mode and device. Modes and tuned cells that cannot run have no row.
    Of each model of `encoders` the arms are the first cell of each of `HEADS`, and the CNN in mode "full" with the
    highest mean AUC on the validation patches.

    Parameters
    ----------
    runs : one row per run, as in `runs.csv`.
    cells : one row per cell, as in `cells.csv`.
    replicates : from a run's folder to its bootstrap replicates, as in `bootstrap.csv`.
    predictions : from a run's folder to its predictions, as in `predictions.csv`.
    encoders : keys of the models that are tables of embeddings.
    named : further contrasts, by model, mode, recipe and device of both arms; on the data sets that have both. They are
        called after what differs.

    Returns
    -------
    table : one row per contrast, by data set, with the columns `COLUMNS`.

        - `mode`: of both arms, "" where they differ. `model`, `recipe`, `device`: of both, "a / b" if they differ.
        - `auc_a`, `auc_b`: means over the `seeds_a` and `seeds_b` seeds that finished and did not collapse.
        - `difference` with its 95 % interval, `p`: see `statistics.paired_bootstrap`. `p_holm`: see `statistics.holm`,
          over the contrasts of the data set that have a result; those with a baseline, of heads on embeddings, and of
          averages are families by their names.
        - `delong_p`: see `statistics.delong`, for the lowest seed that both arms have; NaN without one, or if the test
          is not defined.
        - `unit`: what was resampled, "group" or "patch"; "" if neither arm has a run.
        - `gap`: why there is no result, "" if there is one.
        - `runs`: folders of both arms, collapsed runs included, separated by spaces.

    Raises
    ------
    HistobenchError
        If a run of a contrast has no replicates or no predictions, or its arms were tested on different patches.
    """
    rows = [
        _row(*arms, runs, replicates, predictions)
        for _, of_dataset in cells.groupby("dataset", sort=False)
        for arms in (
            *_arms(of_dataset),
            *_arms_of_embeddings(of_dataset, runs, encoders),
            *_arms_named(of_dataset, named),
        )
    ]
    table = pd.DataFrame(rows, columns=names(COLUMNS))
    # Baselines, of which a study may have many, must not make it harder to find a difference between two trainings.
    apart = table["contrast"].str.endswith(BASELINES) | table["contrast"].str.startswith(HEADS)
    apart |= table["contrast"].isin(AVERAGED.values())
    of_baseline = table["contrast"].where(apart, "")
    for _, family in table.groupby(["dataset", of_baseline]):
        table.loc[family.index, "p_holm"] = statistics.holm(family["p"])
    return table


def _arms(cells: pd.DataFrame) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield each contrast of one data set: its name and the cells of its arms."""
    usable = can_represent(cells)
    # Baselines are in mode `tl` as well.
    kind = usable["classifier"].where(usable["classifier"].isin(BASELINES), usable["mode"])
    for _, of_model in usable.assign(kind=kind).groupby("model", sort=False):
        for pair in (COMPARED, *itertools.product(TRAINED, BASELINES)):
            if arms := _first_pair(of_model[of_model["kind"].isin(pair)]):
                a, b = pair
                yield f"{MODE_NAMES[a]} − {MODE_NAMES.get(b, b)}", arms[a], arms[b]
    run = ~cells["left_out"].astype(bool) & ~cells["timing_only"].astype(bool)
    for cell in cells[run & (cells["tuned_from"] != "")].to_dict("records"):
        origin = {**cell, "recipe": cell["tuned_from"]}
        yield TUNED, cell, _cell(cells, origin) or {**origin, "gap": "not in the matrix"}
    for cell in cells[run & (cells["averaged_from"] != "")].to_dict("records"):
        for member in str(cell["averaged_from"]).split():
            origin = {**cell, **dict(zip(Member._fields, member.split("/"), strict=True))}
            yield AVERAGED[str(cell["averaged_over"])], cell, _cell(cells, origin) or origin


def _cell(cells: pd.DataFrame, names: Cell) -> Cell | None:
    """Return the cell of these names, None if the matrix has none."""
    found = cells[(cells[NAMES] == [names[name] for name in NAMES]).all(axis=1)].to_dict("records")
    return found[0] if found else None


def _arms_of_embeddings(
    cells: pd.DataFrame, runs: pd.DataFrame, encoders: Sequence[str]
) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield each contrast of one data set's heads on embeddings, as :func:`_arms` does."""
    usable = can_represent(cells)
    of_others = usable["model"].isin(list(encoders))
    trained = usable[~of_others & (usable["mode"] == COMPARED[1])]
    if trained.empty or not of_others.any():
        return
    learnt = runs[~runs["collapsed"].astype(bool)]
    valid = learnt.groupby(NAMES)["valid_auc"].mean().reset_index()
    # Without any run the first of the matrix.
    best = trained.merge(valid, on=NAMES, how="left").sort_values("valid_auc", ascending=False, kind="stable")
    for head in usable[of_others].drop_duplicates(["model", "classifier"]).to_dict("records"):
        yield f"{head['classifier']} − {MODE_NAMES[COMPARED[1]]}", head, best.to_dict("records")[0]


def _arms_named(cells: pd.DataFrame, named: Sequence[Sequence[Sequence[str]]]) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield each contrast of one data set that the configuration names, as :func:`_arms` does."""
    for names_of_pair in named:
        dataset = cells["dataset"].iloc[0]
        a, b = (_cell(cells, dict(zip(NAMES, (dataset, *arm), strict=True))) for arm in names_of_pair)
        if a and b:
            differ = [name for name in NAMES if a[name] != b[name]]
            yield " − ".join(", ".join(_printed(arm, name) for name in differ) for arm in (a, b)), a, b


def _printed(cell: Cell, name: str) -> str:
    return str({"model": cell["model_name"], "mode": MODE_NAMES[cell["mode"]]}.get(name, cell[name]))


def _first_pair(cells: pd.DataFrame) -> dict[str, Cell]:
    """Return the first cell of each of two kinds, by kind, out of the cells of a model; {} if one kind has none."""
    # Any other difference would be taken for an effect of the kind, so it is avoided where possible.
    alike = [frame for _, frame in cells.groupby(["device", "recipe"], sort=False)]
    by_device = [frame for _, frame in cells.groupby("device", sort=False)]
    for frame in (*alike, *by_device, cells):
        arms: dict[str, Cell] = {cell["kind"]: cell for cell in frame.drop_duplicates("kind").to_dict("records")}
        if len(arms) > 1:
            return arms
    return {}


def _row(
    contrast: str,
    a: Cell,
    b: Cell,
    runs: pd.DataFrame,
    replicates: Mapping[str, pd.DataFrame],
    predictions: Mapping[str, pd.DataFrame],
) -> dict[str, Any]:
    finished_a, finished_b = runs_of(a, runs), runs_of(b, runs)
    if contrast == AVERAGED[ENSEMBLE]:  # which has the seeds that all of its members have
        finished_b = finished_b[finished_b["seed"].isin(finished_a["seed"])]
    runs_a, runs_b = (arm[~arm["collapsed"].astype(bool)].sort_values("seed") for arm in (finished_a, finished_b))
    finished = pd.concat([finished_a, finished_b])
    name_a, _, name_b = contrast.partition(" − ")
    gaps = [*_gaps(name_a, a, finished_a, runs_a), *_gaps(name_b, b, finished_b, runs_b)]
    if a["model"] == b["model"] and a["device"] != b["device"]:
        gaps.append("no device has both")
    row = (
        {"contrast": contrast, "dataset": a["dataset"]}
        | {"mode": a["mode"] if a["mode"] == b["mode"] else ""}
        | {name: " / ".join(dict.fromkeys([a[name], b[name]])) for name in ("model", "model_name", "recipe", "device")}
        | {"auc_a": runs_a["auc"].mean(), "auc_b": runs_b["auc"].mean()}
        | {"seeds_a": len(runs_a), "seeds_b": len(runs_b)}
        | {"unit": finished["interval_unit"].iloc[0] if len(finished) else ""}
        | {"gap": "; ".join(gaps), "runs": " ".join(finished["folder"])}
    )
    if gaps:
        return row
    result = statistics.paired_bootstrap(
        runs_a["auc"],
        runs_b["auc"],
        _replicates(runs_a, replicates),
        _replicates(runs_b, replicates),
        same_runs=averages(a, b),
    )
    row |= {"difference": result["difference"], "difference_low": result["low"], "difference_high": result["high"]}
    return row | {"p": result["p"], "delong_p": _delong(runs_a, runs_b, predictions)}


def _gaps(name: str, cell: Cell, finished: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Return the reasons why an arm has no AUC."""
    if runs.empty:
        reasons = ["collapsed"] * bool(len(finished)) + [cell["gap"]] * bool(cell["gap"])
        return [f"{name}: {', '.join(reasons)}"]
    return [f"{name}: no AUC, the test patches are of one class"] if runs["auc"].isna().any() else []


def _replicates(runs: pd.DataFrame, replicates: Mapping[str, pd.DataFrame]) -> list["pd.Series[Any]"]:
    """Return the AUCs of each run by number of the replicate."""
    return [_of(folder, replicates, "bootstrap.csv").set_index("replicate")["auc"] for folder in runs["folder"]]


def _delong(runs_a: pd.DataFrame, runs_b: pd.DataFrame, predictions: Mapping[str, pd.DataFrame]) -> float:
    """Return p of DeLong's test for the lowest seed that both arms have, NaN without one or if it is not defined."""
    common = runs_a.merge(runs_b, on="seed", suffixes=("_a", "_b")).sort_values("seed")
    if common.empty:
        return np.nan
    folder_a, folder_b = common[["folder_a", "folder_b"]].iloc[0]
    a, b = (_test_patches(_of(folder, predictions, "predictions.csv")) for folder in (folder_a, folder_b))
    if not a["label"].equals(b["label"]):
        raise HistobenchError(
            f"contrasts: expected the same test patches and labels in {folder_a} ({len(a)} patches) and {folder_b} "
            f"({len(b)} patches), found different ones. Predict and evaluate both again."
        )
    if a["label"].value_counts().reindex([0, 1], fill_value=0).min() < 2:
        return np.nan
    p = statistics.delong(a["label"], a["score"], b["score"])["p"]
    return np.nan if p is None else float(p)


def _test_patches(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["split"] == "test"].set_index("patch_id")[["label", "score"]].sort_index()


def _of(folder: str, frames: Mapping[str, pd.DataFrame], file: str) -> pd.DataFrame:
    if folder not in frames:
        raise HistobenchError(
            f"contrasts: no {file} of {folder}. Every run that did not collapse needs it: evaluate the run again."
        )
    return frames[folder]


def contrasts_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    replicates, predictions = inputs.by_run("replicates"), inputs.by_run("predictions")
    table = contrasts(
        inputs.all_runs,
        inputs.all_cells,
        replicates,
        predictions,
        list(inputs.encoders),
        named=inputs.study["contrasts"],
    )
    return Table("Paired contrasts of the AUC", table, COLUMNS, inputs.announcements(), NOTES, first=FIRST)
