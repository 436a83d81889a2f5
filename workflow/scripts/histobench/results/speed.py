"""Table 2: seconds per epoch on each kind of GPU, ours beside those that the paper prints."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from histobench.results.cells import Cell, runs_of
from histobench.results.claims import SIMPLEST
from histobench.study import CARD as CARD_FACTS

PUBLISHED_NOTE = (
    "Published values: Bonnet 2024, Table 2, on PCam. Year, CUDA cores and GFLOPS of the paper's cards are as it "
    "prints them."
)
SECONDS_NOTE = (
    "Seconds per epoch: the median of the epochs after the first, which holds the start-up, then the mean over seeds. "
    "All runs trained on patches, none on cached features."
)
OLDEST_NOTE = (
    "Against oldest: how many times as fast as the oldest card that has seconds of this data set, model, mode and "
    "recipe; that need not be the paper's oldest."
)
SIMPLEST_NOTE = "Against simplest: how many times the seconds of B2 by the same recipe on the same device."
K80_NOTE = "A K80 is two chips and a job gets half of one; its CUDA cores and GFLOPS are those of the whole card."

SPEED = [
    *("data_set", "format", "device", "gpu", "year", "cuda_cores", "gflops", "key", "model", "mode", "recipe"),
    *("training_seconds", "validation_seconds", "seconds", "against_oldest", "against_simplest"),
    *("published_seconds", "published_against_oldest", "published_against_simplest", "difference"),
    *("n_train", "n_valid", "seeds", "not_comparable", "gap", "runs"),
]

CARD = list(CARD_FACTS)


def speed(runs: pd.DataFrame, cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2, one row per cell that trains on patches.

    Parameters
    ----------
    runs : one row per run, as in `runs.csv`. Those that collapsed count too: they took their time like any other.
    cells : one row per cell, as in `cells.csv`. Where recipes are there for their seconds, cells of others stay out.
    published : the paper's Table 2: `device`, `year`, `cuda_cores`, `gflops`, `model`, `mode`, `seconds_per_epoch`.

    Returns
    -------
    table : one row per cell, in the order of the cells, with the columns `SPEED`; `key` is the model's, `model` its
        name in print.

        - `year` (text), `cuda_cores`, `gflops`: as the configuration has them, NA where it has not.
        - `training_seconds`, `validation_seconds`, `seconds` (their sum): of one epoch, see `SECONDS_NOTE`; NaN where
          none was measured.
        - `against_oldest`: seconds on the oldest card that has any, by the same data set, model, mode and recipe, over
          these; NaN for a device without a year.
        - `against_simplest`: these seconds over those of `claims.SIMPLEST` in mode "full", by the same data set, device
          and recipe.
        - `published_seconds`, `published_against_oldest`, `published_against_simplest`: the paper's own, on data of the
          format "pcam"; NA and NaN where it has none.
        - `difference`: seconds less published ones, where data and steps are the paper's. `not_comparable`: why there
          is none although both are there, else "". Weights don't matter to seconds.
        - `n_train`, `n_valid`: patches of an epoch, NA where no run has finished.
        - `seeds`: how many have finished. `gap`: why some, or all, have no seconds.
        - `runs`: folders, separated by spaces.
    """
    on_patches = runs[runs["transfer"] != "cached"]
    rows = [_row(cell, runs_of(cell, on_patches)) for cell in timed(cells).to_dict("records")]
    table = pd.DataFrame(rows, columns=MEASURED).astype(dict.fromkeys(SECONDS, "float64"))
    cards = cells.drop_duplicates("device").set_index("device")[CARD].apply(pd.to_numeric, errors="coerce")
    table = table.merge(cards, on="device", how="left")
    table = _with_ratios(table, ["data_set", "recipe"])

    printed = _with_ratios(published.rename(columns={"model": "key", "seconds_per_epoch": "seconds"}), [])
    names = {name: f"published_{name}" for name in ("seconds", "against_oldest", "against_simplest")}
    printed = printed[["device", "key", "mode", *names]].rename(columns=names).assign(format="pcam")
    table = table.merge(printed, on=["format", "device", "key", "mode"], how="left")

    both = table["seconds"].notna() & table["published_seconds"].notna()
    table["not_comparable"] = table["not_comparable"].where(both, "")
    table["difference"] = (table["seconds"] - table["published_seconds"]).where(table["not_comparable"] == "")
    whole = [*CARD, "published_seconds", "n_train", "n_valid"]
    table[whole] = table[whole].astype("Int64")
    # As text: print sets thousands apart, which a year has not.
    return table.assign(year=table["year"].astype("string"))[SPEED]


