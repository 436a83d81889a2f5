"""What scores are worth where somebody has labelled slides or patches."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from histobench.core.datasets.upstream import text
from histobench.core.errors import HistobenchError
from histobench.results import bootstrap, metrics, statistics
from histobench.results.exported_model import rates

PLACE = ["x", "y"]


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
    path : of a CSV file with `label`, 1 is tumour and 0 is not, and one of: `slide`; `slide`, `x` and `y`, the upper
        left corner of a patch in pixels of level 0; `patch`.
    scores : of each slide by its name, or of the patches.
    summaries : of each slide, with `name` and `highest`.

    Raises
    ------
    HistobenchError
        if columns are missing, a label is neither 0 nor 1, a place is no pixel, or nothing that is labelled was scored.
    """
    table = _table(path)
    of_patches = any("patch" in frame for frame in scores.values())
    keys = ["patch"] if of_patches else ["slide", *(PLACE if set(PLACE) & set(table.columns) else ())]
    if not {"label", *keys} <= set(table.columns):
        raise HistobenchError(
            f"{path}: expected, with commas between them, the columns "
            f"{'label and patch' if of_patches else 'label and slide, or label, slide, x and y'}; found "
            f"{', '.join(table.columns)}"
        )
    _check(path, table, "label", "[01]", "the label 1 (tumour) or 0")
    for name in set(PLACE) & set(keys):
        _check(path, table, name, r"\d{1,9}(\.0*)?", "a whole number of pixels")
        table[name] = table[name].str.partition(".")[0]
    types: dict[str, type] = {"label": int} | {name: int if name in PLACE else str for name in keys}
    table = table[[*keys, "label"]].astype(types)
    if twice := [str(row) for row in table.loc[table.duplicated(keys), keys].to_numpy().tolist()]:
        raise HistobenchError(f"{path}: expected each slide or patch once, found {twice[0]} again; keep one line of it")
    if keys == ["slide"]:
        known = summaries.rename(columns={"name": "slide", "highest": "score"})
    else:
        known = pd.concat([frame.assign(slide=name) for name, frame in scores.items()])
    known = known[[*keys, "score"]].astype({name: types[name] for name in keys})
    merged = table.merge(known, on=keys, how="left")
    scored = merged["score"].notna()
    if not scored.any():
        raise HistobenchError(
            f"{path}: none of its slides or patches was scored; expected names as in scored.csv, such as "
            f"{dict(known[keys].iloc[0])}, found {dict(table[keys].iloc[0]) if len(table) else 'no line'}"
        )
    found = merged[scored]
    group = found["slide"] if len(keys) > 1 else pd.Series("", found.index)
    return Labelled(
        "slides" if keys == ["slide"] else "patches",
        found.assign(group=group)[["label", "score", "group"]],
        merged.loc[~scored, [*keys, "label"]],
    )


def _table(path: Path) -> pd.DataFrame:
    """Return the texts of a CSV file, without spaces around them, by the number of their line less two."""
    try:
        table = pd.read_csv(
            io.StringIO(text(path)), dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
        )
    except ValueError as error:
        raise HistobenchError(f"{path}: expected a CSV file with labels, found: {error}") from error
    stripped: pd.DataFrame = table.rename(columns=str.strip).fillna("").apply(lambda column: column.str.strip())
    return stripped[(stripped != "").any(axis=1)]


def _check(path: Path, table: pd.DataFrame, name: str, pattern: str, expected: str) -> None:
    """Refuse a table in whose column a text is not of a pattern."""
    wrong = table.loc[~table[name].str.fullmatch(pattern), name]
    if len(wrong):
        raise HistobenchError(f"{path}, line {wrong.index[0] + 2}: expected {expected}, found {wrong.iloc[0]!r}")


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
