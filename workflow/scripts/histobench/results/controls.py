"""Two controls of every data set: the AUC that colour alone reaches, and the AUC with shuffled labels.

Both are logistic regressions on the mean and standard deviation of each patch's red, green and blue, which train in
seconds. A CNN at or below the colour floor has not learnt to see tissue; an AUC with shuffled labels away from chance
means that the evaluation leaks the labels.

Both use one BLAS thread: with six columns, threads would only wait for each other on a busy machine (26 s instead of
1.5 s for 200 fits), and the last digits would depend on the number of cores.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from histobench.core.errors import HistobenchError

COLOURS = ["red_mean", "green_mean", "blue_mean", "red_std", "green_std", "blue_std"]

COLUMNS = ["split", "patch_id", "group", "label", *COLOURS]
"""Of the index, what the controls need."""

SHUFFLED_PATCHES, SHUFFLED_TEST_PATCHES = 20_000, 100_000
"""Maximum numbers of training and of test patches of the shuffled control. 200 fits on PCam's 262,144 would take
minutes, and seven coefficients do not need more; nor does an AUC whose spread over shuffles is what counts."""


def colour_floor(*folds: pd.DataFrame) -> pd.DataFrame:
    """Predict the labels of validation and test patches from their colour alone.

    Parameters
    ----------
    folds : the patch index of a data set, or of each fold of a cross-validation, one row per patch: `COLUMNS`, where
        `split` is "train", "valid" or "test" and `label` 0 or 1.

    Returns
    -------
    predictions : `split`, `patch_id`, `group`, `label`, `score` of the splits "valid" and "test", for
        `metrics.evaluate`.

    Raises
    ------
    HistobenchError
        If the training split does not hold both classes.
    """
    found = []
    for index in folds:
        train = _train(index)
        rest = index[index["split"].isin(["valid", "test"])]
        with threadpool_limits(limits=1):
            classifier = _classifier().fit(train[COLOURS].to_numpy(), train["label"].to_numpy())
            scores = classifier.predict_proba(rest[COLOURS].to_numpy())[:, 1]
        found.append(rest[["split", "patch_id", "group", "label"]].assign(score=scores))
    gathered = pd.concat(found)
    # As `gather` sorts the scores of runs.
    ordered = gathered.sort_values(["split", "patch_id"], kind="stable") if len(folds) > 1 else gathered
    return ordered.reset_index(drop=True)


def shuffled_labels(*folds: pd.DataFrame, shuffles: int = 200, seed: int = 0) -> dict[str, Any]:
    """Train the same classifier on permuted training labels many times, and compare its test AUC with chance.

    A single shuffle is not enough. Permuted labels give the classifier a random direction in colour space, and if
    colour is related to the true labels, that direction orders the test patches well or badly: an AUC of 0.2 or of 0.8
    is not unusual. Its interval over test patches would be narrow and miss 0.5, although nothing leaks. But a direction
    and its opposite are about equally likely, so over shuffles the AUC is as often below 0.5 as above. Hence the
    interval is over shuffles. It is wide if colour separates the classes; `auc_mean` is then more informative.

    Parameters
    ----------
    folds : as for `colour_floor`; of several, the AUC of a shuffle is the mean over them.
    shuffles : number of permutations.
    seed : of the permutations, and of the subsamples of `SHUFFLED_PATCHES` training and `SHUFFLED_TEST_PATCHES` test
        patches if there are more.

    Returns
    -------
    control : `shuffles`, `seed`, `train_patches` and `test_patches` (after subsampling), `auc_mean`, `auc_interval`
        (2.5 % and 97.5 % percentiles over shuffles) and `holds_chance` (whether 0.5 lies within); the last three are
        None if the test split does not hold both classes.

    Raises
    ------
    HistobenchError
        If the training split does not hold both classes.
    """
    rng = np.random.default_rng(seed)
    parts = [
        (
            _at_most(_train(index), SHUFFLED_PATCHES, rng),
            _at_most(index[index["split"] == "test"], SHUFFLED_TEST_PATCHES, rng),
        )
        for index in folds
    ]
    control: dict[str, Any] = {
        "shuffles": shuffles,
        "seed": seed,
        "train_patches": round(np.mean([len(train) for train, _ in parts])),
        "test_patches": sum(len(test) for _, test in parts),
    }
    control |= dict.fromkeys(["auc_mean", "auc_interval", "holds_chance"])
    if any(test["label"].nunique() < 2 for _, test in parts):
        return control

    arrays = [[part[columns].to_numpy() for part in both for columns in (COLOURS, "label")] for both in parts]
    aucs = []
    with threadpool_limits(limits=1):
        for _ in range(shuffles):
            of_folds = []
            for colours, labels, test_colours, test_labels in arrays:
                classifier = _classifier().fit(colours, rng.permutation(labels))
                # Log-odds and probabilities give the same AUC.
                of_folds.append(roc_auc_score(test_labels, classifier.decision_function(test_colours)))
            aucs.append(np.mean(of_folds))
    low, high = np.quantile(aucs, [0.025, 0.975])
    return control | {
        "auc_mean": float(np.mean(aucs)),
        "auc_interval": [float(low), float(high)],
        "holds_chance": bool(low <= 0.5 <= high),
    }


def _at_most(patches: pd.DataFrame, number: int, rng: np.random.Generator) -> pd.DataFrame:
    if len(patches) <= number:
        return patches
    return patches.iloc[np.sort(rng.choice(len(patches), number, replace=False))]


def _train(index: pd.DataFrame) -> pd.DataFrame:
    """Return the training patches after checking that they hold both classes."""
    train = index[index["split"] == "train"]
    if set(train["label"]) != {0, 1}:
        raise HistobenchError(
            "patch index: the colour controls need training patches of the labels 0 and 1; found "
            f"{train['label'].value_counts().sort_index().to_dict() or 'no training patches'} (label: patches). Check "
            "the data set's labels and its split."
        )
    return train


def _classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression())
