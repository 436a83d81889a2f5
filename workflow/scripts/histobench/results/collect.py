"""The tidy table of a study's runs, ``runs.csv``, and that of its cells, ``cells.csv``.

All tables, figures and statistics are computed from these two and from the run folders that they name; the table of
what jobs asked for and took is computed from ``jobs.csv``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from histobench.core import paths, recipes, runs, usage
from histobench.core.catalogue import NOT_STATED, OF_OTHERS
from histobench.core.decision import AT_THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.core.files import digest, read_sealed, unchanged
from histobench.core.formats import FORMATS
from histobench.core.prepared import SPLITS
from histobench.results import paper
from histobench.results.columns import read_csv, write_csv

METRICS = [
    *("loss", "auc", "average_precision", "brier"),
    *("sensitivity_at_95_specificity", "specificity_at_95_sensitivity"),
]
DECISION_METRICS = ["accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity"]
"""Metrics at the threshold 0.5, and at that chosen on the validation patches."""

COLUMNS = (
    *("dataset", "model", "mode", "recipe", "device", "seed", "model_name"),
    *("format", "split", "leaky", "patches", "weights", "transfer", "classifier"),
    *("data_differs", "recipe_differs", "steps_differ", "weights_differ"),
    *("n_train", "n_train_groups", "n_valid", "n_test", "epochs", "best_epoch", "parameters", "collapsed", "valid_auc"),
    *METRICS,
    *DECISION_METRICS,
    "threshold",
    *(f"{name}_at_validation_threshold" for name in DECISION_METRICS),
    *("auc_low", "auc_high", "interval_unit", "interval_reason", "floor_auc"),
    *("train_seconds", "validation_seconds", "features_seconds", "first_epoch_seconds"),
    *("training_seconds_per_epoch", "training_seconds_per_epoch_low", "training_seconds_per_epoch_high"),
    *("validation_seconds_per_epoch", "validation_seconds_per_epoch_low", "validation_seconds_per_epoch_high"),
    *("energy_joules_per_epoch", "train_patches_per_epoch", "valid_patches_per_epoch"),
    *("multiply_adds_forward", "multiply_adds_trained", "batch_size", "precision", "tf32", "jit_compile", "backend"),
    *("peak_device_memory_mib", "found_device", "folder"),
)
"""Columns of `runs.csv`.

- Columns that end in `differ` or `differs`: what keeps a run from being comparable with the paper's (`steps_differ`:
  its seconds per epoch), "" for nothing.
- `n_train` and so on: numbers of patches; of a cross-validation means over the folds, but for `n_test`, the sum.
  `n_train_groups`: slides or patients, 0 where unknown.
- `train_seconds`, `validation_seconds`: of all epochs. `first_epoch_seconds`: of the first, training and validation.
- Columns that end in `per_epoch`: medians over the epochs after the first, with minimum (`low`) and maximum (`high`);
  empty if there is only one epoch. They are as measured, for the `train_patches_per_epoch` and
  `valid_patches_per_epoch` that an epoch covers, which are fewer than `n_train` and `n_valid` if the recipe limits its
  steps. `energy_joules_per_epoch` is for training and validation, empty if the card has no counter.
- `parameters` and `features_seconds` are empty where others have computed the features: nobody here knows.
- `multiply_adds_forward`: of a forward pass over one patch, or over its cached features; `multiply_adds_trained`: of
  the layers that are trained.
- `interval_unit`, `interval_reason`: what was resampled for the interval, and why, see
  :func:`histobench.results.bootstrap.resampled_units`.
- `classifier`: see :func:`histobench.core.recipes.classifier`. `batch_size`: empty for nearest neighbours.
- `precision`: Keras's dtype policy, and for nearest neighbours "float64". `tf32`: whether float32 was multiplied in
  TF32, empty if the device cannot.
