"""Test patches whose label the models contradict: a list for a pathologist to look at, not a correction."""

import pandas as pd

from histobench.core import prepared
from histobench.results import figure_data
from histobench.results.columns import MISSING, Column, names, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

PER_CLASS = 100
"""Patches of either label in the CSV file."""

PRINTED = 10
"""Of these, in print."""

COLUMNS = [
    text("patch_id", "Patch"),
    text("group", "Slide or patient"),
    *(Column(name, name, format=lambda value: MISSING if pd.isna(value) else str(value)) for name in "xy"),
    Column("label"),
    Column("score", "Mean score"),
    Column("scored_by", "Runs"),
    Column("contradicting", "Runs that contradict"),
]

NOTES = [
    "Scores are means over all runs on the data set that did not collapse; none was trained on these patches. A label "
    "that all contradict may be wrong, or the patch hard: this is for a pathologist to say, and nothing was corrected.",
    f"In print the {PRINTED} surest of either label; the CSV file has up to {PER_CLASS}. x and y: the upper left "
    "corner in the slide.",
]


def contradicted(scored: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Return the patches whose label the mean score contradicts, those of label 0 first, each from the surest on.

    Parameters
    ----------
    scored : see `figure_data.mean_scores`.
    places : `patch_id`, `x`, `y`, -1 where unknown.
    """
    table = figure_data.surest(scored, PER_CLASS).merge(places, on="patch_id", how="left")
    table[["x", "y"]] = table[["x", "y"]].where(table[["x", "y"]] >= 0)
    return table[names(COLUMNS)].astype(dict.fromkeys(("x", "y", "label", "scored_by", "contradicting"), "Int64"))


def contradicted_table(inputs: Inputs) -> Table:
    """Return the table of the data set."""
    shown = figure_data.labelled(inputs.runs, inputs.cells, inputs.dataset)
    scored = figure_data.mean_scores(shown, inputs.by_run("predictions"))
    places = prepared.index(inputs.files["patches"][0].parent, ["patch_id", "x", "y"])
    table = contradicted(scored, places)
    title = f"Labels on {inputs.dataset} that the models contradict"
    grids = {"": table.groupby("label").head(PRINTED)}
    return Table(title, table, COLUMNS, inputs.announcements(), NOTES, grids=grids)
