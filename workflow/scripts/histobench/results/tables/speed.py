"""Table 2: seconds per epoch on each device, beside those that the paper prints."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from histobench.core.modes import MODES
from histobench.core.study import CARD as CARD_FACTS
from histobench.results import columns
from histobench.results.cells import MODE_NAMES, NAMES, Cell, runs_of
from histobench.results.columns import BACKEND, CELL, GAP, KNOWN_ROWS, RANGE, RUNS, Column, hidden, text, three_digits
from histobench.results.inputs import Inputs
from histobench.results.paper import SIMPLEST
from histobench.results.printing import NOT_COMPARABLE, Table

PUBLISHED_NOTE = (
    "Published values: Bonnet 2024, Table 2, on PCam. Year, CUDA cores and GFLOPS of the paper's cards are as it "
    "prints them."
)
SECONDS_NOTE = (
    "Seconds per epoch: the median of a run's epochs after the first, then the median over seeds, for training and "
    "validation separately, and their sum; ranges are from the shortest to the longest of these epochs over all seeds. "
    "The first epoch is separate, since it includes tracing, compilation and warm-up. So does the next epoch of a job "
    "that was killed and resumed. All runs trained on patches, none on cached features."
)
EXTRAPOLATED_MARK = "≈ Extrapolated from a part of the patches."
EXTRAPOLATED_NOTE = (
    "Extrapolated seconds: measured on a part of the patches, as the remark says, and scaled to all patches of the "
    "data set, for training and validation separately. They are never compared with published or measured ones. "
    "Such rows have no first epoch, most of which is start-up, and no energy."
)
PEAK_NOTE = (
    "% of peak: the operations of the training steps as a share of what the card could do in that time. A multiply-add "
    "is two operations. A training patch costs a forward pass and, for the gradients with respect to inputs and to "
    "weights, twice the part of it that is trained; only convolutions and dense layers are counted."
)
MEMORY_NOTE = "GPU, MiB: the maximum of the memory that Keras's backend held on the card."
ENERGY_NOTE = (
    "Energy: of the card, for an epoch's training and validation, by its own counter; summarised as seconds are."
)
OLDEST_NOTE = (
    "Against oldest: how many times as fast as the oldest card with seconds for this data set, model, mode and recipe, "
    "which need not be the paper's oldest."
)
SIMPLEST_NOTE = "Against simplest: how many times the seconds of B2 by the same recipe on the same device."
K80_NOTE = (
    "A K80 has two chips, and a job gets one of them; its CUDA cores and GFLOPS are those of the whole card, its peak "
    "rate is that of one chip."
)

CARD = list(CARD_FACTS)

# Measurements have three digits, since a fourth would not be reproducible.
_extrapolated = ("extrapolated", "≈")
COLUMNS = [
    *CELL,
    text("format"),
    Column("gpu", shown=False),
    text("year"),  # as a number it would be printed with a comma
    *map(Column, ("cuda_cores", "gflops", "batch_size")),
    text("precision"),
    *map(Column, ("tf32", "jit_compile")),
    Column("first_epoch_seconds", "First epoch, s", three_digits),
    Column("training_seconds", "Training, s", three_digits, interval=RANGE, mark=_extrapolated),
    Column("validation_seconds", "Validation, s", three_digits, interval=RANGE, mark=_extrapolated),
    Column("seconds", format=three_digits, mark=_extrapolated),
    hidden("extrapolated", remark="as it is"),
    Column("against_oldest", format=columns.two_decimals, footnote=OLDEST_NOTE),
    Column("against_simplest", format=columns.two_decimals, footnote=SIMPLEST_NOTE),
    *map(Column, ("published_seconds", "published_against_oldest", "published_against_simplest")),
    Column("difference", "Seconds, ours − published", three_digits),
    Column("patches_per_second", "Training patches/s", three_digits),
    *map(Column, ("multiply_adds_forward", "multiply_adds_trained")),
    text("peak_precision"),
    Column("peak_tflops"),
    Column("percent_of_peak", "% of peak", three_digits, footnote=PEAK_NOTE),
    Column("device_memory_mib", "GPU, MiB", footnote=MEMORY_NOTE),
    Column("energy_kilojoules", "Energy, kJ", three_digits, footnote=ENERGY_NOTE),
    Column("n_train", "Training patches", once=KNOWN_ROWS),
    Column("n_valid", "Validation patches", once=KNOWN_ROWS),
    Column("seeds", once=KNOWN_ROWS),
    hidden("not_comparable", remark="not comparable"),
    BACKEND,
    GAP,
    RUNS,
]

PEAK = "peak_tflops_"
"""Prefix of the columns of `cells.csv` with a device's peak rates, before the precision."""


