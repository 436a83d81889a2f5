"""Which runs a study goes on with: to score changed test patches, or to be exported."""

from collections.abc import Collection, Sequence

import pandas as pd

from histobench.results.figure_data import best_first

BEST, NAMED = "best", "named"


def chosen(shown: pd.DataFrame, named: Sequence[str], *, networks: Collection[str], best: bool) -> pd.DataFrame:
    """Return the runs on a data set whose networks a study goes on with.

    Parameters
    ----------
    shown : see :func:`histobench.results.figure_data.labelled`.
    named : folders of the runs that the configuration names.
    networks : folders of the runs that have a network.
    best : whether the configuration asks for the best run on the validation patches.

    Returns
    -------
    runs : `run`, its folder; `why`, `BEST` or `NAMED`; `better`, the folder of the best run where that has no network
        and this one is the best of the others, else "".
    """
    rows = []
    ranked = best_first(shown)["folder"].tolist()
    with_network = [folder for folder in ranked if folder in networks]
    if best and with_network:
        better = "" if ranked[0] == with_network[0] else ranked[0]
        rows.append({"run": with_network[0], "why": BEST, "better": better})
    rows += [{"run": folder, "why": NAMED, "better": ""} for folder in named if folder not in with_network[:best]]
    return pd.DataFrame(rows, columns=["run", "why", "better"])
