"""Metrics of a run's predictions, per split and per group, with bootstrap intervals on the test set.

A patch counts as positive if its score is strictly greater than the threshold, as in Keras's `BinaryAccuracy`. Values
that are not defined (an AUC with only one class) are None, so that the result can be written as JSON.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from histobench.core.decision import AT_THRESHOLD, THRESHOLD
from histobench.core.errors import HistobenchError
from histobench.results import bootstrap
from histobench.results.bootstrap import LEVEL, RESAMPLES, Floats, Integers

EPSILON = 1e-7
"""Scores are clipped to [EPSILON, 1 - EPSILON] before the logarithm: `keras.config.epsilon()`, so that losses agree."""

COLLAPSE_SPREAD = 1e-3
"""A model has collapsed to a constant if the standard deviation of its scores is below this.

The variance of calibrated scores is the explained share of the label variance p (1 - p). With 28 % positives, as in
IDC, a standard deviation of 1e-3 is a share of 5e-6: nothing was learnt.
"""

BOOTSTRAPPED = ["auc", "accuracy", "balanced_accuracy", "loss", "f1"]


def evaluate(
    predictions: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Evaluate one run.

    Parameters
    ----------
    predictions : one row per patch of the splits "valid" and "test": `split`, `patch_id` (str, unique within its
        split), `group` (slide or patient, "" if unknown), `label` (0 or 1), `score` (probability of label 1, in
        [0, 1]).
    resamples : number of bootstrap resamples of the test set.
    seed : seed of the resampling. The same seed and test set give the same resamples for all models, see
        `bootstrap.resampled_weights`.

    Returns
    -------
    metrics : for `metrics.json`:

        - `valid`, `test`: counts and metrics of each split. `at_validation_threshold` uses the threshold of
          `youden_threshold` on the validation patches.
        - `per_group`: the test patches by group at the threshold 0.5; empty if groups are unknown.
        - `intervals`: percentile bootstrap (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13) of
          the test metrics at the threshold 0.5. Resamples with only one class are excluded and counted in `skipped`.
        - `collapsed`: whether the scores are constant on both the test and the validation patches.
    replicates : for `bootstrap.csv`: `replicate` (its number, 0 to resamples - 1) and one column per metric. Excluded
        resamples have no row; they are the same for all runs on a test set, since they depend only on the labels.

    Raises
    ------
    HistobenchError
        If a split is missing, a patch is given twice, a score is not in [0, 1] or a label is neither 0 nor 1.
    """
    splits = {split: _checked(predictions, split) for split in ("valid", "test")}
    test = splits["test"]
    chosen = youden_threshold(*_labels_and_scores(splits["valid"]))

    units, unit, reason = bootstrap.resampled_units(test["group"])
    replicates, skipped = _bootstrap(test, units, resamples, seed)
    metrics: dict[str, Any] = {split: _split_metrics(frame, chosen) for split, frame in splits.items()}
    metrics["per_group"] = _per_group(test) if (test["group"] != "").all() else []
    metrics["intervals"] = {
        "level": LEVEL,
        "resamples": resamples,
        "unit": unit,
        "ignores_clustering": unit == "patch",
        "reason": reason,
        "skipped": skipped,
        **{name: bootstrap.percentile_interval(replicates[name]) for name in BOOTSTRAPPED},
    }
    metrics["collapsed"] = collapsed(predictions)
    return metrics, replicates


def collapsed(predictions: pd.DataFrame) -> bool:
    """Say whether the scores of predictions are constant on each of their splits."""
    return bool((predictions.groupby("split")["score"].std(ddof=0) < COLLAPSE_SPREAD).all())


def youden_threshold(labels: Integers, scores: Floats) -> float | None:
    """Return the threshold that maximises Youden's J = sensitivity + specificity - 1 (Youden 1950, Cancer 3:32).

    Candidates are the midpoints between adjacent scores, the ends, and 0.5. Of equally good ones the nearest to 0.5 is
    chosen, so that 0.5 is kept unless another one is better; of two equally near ones the lower.

    Parameters
    ----------
    labels : (n,) 0 or 1.
    scores : (n,) in [0, 1].

    Returns
    -------
    threshold : in [0, 1], or None with only one class.
    """
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if not len(positive) or not len(negative):
        return None
    edges = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    lower, upper = edges[:-1], edges[1:]
    midpoints = (lower + upper) / 2
    # The midpoint of two neighbouring floats may be rounded to the upper one, which must stay above the threshold.
    midpoints = np.where(midpoints < upper, midpoints, lower)
    candidates = np.unique(np.concatenate([midpoints, [THRESHOLD, 1.0]]))
    true_negatives = np.searchsorted(negative, candidates, side="right")
    false_negatives = np.searchsorted(positive, candidates, side="right")
    # J times both class sizes is an integer, so that ties are exact.
    youden = true_negatives * len(positive) - false_negatives * len(negative)
    best = candidates[youden == youden.max()]
    return float(best[np.abs(best - THRESHOLD).argmin()])


