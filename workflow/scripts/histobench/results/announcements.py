"""Notes above every table, figure and page of a study."""

import pandas as pd

from histobench.results.cells import NAMES, runs_wanted


def announcements(runs: pd.DataFrame, cells: pd.DataFrame, *, collapsed: str = "averages leave them out") -> list[str]:
    """Return what readers must know before they read any number; an empty list if there is nothing.

    Parameters
    ----------
    runs : as in `runs.csv`; those of other cells are ignored.
    cells : those that the table, figure or page is about, as in `cells.csv`.
    collapsed : how collapsed runs are treated.
    """
    runs = runs.merge(cells[NAMES], on=NAMES)
    leaky = runs[runs["leaky"].astype(bool)]
    simulated, subset = (runs.loc[runs["patches"] == kind, "dataset"] for kind in ("simulated", "subset"))
    random = runs.loc[runs["weights"] == "random", "model_name"]
    patients = "Patches of one patient can be in training and in test, so the metrics flatter the models."
    notes = [
        f"{title}: {', '.join(which.unique())}. {text}"
        for title, which, text in (
            ("Simulated patches", simulated, "Nothing here holds for tissue."),
            ("Subset of the published patches", subset, "The numbers are not those of the whole data set."),
            ("Random weights", random, "These models did not start from ImageNet weights."),
            ("Leaky split", leaky["dataset"] + " (" + leaky["split"] + ")", patients),
        )
        if len(which)
    ]
    if constant := int(runs["collapsed"].astype(bool).sum()):
        notes.append(f"Collapsed runs: {constant} of {len(runs)}. They predict a constant; {collapsed}.")
    if (wanted := runs_wanted(cells)) > len(runs):
        notes.append(f"Missing runs: {wanted - len(runs)} of {wanted}. They are shown as gaps.")
    return notes


def of_run(runs: pd.DataFrame, cells: pd.DataFrame, folder: str) -> list[str]:
    """Return what readers must know before they read any number of one run: what holds for its cell."""
    return announcements(runs, cells.merge(runs.loc[runs["folder"] == folder, NAMES]))
