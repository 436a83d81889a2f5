"""What must stand above every table, figure and page of a study."""

import pandas as pd

from histobench.results.cells import NAMES, asked


def announcements(runs: pd.DataFrame, cells: pd.DataFrame, *, collapsed: str = "averages leave them out") -> list[str]:
    """Return what a reader must know before the first number; an empty list where there is nothing to announce.

    Parameters
    ----------
    runs : as in `runs.csv`; those of other cells do not matter.
    cells : those that the table, figure or page is about, as in `cells.csv`.
    collapsed : what becomes of collapsed runs, in words.
    """
    runs = runs.merge(cells[NAMES], on=NAMES)
    leaky = runs[runs["leaky"].astype(bool)]
    notes = [
        f"{title}: {', '.join(which.unique())}. {text}"
        for title, which, text in (
            (
                "Simulated patches",
                runs.loc[runs["patches"] == "simulated", "dataset"],
                "Nothing here holds for tissue.",
            ),
            (
                "Subset of the published patches",
                runs.loc[runs["patches"] == "subset", "dataset"],
                "The figures are not those of the whole data set.",
            ),
            (
                "Random weights",
                runs.loc[runs["weights"] == "random", "model_name"],
                "These models did not start from ImageNet weights.",
            ),
            (
                "Leaky split",
                leaky["dataset"] + " (" + leaky["split"] + ")",
                "Patches of one patient can stand in training and in test, so the metrics flatter the models.",
            ),
        )
        if len(which)
    ]
    if constant := int(runs["collapsed"].astype(bool).sum()):
        notes.append(f"Collapsed runs: {constant} of {len(runs)}. They predict a constant; {collapsed}.")
    if (wanted := asked(cells)) > len(runs):
        notes.append(f"Missing runs: {wanted - len(runs)} of {wanted}. They stand as gaps.")
    return notes
