"""The whole network of a run, from patches to scores, wherever its weights lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from histobench.core import recipes, runs
from histobench.core.prepared import Records
from histobench.train import models
from histobench.train.batch_norm import calibrate


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
        calibrate(backbone, Records(data, "train"), image)
    head = models.head(backbone.output_shape[1], seed=seed, dense=dense, standardize=recipes.standardize(recipe))
    models.load(head, folder / runs.WEIGHTS)
    return keras.Sequential([keras.Input(shape), backbone, *head.layers])
