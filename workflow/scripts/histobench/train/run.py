"""A run: build a model, train it, and write the outputs into the run folder."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histobench.core import optimizers, recipes, runs
from histobench.core.errors import HistobenchError
from histobench.core.features import ABOUT as ABOUT_FEATURES
from histobench.core.features import Features, open_splits
from histobench.core.files import digest, link, read_sealed
from histobench.core.job import Task
from histobench.core.lease import held
from histobench.core.state import State
from histobench.train import checkpoints, fit, hardware, initial_model, models, neighbours, provenance
from histobench.train.keras_backend import compiled_by_xla
from histobench.train.model_size import multiply_adds
from histobench.tuning import tuned_recipe

log = logging.getLogger(__name__)


def train(task: Task, folder: Path) -> None:
    """Train a run into its folder; continue after a killed job. The files are listed in :mod:`histobench.core.runs`."""
    # Before the state is opened: that of a damaged file would be another one.
    spec, about = tuned_recipe.apply(task.spec, task.tuned), provenance.About(task)
    with held(folder / ".state") as lease:
        hardware.check(spec["run"]["device"], task.card)
        machine = hardware.machine(task.card)
        by_neighbours = "knn" in spec["recipe"]
        if not by_neighbours:
            optimizers.check(spec["run"]["recipe"], spec["recipe"])
        state = State(folder / ".state", about.identity, lease)
        if not state.finished():
            (folder / runs.PREDICTIONS).unlink(missing_ok=True)  # of other weights
            if by_neighbours:
                _find_neighbours(spec, state, about)
            else:
                with models.policy(recipes.precision(spec["recipe"])):
                    _train(spec, state, about, machine)
        state.publish(folder)


def _train(spec: dict[str, Any], state: State, about: provenance.About, machine: hardware.Machine) -> None:
    data, features, weights = about.task.data, about.task.features, about.task.weights
    train_part, valid_part = open_splits(data, features, "train", "valid")  # never "test"
    model, calibrated = initial_model.build(spec, train_part, weights)
    log.info(
        "%s of %s, %s, %d patches for training, %d for validation, weights: %s",
        "head on cached features" if features else "CNN",
        spec["model"]["key"],
        spec["run"]["mode"],
        len(train_part),
        len(valid_part),
        spec["model"]["weights_origin"] or "random",
    )
    trainer = fit.Trainer(model, train_part, valid_part, spec, machine)
    progress = fit.fit(trainer, state)
    cached = read_sealed(features / ABOUT_FEATURES) if features else None
    facts = {
        "epochs": progress.epoch,  # fewer than the recipe's where early stopping has ended them
        "best_epoch": progress.best_epoch,
        "parameters": model.count_params() + (cached["backbone_parameters"] if cached else 0),
        "random_backbone_calibrated": cached["random_backbone_calibrated"] if cached else calibrated,
        "features": cached,
        "recipe": spec["recipe"],
        "epoch_patches": fit.covered(train_part, valid_part, spec),
        "trainable_parameters": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "precision": recipes.precision(spec["recipe"]),
        "jit_compile": compiled_by_xla(spec["recipe"]),
        "data_on_device": trainer.resident,
        # For one patch, or for the features of one patch.
        "multiply_adds": {"forward": multiply_adds(model), "trained": multiply_adds(model, trained=True)},
    }
    with state.finish() as outputs:
        link(checkpoints.best_weights(state), outputs / runs.WEIGHTS)
        _write(outputs, about, progress.history, progress.timing, facts)


def _find_neighbours(spec: dict[str, Any], state: State, about: provenance.About) -> None:
    """Prepare k nearest neighbours and score the validation patches, which a job that was killed does anew."""
    features = about.task.features
    assert features is not None
    train_part, valid_part = (Features(about.task.data, features, split) for split in ("train", "valid"))
    state.event("starting")
    try:
        found, row, timing = neighbours.fit(train_part, valid_part, spec["recipe"])
    except HistobenchError as error:
        raise HistobenchError(f"recipes.{spec['run']['recipe']} on {spec['run']['dataset']}: {error}") from error
    cached = read_sealed(features / ABOUT_FEATURES)
    facts = {
        "epochs": 1,
        "best_epoch": 1,
        "parameters": cached["backbone_parameters"],
        "random_backbone_calibrated": cached["random_backbone_calibrated"],
        "features": cached,
        "recipe": spec["recipe"],
        "epoch_patches": {"train": len(train_part), "valid": len(valid_part)},
        "trainable_parameters": 0,
        "precision": "float64",
        "jit_compile": False,
        "data_on_device": False,
        "multiply_adds": {"forward": len(train_part) * train_part.shape[0], "trained": 0},
    }
    with state.finish() as outputs:
        neighbours.save(found, outputs / runs.WEIGHTS)
        _write(outputs, about, [row], [timing], facts)


def _write(
    outputs: Path,
    about: provenance.About,
    history: Sequence[Mapping[str, Any]],
    timing: Sequence[Mapping[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Write what tells about the weights that lie among the outputs."""
    runs.write_rows(outputs / runs.HISTORY, history)
    runs.write_rows(outputs / runs.TIMING, timing)
    about.write(outputs / runs.ABOUT, facts | {"weights_sha256": digest(outputs / runs.WEIGHTS)})
