"""A model as its training starts."""

from pathlib import Path
from typing import Any

import keras

from histobench.core import recipes
from histobench.core.features import Features
from histobench.core.modes import MODES
from histobench.core.prepared import Records
from histobench.train import models
from histobench.train.calibration import calibrate


def model(spec: dict[str, Any], train: Records | Features, weights: Path | None) -> tuple[keras.Model, bool]:
    """Return the model of a run, not compiled, and whether its random backbone was calibrated.

    Parameters
    ----------
    spec : the run's specification, see :meth:`histobench.core.study.Study.specification`.
    train : the training part: patches, or features of a backbone, on which a head alone is trained.
    weights : see :func:`histobench.train.models.backbone`.
    """
    mode, seed, dense = spec["run"]["mode"], spec["run"]["seed"], recipes.dense(spec["recipe"])
    if isinstance(train, Features):
        return models.head(train.shape[0], seed=seed, dense=dense), False
    built = models.build(
        spec["model"], mode, models.input_shape(spec["input"]), seed=seed, weights=weights, dense=dense
    )
    random_backbone = MODES[mode].frozen and weights is None
    return built, random_backbone and calibrate(built.layers[0], train, spec["input"])
