"""Names of the files of a search."""

# Outputs: all trials, the specification and cost of the search, and the values of the best trial as keys of a recipe.
TRIALS = "trials.csv"
ABOUT = "search.json"
RECIPE = "recipe.yaml"
# KerasTuner's folder, in the `.state` of the search, and in its folder of each trial that has ended the name of the
# worker, the seconds, metrics and seconds of each epoch, and whether it diverged.
PROJECT, TRIAL = "search", "epochs.json"
# Status of a trial among all trials where its loss was no number, besides those of KerasTuner.
DIVERGED = "DIVERGED"


def worker_name(number: int) -> str:
    """Return the name of a worker, whose number starts at 1."""
    return f"worker-{number}"


def worker_folder(name: str) -> str:
    """Return the folder, within that of the search, on which a worker holds a lease while it works."""
    return f".{name}"
