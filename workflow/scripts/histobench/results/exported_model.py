"""What is known of an exported model: everything that its model.json and its card say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from histobench.core import runs as run_files
from histobench.core.decision import AT_THRESHOLD
from histobench.core.files import read_sealed
from histobench.results import evaluation
from histobench.results.bootstrap import Floats, Integers
from histobench.results.columns import read_csv
from histobench.results.figures.calibration import slope_and_intercept
from histobench.results.metrics import youden_threshold

CLASSES = ("normal", "tumour")
# Sensitivity, or specificity, that an operating point keeps on validation patches.
KEPT = 0.95


def describe(
    exported: Mapping[str, Any],
    runs: pd.DataFrame,
    manifest: Mapping[str, Any],
    *,
    study: str,
    microns_per_pixel: float | None,
    robustness: Path | None,
    external: Path | None,
) -> dict[str, Any]:
    """Return what is known of an exported model, for ``model.json``.

    Parameters
    ----------
    exported : see :func:`histobench.train.export.export`.
    runs : as in `runs.csv`.
    manifest : of the data set, or of the first of its folds.
    study : its name.
    microns_per_pixel : of the patches; None if unknown.
    robustness, external : tables of changed patches and of other data sets; None if the study has none.
    """
    folder = Path(exported["run"])
    run = runs[runs["folder"] == str(folder)].iloc[0]
    about, metrics = (read_sealed(folder / name) for name in (run_files.ABOUT, run_files.METRICS))
    predictions = evaluation.read(folder / run_files.PREDICTIONS)
    by_split = {split: predictions[predictions["split"] == split] for split in ("valid", "test")}
    labels_and_scores = {
        split: (part["label"].to_numpy(np.int64), part["score"].to_numpy(np.float64))
        for split, part in by_split.items()
    }
    points = operating_points(labels_and_scores["valid"], labels_and_scores["test"])
    slope, intercept = slope_and_intercept(*labels_and_scores["test"])
    names = ("dataset", "model", "model_name", "mode", "recipe", "device", "seed")
    described: dict[str, Any] = _without_nan(
        {
            "study": study,
            **{name: run[name] for name in names},
            "run": str(folder),
            "networks": len(exported["members"]),
            "chosen": exported["chosen"]["why"],
            "better": exported["chosen"]["better"],
            "classes": list(CLASSES),
            "patch_size": exported["patch_size"],
            "microns_per_pixel": microns_per_pixel,
            "threshold": points[0]["threshold"] if points else None,
            "operating_points": points,
            "metrics": {
                "valid": {name: metrics["valid"][name] for name in ("n", "positives", "groups", "auc")},
                "test": {
                    name: metrics["test"][name]
                    for name in ("n", "positives", "groups", "auc", "average_precision", "loss", "brier")
                }
                | metrics["test"][AT_THRESHOLD],
                "intervals": metrics["intervals"],
                "colour_floor_auc": run["floor_auc"],
                "calibration_slope": slope,
                "calibration_intercept": intercept,
            },
            "per_group": metrics["per_group"],
            "robustness": _rows(robustness, folder, ("change", "auc", "auc_low", "auc_high", "difference")),
            "external": _rows(external, folder, ("tested_on", "auc", "auc_low", "auc_high", "n")),
            "data": {
                "format": manifest["format"],
                "patches_are": manifest["patches_are"],
                "split": run["split"],
                "leaky": manifest["leaky"],
                "patches": manifest["patches"],
                "excluded": manifest["excluded"],
            },
            "training": {name: about[name] for name in ("recipe", "best_epoch", "code", "ended")},
            "weights_started_from": run["weights"],
            "parameters": run["parameters"],
            "sha256": {name: file["sha256"] for name, file in exported["files"].items()}
            | {"weights": exported["weights_sha256"], "patches": exported["patches_sha256"]},
            "largest_difference": {name: file["largest_difference"] for name, file in exported["files"].items()},
            "compared_patches": exported["compared"],
            "exported": exported.get("exported"),  # what an older export does not tell
            "versions": exported["versions"],
        }
    )
    return described


def operating_points(valid: tuple[Integers, Floats], test: tuple[Integers, Floats]) -> list[dict[str, Any]]:
    """Return thresholds that are chosen on validation patches, and what they do on both splits.

    The first maximises Youden's J and is the model's threshold; the others are the highest that keeps a sensitivity,
    and the lowest that keeps a specificity, of `KEPT`. Scores above a threshold are tumour.

    Parameters
    ----------
    valid, test : labels, 0 or 1, and scores in [0, 1], (n,) each.

    Returns
    -------
    points : `name`, `threshold`, and for each split `sensitivity` and `specificity`, None without patches of the class;
        nothing if the validation patches are of one class, and no sensitivity that no threshold in [0, 1] keeps.
    """
    chosen = youden_threshold(*valid)
    if chosen is None:
        return []
    false_positive_rate, sensitivity, at_least = roc_curve(*valid, drop_intermediate=False)
    # A curve's thresholds are scores that count as positive from there on; a decision counts those above.
    above = np.minimum(np.nextafter(at_least, -np.inf), 1)
    keep_sensitivity = above[(sensitivity >= KEPT) & (above >= 0)]  # a patch with the score 0 is never tumour
    thresholds = {"Youden's J": chosen}
    if keep_sensitivity.size:
        thresholds[f"sensitivity {KEPT:g}"] = float(keep_sensitivity.max())
    keep_specificity = above[false_positive_rate <= 1 - KEPT + 1e-12]
    thresholds[f"specificity {KEPT:g}"] = float(max(keep_specificity.min(), 0))
    return [
        {"name": name, "threshold": value, "valid": rates(*valid, value), "test": rates(*test, value)}
        for name, value in thresholds.items()
    ]


def rates(labels: Integers, scores: Floats, threshold: float) -> dict[str, float | None]:
    """Return `sensitivity` and `specificity` of the decision `score > threshold`, None without patches of the class."""
    decided = scores > threshold
    return {
        name: float((decided[labels == label] == label).mean()) if (labels == label).any() else None
        for name, label in (("sensitivity", 1), ("specificity", 0))
    }


def _rows(table: Path | None, folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a table that are about a run alone."""
    if table is None:
        return []
    frame = read_csv(table, ["runs", *names[:1]])
    of_run = [str(folder) in folders.split() for folders in frame["runs"]]
    rows: list[dict[str, Any]] = frame.loc[of_run, list(names)].to_dict("records")  # type: ignore[assignment]
    return rows


def _without_nan(value: Any) -> Any:
    """Return plain values for JSON, with None for what is missing."""
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is not None and not isinstance(value, str) and pd.isna(value) else value