- `peak_device_memory_mib`: the maximum that Keras's backend held on the card, empty on a CPU.
- `backend`: Keras's.
"""

TEXTS = [
    *("dataset", "format", "model", "model_name", "mode", "recipe", "device", "split", "patches", "weights"),
    *("data_differs", "recipe_differs", "steps_differ", "weights_differ", "interval_unit", "found_device", "folder"),
    *(
        "interval_reason",
        "transfer",
        "classifier",
        "precision",
        "backend",
        "gap",
        "tuned_from",
        "averaged_from",
        "averaged_over",
        "subset_of",
        "subset_by",
        "year",
    ),
]
"""Columns of `runs.csv` and `cells.csv` that hold strings."""


def split_in_words(manifest: Mapping[str, Any], subset: str = "") -> str:
    """Return how a data set is split, as printed in tables.

    Parameters
    ----------
    manifest : of the data set, or of one that its results are gathered from.
    subset : which of its training patches count, see :meth:`histobench.core.selections.Selection.in_words`.
    """
    return "; ".join(filter(None, [_split_in_words(manifest), subset]))


def _split_in_words(manifest: Mapping[str, Any]) -> str:
    split = manifest["split"]
    if isinstance(split, str):
        unit = FORMATS[manifest["format"]].split
        return f"published, {unit}" if manifest["patches_are"] in ("published", "subset") else unit
    if "folds" in split:
        drawn = f"seed {split['seed']}" if "seed" in split else "drawn anew by each seed"
        return f"{split['folds']} folds by group, {drawn}"
    unit = "patch, leaky" if manifest["leaky"] else "group"
    return f"random by {unit}, {split['train']:g}/{split['valid']:g}/{split['test']:g}, seed {split['seed']}"


def _row(
    folder: Path,
    manifests: Mapping[str, Mapping[str, Any]],
    floors: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    timing_only: Sequence[str],
    encoders: Mapping[str, str],
    subsets: Mapping[str, str],
) -> dict[str, Any]:
    """Return the row of one run."""
    about = read_sealed(folder / runs.ABOUT)
    spec = about["specification"]
    if not folder.match(own := paths.RUN.format(**spec["run"])):
        raise _foreign(folder / runs.ABOUT, f"of the run {own}", "`train`")
    manifest, floor = manifests[spec["run"]["dataset"]], floors[spec["run"]["dataset"]]
    scored = spec["run"]["recipe"] not in timing_only
    timing = pd.read_csv(unchanged(folder / runs.TIMING))
    # Including the values that a search found.
    recipe, application = about["recipe"], spec["model"]["application"]
    features = about["features"]
    # None of embeddings that others have computed.
    image = spec["input"] or features["specification"]["input"]
    # If a backbone's own preprocessing is the same as the paper's, the recipe is the paper's in effect.
    effective = recipe | ({"input_scaling": "paper"} if image and image["preprocessing"] == "unit" else {})
    weights_differ = (
        paper.weights_differ(spec["model"]["weights_origin"], application) if image else OF_OTHERS,
        paper.transfer_differs(application, spec["run"]["mode"], recipe),
    )
    extraction = features["extraction_seconds"] if features else {}
    return {
        **spec["run"],
        "model_name": names[spec["run"]["model"]],
        "format": manifest["format"],
        "split": split_in_words(manifest, subsets.get(spec["run"]["dataset"], "")),
        "leaky": manifest["leaky"],
        "patches": manifest["patches_are"],
        "weights": spec["model"]["weights_origin"] if image else encoders[spec["run"]["model"]] or NOT_STATED,
        "transfer": recipe.get("transfer", ""),
        "classifier": recipes.classifier(recipe, spec["run"]["mode"]),
        "data_differs": paper.data_differ(manifest),
        "recipe_differs": paper.recipe_differs(effective),
        "steps_differ": paper.steps_differ(effective),
        "weights_differ": "; ".join(filter(None, weights_differ)),
        **(about.get("patches") or counts(manifest)),
        "epochs": len(timing),
        "best_epoch": about["best_epoch"],
        "parameters": about["parameters"] if image else None,
        **(_scores(_metrics(folder / runs.METRICS)) if scored else {"collapsed": False}),
        "floor_auc": floor["test"]["auc"],
        "train_seconds": round(float(timing["training_seconds"].sum()), 2),
        "validation_seconds": round(float(timing["validation_seconds"].sum()), 2),
        # Of training and validation patches, once for all heads on these features; 0 if a run trained on patches.
        "features_seconds": (
            round(sum(seconds for part, seconds in extraction.items() if part != "test"), 2) if image else None
        ),
        **_of_epochs(timing),
        **{f"{part}_patches_per_epoch": about["epoch_patches"][part] for part in ("train", "valid")},
        **{f"multiply_adds_{which}": about["multiply_adds"][which] for which in ("forward", "trained")},
        "batch_size": recipe.get("batch_size"),
        **{name: about[name] for name in ("precision", "jit_compile", "peak_device_memory_mib")},
        "tf32": about["device"]["tf32"],
        "backend": about["settings"]["backend"],
        "found_device": about["device"]["gpu"] or about["device"]["processor"],
        "folder": str(folder),
    }


def counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of patches of a data set, and of slides or patients among those that are trained on."""
    parts = manifest["patches"]
    return {f"n_{part}": parts[part]["n"] for part in SPLITS} | {"n_train_groups": parts["train"]["groups"]}


