"""One run: build, calibrate, train, and leave in the run folder what training leaves."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from histobench import runs
from histobench.datasets import prepared
from histobench.files import digest
from histobench.train import batches, fit, hardware, models, provenance
from histobench.train.state import State

log = logging.getLogger(__name__)


def train(
    *,
    spec: dict[str, Any],
    data: Path,
    weights: Path | None,
    folder: Path,
    code: str,
    threads: int,
    gpu_model: str,
) -> None:
    """Train one run, going on where a killed job left it, and write what training writes, see :mod:`histobench.runs`.

    Parameters
    ----------
    spec : see :meth:`histobench.study.Study.specification`.
    data : folder of the prepared data set.
    weights : the backbone's pretrained weights, or None.
    folder : the run's folder.
    code : digest of the code that the result depends on.
    threads : CPU threads of the job; the result depends on them in the last bits.
    gpu_model : the card that the run is meant for, "" for a CPU.
    """
    hardware.check(spec["run"]["device"], gpu_model)
    inputs = {"manifest": digest(data / "manifest.json"), "weights": digest(weights) if weights else None}
    state = State(folder / ".state", {"specification": spec, "code": code, "inputs": inputs})
    with state.terminated():
        if state.outputs.exists():
            state.event("finished before; the outputs are rebuilt from the state")
        else:
            about = provenance.About(spec=spec, code=code, inputs=inputs, threads=threads, gpu_model=gpu_model)
            _train(spec, data, weights, state, about)
        state.publish(folder)


def _train(spec: dict[str, Any], data: Path, weights: Path | None, state: State, about: provenance.About) -> None:
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
    progress = fit.fit(model, train_part, valid_part, spec, state)
    with state.finish() as outputs:
        os.link(state.best_weights(), outputs / runs.WEIGHTS)
        runs.write_rows(outputs / runs.HISTORY, progress.history)
        runs.write_rows(outputs / runs.TIMING, progress.timing)
        facts = {
            "best_epoch": progress.best_epoch,
            "parameters": model.count_params(),
            "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
            "random_backbone_calibrated": calibrated,
        }
        about.write(outputs / runs.ABOUT, facts)
    state.event("finished")


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
