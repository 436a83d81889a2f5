"""Content of the page of a study: its sections, and the facts at the end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.results import printing, registry
from histobench.results.cells import runs_wanted
from histobench.results.modes import MODES
from histobench.results.report import Figure, Section

SPLITS_IN_WORDS = {"train": "training", "valid": "validation", "test": "test"}


def sections(datasets: Sequence[str], printed: Iterable[Path], svgs: Iterable[Path]) -> list[Section]:
    """Return the sections of the page as `registry.PAGE` lists them.

    Items that have no file are left out, and tables that are not for the page.

    Parameters
    ----------
    datasets : in order.
    printed : JSON files of tables, see `printing.write`.
    svgs : SVG files of figures.
    """
    paths = {path.stem: path for path in (*printed, *svgs)}

    def content(item: registry.Item, dataset: str) -> list[printing.Printed | Figure]:
        path = paths.get(item.stem(dataset))
        if path is None:
            return []
        if item.kind == "table":
            table = printing.read(path)
            return [table] if table.on_page else []
        # A data set may be called "a_narrow", so its figures must not be taken for narrow ones of "a".
        narrow = None if item.of_dataset else paths.get(f"{item.name}_narrow")
        return [Figure(path.stem, item.title, item.caption, path, narrow)]

    groups: list[tuple[registry.Section, list[registry.Item]]] = []
    for entry in registry.PAGE:
        if isinstance(entry, registry.Section):
            groups.append((entry, []))
        else:
            groups[-1][1].append(entry)
    found = [
        Section(
            head.title.format(dataset=name),
            head.text.format(dataset=name),
            [each for item in items for each in content(item, name)],
        )
        for head, items in groups
        for name in (datasets if items[0].of_dataset else [""])
    ]
    return [each for each in found if each.items]


def lead(runs: pd.DataFrame, cells: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a sentence on what a study compares, on which data, how many runs have finished, and the time they took.

    Parameters
    ----------
    runs, cells : as in `runs.csv` and `cells.csv`.
    manifests : of the data sets that have runs, or of one that their results are gathered from, by name.
    """
    can = cells[~cells["left_out"].astype(bool)]
    models, modes = can["model"].nunique(), [mode.in_words for key, mode in MODES.items() if (can["mode"] == key).any()]
    compared = f"{models} model{'s' * (models != 1)}, by {printing.words(modes)},"
    on = printing.words([_with_patches(name, manifests.get(name), runs) for name in can["dataset"].unique()])
    done = f"{len(runs)} of {runs_wanted(cells)} runs finished"
    return f"{compared} on {on}: {done}" + (f"; {_device_time(runs)} of device time." if len(runs) else ".")


def _with_patches(name: str, manifest: Mapping[str, Any] | None, runs: pd.DataFrame) -> str:
    """Return the name of a data set with the numbers of patches of its splits, if they are known."""
    if manifest is None:
        return name
    split = manifest["split"]
    if not isinstance(split, str) and "folds" in split:
        # Of all folds together: the manifest is that of one.
        run = runs[runs["dataset"] == name].iloc[0]
        each = f"{run['n_train']:,} training and {run['n_valid']:,} validation patches in each"
        return f"{name} ({run['n_test']:,} test patches in {split['folds']} folds, {each})"
    counted = [f"{count['n']:,} {SPLITS_IN_WORDS[split]}" for split, count in manifest["patches"].items()]
    return f"{name} ({', '.join(counted)} patches)"


def _device_time(runs: pd.DataFrame) -> str:
    """Return the time that runs took for training, validation and the extraction of features."""
    seconds = float(runs[["train_seconds", "validation_seconds"]].sum().sum())
    # All heads on the same features share one extraction.
    extracted = runs[runs["features_seconds"] > 0].drop_duplicates(["dataset", "model", "device", "features_seconds"])
    return _duration(seconds + float(extracted["features_seconds"].sum()))


def facts(
    runs: pd.DataFrame,
    manifests: Mapping[str, Mapping[str, Any]],
    abouts: Sequence[Mapping[str, Any]],
    left_out: Sequence[str],
) -> dict[str, list[tuple[str, str]]]:
    """Return the facts behind the results by title: data, exclusions, versions, devices, cells left out.

    Parameters
    ----------
    runs : as in `runs.csv`.
    manifests : of the data sets, or of one that their results are gathered from, by name.
    abouts : the `run.json` of every run.
    left_out : sentences, see :meth:`histobench.core.study.Study.left_out_in_words`.
    """
    lists = {
        "Data sets": [(name, _patches(name, manifest)) for name, manifest in manifests.items()],
        "Exclusions of patches": [(name, _excluded(manifest)) for name, manifest in manifests.items()],
        "Versions": _versions(abouts) if abouts else [],
        "Devices": _devices(runs, abouts),
        "Cells that cannot run": [("", sentence) for sentence in left_out],
    }
    return {title: rows for title, rows in lists.items() if rows}


def _patches(name: str, manifest: Mapping[str, Any]) -> str:
    # Results on some data sets are gathered from others, of which the first stands for all.
    first = f"of {manifest['dataset']}, the first of its parts: " if manifest["dataset"] != name else ""
    parts = [
        f"{part}: {count['n']:,} patches, {count['tumour_fraction']:.0%} tumour"
        + (f", {count['groups']:,} slides or patients" if count["groups"] else ", slides or patients unknown")
        for part, count in manifest["patches"].items()
    ]
    return f"{manifest['patches_are']} patches in the format {manifest['format']}; {first}" + "; ".join(parts)


def _excluded(manifest: Mapping[str, Any]) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in manifest["excluded"].items()) or "none"


def _versions(abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the version of each package; if there are several, each with its number of runs."""
    names = dict.fromkeys(name for about in abouts for name in about["versions"])
    rows = []
    for name in names:
        counted = Counter(about["versions"].get(name, "unknown") for about in abouts)
        listed = [f"{version} ({_runs(n)})" if len(counted) > 1 else version for version, n in counted.items()]
        rows.append((name, ", ".join(listed)))
    codes = len({about["code"] for about in abouts})
    return [*rows, ("code that trained", f"{codes} version{'s' if codes > 1 else ''} by digest, see each run.json")]


def _devices(runs: pd.DataFrame, abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return for each device of the configuration its hardware, and the number, time and memory of its runs."""
    jobs = [(about["specification"]["run"]["device"], about["peak_memory_mib"], about["threads"]) for about in abouts]
    usage = pd.DataFrame(jobs, columns=["device", "mib", "threads"])
    rows = []
    for device, some in runs.groupby("device", sort=False):
        of_device = usage[usage["device"] == device]
        threads = ", ".join(map(str, sorted(of_device["threads"].unique())))
        training, validation = (_duration(float(some[f"{part}_seconds"].sum())) for part in ("train", "validation"))
        parts = [", ".join(some["found_device"].unique()), _runs(len(some))]
        parts += [f"training {training}, validation {validation}", f"CPU threads of a job: {threads}"]
        parts.append(f"peak memory of a job: {int(of_device['mib'].max()):,} MiB")
        rows.append((str(device), "; ".join(parts)))
    return rows


def _runs(n: int) -> str:
    return f"{n} run{'s' * (n != 1)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
