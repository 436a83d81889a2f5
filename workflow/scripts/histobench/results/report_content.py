"""What the page of a study says: which tables and figures in which order, and the facts that it ends with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.results import tables
from histobench.results.cells import asked
from histobench.results.modes import MODES
from histobench.results.report import Facts, Figure, Section

# Title and introduction of a section, and the stems of its files; those of data sets end in `_{dataset}`.
AT_A_GLANCE = ("At a glance", "", ["best", "forest"])
GENERAL = [
    (
        "Transfer learning against full training",
        "Over models, as the paper asked it, and model by model on the same test patches.",
        ["auc_by_mode", "tests", "contrasts"],
    ),
    (
        "Search for hyperparameters",
        "What was tried, what it cost, and what it is worth beside the recipe before, on the same test patches.",
        ["tuned", "searches", "search", "trials"],
    ),
    ("Claims of the paper", "", ["claims"]),
    ("Size of the models", "", ["auc_against_size", "models"]),
    ("Seconds", "What training costs, and what it buys.", ["speed", "auc_against_seconds"]),
    ("Controls", "What a CNN has to beat.", ["controls"]),
]
OF_DATASET = (
    "performance",
    "examples",
    "roc",
    "precision_recall",
    "calibration",
    "learning_curves",
    "groups",
    "gallery",
)
TITLES = {
    "auc_by_mode": "AUC by mode",
    "forest": "AUC by model and mode",
    "auc_against_size": "AUC against depth and parameters",
    "auc_against_seconds": "AUC against seconds of training",
    "tuned": "Tuned against untuned",
    "search": "Trials",
    "examples": "Example patches",
    "roc": "ROC curves",
    "precision_recall": "Precision and recall",
    "calibration": "Calibration",
    "learning_curves": "Learning curves",
    "groups": "Accuracy by slide or patient",
    "gallery": "The surest errors",
}

SPLITS_IN_WORDS = {"train": "training", "valid": "validation", "test": "test"}


def sections(
    study: str, datasets: Sequence[str], printed: Iterable[Path], svgs: Iterable[Path], captions: Mapping[str, str]
) -> list[Section]:
    """Return the sections of the page: what the first screen shows, one per data set, then those of the whole study.

    Parameters
    ----------
    study : its name, which the page's title says; the titles of its tables need not.
    datasets : in their order.
    printed : the printed tables, JSON files as from `tables.write`.
    svgs : the figures' SVG files.
    captions : texts by the stem that they belong to, without the data set; their lines are joined.
    """
    found = {path.stem: path for path in (*printed, *svgs)}

    def item(stem: str, kind: str) -> list[tables.Printed | Figure]:
        path = found.get(stem)
        if path is None:
            return []
        if path.suffix == ".json":
            table = tables.read(path)
            return [replace(table, title=table.title.removesuffix(f", study {study}"))]
        # Data sets have names that may end in anything, so a figure of theirs has no such file.
        narrow = found.get(f"{kind}_narrow") if stem == kind else None
        return [Figure(stem, TITLES[kind], " ".join(captions.get(kind, "").split()), path, narrow)]

    of_datasets = [
        Section(f"Data set {name}", "", [one for kind in OF_DATASET for one in item(f"{kind}_{name}", kind)])
        for name in datasets
    ]
    glance, *general = [
        Section(title, text, [one for kind in kinds for one in item(kind, kind)])
        for title, text, kinds in (AT_A_GLANCE, *GENERAL)
    ]
    return [section for section in (glance, *of_datasets, *general) if section.items]


def lead(runs: pd.DataFrame, cells: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a study compares, on what, how much of it is there, and what it took, in a sentence.

    Parameters
    ----------
    runs, cells : as in `runs.csv` and `cells.csv`.
    manifests : of the data sets that have runs, by name.
    """
    can = cells[~cells["left_out"].astype(bool)]
    models, modes = can["model"].nunique(), [mode.in_words for key, mode in MODES.items() if (can["mode"] == key).any()]
    compared = f"{models} CNN{'s' * (models != 1)}, by {tables.words(modes)},"
    on = tables.words([_with_patches(name, manifests.get(name)) for name in can["dataset"].unique()])
    done = f"{len(runs)} of {asked(cells)} runs finished"
    return f"{compared} on {on}: {done}" + (f"; {_device_time(runs)} of device time." if len(runs) else ".")


