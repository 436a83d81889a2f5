"""Prediction: scores of a run's validation and test patches with the weights of its best epoch."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from histobench.core import recipes, runs
from histobench.core.errors import HistobenchError
from histobench.core.features import Features, open_splits
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.train import hardware, models
from histobench.train.batches import Batches, size_without_gradients
from histobench.train.inputs import join
from histobench.tuning import tuned_recipe

log = logging.getLogger(__name__)


def scores(
    model: keras.Model, part: Records | Features, spec: dict[str, Any], machine: hardware.Machine
) -> npt.NDArray[np.float32]:
    """Return the probability of tumour for each patch of a split, (n,) float32."""
    scored = join(model, part, spec["input"])
    data = Batches(part, np.arange(len(part)), size_without_gradients(model, machine))
    return np.concatenate([np.asarray(scored.predict_on_batch(data[number][0]))[:, 0] for number in range(len(data))])


def predict(task: Task, output: Path) -> None:
    """Write the scores of a run's validation and test patches, by the trained weights, which are those of the task.

    The columns of the CSV file are ``runs.PREDICTION_COLUMNS``.

    Raises
    ------
    HistobenchError
        if the weights cannot be loaded, see :func:`histobench.train.models.load`, or a score is no number.

    Notes
    -----
    Scores are computed in float32, whatever the precision of training.
    """
    spec, features = task.spec, task.features
    hardware.check(spec["run"]["device"], task.card)
    machine = hardware.machine(task.card)
    seed, dense = spec["run"]["seed"], recipes.dense(tuned_recipe.apply(spec, task.tuned)["recipe"])
    parts = open_splits(task.data, features, "valid", "test")
    assert task.weights is not None
    runs.trained(task.weights.parent)
    if features is not None:
        model = models.head(parts[0].shape[0], seed=seed, dense=dense)
    else:
        shape = models.input_shape(spec["input"])
        model = models.build(spec["model"], spec["run"]["mode"], shape, seed=seed, dense=dense)
    models.load(model, task.weights)
    runs.write_predictions(output, _rows(task, model, parts, machine))
    log.info("predicted %s", ", ".join(f"{len(part)} {part.split}" for part in parts))


def _rows(
    task: Task, model: keras.Model, parts: list[Records | Features], machine: hardware.Machine
) -> Iterator[tuple[str, str, str, int, str]]:
    for part in parts:
        values = scores(model, part, task.spec, machine)
        if not np.isfinite(values).all():
            raise HistobenchError(
                f"{task.weights}: {int((~np.isfinite(values)).sum())} of {len(values)} {part.split} patches get a "
                "score that is no number: training diverged; lower the recipe's learning rate"
            )
        # The shortest decimal representation of the float32.
        columns = (part.ids, part.groups, part.labels.astype(int).tolist(), map(str, values))
        for row in zip(*columns, strict=True):
            yield part.split, *row
