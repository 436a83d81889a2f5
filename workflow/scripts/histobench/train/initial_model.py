"""The model of a run before its first epoch."""

from pathlib import Path
from typing import Any

import keras

from histobench.core import recipes
from histobench.core.features import Features
from histobench.core.modes import MODES
from histobench.core.prepared import Records
from histobench.train import models
from histobench.train.batch_norm import calibrate
from histobench.train.standardization import statistics


def build(spec: dict[str, Any], train: Records | Features, weights: Path | None) -> tuple[keras.Model, bool]:
    """Build the model of a run, without compiling it.

    Parameters
    ----------
    spec : the run's specification, see :meth:`histobench.core.study.Study.specification`.
    train : the training patches; or their features, for a head without its backbone.
    weights : see :func:`histobench.train.models.backbone`.

    Returns
    -------
    model, calibrated : the model, and whether the batch norm of its random backbone was calibrated.
    """
    mode, seed, dense = spec["run"]["mode"], spec["run"]["seed"], recipes.dense(spec["recipe"])
    if isinstance(train, Features):
        standardize = recipes.standardize(spec["recipe"])
        head = models.head(train.shape[0], seed=seed, dense=dense, standardize=standardize)
        if standardize:
            head.layers[0].set_weights(list(statistics(train)))
        return head, False
    built = models.build(
        spec["model"], mode, models.input_shape(spec["input"]), seed=seed, weights=weights, dense=dense
    )
    random_backbone = MODES[mode].frozen and weights is None
    return built, random_backbone and calibrate(built.layers[0], train, spec["input"])
