"""What scores are worth where somebody has labelled slides or patches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from histobench.core.errors import HistobenchError
from histobench.results import bootstrap, metrics, statistics
from histobench.results.exported_model import rates


def labelled(path: Path, scores: Mapping[str, pd.DataFrame], summaries: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return labelled slides, and labelled patches, with their scores.

    Parameters
    ----------
    path : of a CSV file with `label`, 1 is tumour and 0 is not, and one of: `slide`; `slide`, `x` and `y`, the upper
    left
        corner of a patch in pixels of level 0; `patch`.
    scores : of each slide by its name, or of the patches.
    summaries : of each slide, with `name` and `highest`.

    Returns
    -------
    frames : by "slides" or "patches": `label`, `score` (of a slide the mean of its highest one per cent) and `group`,
    the
        slide, "" where it is unknown.

    Raises
    ------
    HistobenchError
        if columns are missing, a label is neither 0 nor 1, or nothing that is labelled was scored.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise HistobenchError(f"{path}: expected a CSV file with labels, found: {error}") from error
    columns = set(table.columns)
    if "label" not in columns or not {"slide", "patch"} & columns:
        raise HistobenchError(
            f"{path}: expected columns label and slide, label, slide, x and y, or label and patch; found "
            f"{', '.join(table.columns)}"
        )
    wrong = ~table["label"].isin(["0", "1"])
    if wrong.any():
        line = int(wrong.to_numpy().argmax())
        raise HistobenchError(
            f"{path}, line {line + 2}: expected the label 1 (tumour) or 0, found {table['label'].iloc[line]!r}"
        )
    table["label"] = table["label"].astype(int)
    if "patch" in columns:
        what, keys, known = "patches", ["patch"], pd.concat(scores.values())
    elif {"x", "y"} <= columns:
        what, keys = "patches", ["slide", "x", "y"]
        known = pd.concat([frame.assign(slide=name) for name, frame in scores.items()])
    else:
        what, keys = "slides", ["slide"]
        known = summaries.rename(columns={"name": "slide", "highest": "score"})
    if twice := [str(row) for row in table.loc[table.duplicated(keys), keys].to_numpy().tolist()]:
        raise HistobenchError(f"{path}: expected each of the {what} once, found {twice[0]} again; keep one line of it")
    known = known[[*keys, "score"]].astype(dict.fromkeys(keys, str))
    found = table.merge(known, on=keys)
    if found.empty:
        raise HistobenchError(
            f"{path}: none of its {what} was scored; expected names as in scored.csv, such as "
            f"{dict(known[keys].iloc[0])}, found {dict(table[keys].iloc[0]) if len(table) else 'no line'}"
        )
    group = found["slide"] if what == "patches" and "slide" in keys else pd.Series("", found.index)
    return {what: found.assign(group=group)[["label", "score", "group"]]}


def worth(found: pd.DataFrame, threshold: float | None) -> dict[str, Any]:
    """Return what the scores of labelled slides or patches are worth.

    Parameters
    ----------
    found : `label`, `score`, `group`.
    threshold : of decisions; None where the model has none for these.

    Returns
    -------
    row : `n`, `positives`; `auc` with a percentile interval over resampled slides, or patches (`unit`), NaN where a
        class is missing; sensitivity, specificity, their mean and accuracy of the decisions.
    """
    labels, scores = found["label"].to_numpy(np.int64), found["score"].to_numpy(np.float64)
    units, unit, _ = bootstrap.resampled_units(found["group"])
    row: dict[str, Any] = {"n": len(found), "positives": int(labels.sum()), "unit": unit, "auc": np.nan}
    if len(np.unique(labels)) == 2:
        row["auc"] = float(roc_auc_score(labels, scores))
        row |= statistics.bounds("auc", metrics.auc_replicates(labels, scores, units, int(units.max()) + 1))
    if threshold is not None:
        decided = rates(labels, scores, threshold)
        known = [value for value in decided.values() if value is not None]
        row |= {name: np.nan if value is None else value for name, value in decided.items()}
        row["balanced_accuracy"] = float(np.mean(known)) if len(known) == 2 else np.nan
        row["accuracy"] = float(((scores > threshold) == (labels == 1)).mean())
    return row
