"""The tidy table of a study's runs, ``runs.csv``: everything else is computed from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench import runs
from histobench.files import atomic

METRICS = (
    *("loss", "auc", "average_precision", "brier"),
    *("sensitivity_at_95_specificity", "specificity_at_95_sensitivity"),
)
AT_HALF = ("accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity")


def split_in_words(manifest: Mapping[str, Any]) -> str:
    """Return how a data set is split, as tables print it."""
    split = manifest["split"]
    if isinstance(split, str):
        unit = {"pcam": "by slide", "idc": "by patient", "folder": "given by folders"}[manifest["format"]]
        return f"published, {unit}" if manifest["patches_are"] in ("published", "subset") else unit
    unit = "patch, leaky" if manifest["leaky"] else "group"
    return f"random by {unit}, {split['train']:g}/{split['valid']:g}/{split['test']:g}, seed {split['seed']}"


def row(
    folder: Path, manifest: Mapping[str, Any], controls: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return one run's row.

    Parameters
    ----------
    folder : the run's folder.
    manifest : of its data set.
    controls : metrics of the colour floor on its data set.
    names : from a model's key to its name in print.
    """
    about, metrics = runs.read_json(folder / runs.ABOUT), runs.read_json(folder / runs.METRICS)
    spec, test, intervals = about["specification"], metrics["test"], metrics["intervals"]
    auc = intervals["auc"] or [None, None]
    timing = pd.read_csv(folder / runs.TIMING)
    extraction = about["features"]["extraction_seconds"] if about["features"] else {}
    return {
        **spec["run"],
        "name": names[spec["run"]["model"]],
        "split": split_in_words(manifest),
        "leaky": manifest["leaky"],
        "patches": manifest["patches_are"],
        "weights": spec["model"]["weights_origin"],
        "transfer": spec["recipe"].get("transfer", ""),
        **{f"n_{part}": manifest["patches"][part]["n"] for part in ("train", "valid", "test")},
        "epochs": len(timing),
        "best_epoch": about["best_epoch"],
        "parameters": about["parameters"],
        "collapsed": metrics["collapsed"],
        **{name: test[name] for name in METRICS},
        **{name: test["at_0.5"][name] for name in AT_HALF},
        "threshold": test["at_validation_threshold"]["threshold"],
        **{f"{name}_at_threshold": test["at_validation_threshold"][name] for name in AT_HALF},
        "auc_low": auc[0],
        "auc_high": auc[1],
        "interval_unit": intervals["unit"],
        "floor_auc": controls["test"]["auc"],
        "train_seconds": round(float(timing["training_seconds"].sum()), 2),
        "validation_seconds": round(float(timing["validation_seconds"].sum()), 2),
        # Of training and validation patches, once for all heads on these features; 0 where a run trained on patches.
        "features_seconds": round(extraction.get("train", 0.0) + extraction.get("valid", 0.0), 2),
        "found_device": about["device"]["gpu"] or about["device"]["processor"],
        "folder": str(folder),
    }


def write(
    path: Path,
    *,
    folders: Sequence[Path],
    data: Mapping[str, Path],
    controls: Mapping[str, Path],
    names: Mapping[str, str],
) -> None:
    """Write ``runs.csv``, one row per run folder, in the given order.

    Parameters
    ----------
    path : the file.
    folders : run folders.
    data, controls : from a data set's name to its manifest, and to the metrics of its colour floor.
    names : from a model's key to its name in print.
    """
    manifests = {name: runs.read_json(file) for name, file in data.items()}
    floors = {name: runs.read_json(file) for name, file in controls.items()}
    rows = []
    for folder in folders:
        dataset = runs.read_json(folder / runs.ABOUT)["specification"]["run"]["dataset"]
        rows.append(row(folder, manifests[dataset], floors[dataset], names))
    with atomic(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")


def read(path: Path) -> pd.DataFrame:
    """Read ``runs.csv``."""
    texts = ("weights", "transfer")
    frame = pd.read_csv(path, keep_default_na=True, dtype=dict.fromkeys((*texts, "model"), str))
    return frame.fillna(dict.fromkeys(texts, ""))


def controls(datasets: Sequence[str], metrics: Sequence[Path], shuffled: Sequence[Path]) -> pd.DataFrame:
    """Return the table of floors and controls, one row per data set.

    Parameters
    ----------
    datasets : their names.
    metrics, shuffled : for each of them the metrics of its colour floor, and its shuffled-label control.
    """
    rows = []
    for dataset, floor_path, shuffled_path in zip(datasets, metrics, shuffled, strict=True):
        floor, control = runs.read_json(floor_path), runs.read_json(shuffled_path)
        low, high = floor["intervals"]["auc"] or (None, None)
        shuffled_low, shuffled_high = control["auc_interval"] or (None, None)
        rows.append(
            {
                "data_set": dataset,
                "n": floor["test"]["n"],
                "floor_auc": floor["test"]["auc"],
                "floor_auc_low": low,
                "floor_auc_high": high,
                "floor_balanced_accuracy": floor["test"]["at_0.5"]["balanced_accuracy"],
                "shuffled_auc": control["auc_mean"],
                "shuffled_auc_low": shuffled_low,
                "shuffled_auc_high": shuffled_high,
                "holds_chance": control["holds_chance"],
            }
        )
    return pd.DataFrame(rows)
