"""Scores of test patches that were changed, by networks that have not seen these changes chosen for them."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.core import runs
from histobench.core.changes import UNCHANGED
from histobench.core.errors import HistobenchError
from histobench.core.files import read_sealed, text_with_digest
from histobench.core.prepared import Records
from histobench.train import whole_network
from histobench.train.batches import CPU_BATCH, spans
from histobench.train.changes import CHANGES
from histobench.train.inputs import join

log = logging.getLogger(__name__)

COLUMNS = ("run", "change", "patch_id", "group", "label", "score")
# Test patches that are scored at most, in each of the changes.
MOST = 4096


def score(
    *,
    chosen: Path,
    abouts: Sequence[Path],
    data: Mapping[str, Path],
    weights: Mapping[str, Path | None],
    output: Path,
    most: int = MOST,
) -> None:
    """Write the scores of changed test patches by the networks of some runs.

    A result of a cross-validation has a network for each fold, which scores the test patches of its own.

    Parameters
    ----------
    chosen : CSV file with a row per run: `run`, its folder.
    abouts : ``run.json`` of all runs that `chosen` may name.
    data : folders of the prepared data sets of the runs, and of the folds, by name.
    weights : see :func:`histobench.train.explain.explain`.
    output : the CSV file to write, with `COLUMNS`: the run's folder, one of `changes.CHANGES`, and patches in the order
        of their names, with scores as in predictions.
    most : test patches to score at most, evenly spaced over all of them in the order of their names.

    Raises
    ------
    HistobenchError
        if `chosen` names a run that is not among `abouts`; if an input has changed since it was written; or if the
        score of an unchanged patch differs from the run's prediction.
    """
    folders = [Path(row["run"]) for row in runs.read_rows(chosen)]
    if unknown := [folder for folder in folders if folder / runs.ABOUT not in abouts]:
        raise HistobenchError(
            f"{chosen}: expected runs of the study, found {unknown[0]}; delete it and start again: its job writes it "
            "anew"
        )
    with text_with_digest(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for folder in folders:
            writer.writerows(_rows(folder, data, weights, most))


def _rows(
    folder: Path, data: Mapping[str, Path], weights: Mapping[str, Path | None], most: int
) -> list[tuple[Any, ...]]:
    """Return the rows of a run, change by change."""
    members = [Path(member) for member in read_sealed(folder / runs.ABOUT).get("members", [folder])]
    told = [runs.trained(member) for member in members]
    folders = [data[about["specification"]["run"]["dataset"]] for about in told]
    parts = [Records(each, "test") for each in folders]
    wanted = set(evenly(sorted(name for part in parts for name in part.ids), most))
    patches: list[tuple[str, str, int]] = []
    scores: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in CHANGES}
    for member, about, each, part in zip(members, told, folders, parts, strict=True):
        positions = np.flatnonzero([name in wanted for name in part.ids])
        names = [part.ids[position] for position in positions]
        patches += [
            (name, part.groups[position], int(part.labels[position]))
            for name, position in zip(names, positions, strict=True)
        ]
        found = _scores(member, about, each, part, positions, weights)
        for change, values in found.items():
            scores[change].append(values)
        path = member / runs.PREDICTIONS
        whole_network.check(found[UNCHANGED], whole_network.predicted(path, names), about, names, path)
        log.info("%s: scored %d test patches in %d changes", member, len(names), len(found))
    order = sorted(range(len(patches)), key=lambda place: patches[place])
    by_change = {change: np.concatenate(values) for change, values in scores.items()}
    return [
        (folder, change, *patches[place], str(values[place]))  # the shortest decimal representation of the float32
        for change, values in by_change.items()
        for place in order
    ]


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the names, evenly spaced, the first and the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[place] for place in np.linspace(0, len(names) - 1, most).round().astype(int)]


def _scores(
    folder: Path,
    about: Mapping[str, Any],
    data: Path,
    part: Records,
    positions: npt.NDArray[np.int64],
    weights: Mapping[str, Path | None],
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the scores of patches of a part by the network of a run, (n,) for each change."""
    image = whole_network.image(about)
    assert image is not None  # a run without a network is never chosen
    network = whole_network.load(folder, about, image, data, weights.get(about["specification"]["model"]["key"]))
    scored = join(network, part, image)
    found: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in CHANGES}
    for start, end in spans(len(positions), CPU_BATCH):
        patches = part.take(positions[start:end])
        for name, change in CHANGES.items():
            found[name].append(np.asarray(scored.predict_on_batch({"patches": change(patches)}))[:, 0])
    return {name: np.concatenate(values) if values else np.empty(0, np.float32) for name, values in found.items()}
