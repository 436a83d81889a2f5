"""One result of several on the same patches, by the mean score of each patch: of the seeds of a cell, or of cells.

It is a run folder like any other, but for weights: tables and statistics read it as one run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.core.modes import ENSEMBLE
from histobench.results import evaluation, gather, metrics

KEYS = ["split", "patch_id"]


def write(folder: Path, members: Sequence[Path], specification: dict[str, Any]) -> None:
    """Write the averaged predictions, history, timing and ``run.json`` of results on the same patches.

    History and seconds are means over the results, epoch by epoch: those of one training. Of an ensemble of cells
    parameters and multiply-adds are those of all of its networks. Results that have collapsed to a constant do not
    count, unless all have.

    Parameters
    ----------
    folder : to write into.
    members : folders of the results, one a seed or a cell.
    specification : of the average, see :meth:`histobench.core.study.Study.specification`.

    Raises
    ------
    HistobenchError
        if they score different patches, or a file is damaged.
    """
    tables = [evaluation.read(member / runs.PREDICTIONS) for member in members]
    first = tables[0].set_index(KEYS)
    for member, table in zip(members, tables, strict=True):
        if not table.set_index(KEYS)["label"].sort_index().equals(first["label"].sort_index()):
            raise HistobenchError(
                f"{member / runs.PREDICTIONS}: expected the patches and labels of {members[0] / runs.PREDICTIONS}, "
                "found others; delete the folders of these runs and start again"
            )
    # A constant says nothing of a patch, and would move the others' scores towards it.
    learnt = [table for table in tables if not metrics.collapsed(table)]
    mean = pd.concat(learnt or tables).groupby(KEYS)["score"].mean()
    averaged = first.assign(score=mean).reset_index()
    rows = averaged[list(runs.PREDICTION_COLUMNS)].itertuples(index=False, name=None)
    runs.write_predictions(folder / runs.PREDICTIONS, rows)
    abouts = [read_sealed(member / runs.ABOUT) for member in members]
    if specification["run"]["mode"] == ENSEMBLE:
        facts = {"recipe": specification["recipe"], "features": None, "parameters": _total(abouts, "parameters")}
        sizes = pd.DataFrame([about["multiply_adds"] for about in abouts])
        facts["multiply_adds"] = {name: None if sizes[name].hasnans else int(sizes[name].sum()) for name in sizes}
    else:
        facts = {"recipe": abouts[0]["recipe"] | {"average_scores": specification["recipe"]["average_scores"]}}
    gather.write_about(folder, members, specification, abouts, facts)


def _total(abouts: Sequence[dict[str, Any]], name: str) -> int | None:
    """Return the sum of a number of ``run.json``, None where it is unknown of one."""
    values = [about[name] for about in abouts]
    return None if None in values else sum(values)
