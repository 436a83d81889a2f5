"""What the page of a study says: which tables and figures in which order, and the facts that it ends with."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.results import printing, registry
from histobench.results.cells import asked
from histobench.results.modes import MODES
from histobench.results.report import Facts, Figure, Section

SPLITS_IN_WORDS = {"train": "training", "valid": "validation", "test": "test"}


def sections(datasets: Sequence[str], printed: Iterable[Path], svgs: Iterable[Path]) -> list[Section]:
    """Return the sections of the page: what the first screen shows, one per data set, then those of the whole study.

    Parameters
    ----------
    datasets : in their order.
    printed : the printed tables, JSON files as from `printing.write`.
    svgs : the figures' SVG files.
    """
    paths = {path.stem: path for path in (*printed, *svgs)}

    def section(of: registry.Section, dataset: str = "") -> Section:
        items: list[printing.Printed | Figure] = []
        for item in (registry.ITEMS[name] for name in of.items):
            path = paths.get(item.stem(dataset))
            if path is None:
                continue
            if item.kind == "table":
                items.append(printing.read(path))
            else:
                # A data set may have any name, so a figure of its has no narrow one.
                narrow = None if item.of_dataset else paths.get(f"{item.name}_narrow")
                items.append(Figure(path.stem, item.title, item.caption, path, narrow))
        return Section(of.title, of.text, items)

    every = [
        section(registry.AT_A_GLANCE),
        *(section(registry.Section(f"Data set {name}", "", registry.OF_DATASET), name) for name in datasets),
        *map(section, registry.SECTIONS),
    ]
    return [each for each in every if each.items]


def lead(runs: pd.DataFrame, cells: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a study compares, on what, how much of it is there, and what it took, in a sentence.

    Parameters
    ----------
    runs, cells : as in `runs.csv` and `cells.csv`.
    manifests : of the data sets that have runs, by name.
    """
    can = cells[~cells["left_out"].astype(bool)]
    models, modes = can["model"].nunique(), [mode.in_words for key, mode in MODES.items() if (can["mode"] == key).any()]
    compared = f"{models} CNN{'s' * (models != 1)}, by {printing.words(modes)},"
    on = printing.words([_with_patches(name, manifests.get(name)) for name in can["dataset"].unique()])
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
    lists = []
    if manifests:
        lists.append(Facts("Data sets", [(name, _patches(manifest)) for name, manifest in manifests.items()]))
        lists.append(Facts("Exclusions of patches", [(name, _excluded(each)) for name, each in manifests.items()]))
    if abouts:
        lists.append(Facts("Versions", _versions(abouts)))
        lists.append(Facts("Devices", _devices(runs, abouts)))
    if left_out:
        lists.append(Facts("Cells that cannot run", [("", sentence) for sentence in left_out]))
    return lists


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