def _metrics(path: Path) -> dict[str, Any]:
    """Return the content of a ``metrics.json``; refuse one of other predictions than those beside it."""
    metrics = read_sealed(path)
    if metrics["predictions_sha256"] != digest(unchanged(path.with_name(runs.PREDICTIONS))):
        raise _foreign(path, f"of other predictions than {runs.PREDICTIONS}", "its job")
    return metrics


def _foreign(path: Path, whose: str, rule: str) -> HistobenchError:
    """Return the error of a file that is whole, but belongs elsewhere: it was copied, or exchanged."""
    return HistobenchError(
        f"{path}: expected the file that was written here, found one {whose}; delete it and start again: {rule} writes "
        "it anew"
    )


def _of_epochs(timing: pd.DataFrame) -> dict[str, float]:
    """Return the columns on seconds and energy per epoch; `timing` is `timing.csv`, a row per epoch."""
    # The first epoch includes tracing, compilation by XLA, and warm-up.
    first, later = timing.iloc[0], timing.iloc[1:]
    facts = {"first_epoch_seconds": float(first["training_seconds"] + first["validation_seconds"])}
    for part in ("training", "validation"):
        name, seconds = f"{part}_seconds_per_epoch", later[f"{part}_seconds"]
        facts |= {name: seconds.median(), f"{name}_low": seconds.min(), f"{name}_high": seconds.max()}
    return facts | {"energy_joules_per_epoch": later["energy_joules"].median()}


def _scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that come from a run's `metrics.json`."""
    test, (low, high) = metrics["test"], metrics["intervals"]["auc"] or (None, None)
    chosen = test["at_validation_threshold"]
    return (
        {"collapsed": metrics["collapsed"], "valid_auc": metrics["valid"]["auc"]}
        | {name: test[name] for name in METRICS}
        | {name: test[AT_THRESHOLD][name] for name in DECISION_METRICS}
        | {"threshold": chosen["threshold"]}
        | {f"{name}_at_validation_threshold": chosen[name] for name in DECISION_METRICS}
        | {"auc_low": low, "auc_high": high, "interval_unit": metrics["intervals"]["unit"]}
        | {"interval_reason": metrics["intervals"]["reason"]}
    )


def write(
    path: Path,
    *,
    folders: Sequence[Path],
    data: Mapping[str, Path],
    controls: Mapping[str, Path],
    names: Mapping[str, str],
    timing_only: Sequence[str] = (),
    encoders: Mapping[str, str] | None = None,
    subsets: Mapping[str, str] | None = None,
) -> None:
    """Write ``runs.csv``, one row per run folder, in the given order.

    Parameters
    ----------
    path : the file.
    folders : run folders.
    data, controls : from the name of a data set to the files of its manifest, or of that of its first fold, and of its
        colour floor's metrics.
    names : from the key of a model to its printed name.
    timing_only : recipes whose runs are for timing only and have no metrics.
    encoders : from the key of a model that is a table of embeddings to their encoder, "" where it is not stated.
    subsets : from the name of a data set that has a part of another's training patches to which part, in words.
    """
    manifests = {name: read_sealed(file) for name, file in data.items()}
    for name, file in data.items():
        if (found := manifests[name]["dataset"]) not in (name, file.parent.name):
            raise _foreign(file, f"of the data set {found}", "`prepare`")
    floors = {name: _metrics(file) for name, file in controls.items()}
    rows = [_row(folder, manifests, floors, names, timing_only, encoders or {}, subsets or {}) for folder in folders]
    # Nearest neighbours have no batches.
    write_csv(path, pd.DataFrame(rows, columns=list(COLUMNS)).astype({"batch_size": "Int64"}))


def write_jobs(path: Path, jobs: Sequence[usage.Usage]) -> None:
    """Write `jobs.csv`, a row for each job that has finished; the columns are those of `usage.Usage`."""
    write_csv(path, pd.DataFrame(jobs, columns=usage.Usage._fields))


def read_jobs(path: Path) -> pd.DataFrame:
    """Read `jobs.csv`, see :func:`write_jobs`."""
    return read_csv(path, [name for name, value in usage.Usage._field_defaults.items() if value == ""] + ["rule"])


def read(path: Path) -> pd.DataFrame:
    """Read `runs.csv` or `cells.csv`, see :func:`histobench.results.columns.read`."""
    return read_csv(path, TEXTS)
