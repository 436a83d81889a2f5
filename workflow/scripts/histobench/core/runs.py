"""What a run folder holds, under which names, and reading and writing it."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.core import features as cached
from histobench.core.files import atomic, digest

# Written by training.
HISTORY = "history.csv"  # metrics per epoch
TIMING = "timing.csv"  # seconds of training and of validation per epoch
WEIGHTS = "best.weights.h5"  # of the best epoch
ABOUT = "run.json"  # configuration, versions, device, hashes; and what varies by nature: dates, seconds, memory
# Written by prediction and evaluation.
PREDICTIONS = "predictions.csv"  # validation and test patches: split, patch id, group, label, score
METRICS = "metrics.json"
REPLICATES = "bootstrap.csv"  # metrics of every bootstrap resample of the test set

PREDICTION_COLUMNS = ("split", "patch_id", "group", "label", "score")

# What the gap of a cell that cannot run begins with; why follows. That of a run that could, see `gap`.
LEFT_OUT = "left out: "


def gap(folder: Path, specification: Mapping[str, Any], manifest: str | None, *, scored: bool = True) -> str:
    """Return in words why a run has no result that could be shown, "" where it has.

    Parameters
    ----------
    folder : the run's folder.
    specification : what the study now says of the run, see :meth:`histobench.core.study.Study.specification`.
    manifest : sha256 of the manifest of its data set; None where that is gone.
    scored : whether it must have predictions.
    """
    needed = (HISTORY, TIMING, ABOUT, *([PREDICTIONS] if scored else []))
    if not all((folder / name).exists() for name in needed):
        return "started, not finished" if folder.exists() else "not run yet"
    if manifest is None:
        return "its data set is gone"
    about = read_json(folder / ABOUT)
    if about["specification"] != json.loads(json.dumps(specification)):
        return "out of date: trained by another configuration"
    if about["inputs_sha256"]["manifest"] != manifest:
        return "out of date: trained on data prepared otherwise"
    return ""


def inputs(data: Path, features: Path | None, weights: Path | None, tuned: Path | None = None) -> dict[str, str | None]:
    """Return sha256 of what a run is trained from, by role.

    Parameters
    ----------
    data : folder of the prepared data set.
    features : folder of the cached features that a head is trained on, if it is.
    weights : the backbone's pretrained weights, if there are any to start from.
    tuned : file with the keys of the recipe that a search has set, if the recipe has a search.
    """
    digests = {"manifest": digest(data / "manifest.json"), "weights": digest(weights) if weights else None}
    if features:
        of_features = read_json(features / cached.ABOUT)["sha256"]
        digests |= {f"features_{split}": of_features[split] for split in ("train", "valid")}
    if tuned:
        digests["recipe"] = digest(tuned)
    return digests


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; floats in full precision, so that equal values give equal bytes."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file as texts."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result