def _checked(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return one split, sorted by patch id, after checking its values."""
    frame = predictions[predictions["split"] == split]
    if frame.empty:
        raise HistobenchError(
            f"predictions: no patches of the split {split!r}. Expected rows of both 'valid' and 'test'; found "
            f"{sorted(predictions['split'].astype(str).unique())}. Check the data set's split, then evaluate again."
        )
    frame = frame.assign(
        patch_id=frame["patch_id"].astype(str),
        group=frame["group"].fillna("").astype(str),  # pandas reads an empty field as NaN
    )
    if not frame["patch_id"].is_monotonic_increasing:
        frame = frame.sort_values("patch_id")
    frame = frame.reset_index(drop=True)
    wrong = {
        "a score in [0, 1]": ("score", ~frame["score"].between(0, 1)),
        "the label 0 or 1": ("label", ~frame["label"].isin([0, 1])),
        "each patch once": ("patch_id", frame["patch_id"] == frame["patch_id"].shift()),
    }
    for expected, (column, mask) in wrong.items():
        if mask.any():
            first = frame[mask].iloc[0]
            raise HistobenchError(
                f"predictions: patch {first['patch_id']!r} of the split {split!r}: expected {expected}, found {column} "
                f"{first[column]} ({int(mask.sum())} such patches). Train the run again, or correct its predictions."
            )
    return frame


def _labels_and_scores(frame: pd.DataFrame) -> tuple[Integers, Floats]:
    return frame["label"].to_numpy(dtype=np.int64), frame["score"].to_numpy(dtype=np.float64)


def _losses(labels: Integers, scores: Floats) -> Floats:
    """Return the binary cross-entropy of each patch, in nats."""
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def _auc(labels: Integers, scores: Floats) -> float | None:
    return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) == 2 else None


def _split_metrics(frame: pd.DataFrame, chosen: float | None) -> dict[str, Any]:
    """Return the metrics of one split; `chosen` is the threshold from the validation patches."""
    labels, scores = _labels_and_scores(frame)
    sensitivity_at, specificity_at = _operating_points(labels, scores)
    return {
        "n": len(frame),
        "positives": int(labels.sum()),
        "groups": int(frame.loc[frame["group"] != "", "group"].nunique()),
        "loss": float(_losses(labels, scores).mean()),
        "auc": _auc(labels, scores),
        "average_precision": float(average_precision_score(labels, scores)) if labels.any() else None,
        "brier": float(brier_score_loss(labels, scores, pos_label=1)),
        "sensitivity_at_95_specificity": sensitivity_at,
        "specificity_at_95_sensitivity": specificity_at,
        AT_THRESHOLD: _at_threshold(labels, scores, THRESHOLD),
        "at_validation_threshold": _at_threshold(labels, scores, chosen),
    }


def _operating_points(labels: Integers, scores: Floats) -> tuple[float | None, float | None]:
    """Return the best sensitivity at a specificity of at least 0.95, and vice versa.

    These are points of the split's empirical ROC curve, without interpolation.
    """
    if len(np.unique(labels)) < 2:
        return None, None
    false_positive_rate, sensitivity, _ = roc_curve(labels, scores, drop_intermediate=False)
    # A quotient of counts is rounded as the literals are, so the comparisons are exact; with 1 - 0.95 they would not
    # be.
    return (
        float(sensitivity[false_positive_rate <= 0.05].max()),
        float(1 - false_positive_rate[sensitivity >= 0.95].min()),
    )


def _at_threshold(labels: Integers, scores: Floats, threshold: float | None) -> dict[str, float | None]:
    """Return the metrics of the decision `score > threshold`; all None without a threshold."""
    names = ["threshold", "accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity"]
    if threshold is None:
        return dict.fromkeys(names)
    # Not with accuracy_score and the like, which warn and return a number if a class is absent.
    positive, decided = labels == 1, scores > threshold
    tp, fp = int((positive & decided).sum()), int((~positive & decided).sum())
    fn, tn = int(positive.sum()) - tp, int((~positive).sum()) - fp
    sensitivity = tp / (tp + fn) if tp + fn else None
    specificity = tn / (tn + fp) if tn + fp else None
    return {
        "threshold": threshold,
        "accuracy": (tp + tn) / len(labels),
        "balanced_accuracy": None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fn else None,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def _per_group(test: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for group, frame in test.groupby("group", sort=True):
        labels, scores = _labels_and_scores(frame)
        decided = _at_threshold(labels, scores, THRESHOLD)
        counts = {"group": str(group), "n": len(frame), "positives": int(labels.sum())}
        accuracies = {name: decided[name] for name in ("accuracy", "balanced_accuracy")}
        rows.append({**counts, **accuracies, "auc": _auc(labels, scores), "mean_score": float(scores.mean())})
    return rows


def _bootstrap(test: pd.DataFrame, units: Integers, resamples: int, seed: int) -> tuple[pd.DataFrame, int]:
    """Return the replicates of the test metrics and the number of resamples without both classes.

    A resample is a weight per unit. What is a sum over patches is summed by unit once; for the AUC the scores are
    sorted once. Dot products of floats are avoided, since the order in which a threaded BLAS adds depends on the number
    of threads, and equal runs must give equal files; those of whole numbers are exact.
    """
    labels, scores = _labels_and_scores(test)
    positive, predicted = labels == 1, scores > THRESHOLD
    count = int(units.max()) + 1

    def by_unit(patches: NDArray[np.bool_]) -> Integers:
        return np.bincount(units[patches], minlength=count)

    positives_of, negatives_of = by_unit(positive), by_unit(~positive)
    true_positives_of, true_negatives_of = by_unit(positive & predicted), by_unit(~positive & ~predicted)
    losses_of = np.bincount(units, _losses(labels, scores), minlength=count)
    wins = _Wins(labels, scores, units)

    rows = []
    for replicate, drawn in enumerate(bootstrap.draws(count, resamples, seed)):
        positives, negatives = int(drawn @ positives_of), int(drawn @ negatives_of)
        if not positives or not negatives:
            continue
        true_positives, true_negatives = drawn @ true_positives_of, drawn @ true_negatives_of
        rows.append(
            {
                "replicate": replicate,
                "auc": wins.count(drawn) / (positives * negatives),
                "accuracy": (true_positives + true_negatives) / (positives + negatives),
                "balanced_accuracy": (true_positives / positives + true_negatives / negatives) / 2,
                "loss": (drawn * losses_of).sum() / (positives + negatives),
                # 2 TP + FP + FN = TP + (negatives - TN) + positives
                "f1": 2 * true_positives / (true_positives + negatives - true_negatives + positives),
            }
        )
    return pd.DataFrame(rows, columns=["replicate", *BOOTSTRAPPED]), resamples - len(rows)


def auc_replicates(
    labels: Integers, scores: Floats, units: Integers, count: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> "pd.Series[float]":
    """Return the AUC of some patches in each resample of a test set, without resamples in which a class is missing.

    Parameters
    ----------
    labels, scores : (n,) of the patches: 0 or 1, and in [0, 1].
    units : (n,) the number of each patch's unit among the `count` that are resampled, see `bootstrap.resampled_units`.
    seed : see :func:`evaluate`; patches of one test set share their resamples.

    Returns
    -------
    aucs : by the number of the replicate.
    """
    positive = labels == 1
    positives_of, negatives_of = (np.bincount(units[some], minlength=count) for some in (positive, ~positive))
    wins = _Wins(labels, scores, units)
    aucs = {}
    for replicate, drawn in enumerate(bootstrap.draws(count, resamples, seed)):
        pairs = int(drawn @ positives_of) * int(drawn @ negatives_of)
        if pairs:
            aucs[replicate] = wins.count(drawn) / pairs
    return pd.Series(aucs, dtype=np.float64)


class _Wins:
    """Counts the pairs of a positive and a negative patch in which the positive has the higher score, for the AUC.

    That is Mann-Whitney's U, in which ties count one half (Hanley & McNeil 1982, Radiology 143:29). The patches are
    sorted once and looked at in blocks that fit into the processor's cache. All counts are whole numbers, exact up to
    2**62 pairs.
    """

    BLOCK = 2**15

    def __init__(self, labels: Integers, scores: Floats, units: Integers) -> None:
        order = np.argsort(scores, kind="stable")
        scores, units, positive = scores[order], units[order].astype(np.int32), labels[order] == 1
        negative_scores = scores[~positive]
        self.positive_units, self.negative_units = units[positive], units[~positive]
        # How many negatives lie below each positive, and how many not above it.
        self.below, self.up_to = (
            np.searchsorted(negative_scores, scores[positive], side=side).astype(np.int32) for side in ("left", "right")
        )

    def count(self, drawn: Integers) -> float:
        """Return the number of pairs, where a patch counts as often as its unit is drawn."""
        times = drawn.astype(np.int32)
        cumulated = np.zeros(len(self.negative_units) + 1, np.int64)
        for start in range(0, len(self.negative_units), self.BLOCK):
            drawn_negatives = _at(times, self.negative_units[start : start + self.BLOCK]).astype(np.int64)
            drawn_negatives[0] += cumulated[start]
            np.cumsum(drawn_negatives, out=cumulated[start + 1 : start + 1 + len(drawn_negatives)])
        twice = 0
        for start in range(0, len(self.positive_units), self.BLOCK):
            part = slice(start, start + self.BLOCK)
            beaten = _at(cumulated, self.below[part]) + _at(cumulated, self.up_to[part])
            twice += int((_at(times, self.positive_units[part]) * beaten).sum())
        return twice / 2


def _at(values: NDArray[Any], places: NDArray[np.int32]) -> NDArray[Any]:
    """Return the values at these places, which are not checked: half of the time."""
    return np.take(values, places, mode="clip")
