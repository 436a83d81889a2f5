"""Requested and used: time, memory and cores that jobs asked for, beside what they took."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from histobench.core import usage
from histobench.results import collect
from histobench.results.columns import (
    KNOWN_ROWS,
    MODE,
    MODEL,
    MODEL_NAME,
    RANGE,
    Column,
    names,
    text,
    three_digits,
    two_decimals,
)
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

JOBS_NOTE = (
    "Jobs: those that had finished when the runs were collected; each head by itself, also where one process trained "
    "several, and of a run that was killed and went on all its jobs together. What was asked for is the most of these "
    "jobs, the time taken their median, the memory taken their maximum, the cores used their median."
)
RATIO_NOTE = "Ratios: what was asked for over the longest time, and over the most memory, that a job took."
OWN_NOTE = (
    "Memory and cores are those of a job's own process. Snakemake, of which in a job of SLURM two more processes run, "
    "is not among them."
)
CARD_NOTE = (
    "GPU, MiB: the maximum of the memory that Keras's backend held on the card. A job on a card asks for one. How busy "
    "it was is not measured; the table of seconds has the share of its peak, and its energy."
)
ACCOUNTS_NOTE = (
    "By SLURM's accounts: whole jobs, with all their runs, predictions, scores and Snakemake itself, by the first run "
    "in each. Their memory is the most that Snakemake has held and the most that one of their steps has."
)
ACCOUNTED = "Whole jobs, by SLURM's accounts"


def _minutes(value: float) -> str:
    return two_decimals(value) if value < 1 else three_digits(value)


COLUMNS = [
    text("rule"),
    MODEL,
    MODEL_NAME,
    MODE,
    text("recipe", once=KNOWN_ROWS),
    text("device", once=KNOWN_ROWS),
    Column("accounted", shown=False),
    Column("jobs"),
    Column("requested_minutes", "Minutes asked"),
    Column("minutes", "Minutes taken", _minutes, interval=RANGE),
    Column("time_ratio", "Time, ratio", three_digits),
    Column("requested_mb", "MB asked"),
    Column("peak_mb", "MB taken"),
    Column("memory_ratio", "Memory, ratio", three_digits, footnote=RATIO_NOTE),
    Column("requested_cores", "Cores asked"),
    Column("cores", "Cores used", two_decimals, footnote=OWN_NOTE),
    Column("peak_device_memory_mib", "GPU, MiB", footnote=CARD_NOTE),
]
FIRST = [
    *("rule", "model_name", "mode", "recipe", "device"),
    *("requested_minutes", "minutes", "time_ratio", "requested_mb", "peak_mb", "memory_ratio"),
]

CELL = ("model", "mode", "recipe", "device")
TOLD_APART: Mapping[str, Sequence[str]] = {
    "prepare": (),
    "extract_features": ("model", "device"),
    "import_features": ("model",),
    **dict.fromkeys(("tune", "tune_worker", "train", "predict", "predict_turned", "predict_external"), CELL),
    **dict.fromkeys(("evaluate", "gather", "average_scores", "audit", "controls", "describe_models"), ()),
    **dict.fromkeys(("explain", "robustness"), ()),
}
"""Rules, in the order of the rows, and what of a job has a row of its own; data sets share one."""

WHOLE = ["requested_minutes", "requested_mb", "peak_mb", "requested_cores", "peak_device_memory_mib"]


def requested_and_used(jobs: pd.DataFrame, printed: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each rule and what `TOLD_APART` names, first by records of jobs, then by SLURM's accounts.

    Parameters
    ----------
    jobs : as in `jobs.csv`.
    printed : from a model's key to its printed name.

    Returns
    -------
    table : with the columns `COLUMNS`; what no job tells is NA or NaN.
    """
    rows = []
    for accounted in (False, True):
        for rule, apart in TOLD_APART.items():
            some = jobs[(jobs["rule"] == rule) & (jobs["accounted"].astype(bool) == accounted)]
            for _, group in some.groupby(list(apart), sort=False) if apart else [("", some)] * bool(len(some)):
                told = {name: group[name].iloc[0] if name in apart else "" for name in CELL}
                named = {"model_name": printed.get(told["model"], told["model"])}
                rows.append({"rule": rule, **told, **named, "accounted": accounted, **_measures(group)})
    table = pd.DataFrame(rows, columns=names(COLUMNS))
    table[WHOLE] = table[WHOLE].astype("float64").round().astype("Int64")
    return table


def _measures(group: pd.DataFrame) -> dict[str, Any]:
    """Return what jobs that share a row asked for and took."""
    of = {name: pd.to_numeric(group[name], errors="coerce").astype("float64") for name in MEASURED}
    minutes, mb = of["seconds"] / 60, of["peak_memory_mib"] / usage.MB
    asked = {name: of[name].max() for name in ("requested_minutes", "requested_mb", "requested_cores")}
    return {
        "jobs": len(group),
        **asked,
        "minutes": minutes.median(),
        **({"minutes_low": minutes.min(), "minutes_high": minutes.max()} if len(group) > 1 else {}),
        "time_ratio": _ratio(asked["requested_minutes"], minutes.max()),
        "peak_mb": mb.max(),
        "memory_ratio": _ratio(asked["requested_mb"], mb.max()),
        "cores": of["cores"].median(),
        "peak_device_memory_mib": of["peak_device_memory_mib"].max(),
    }


MEASURED = [
    *("requested_minutes", "seconds", "requested_mb", "peak_memory_mib", "requested_cores", "cores"),
    "peak_device_memory_mib",
]


def _ratio(asked: float, took: float) -> float:
    return asked / took if took else np.nan


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the parts of the table to print, by title: what jobs have recorded, and what SLURM has."""
    accounted = table["accounted"].astype(bool)
    return {"": table[~accounted]} | ({ACCOUNTED: table[accounted]} if accounted.any() else {})


def requested_and_used_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    table = requested_and_used(collect.read_jobs(inputs.files["jobs"][0]), inputs.study["all_names"])
    path = inputs.files["requests"][0]
    notes = [JOBS_NOTE, *([ACCOUNTS_NOTE] if table["accounted"].any() else []), f"Lines for a profile: {path}."]
    block = path.read_text(encoding="utf-8")
    return Table(
        "Requested and used", table, COLUMNS, footnotes=notes, grids=in_print(table), first=FIRST, to_copy=block
    )
