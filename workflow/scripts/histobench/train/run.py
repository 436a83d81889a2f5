"""One run: build, calibrate, train, and leave in the run folder what training leaves."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from histobench import runs
from histobench.datasets import prepared
from histobench.files import atomic
from histobench.train import batches, fit, models

log = logging.getLogger(__name__)


def train(*, spec: dict[str, Any], data: Path, weights: Path | None, folder: Path) -> dict[str, Any]:
    """Train one run and write what training writes into its folder, see :mod:`histobench.runs`.

    Parameters
    ----------
    spec : see :meth:`histobench.study.Study.specification`.
    data : folder of the prepared data set.
    weights : the backbone's pretrained weights, or None.
    folder : the run's folder.

    Returns
    -------
    Facts about the run for ``run.json``: the best epoch, parameters, whether a random backbone was calibrated.
    """
    train_part, valid_part = prepared.Records(data, "train"), prepared.Records(data, "valid")
    model = models.build(
        spec["model"], spec["run"]["mode"], train_part.shape, seed=spec["run"]["seed"], weights=weights
    )
    log.info(
        "%s, %s, %d patches for training, %d for validation, weights: %s",
        spec["model"]["key"],
        spec["run"]["mode"],
        len(train_part),
        len(valid_part),
        spec["model"]["weights_origin"] or "fresh",
    )
    calibrated = spec["run"]["mode"] == "tl" and weights is None
    if calibrated:
        models.calibrate(model.layers[0], _calibration(train_part, spec))
    fit.compile_model(model, spec["recipe"])

    history, timing, best_epoch, best_weights = fit.fit(model, train_part, valid_part, spec)
    model.set_weights(best_weights)
    with atomic(folder / runs.WEIGHTS) as temporary:
        model.save_weights(temporary)
    runs.write_rows(folder / runs.HISTORY, history)
    runs.write_rows(folder / runs.TIMING, timing)
    return {
        "best_epoch": best_epoch,
        "parameters": model.count_params(),
        "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "random_backbone_calibrated": calibrated,
    }


def _calibration(records: prepared.Records, spec: dict[str, Any]) -> Any:
    """Yield scaled batches of training patches; which ones is the same in every run of the data set."""
    n = models.CALIBRATION_BATCHES * models.CALIBRATION_BATCH_SIZE
    positions = batches.order(len(records), models.BACKBONE_SEED, 0)[:n]
    data = batches.batches(
        records,
        positions,
        batch_size=models.CALIBRATION_BATCH_SIZE,
        input_scaling=spec["recipe"]["input_scaling"],
        preprocessing=spec["model"]["preprocessing"],
    )
    return (images for images, _ in data)
