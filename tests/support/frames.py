"""Made-up rows of `runs.csv` and `cells.csv`, and tables of performance of them."""

from typing import Any

import numpy as np
import pandas as pd

from histobench.results.tables.performance import performance

NAMES = ("dataset", "model", "mode", "recipe", "device")


def run(model: str = "b2", seed: int = 1, auc: float = 0.9, **changes: Any) -> dict[str, Any]:
    """Return one row of `runs.csv`, of a run that follows the paper in everything."""
    row = (
        {"dataset": "pcam", "model": model, "mode": "full", "recipe": "paper", "device": "cpu", "seed": seed}
        | {"model_name": model.upper(), "format": "pcam", "split": "published", "leaky": False, "patches": "published"}
        | {"weights": "ImageNet", "transfer": "", "classifier": "CNN", "backend": "tensorflow"}
        | dict.fromkeys(["data_differs", "recipe_differs", "steps_differ", "weights_differ"], "")
        | {"n_train": 262144, "n_valid": 32768, "n_test": 32768, "epochs": 15, "best_epoch": 7, "collapsed": False}
        | {"auc": auc, "valid_auc": auc + 0.01, "loss": 1 - auc, "accuracy": auc - 0.05}
        | {"balanced_accuracy": auc - 0.06, "interval_unit": "group", "floor_auc": 0.79, "found_device": "a processor"}
        | {"interval_reason": "54 groups, at least 10: whole groups are resampled"}
        | {"train_seconds": 100.0, "validation_seconds": 10.0, "features_seconds": 0.0}
        | changes
    )
    return row | {"folder": f"results/paper/runs/{'/'.join(row[name] for name in NAMES)}/seed-{row['seed']}"}


def cell(mode: str = "full", model: str = "b2", **changes: Any) -> dict[str, Any]:
    """Return one row of `cells.csv`."""
    return (
        {"dataset": "pcam", "model": model, "mode": mode, "recipe": "paper", "device": "cpu"}
        | {"format": "pcam", "model_name": model.upper(), "gpu": changes.get("device", "cpu") != "cpu"}
        | {"year": "", "cuda_cores": "", "gflops": ""}
        | {f"peak_tflops_{rate}": "" for rate in ("float32", "tf32", "mixed_float16", "mixed_bfloat16")}
        | {"seeds": 1, "gap": "", "left_out": False, "end_to_end": True, "timing_only": False, "tuned_from": ""}
        | {"averaged_from": "", "averaged_over": ""}
        | {"subset_of": "", "subset_by": "", "classifier": "dense head" if mode == "tl" else "CNN"}
        | changes
    )


def cells(*rows: dict[str, Any], missing: tuple[dict[str, Any], ...] = ()) -> pd.DataFrame:
    """Return `cells.csv` for runs, in their order, and then for `missing` cells, which have no runs."""
    by_names: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in (*rows, *missing):
        of_row = cell(**{name: value for name, value in row.items() if name in cell()})
        of_row |= {"seeds": 0, "end_to_end": row.get("transfer") != "cached"}
        by_names.setdefault(tuple(of_row[name] for name in NAMES), of_row)["seeds"] += 1
    return pd.DataFrame(by_names.values())


def replicates(*rows: dict[str, Any], spread: float = 0.01) -> dict[str, pd.DataFrame]:
    """Return made-up bootstrap replicates of runs around their AUCs, by folder."""
    rng = np.random.default_rng(0)
    return {
        row["folder"]: pd.DataFrame(
            {"replicate": range(200)}
            | {metric: row[metric] + spread * rng.normal(size=200) for metric in ("auc", "loss", "accuracy")}
        )
        for row in rows
    }


PUBLISHED = pd.DataFrame(
    [
        {"format": "pcam", "model": "b2", "mode": "full", "loss": 0.47, "accuracy": 0.78, "auc": 0.85},
        {"format": "pcam", "model": "vgg19", "mode": "tl", "loss": 0.42, "accuracy": 0.80, "auc": 0.89},
        {"format": "idc", "model": "b2", "mode": "full", "loss": 0.31, "accuracy": 0.86, "auc": 0.92},
    ]
)


def performances(*rows: dict[str, Any], missing: tuple[dict[str, Any], ...] = ()) -> pd.DataFrame:
    """Return the tables of performance of runs and of `missing` cells, those of all data sets in one."""
    runs, asked, bootstrap = pd.DataFrame(rows, columns=list(run())), cells(*rows, missing=missing), replicates(*rows)
    datasets = asked["dataset"].unique()
    return pd.concat([performance(name, runs, asked, bootstrap, PUBLISHED) for name in datasets], ignore_index=True)
