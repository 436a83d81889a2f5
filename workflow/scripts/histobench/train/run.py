"""One run: build, calibrate, train, and leave in the run folder what training leaves."""

import logging
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from histobench.core import optimizers, recipes, runs, searches
from histobench.core.features import ABOUT as ABOUT_FEATURES
from histobench.core.features import Features
from histobench.core.lease import held
from histobench.core.prepared import Records
from histobench.core.state import State
from histobench.train import checkpoints, fit, fresh, hardware, models, provenance
from histobench.train.anatomy import multiply_adds

log = logging.getLogger(__name__)

# There is no test part to see.
SPLITS = ("train", "valid")


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
    found: Path | None = None,
) -> None:
    """Train one run, going on where a killed job left it; what it writes is named in :mod:`histobench.core.runs`.

    Parameters
    ----------
    spec : see :meth:`histobench.core.study.Study.specification`.
    data : folder of the prepared data set.
    features : folder of the cached features that the head is trained on; None to train on patches.
    weights : the backbone's pretrained weights; None for random ones, and where the features come from a backbone.
    folder : the run's folder.
    code : digest of the code that the result depends on.
    threads : CPU threads of the job; the result depends on them in the last bits.
    card : the card that the run is meant for, see :func:`histobench.train.hardware.check`; "" for a CPU.
    found : what a search has found for the recipe, see :func:`histobench.core.searches.read_found`.
    """
    inputs = runs.inputs(data, features, weights, found)
    with held(folder / ".state") as lease:
        hardware.check(spec["run"]["device"], card)
        optimizers.check(spec["run"]["recipe"], spec["recipe"])
        state = State(folder / ".state", {"specification": spec, "code": code, "inputs": inputs}, lease)
        if not state.finished():
            (folder / runs.PREDICTIONS).unlink(missing_ok=True)  # those of other weights
            about = provenance.About(spec=spec, code=code, inputs=inputs, threads=threads, card=card)
            with models.policy(recipes.precision(spec["recipe"])):
                _train(searches.with_found(spec, found), data, features, weights, state, about)
        state.publish(folder)


def _train(
    spec: dict[str, Any],
    data: Path,
    features: Path | None,
    weights: Path | None,
    state: State,
    about: provenance.About,
) -> None:
    parts: list[Any] = [Features(data, features, split) if features else Records(data, split) for split in SPLITS]
    train_part, valid_part = parts
    model, calibrated = fresh.model(spec, train_part, weights)
    log.info(
        "%s of %s, %s, %d patches for training, %d for validation, weights: %s",
        "head on cached features" if features else "CNN",
        spec["model"]["key"],
        spec["run"]["mode"],
        len(train_part),
        len(valid_part),
        spec["model"]["weights_origin"] or "fresh",
    )
    progress = fit.fit(model, train_part, valid_part, spec, state)
    of_features = runs.read_json(features / ABOUT_FEATURES) if features else None
    facts = {
        "parameters": model.count_params() + (of_features["backbone_parameters"] if of_features else 0),
        "random_backbone_calibrated": of_features["random_backbone_calibrated"] if of_features else calibrated,
        "features": of_features,
        "recipe": spec["recipe"],
        "epoch_patches": fit.covered(train_part, valid_part, spec),
    }
    _finish(state, model, progress, about, facts)


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