def speed(runs: pd.DataFrame, cells: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2, one row per cell that trains on patches.

    Parameters
    ----------
    runs : one row per run, as in `runs.csv`, collapsed runs included.
    cells : one row per cell, as in `cells.csv`. If some are for timing only, the others are left out.
    published : the paper's Table 2: `device`, `year`, `cuda_cores`, `gflops`, `model`, `mode`, `seconds_per_epoch`.

    Returns
    -------
    table : one row per cell, in the order of the cells, with the columns `COLUMNS`, which the notes of this module
        explain. What no run has measured is NaN, NA or "".

        - `year` (string), `cuda_cores`, `gflops`: from the configuration, NA if missing there.
        - `batch_size`, `precision`, `tf32`, `jit_compile`: of the runs, see `collect.COLUMNS`.
        - `seconds`: sum of `training_seconds` and `validation_seconds`. `extrapolated`: from how many patches, "" if
          they were measured on all of them.
        - `against_oldest`: NaN for a device without a year. `against_simplest`: see `paper.SIMPLEST`.
        - `published_seconds`, `published_against_oldest`, `published_against_simplest`: the paper's, for data of the
          format "pcam"; NA and NaN if it has none.
        - `difference`: seconds minus published ones, if data and steps are the paper's and nothing is extrapolated.
          `not_comparable`: otherwise the reason, if both are known, else "".
        - `peak_tflops`: the peak rate of the card, TFLOPS, in `peak_precision`, which is "tf32" if float32 was
          multiplied in TF32 and the configuration has that rate. `percent_of_peak` is not given for mode "finetune",
          whose epochs do not all train the same layers.
        - `gap`: why some seeds, or all, have no seconds. `runs`: folders, separated by spaces.
    """
    on_patches = _whole_epochs(runs[runs["transfer"] != "cached"])
    rows = [_row(cell, runs_of(cell, on_patches)) for cell in timed(cells).to_dict("records")]
    table = pd.DataFrame(rows, columns=MEASURED).astype(TYPES)
    cards = cells.drop_duplicates("device").set_index("device")[CARD].apply(pd.to_numeric, errors="coerce")
    table = table.merge(cards, on="device", how="left")
    table = _with_peak(_with_ratios(table, ["dataset", "recipe", "extrapolated"]), cells)

    printed = _with_ratios(published.rename(columns={"seconds_per_epoch": "seconds"}), [])
    names = {name: f"published_{name}" for name in ("seconds", "against_oldest", "against_simplest")}
    printed = printed[["device", "model", "mode", *names]].rename(columns=names).assign(format="pcam")
    table = table.merge(printed, on=["format", "device", "model", "mode"], how="left")

    both = table["seconds"].notna() & table["published_seconds"].notna()
    table["not_comparable"] = table["not_comparable"].where(both, "")
    table["difference"] = (table["seconds"] - table["published_seconds"]).where(table["not_comparable"] == "")
    whole = [*CARD, *WHOLE, "published_seconds"]
    table[whole] = table[whole].astype("Int64")
    return table.assign(year=table["year"].astype("string"))[columns.names(COLUMNS)]


def timed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the table: those that train on patches, or only those for timing if there are any."""
    wanted = cells[cells["end_to_end"].astype(bool) & ~cells["left_out"].astype(bool)]
    timing = wanted["timing_only"].astype(bool)
    return wanted[timing] if timing.any() else wanted


FIRST = [
    *("model_name", "dataset", "recipe", "device", "seconds", "against_oldest", "against_simplest"),
    *("published_seconds", "difference", "remark"),
    *("first_epoch_seconds", "training_seconds", "validation_seconds", "patches_per_second", "percent_of_peak"),
]


def in_print(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the two parts of the table to print, by title: the paper's Table 2, and what the seconds consist of."""
    # Mode and model share a column for lack of room. A cell without runs has no number of seeds.
    seeds = table["seeds"].astype("Int64")
    name = table["model_name"] + ", " + table["mode"].map(MODE_NAMES)
    table = table.assign(model_name=name, seeds=seeds.mask(seeds == 0))
    cell = ["dataset", "model_name", "recipe", "device"]
    beside = ["published_seconds", "difference"]
    rest = ["n_train", "n_valid", "seeds", "extrapolated", "gap"]
    spread = [f"{name}{end}" for name in PARTS for end in ("", "_low", "_high")]
    of_card = ["patches_per_second", "percent_of_peak", "device_memory_mib", "energy_kilojoules"]
    grids = {"": table[[*cell, "seconds", "against_oldest", "against_simplest", *beside, *rest]]}
    if table["seeds"].notna().any():
        grids["Behind the seconds"] = table[[*cell, "first_epoch_seconds", *spread, *of_card, "extrapolated"]]
    return grids


def warnings(table: pd.DataFrame) -> list[str]:
    """Return the warnings above the table: some seconds are extrapolated, some are not comparable."""
    texts = [EXTRAPOLATED_NOTE] * bool((table["extrapolated"] != "").any())
    some = table[table["not_comparable"] != ""].drop_duplicates(["dataset", "recipe", "not_comparable"])
    words = [f"{row.recipe} on {row.dataset} ({row.not_comparable})" for row in some.itertuples()]
    return texts + ([f"{NOT_COMPARABLE}: {', '.join(words)}."] if words else [])


def notes(table: pd.DataFrame) -> list[str]:
    """Return the footnotes besides those of the columns."""

    def has(*columns: str) -> bool:
        return bool(table[list(columns)].notna().any(axis=None))

    texts = [PUBLISHED_NOTE] * has("published_seconds") + [SECONDS_NOTE]
    texts += [EXTRAPOLATED_MARK] * bool((table["extrapolated"] != "").any()) + _recipes(table)
    texts += [_peaks(table)] * has("percent_of_peak") + [_cards(table)] * has(*CARD)
    return texts + [K80_NOTE] * bool((table["device"] == "k80").any())


def _recipes(table: pd.DataFrame) -> list[str]:
    """Return notes on the training steps of the recipes that have runs, and on the devices that used TF32."""
    finished = table[table["seeds"] > 0]
    words = [
        f"{row.recipe}, batch size {row.batch_size}, {row.precision}" + (", XLA" if row.jit_compile else ", no XLA")
        for row in finished.drop_duplicates("recipe").itertuples()
    ]
    in_tf32 = finished.loc[(finished["precision"] == "float32") & finished["tf32"].fillna(False), "device"].unique()
    return [
        *([f"Recipes: {'; '.join(words)}."] if words else []),
        *([f"On {', '.join(in_tf32)} float32 was multiplied in TF32."] if len(in_tf32) else []),
    ]


def _peaks(table: pd.DataFrame) -> str:
    """Return a note on the peak rates that the table compares with."""
    used = table[table["percent_of_peak"].notna()].drop_duplicates(["device", "peak_precision"])
    words = [
        f"{device} " + ", ".join(f"{row.peak_tflops:g} ({row.peak_precision})" for row in rates.itertuples())
        for device, rates in used.groupby("device", sort=False)
    ]
    return f"Peak rates, TFLOPS: {'; '.join(words)}."


def _cards(table: pd.DataFrame) -> str:
    """Return a note on the cards, from the configuration."""
    words = []
    for row in table.drop_duplicates("device")[["device", *CARD]].to_dict("records"):
        facts = [row["year"], *(f"{row[name]:,} {unit}" for name, unit in UNITS.items() if not pd.isna(row[name]))]
        if known := [fact for fact in facts if not pd.isna(fact)]:
            words.append(f"{row['device']} ({', '.join(known)})")
    return f"Cards: {', '.join(words)}. GFLOPS are of double precision."


def for_claims(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return our seconds, and the number of training patches of an epoch, for `claims.Tables`.

    Claims compare cards and models, so all seconds are of one data set and one recipe, the first that have seconds on a
    card. Extrapolated seconds are left out.

    Parameters
    ----------
    table : as :func:`speed` returns it.

    Returns
    -------
    seconds : `device`, `model`, `mode`, `seconds_per_epoch`, on data of the format "pcam"; no rows if none were
        measured.
    epoch : training patches of an epoch, 0 if none were measured.
    """
    measured = table[(table["format"] == "pcam") & table["seconds"].notna() & (table["extrapolated"] == "")]
    measured = measured[measured["gpu"].astype(bool)]
    for name in ("dataset", "recipe"):
        measured = measured[measured[name].isin(measured[name].head(1))]
    seconds = measured[["device", "model", "mode", "seconds"]].reset_index(drop=True)
    epoch = int(measured["n_train"].iloc[0]) if len(measured) else 0
    return seconds.rename(columns={"seconds": "seconds_per_epoch"}), epoch


UNITS = {"cuda_cores": "CUDA cores", "gflops": "GFLOPS"}

PARTS = ["training_seconds", "validation_seconds"]

COMMON = ["batch_size", "tf32", "jit_compile", "multiply_adds_forward", "multiply_adds_trained", "n_train", "n_valid"]
"""Columns in which the runs of a cell should agree."""

WHOLE = ["batch_size", "multiply_adds_forward", "multiply_adds_trained", "device_memory_mib", "n_train", "n_valid"]

TYPES = (
    dict.fromkeys([f"{name}{end}" for name in PARTS for end in ("", "_low", "_high")], "float64")
    | dict.fromkeys(["first_epoch_seconds", "seconds", "energy_kilojoules", *WHOLE], "float64")
    | dict.fromkeys(["tf32", "jit_compile"], "boolean")
)
MEASURED = [
    *(*NAMES, "model_name", "format", "gpu", "precision", "extrapolated", "seeds"),
    *("not_comparable", "backend", "gap", "runs", *TYPES),
]
"""Columns of a cell before comparisons; `not_comparable` is then how its runs differ from the paper's."""

START_UP = "a single epoch, which holds the start-up"
EXTRAPOLATED = "extrapolated seconds"


def _whole_epochs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with seconds of whole epochs, scaled if an epoch covers a part of the patches.

    The column `extrapolated` says which part it covers, of the training patches if it is a part of both.
    """
    runs = runs.assign(extrapolated="")
    for part, of_part in (("validation", "valid"), ("training", "train")):
        covered, whole = runs[f"{of_part}_patches_per_epoch"], runs[f"n_{of_part}"]
        told = [
            f"extrapolated from {some:,} of {all_:,} {part} patches" for some, all_ in zip(covered, whole, strict=True)
        ]
        scaled = [f"{part}_seconds_per_epoch{end}" for end in ("", "_low", "_high")]
        runs[scaled] = runs[scaled].mul(whole / covered, axis=0)
        runs["extrapolated"] = runs["extrapolated"].mask(covered < whole, pd.Series(told, runs.index, dtype=object))
    measured = runs["extrapolated"] == ""
    # Most of a short first epoch is start-up, and energy is not known for training and validation separately.
    once = ["first_epoch_seconds", "energy_joules_per_epoch"]
    return runs.assign(**{name: runs[name].where(measured) for name in once})


def _row(cell: Cell, runs: pd.DataFrame) -> dict[str, Any]:
    settled = runs[runs["training_seconds_per_epoch"].notna()]
    seconds: dict[str, float] = {}
    for name in PARTS:
        of_part = settled[f"{name}_per_epoch"]
        low, high = settled[f"{name}_per_epoch_low"], settled[f"{name}_per_epoch_high"]
        seconds |= {name: of_part.median(), f"{name}_low": low.min(), f"{name}_high": high.max()}
    extrapolated = _together(runs["extrapolated"])
    differences = [*runs["data_differs"], *runs["steps_differ"], EXTRAPOLATED if extrapolated else ""]
    return {
        **{name: cell[name] for name in (*NAMES, "model_name", "format", "gpu")},
        "precision": _together(runs["precision"]),
        **{name: _common(runs[name]) for name in COMMON},
        "first_epoch_seconds": runs["first_epoch_seconds"].median(),
        **seconds,
        "seconds": sum(seconds[name] for name in PARTS),
        "extrapolated": extrapolated,
        "device_memory_mib": runs["peak_device_memory_mib"].max(),
        "energy_kilojoules": settled["energy_joules_per_epoch"].median() / 1000,
        "seeds": len(runs),
        "not_comparable": _together(differences),
        "backend": _together(runs["backend"]),
        "gap": "; ".join(filter(None, [cell["gap"], START_UP if len(settled) < len(runs) else ""])),
        "runs": " ".join(runs["folder"]),
    }


def _together(texts: Iterable[str]) -> str:
    """Return the texts joined, each once."""
    return "; ".join(text for text in dict.fromkeys(texts) if text)


def _common(values: pd.Series) -> Any:
    """Return the value that all runs share, NaN if they differ or there are none."""
    return values.iloc[0] if values.nunique(dropna=False) == 1 else np.nan


def _with_peak(frame: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with `patches_per_second`, `peak_precision`, `peak_tflops` and `percent_of_peak`."""
    rates = cells.drop_duplicates("device").set_index("device").filter(like=PEAK)
    rates = rates.rename(columns=lambda name: name.removeprefix(PEAK)).apply(pd.to_numeric, errors="coerce")
    rates = rates.reset_index().melt("device", var_name="peak_precision", value_name="peak_tflops").dropna()
    with_tf32 = rates.loc[rates["peak_precision"] == "tf32", "device"]
    in_tf32 = (frame["precision"] == "float32") & frame["tf32"].fillna(False) & frame["device"].isin(with_tf32)
    frame = frame.assign(peak_precision=frame["precision"].mask(in_tf32, "tf32"))
    frame = frame.merge(rates, on=["device", "peak_precision"], how="left")
    per_second = frame["n_train"] / frame["training_seconds"]
    operations = 2 * (frame["multiply_adds_forward"] + 2 * frame["multiply_adds_trained"])
    percent = 100 * per_second * operations / (frame["peak_tflops"] * 1e12)
    return frame.assign(
        peak_precision=frame["peak_precision"].where(frame["peak_tflops"].notna(), ""),
        patches_per_second=per_second,
        percent_of_peak=percent.mask(frame["mode"].isin([key for key, mode in MODES.items() if mode.unfreezes])),
    )


def _with_ratios(frame: pd.DataFrame, within: Sequence[str]) -> pd.DataFrame:
    """Return the frame with `against_oldest` and `against_simplest`.

    Parameters
    ----------
    frame : `device`, `year` (may be missing), `model`, `mode`, `seconds` and the columns `within`.
    within : columns in which rows must agree to be compared.
    """
    of_model, of_device = [*within, "model", "mode"], [*within, "device"]
    oldest = frame.dropna(subset=["year", "seconds"]).sort_values("year").drop_duplicates(of_model)
    simplest = frame[(frame["model"] == SIMPLEST) & (frame["mode"] == "full")]
    frame = frame.merge(oldest[[*of_model, "seconds"]], on=of_model, how="left", suffixes=("", "_oldest"))
    frame = frame.merge(simplest[[*of_device, "seconds"]], on=of_device, how="left", suffixes=("", "_simplest"))
    return frame.assign(
        against_oldest=(frame["seconds_oldest"] / frame["seconds"]).where(frame["year"].notna()),
        against_simplest=frame["seconds"] / frame["seconds_simplest"],
    )


def speed_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    table = speed(inputs.runs, inputs.cells, inputs.published.speed)
    announced = inputs.announcements(timed(inputs.cells), collapsed="their seconds count all the same")
    notes_above = [*announced, *warnings(table)]
    title, grids = "Seconds per epoch", in_print(table)
    return Table(title, table, COLUMNS, notes_above, notes(table), grids=grids, first=FIRST)