def timed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the table: those that train on patches; if any is there for its seconds, such ones alone."""
    wanted = cells[cells["end_to_end"].astype(bool) & ~cells["left_out"].astype(bool)]
    timing = wanted["timing_only"].astype(bool)
    return wanted[timing] if timing.any() else wanted


def notes(table: pd.DataFrame) -> list[str]:
    """Return what stands below the table, of what it holds."""
    found = [SECONDS_NOTE]
    if table["published_seconds"].notna().any():
        found.insert(0, PUBLISHED_NOTE)
    if table["against_oldest"].notna().any() or table["published_against_oldest"].notna().any():
        found.append(OLDEST_NOTE)
    if table["against_simplest"].notna().any() or table["published_against_simplest"].notna().any():
        found.append(SIMPLEST_NOTE)
    return [*found, K80_NOTE] if (table["device"] == "k80").any() else found


def for_claims(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return our seconds, and the number of training patches behind them, as `claims.Tables` takes them.

    Claims compare cards and models with each other, so all seconds are of one data set and one recipe: of several the
    first that have seconds.

    Parameters
    ----------
    table : as :func:`speed` returns it.

    Returns
    -------
    seconds : `device`, `gpu` (False for a CPU), `model` (its key), `mode`, `seconds_per_epoch`, on data of the format
        "pcam"; no rows where none were measured.
    epoch : training patches of an epoch, 0 where none were measured.
    """
    measured = table[(table["format"] == "pcam") & table["seconds"].notna()]
    for name in ("data_set", "recipe"):
        measured = measured[measured[name].isin(measured[name].head(1))]
    seconds = measured[["device", "gpu", "key", "mode", "seconds"]].reset_index(drop=True)
    epoch = int(measured["n_train"].iloc[0]) if len(measured) else 0
    return seconds.rename(columns={"key": "model", "seconds": "seconds_per_epoch"}), epoch


SECONDS = ["training_seconds", "validation_seconds", "seconds"]

MEASURED = [
    *("data_set", "format", "device", "gpu", "key", "model", "mode", "recipe", *SECONDS),
    *("n_train", "n_valid", "seeds", "not_comparable", "gap", "runs"),
]
"""What a cell has before it is compared; `not_comparable` is then how its runs differ from the paper's."""

START_UP = "a single epoch, which holds the start-up"


def _row(cell: Cell, runs: pd.DataFrame) -> dict[str, Any]:
    """Return a cell's `MEASURED`."""
    settled = runs[runs["epochs"] > 1]
    training, validation = (settled[f"{part}_seconds_per_epoch"].mean() for part in ("training", "validation"))
    differences = [*runs["data_differs"], *runs["steps_differ"]]
    return {
        "data_set": cell["dataset"],
        **{name: cell[name] for name in ("format", "device", "gpu", "mode", "recipe")},
        "key": cell["model"],
        "model": cell["name"],
        "training_seconds": training,
        "validation_seconds": validation,
        "seconds": training + validation,
        **{name: runs[name].iloc[0] if len(runs) else pd.NA for name in ("n_train", "n_valid")},
        "seeds": len(runs),
        "not_comparable": "; ".join(text for text in dict.fromkeys(differences) if text),
        "gap": "; ".join(filter(None, [cell["gap"], START_UP if len(settled) < len(runs) else ""])),
        "runs": " ".join(runs["folder"]),
    }


def _with_ratios(frame: pd.DataFrame, within: Sequence[str]) -> pd.DataFrame:
    """Return the frame with `against_oldest` and `against_simplest`.

    Parameters
    ----------
    frame : `device`, `year` (missing where it has none), `key`, `mode`, `seconds` and the columns `within`.
    within : columns in which rows must be the same to be compared.
    """
    of_model, of_device = [*within, "key", "mode"], [*within, "device"]
    oldest = frame.dropna(subset=["year", "seconds"]).sort_values("year").drop_duplicates(of_model)
    simplest = frame[(frame["key"] == SIMPLEST) & (frame["mode"] == "full")]
    frame = frame.merge(oldest[[*of_model, "seconds"]], on=of_model, how="left", suffixes=("", "_oldest"))
    frame = frame.merge(simplest[[*of_device, "seconds"]], on=of_device, how="left", suffixes=("", "_simplest"))
    return frame.assign(
        against_oldest=(frame["seconds_oldest"] / frame["seconds"]).where(frame["year"].notna()),
        against_simplest=frame["seconds"] / frame["seconds_simplest"],
    )