def _with_patches(name: str, manifest: Mapping[str, Any] | None) -> str:
    """Return the name of a data set with the patches of its splits, where they are known."""
    if manifest is None:
        return name
    counted = [f"{count['n']:,} {SPLITS_IN_WORDS[split]}" for split, count in manifest["patches"].items()]
    return f"{name} ({', '.join(counted)} patches)"


def _device_time(runs: pd.DataFrame) -> str:
    """Return what runs took, training, validation and the extraction of features, in words."""
    seconds = float(runs[["train_seconds", "validation_seconds"]].sum().sum())
    # One extraction serves all heads on it.
    extracted = runs[runs["features_seconds"] > 0].drop_duplicates(["dataset", "model", "device", "features_seconds"])
    return _duration(seconds + float(extracted["features_seconds"].sum()))


def facts(
    runs: pd.DataFrame,
    manifests: Mapping[str, Mapping[str, Any]],
    abouts: Sequence[Mapping[str, Any]],
    left_out: Sequence[str],
) -> list[Facts]:
    """Return what the results come from: data, exclusions, versions, devices, and cells that cannot run.

    Parameters
    ----------
    runs : as in `runs.csv`.
    manifests : of the data sets, by name.
    abouts : the `run.json` of every run.
    left_out : sentences, see :meth:`histobench.core.study.Study.left_out_in_words`.
    """
    found = []
    if manifests:
        found.append(Facts("Data sets", [(name, _patches(manifest)) for name, manifest in manifests.items()]))
        found.append(Facts("Exclusions of patches", [(name, _excluded(each)) for name, each in manifests.items()]))
    if abouts:
        found.append(Facts("Versions", _versions(abouts)))
        found.append(Facts("Devices", _devices(runs, abouts)))
    if left_out:
        found.append(Facts("Cells that cannot run", [("", sentence) for sentence in left_out]))
    return found


def _patches(manifest: Mapping[str, Any]) -> str:
    parts = [
        f"{part}: {count['n']:,} patches, {count['tumour_fraction']:.0%} tumour"
        + (f", {count['groups']:,} slides or patients" if count["groups"] else ", slides or patients unknown")
        for part, count in manifest["patches"].items()
    ]
    return f"{manifest['patches_are']} patches in the format {manifest['format']}; " + "; ".join(parts)


def _excluded(manifest: Mapping[str, Any]) -> str:
    told = [f"{count:,} {reason}" for reason, count in manifest["excluded"].items()]
    return "; ".join(told) or "none"


def _versions(abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the versions of each package, with the number of runs where there are several."""
    names = dict.fromkeys(name for about in abouts for name in about["versions"])
    rows = []
    for name in names:
        counted = Counter(about["versions"].get(name, "unknown") for about in abouts)
        rows.append(
            (
                name,
                ", ".join(f"{version} ({_runs(n)})" if len(counted) > 1 else version for version, n in counted.items()),
            )
        )
    codes = len({about["code"] for about in abouts})
    return [*rows, ("code that trained", f"{codes} version{'s' if codes > 1 else ''} by digest, see each run.json")]


def _devices(runs: pd.DataFrame, abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return for each device of the configuration what was found there, and what was computed on it."""
    memory = pd.DataFrame(
        [
            {
                "device": about["specification"]["run"]["device"],
                "mib": about["peak_memory_mib"],
                "threads": about["threads"],
            }
            for about in abouts
        ]
    )
    rows = []
    for device, some in runs.groupby("device", sort=False):
        of_device = memory[memory["device"] == device]
        threads = ", ".join(map(str, sorted(of_device["threads"].unique())))
        rows.append(
            (
                str(device),
                f"{', '.join(some['found_device'].unique())}; {_runs(len(some))}; "
                f"training {_duration(float(some['train_seconds'].sum()))}, "
                f"validation {_duration(float(some['validation_seconds'].sum()))}; CPU threads of a job: {threads}; "
                f"peak memory of a job: {int(of_device['mib'].max()):,} MiB",
            )
        )
    return rows


def _runs(n: int) -> str:
    return f"{n} run{'s' * (n != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
