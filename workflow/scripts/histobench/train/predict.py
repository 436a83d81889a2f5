"""Prediction: scores of a run's validation and test patches with the weights of its best epoch."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
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
from histobench.train import hardware, models, neighbours
from histobench.train.batches import Batches, size_without_gradients
from histobench.train.inputs import join
from histobench.tuning import tuned_recipe

log = logging.getLogger(__name__)


Scorer = Callable[[Any], npt.NDArray[np.float32]]
"""From a part, patches or their features, to the probability of tumour of each patch, (n,) float32."""


def scores(
    model: keras.Model, part: Records | Features, image: Mapping[str, Any] | None, machine: hardware.Machine
) -> npt.NDArray[np.float32]:
    """Return the probability of tumour for each patch of a split, (n,) float32; for `image` see `join`."""
    scored = join(model, part, image)
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
    spec, recipe = task.spec, tuned_recipe.apply(task.spec, task.tuned)["recipe"]
    hardware.check(spec["run"]["device"], task.card)
    machine = hardware.machine(task.card)
    parts = open_splits(task.data, task.features, "valid", "test")
    assert task.weights is not None
    runs.trained(task.weights.parent)
    if "knn" in recipe:
        assert task.features is not None
        score: Scorer = neighbours.load(Features(task.data, task.features, "train"), recipe, task.weights).scores
    else:
        model = network(spec, recipe, parts[0])
        models.load(model, task.weights)
        score = partial(scores, model, image=spec["input"], machine=machine)
    runs.write_predictions(output, rows(task, score, parts))
    log.info("predicted %s", ", ".join(f"{len(part)} {part.split}" for part in parts))


def network(spec: dict[str, Any], recipe: dict[str, Any], part: Records | Features) -> keras.Model:
    """Return the network of a run, or its head for features, without its trained weights."""
    seed, dense = spec["run"]["seed"], recipes.dense(recipe)
    if isinstance(part, Features):
        return models.head(part.shape[0], seed=seed, dense=dense, standardize=recipes.standardize(recipe))
    return models.build(spec["model"], spec["run"]["mode"], models.input_shape(spec["input"]), seed=seed, dense=dense)


def rows(task: Task, score: Scorer, parts: Sequence[Records | Features]) -> Iterator[tuple[str, str, str, int, str]]:
    """Yield the rows of predictions of some parts; refuse scores that are no numbers."""
    for part in parts:
        values = score(part)
        if not np.isfinite(values).all():
            raise HistobenchError(
                f"{task.weights}: {int((~np.isfinite(values)).sum())} of {len(values)} {part.split} patches get a "
                "score that is no number: training diverged; lower the recipe's learning rate"
            )
        # The shortest decimal representation of the float32.
        columns = (part.ids, part.groups, part.labels.astype(int).tolist(), map(str, values))
        for row in zip(*columns, strict=True):
            yield part.split, *row
