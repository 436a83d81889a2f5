"""Prediction by the mean score over the eight flips and turns of each patch, which is called test-time augmentation."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histobench.core import runs
from histobench.core.features import Features
from histobench.core.files import write_sealed
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.train import hardware, models
from histobench.train.augmentation import Augmentation
from histobench.train.batches import Batches, size_without_gradients
from histobench.train.inputs import join
from histobench.train.predict import network, rows

log = logging.getLogger(__name__)


def predict(task: Task, folder: Path) -> None:
    """Write the averaged scores of a run's patches, and what else tells about the run, into the folder of a result.

    Parameters
    ----------
    task : its weights are the run's, whose other files lie beside them; its specification is the result's.
    folder : gets predictions, history, timing and ``run.json``.
    """
    assert task.weights is not None
    source = task.weights.parent
    hardware.check(task.spec["run"]["device"], task.card)
    machine, about = hardware.machine(task.card), runs.trained(source)
    recipe = about["recipe"] | {"average_scores": task.spec["recipe"]["average_scores"]}
    parts = [Records(task.data, split) for split in ("valid", "test")]
    model = network(task.spec, recipe, parts[0])
    models.load(model, task.weights)
    turns = Augmentation(["d4"], parts[0].shape)

    def score(part: Records | Features) -> npt.NDArray[np.float32]:
        turned = join(model, part, task.spec["input"], augmentation=turns)
        total = np.zeros(len(part))
        for orientation in range(8):
            draws = {"d4": np.full(len(part), orientation, np.int32)}
            data = Batches(part, np.arange(len(part)), size_without_gradients(model, machine), draws=draws)
            total += np.concatenate([np.asarray(turned.predict_on_batch(each[0]))[:, 0] for each in data])
        return (total / 8).astype(np.float32)

    runs.write_predictions(folder / runs.PREDICTIONS, rows(task, score, parts))
    for name in (runs.HISTORY, runs.TIMING):
        runs.write_rows(folder / name, runs.read_rows(source / name))
    write_sealed(folder / runs.ABOUT, about | {"specification": task.spec, "recipe": recipe, "scored_by": str(source)})
    log.info("predicted %s, each in eight orientations", ", ".join(f"{len(part)} {part.split}" for part in parts))
