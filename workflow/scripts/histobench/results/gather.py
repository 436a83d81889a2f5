"""One result of several runs: of those on the folds of a cross-validation, whose test parts make up the data set.

It is a run folder like any other, but for weights: tables, figures and statistics read it as one run.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed, unchanged, write_sealed
from histobench.core.prepared import manifest
from histobench.results import collect, evaluation


def write(folder: Path, members: Sequence[Path], specification: dict[str, Any], data: Sequence[Path]) -> None:
    """Write the gathered predictions, history, timing and ``run.json`` of runs.

    Predictions are those of all runs, each patch once as a validation and once as a test patch, in the order of their
    names, by which two results on the same patches are paired. History and seconds are means over the runs, epoch by
    epoch: those of one training. What is the same in all runs is that of the first.

    Parameters
    ----------
    folder : to write into.
    members : run folders.
    specification : of the result, see :meth:`histobench.core.study.Study.specification`.
    data : folders of the data sets of the runs.

    Raises
    ------
    HistobenchError
        if a patch is tested on twice, or a file is damaged.
    """
    predictions = pd.concat([evaluation.read(member / runs.PREDICTIONS) for member in members])
    predictions = predictions.sort_values(["split", "patch_id"], kind="stable")
    twice = predictions[predictions.duplicated(["split", "patch_id"])]
    if len(twice):
        raise HistobenchError(
            f"{members[0] / runs.PREDICTIONS}: patch {twice['patch_id'].iloc[0]} has a score of another fold, too; "
            "delete the folders of these runs and start again"
        )
    abouts = [read_sealed(member / runs.ABOUT) for member in members]
    counts = pd.DataFrame([collect.counts(manifest(each)) for each in data])
    runs.write_predictions(
        folder / runs.PREDICTIONS, predictions[list(runs.PREDICTION_COLUMNS)].itertuples(index=False, name=None)
    )
    # Every patch is tested on once.
    patches = counts.mean().round().astype(int).to_dict() | {"n_test": int(counts["n_test"].sum())}
    write_about(folder, members, specification, abouts, {"patches": patches})


def write_about(
    folder: Path,
    members: Sequence[Path],
    specification: dict[str, Any],
    abouts: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Write history, timing and ``run.json`` of a result of several runs: their means, and these facts.

    Parameters
    ----------
    folder, members, specification : see :func:`write`.
    abouts : what ``run.json`` of each says.
    facts : what to say instead of the first one.
    """
    for name in (runs.HISTORY, runs.TIMING):
        tables = pd.concat([pd.read_csv(unchanged(member / name)) for member in members])
        means = tables.groupby("epoch", as_index=False).mean().astype(object)
        rows: list[dict[str, Any]] = means.where(means.notna(), "").to_dict("records")  # type: ignore[assignment]
        runs.write_rows(folder / name, rows)
    write_sealed(
        folder / runs.ABOUT,
        abouts[0]
        | {
            "specification": specification,
            "best_epoch": statistics.median_low(about["best_epoch"] for about in abouts),
            "epoch_patches": {
                part: round(statistics.mean(about["epoch_patches"][part] for about in abouts))
                for part in ("train", "valid")
            },
            "peak_memory_mib": max(about["peak_memory_mib"] for about in abouts),
            "inputs_sha256": {"patches": [about["inputs_sha256"]["patches"] for about in abouts]},
            "weights_sha256": [about["weights_sha256"] for about in abouts],
            "members": [str(member) for member in members],
        }
        | facts,
    )
