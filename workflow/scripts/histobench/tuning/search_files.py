"""Names of the files of a search."""

# Outputs: all trials, the specification and cost of the search, and the values of the best trial as keys of a recipe.
TRIALS = "trials.csv"
ABOUT = "search.json"
RECIPE = "recipe.yaml"
# KerasTuner's folder, in the `.state` of the search, and in its folder of each trial that has ended the name of the
# worker, the seconds, and metrics and seconds of each epoch.
PROJECT, TRIAL = "search", "epochs.json"


def worker_name(number: int) -> str:
    """Return the name of a worker, whose number starts at 1."""
    return f"worker-{number}"


def worker_folder(name: str) -> str:
    """Return the folder, within that of the search, on which a worker holds a lease while it works."""
    return f".{name}"
