"""The files of a run folder: their names, reading and writing them."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histobench.core.errors import HistobenchError
from histobench.core.features import ABOUT as ABOUT_FEATURES
from histobench.core.files import as_written, read_sealed, text_with_digest, unchanged

# Written by training.
HISTORY = "history.csv"  # metrics per epoch
TIMING = "timing.csv"  # seconds of training and of validation per epoch
WEIGHTS = "best.weights.h5"  # of the best epoch
ABOUT = "run.json"  # configuration, versions, device, hashes; dates, seconds and memory, which vary
# Written beside a run's scores of patches of another data set.
EXTERNAL = "external.json"  # digests of the weights and of the patches
# Written by prediction and evaluation.
PREDICTIONS = "predictions.csv"  # validation and test patches: split, patch id, group, label, score
METRICS = "metrics.json"
REPLICATES = "bootstrap.csv"  # metrics of every bootstrap resample of the test set

PREDICTION_COLUMNS = ("split", "patch_id", "group", "label", "score")

# Start of the reason why a cell that cannot run has no result. For cells that can run, see `gap`.
LEFT_OUT = "left out: "


def gap(
    folder: Path,
    specification: Mapping[str, Any],
    patches: str | None,
    *,
    scored: bool = True,
    features: Path | None = None,
    embeddings: str = "",
) -> str:
    """Return the reason why a run has no current result, "" if it has one.

    Parameters
    ----------
    folder : the run's folder.
    specification : of the run in the present study, see :meth:`histobench.core.study.Study.specification`.
    patches : digest of the patches of its data set, `patches_sha256` of the manifest; None if there is no manifest.
    scored : whether the run must have predictions.
    features : folder of the cached features that it is trained on; None where it is trained on patches.
    embeddings : digest of the files of others that these features are imported from; "" where there are none, or they
        are gone.
    """
    needed = (HISTORY, TIMING, ABOUT, *([PREDICTIONS] if scored else []))
    if not all((folder / name).exists() for name in needed):
        return "started, not finished" if folder.exists() else "not run yet"
    if patches is None:
        return "its data set is gone"
    try:
        about = read_sealed(folder / ABOUT)
    except HistobenchError as error:
        return f"damaged: {error}"
    if about["specification"] != json.loads(json.dumps(specification)):
        return "out of date: trained by another configuration"
    if about["inputs_sha256"]["patches"] != patches:
        return "out of date: trained on data prepared otherwise"
    if features is not None and (features / ABOUT_FEATURES).exists():
        try:
            there = read_sealed(features / ABOUT_FEATURES)
        except HistobenchError as error:
            return f"its features are damaged: {error}"
        if about["features"]["sha256"] != there["sha256"]:
            return "out of date: trained on other features"
        if embeddings and embeddings != there["embeddings"]["sha256"]:
            return "out of date: trained on other embeddings"
    return ""


def external_gap(folder: Path, run: Path, patches: str | None) -> str:
    """Return the reason why a run has no current result on another data set, "" if it has one.

    Parameters
    ----------
    folder : with the run's scores there.
    run : folder of the run.
    patches : digest of the patches there, `patches_sha256` of the manifest; None if there is no manifest.
    """
    if not all((folder / name).exists() for name in (EXTERNAL, PREDICTIONS, METRICS, REPLICATES)):
        return "not scored yet"
    try:
        scored, about = read_sealed(folder / EXTERNAL), read_sealed(run / ABOUT)
    except HistobenchError as error:
        return f"damaged: {error}"
    if scored["weights_sha256"] != about["weights_sha256"]:
        return "out of date: scored by other weights"
    return "" if scored["patches_sha256"] == patches else "out of date: scored on data prepared otherwise"


def trained(folder: Path) -> dict[str, Any]:
    """Return the content of a run's ``run.json``, after a look at its weights.

    Raises
    ------
    HistobenchError
        if the weights are not those that the run was trained to.
    """
    about, path = read_sealed(folder / ABOUT), folder / WEIGHTS
    as_written(path, about["weights_sha256"], ABOUT, "`train`")
    return about


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, with floats in full precision and a digest, see :func:`histobench.core.files.unchanged`."""
    with text_with_digest(path) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_predictions(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write predictions as :func:`write_rows` does; of the rows, in `PREDICTION_COLUMNS`, none is kept in memory."""
    with text_with_digest(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PREDICTION_COLUMNS)
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file, unless it has changed since it was written; all values are strings."""
    return list(each_row(path))


def each_row(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file one by one, see :func:`read_rows`."""
    with unchanged(path).open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result
