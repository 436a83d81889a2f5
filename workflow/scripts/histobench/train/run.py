"""One run: build, calibrate, train, and leave in the run folder what training leaves."""

import logging
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from histobench import recipes, runs
from histobench.datasets.prepared import Records
from histobench.features import ABOUT as ABOUT_FEATURES
from histobench.features import Features
from histobench.files import digest
from histobench.lease import held
from histobench.state import State
from histobench.study import TRANSFER
from histobench.train import checkpoints, fit, hardware, models, provenance
from histobench.train.anatomy import multiply_adds
from histobench.train.calibration import calibrate

log = logging.getLogger(__name__)


def train(
    *,
    spec: dict[str, Any],
    data: Path,
    features: Path | None,
    weights: Path | None,
    folder: Path,
    code: str,
    threads: int,
    card: str,
) -> None:
    """Train one run, going on where a killed job left it, and write what training writes, see :mod:`histobench.runs`.

    Parameters
    ----------
    spec : see :meth:`histobench.study.Study.specification`.
    data : folder of the prepared data set.
    features : folder of the cached features that the head is trained on; None to train on patches.
    weights : the backbone's pretrained weights; None for random ones, and where the features come from a backbone.
    folder : the run's folder.
    code : digest of the code that the result depends on.
    threads : CPU threads of the job; the result depends on them in the last bits.
    card : the card that the run is meant for, see :func:`histobench.train.hardware.check`; "" for a CPU.
    """
    inputs = {"manifest": digest(data / "manifest.json"), "weights": digest(weights) if weights else None}
    of_features = runs.read_json(features / ABOUT_FEATURES) if features else None
    if of_features:
        inputs |= {f"features_{split}": of_features["sha256"][split] for split in ("train", "valid")}
    with held(folder / ".state") as lease:
        hardware.check(spec["run"]["device"], card)
        state = State(folder / ".state", {"specification": spec, "code": code, "inputs": inputs}, lease)
        if not state.finished():
            (folder / runs.PREDICTIONS).unlink(missing_ok=True)  # those of other weights
            about = provenance.About(spec=spec, code=code, inputs=inputs, threads=threads, card=card)
            with models.policy(recipes.precision(spec["recipe"])):
                if features and of_features:
                    _train_head(spec, data, features, of_features, state, about)
                else:
                    _train_cnn(spec, data, weights, state, about)
        state.publish(folder)


def _train_cnn(spec: dict[str, Any], data: Path, weights: Path | None, state: State, about: provenance.About) -> None:
    """Train on patches."""
    train_part, valid_part = Records(data, "train"), Records(data, "valid")
    mode = spec["run"]["mode"]
    model = models.build(
        spec["model"], mode, models.input_shape(spec["input"]), seed=spec["run"]["seed"], weights=weights
    )
    log.info(
        "%s, %s, %d patches for training, %d for validation, weights: %s",
        spec["model"]["key"],
        mode,
        len(train_part),
        len(valid_part),
        spec["model"]["weights_origin"] or "fresh",
    )
    random_backbone = mode in TRANSFER and weights is None
    calibrated = random_backbone and calibrate(model.layers[0], train_part, spec["input"])
    progress = fit.fit(model, train_part, valid_part, spec, state)
    facts = {"parameters": model.count_params(), "random_backbone_calibrated": calibrated, "features": None}
    _finish(state, model, progress, about, facts | {"epoch_patches": fit.covered(train_part, valid_part, spec)})


def _train_head(
    spec: dict[str, Any],
    data: Path,
    features: Path,
    of_features: dict[str, Any],
    state: State,
    about: provenance.About,
) -> None:
    """Train a head on cached features."""
    train_part, valid_part = (Features(data, features, split) for split in ("train", "valid"))
    model = models.head(train_part.shape[0], seed=spec["run"]["seed"])
    log.info(
        "head of %s on cached features, %d patches for training, %d for validation, weights of the backbone: %s",
        spec["model"]["key"],
        len(train_part),
        len(valid_part),
        spec["model"]["weights_origin"],
    )
    progress = fit.fit(model, train_part, valid_part, spec, state)
    facts = {
        "parameters": model.count_params() + of_features["backbone_parameters"],
        "random_backbone_calibrated": of_features["random_backbone_calibrated"],
        "features": of_features,
    }
    _finish(state, model, progress, about, facts | {"epoch_patches": fit.covered(train_part, valid_part, spec)})


def _finish(
    state: State,
    model: keras.Model,
    progress: checkpoints.Progress,
    about: provenance.About,
    facts: dict[str, Any],
) -> None:
    facts = {
        "best_epoch": progress.best_epoch,
        **facts,
        "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "precision": recipes.precision(about.spec["recipe"]),
        "jit_compile": recipes.jit_compile(about.spec["recipe"]),
        # Of one patch, or of the features of one, as an epoch runs over them.
        "multiply_adds": {"forward": multiply_adds(model), "trained": multiply_adds(model, trained=True)},
    }
    with state.finish() as outputs:
        os.link(checkpoints.best_weights(state), outputs / runs.WEIGHTS)
        runs.write_rows(outputs / runs.HISTORY, progress.history)
        runs.write_rows(outputs / runs.TIMING, progress.timing)
        about.write(outputs / runs.ABOUT, facts)
