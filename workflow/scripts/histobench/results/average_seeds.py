"""One result of the runs of all seeds of a cell, by the mean score of each patch: an ensemble.

It is a run folder like any other, but for weights: tables and statistics read it as one run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed
from histobench.results import evaluation, gather

KEYS = ["split", "patch_id"]


def write(folder: Path, members: Sequence[Path], specification: dict[str, Any]) -> None:
    """Write the averaged predictions, history, timing and ``run.json`` of results on the same patches.

    History and seconds are means over the seeds, epoch by epoch: those of one training.

    Parameters
    ----------
    folder : to write into.
    members : folders of the results, one a seed.
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
    mean = pd.concat(tables).groupby(KEYS)["score"].mean()
    averaged = first.assign(score=mean).reset_index()
    rows = averaged[list(runs.PREDICTION_COLUMNS)].itertuples(index=False, name=None)
    runs.write_predictions(folder / runs.PREDICTIONS, rows)
    abouts = [read_sealed(member / runs.ABOUT) for member in members]
    recipe = abouts[0]["recipe"] | {"average_scores": specification["recipe"]["average_scores"]}
    gather.write_about(folder, members, specification, abouts, {"recipe": recipe})
