"""The whole network of a run, wherever its weights lie, from patches to scores, and whether these are the run's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core import prepared, recipes, runs
from histobench.core.errors import HistobenchError
from histobench.core.prepared import WHOLE, Records, Split
from histobench.train import models
from histobench.train.batch_norm import calibrate

Floats = npt.NDArray[np.float32]

# Scores of a network differ by less than this between machines and batches. Scores from a GPU may be products with 10
# bits (TF32), while whole networks are computed on a CPU.
TOLERANCE = 1e-4
TOLERANCE_GPU = 0.02


def image(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how patches become inputs of the network of a run, see :meth:`histobench.core.study.Study.input`.

    None of a run of nearest neighbours, and of one on embeddings of others: no network that is here made its scores.
    For a head on cached features this is part of the specification of the features.

    Parameters
    ----------
    about : ``run.json`` of the run.
    """
    if "knn" in about["recipe"]:
        return None
    found: dict[str, Any] | None = about["specification"]["input"] or about["features"]["specification"]["input"]
    return found


def load(
    folder: Path, about: Mapping[str, Any], image: Mapping[str, Any], data: Path, weights: Path | None
) -> keras.Model:
    """Return the CNN of a run with its trained weights, from patches that are resized and scaled.

    Parameters
    ----------
    folder : of the run.
    about : its ``run.json``.
    image : how patches become inputs, see :func:`image`.
    data : folder of the prepared data set that it was trained on.
    weights : file of pretrained weights of the backbone, None for random weights, which are calibrated. It is for a
        head on cached features alone: a run on patches has saved its backbone.
    """
    shape = models.input_shape(image)
    # The recipe with the values that a search has set.
    spec, recipe = about["specification"], about["recipe"]
    mode, seed, dense = spec["run"]["mode"], spec["run"]["seed"], recipes.dense(recipe)
    if spec["input"] is not None:
        model = models.build(spec["model"], mode, shape, seed=seed, dense=dense)
        models.load(model, folder / runs.WEIGHTS)
        return model
    backbone = models.backbone(spec["model"], shape, weights=weights)
    backbone.trainable = False
    if weights is None:
        calibrate(backbone, _calibrated_on(data), image)
    head = models.head(backbone.output_shape[1], seed=seed, dense=dense, standardize=recipes.standardize(recipe))
    models.load(head, folder / runs.WEIGHTS)
    return keras.Sequential([keras.Input(shape), backbone, *head.layers])


def _calibrated_on(data: Path) -> Records:
    """Return the patches on which :mod:`histobench.train.extract` has calibrated a random backbone of a data set."""
    stored = Split(data, "train").stored
    return Records(stored, "train" if "train" in prepared.parts(stored) else WHOLE)


def predicted(path: Path, patches: Sequence[str], split: str = "test") -> Floats:
    """Return the scores of patches of a split in a run's predictions, (n,) float32.

    Raises
    ------
    HistobenchError
        if the file lacks one of them, or has changed since it was written.
    """
    wanted = set(patches)
    scores = {
        row["patch_id"]: row["score"]
        for row in runs.each_row(path)
        if row["split"] == split and row["patch_id"] in wanted
    }
    if missing := [patch for patch in patches if patch not in scores]:
        raise HistobenchError(
            f"{path}: expected the scores of all {split} patches, did not find {some(missing)}; delete it and start "
            "again: `predict` writes it anew"
        )
    return np.array([scores[patch] for patch in patches], np.float32)


def check(scores: Floats, predicted: Floats, about: Mapping[str, Any], patches: Sequence[str], path: Path) -> None:
    """Raise an error if scores differ from a run's predictions: the network built here is then not that of the run.

    Parameters
    ----------
    scores, predicted : (n,) of the same patches.
    about : ``run.json`` of the run.
    patches : the names of the patches.
    path : of the predictions.
    """
    tolerance = TOLERANCE_GPU if about["device"]["gpu"] else TOLERANCE
    apart = ~(np.abs(scores - predicted) <= tolerance)  # also True for NaN
    if apart.any():
        first = int(apart.argmax())
        raise HistobenchError(
            f"{path}: expected the scores of the network in this folder, but {int(apart.sum())} of {len(patches)} "
            f"differ by more than {tolerance:g}: patch {patches[first]} has {predicted[first]:.6f} in the file and "
            f"{scores[first]:.6f} by the network; the weights, the patches or the code have changed since. Delete it "
            "and start again: `predict` writes it anew"
        )


def some(patches: Sequence[str]) -> str:
    """Return a text with the first three patches and the number of others."""
    more = f" and {len(patches) - 3} more" if len(patches) > 3 else ""
    return ", ".join(patches[:3]) + more
