"""What scores are worth where somebody has labelled slides or patches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from histobench.core import labels
from histobench.core.errors import HistobenchError
from histobench.results import bootstrap, metrics, statistics
from histobench.results.exported_model import rates


class Labelled(NamedTuple):
    """What somebody has labelled.

    Attributes
    ----------
    what : "slides" or "patches".
    found : those that have a score: `label`, `score` (of a slide the mean of its highest one per cent) and `group`, the
        slide of a patch, "" where it is unknown.
    unscored : the others: the columns by which they are named, and `label`.
    """

    what: str
    found: pd.DataFrame
    unscored: pd.DataFrame


def labelled(path: Path, scores: Mapping[str, pd.DataFrame], summaries: pd.DataFrame) -> Labelled:
    """Return labelled slides, or labelled patches, with their scores.

    Parameters
    ----------
    path : of a CSV file, see :func:`histobench.core.labels.read`.
    scores : of each slide by its name, or of the patches.
    summaries : of each slide, with `name` and `highest`.

    Raises
    ------
    HistobenchError
        if the file cannot be read, or nothing that is labelled was scored.
    """
    of_patches = any("patch" in frame for frame in scores.values())
    keys, rows = labels.read(path, of_patches=of_patches)
    table = pd.DataFrame(rows)
    if keys == ["slide"]:
        known = summaries.rename(columns={"name": "slide", "highest": "score"})
    else:
        known = pd.concat([frame.assign(slide=name) for name, frame in scores.items()])
    merged = table.merge(known[[*keys, "score"]], on=keys, how="left")
    scored = merged["score"].notna()
    if not scored.any():
        names, listed = {
            "patch": ("names of patches", "scores.parquet"),
            "slide": ("names of slides", "scored.csv"),
            "y": ("places", "scores.parquet"),
        }[keys[-1]]
        example = labels.in_words(known.iloc[0].to_dict(), keys)
        raise HistobenchError(
            f"{path}: none of its slides or patches was scored; expected {names} as in {listed}, such as "
            f"{example}, found {labels.in_words(rows[0], keys)}"
        )
    found = merged[scored]
    group = found["slide"] if len(keys) > 1 else pd.Series("", found.index)
    return Labelled(
        "slides" if keys == ["slide"] else "patches",
        found.assign(group=group)[["label", "score", "group"]],
        merged.loc[~scored, [*keys, "label"]],
    )


def worth(known: Labelled, threshold: float | None) -> dict[str, Any]:
    """Return what the scores of labelled slides or patches are worth.

    Parameters
    ----------
    threshold : of decisions; None where the model has none for these.

    Returns
    -------
    row : `what`, `n`, `positives`; `auc` with a percentile interval over resampled slides, or patches (`unit`), NaN
        where a class is missing; sensitivity, specificity, their mean and accuracy of the decisions.
    """
    found = known.found
    labels, scores = found["label"].to_numpy(np.int64), found["score"].to_numpy(np.float64)
    units, resampled, _ = bootstrap.resampled_units(found["group"])
    unit = "slide" if known.what == "slides" or resampled == "group" else "patch"
    row: dict[str, Any] = {
        "what": known.what,
        "n": len(found),
        "positives": int(labels.sum()),
        "unit": unit,
        "auc": np.nan,
    }
    if len(np.unique(labels)) == 2:
        row["auc"] = float(roc_auc_score(labels, scores))
        row |= statistics.bounds("auc", metrics.auc_replicates(labels, scores, units, int(units.max()) + 1))
    if threshold is not None:
        decided = rates(labels, scores, threshold)
        told = [value for value in decided.values() if value is not None]
        row |= {name: np.nan if value is None else value for name, value in decided.items()}
        row["balanced_accuracy"] = float(np.mean(told)) if len(told) == 2 else np.nan
        row["accuracy"] = float(((scores > threshold) == (labels == 1)).mean())
    return row
