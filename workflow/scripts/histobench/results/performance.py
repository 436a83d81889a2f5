"""Tables 3 and 4: loss, accuracy and AUC of every cell on a data set, beside the published ones."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from histobench.errors import HistobenchError
from histobench.results.cells import first_cells, runs_of
from histobench.results.collect import TEXTS
from histobench.results.metrics import LEVEL, percentile_interval

# An interval from two seeds would be wider than the AUC's range.
MIN_SEEDS = 3

METRICS = ["loss", "accuracy", "balanced_accuracy", "auc"]

PUBLISHED = ["loss", "accuracy", "auc"]
"""Those that the paper prints."""

DIFFERS = ["data_differs", "recipe_differs", "weights_differ"]
"""Why a cell is not comparable with the paper's, see `results/paper`."""

COLUMNS = [
    *("data_set", "mode", "transfer", "key", "model", "recipe", "device"),
    *("loss", "accuracy", "balanced_accuracy", "auc", "auc_low", "auc_high", "interval"),
    *("auc_over_seeds", "auc_over_seeds_low", "auc_over_seeds_high"),
    *(f"published_{metric}" for metric in PUBLISHED),
    "auc_difference",
    *("n", "seeds", "collapsed", "floor_auc", "below_floor", "weights", "patches", "split"),
    *DIFFERS,
    *("gap", "runs"),
]

NOTES = ["Published values: Bonnet 2024, Table 3 (PCam) and Table 4 (IDC), with the decimals that it prints."]

INTERVALS = {"group": "bootstrap over groups", "patch": "bootstrap over patches, ignores clustering"}


def performance(
    dataset: str,
    runs: pd.DataFrame,
    cells: pd.DataFrame,
    replicates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame,
) -> pd.DataFrame:
    """Return the test metrics of each cell on a data set, averaged over its seeds, beside those of the paper.

    A run that collapsed to a constant has no metrics to average: it is counted and left out.

    Parameters
    ----------
    dataset : its name.
    runs, cells : of the study, as in `runs.csv` and `cells.csv`.
    replicates : from a run's folder to its bootstrap replicates, as in `bootstrap.csv`. Resample r holds the same test
        patches in every run on a data set (see `metrics.resampled_weights`), so the replicates of the average over
        seeds are the averages of the seeds' replicates. They show the uncertainty of the test set, not of the seed.
    published : `dataset` (a format), `model`, `mode` and `PUBLISHED` of the paper.

    Returns
    -------
    table : one row per cell that was asked for, in the order of the matrix, with the columns `COLUMNS`; cells that are
        there for their seconds alone have none. `n` is the number of test patches, `seeds` the number of seeds
        averaged, `collapsed` the number left out; where none remains, the metrics are NaN. `auc_low` and `auc_high` are
        the uncertainty of the test set. `auc_over_seeds` is that of training: the standard deviation over the averaged
        seeds, from two seeds up, and its interval is Student's of their mean, from three seeds up. `below_floor` is
        True where the AUC is at or below that of the colour floor. `auc_difference` (ours - published) stands only
        where nothing in `DIFFERS` does. `gap` says why seeds are missing. `runs` are the folders of the cell's runs,
        collapsed ones included, separated by spaces.

    Raises
    ------
    HistobenchError
        Where a run that did not collapse has no replicates.
    """
    asked = cells[(cells["dataset"] == dataset) & ~cells["timing_only"].astype(bool)]
    printed = published.set_index(["dataset", "model", "mode"])
    rows = []
    for cell in asked.to_dict("records"):
        key = (cell["format"], cell["model"], cell["mode"])
        row = {
            "data_set": dataset,
            "mode": cell["mode"],
            "key": cell["model"],
            "model": cell["name"],
            "recipe": cell["recipe"],
            "device": cell["device"],
            "gap": cell["gap"],
            **{
                f"published_{metric}": printed.loc[key, metric] if key in printed.index else np.nan
                for metric in PUBLISHED
            },
            **_of_runs(runs_of(cell, runs), replicates),
        }
        comparable = not any(row[why] for why in DIFFERS)
        row["auc_difference"] = row["auc"] - row["published_auc"] if comparable else np.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64"})


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """Read tables as :func:`performance` gave them, of one or several data sets."""
    texts = (*TEXTS, "data_set", "key", "interval", "runs")
    frames = [pd.read_csv(path, dtype=dict.fromkeys(texts, str)) for path in paths]
    frame = pd.concat([frame.astype({"n": "Int64"}) for frame in frames], ignore_index=True)
    return frame.fillna({name: "" for name in texts if name in frame})


def standing(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that stand for data set, model and mode where one AUC is wanted, see `cells.first_cells`."""
    names = ["dataset", "model", "mode", "recipe", "device"]
    first = first_cells(cells)[names]
    return first.merge(table.drop(columns="model").rename(columns={"data_set": "dataset", "key": "model"}), on=names)


def tuned(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tuned recipes."""
    names = ["dataset", "model", "mode", "recipe", "device"]
    some = cells[(cells["tuned_from"] != "") & ~cells["left_out"].astype(bool)][names]
    return some.merge(table.drop(columns="model").rename(columns={"data_set": "dataset", "key": "model"}), on=names)


def _of_runs(runs: pd.DataFrame, replicates: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Return what the runs of one cell found; metrics are NaN and texts "" where there is none."""
    texts = ["transfer", "weights", "patches", "split", *DIFFERS]
    first = runs.iloc[0] if len(runs) else pd.Series(dict.fromkeys(texts, "") | {"n_test": pd.NA, "floor_auc": np.nan})
    learnt = runs[~runs["collapsed"].astype(bool)]
    low, high = _auc_interval(list(learnt["folder"]), replicates)
    means = {metric: float(learnt[metric].mean()) if len(learnt) else np.nan for metric in METRICS}
    return {
        **means,
        "auc_low": low,
        "auc_high": high,
        "interval": INTERVALS[first["interval_unit"]] if len(runs) else "",
        **_over_seeds(learnt["auc"].astype(float)),
        "n": first["n_test"],
        "seeds": len(learnt),
        "collapsed": len(runs) - len(learnt),
        "floor_auc": first["floor_auc"],
        "below_floor": bool(means["auc"] <= first["floor_auc"]),
        **{name: first[name] for name in texts},
        "runs": " ".join(runs["folder"]),
    }


def _auc_interval(folders: Sequence[str], replicates: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """Return the percentile interval of the mean AUC over these runs, or NaN where there is none."""
    missing = [folder for folder in folders if folder not in replicates]
    if missing:
        raise HistobenchError(
            f"tables: no bootstrap replicates of {', '.join(missing)}. Every run that did not collapse needs its "
            "bootstrap.csv: evaluate these runs again."
        )
    if not folders:
        return np.nan, np.nan
    columns = [replicates[folder].set_index("replicate")["auc"] for folder in folders]
    low, high = percentile_interval(pd.concat(columns, axis=1, join="inner").mean(axis=1)) or (np.nan, np.nan)
    return low, high


def _over_seeds(aucs: pd.Series) -> dict[str, float]:
    """Return the spread of the AUC over seeds; NaN where there are too few to tell."""
    n, deviation = len(aucs), aucs.std(ddof=1)
    low, high = np.nan, np.nan
    if n >= MIN_SEEDS:
        half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * deviation / np.sqrt(n)
        low, high = aucs.mean() - half, aucs.mean() + half
    return {"auc_over_seeds": deviation, "auc_over_seeds_low": low, "auc_over_seeds_high": high}
