"""Scores of a run on the test patches of a data set that it has not learned from: external validation."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histobench.core import runs
from histobench.core.errors import HistobenchError
from histobench.core.files import write_sealed
from histobench.core.job import Task
from histobench.core.prepared import Records, manifest, tested
from histobench.train import hardware, whole_network
from histobench.train.predict import scores

log = logging.getLogger(__name__)


def predict(task: Task, trained_on: Path, backbone: Path | None, folder: Path) -> None:
    """Write the scores of a run's own validation patches, as it has them, and of the other data set's test patches.

    So the threshold that :func:`histobench.results.metrics.evaluate` finds is that of the run, which other patches have
    no part in. Patches of another size are resized to that of the run's.

    Parameters
    ----------
    task : its data are those to be tested on, its weights the run's.
    trained_on : folder of the data set that the run was trained on.
    backbone : file of pretrained weights of the backbone, see :func:`histobench.train.whole_network.load`.
    folder : gets the predictions, a CSV file of the columns ``runs.PREDICTION_COLUMNS``, and what they were made of.

    Raises
    ------
    HistobenchError
        if the run has no network, or a score is no number.
    """
    assert task.weights is not None
    hardware.check(task.spec["run"]["device"], task.card)
    run = task.weights.parent
    about = runs.trained(run)
    image = whole_network.image(about)
    if image is None:
        raise HistobenchError(f"{run}: expected the run of a network, found one that cannot score other patches")
    part = Records(task.data, tested(task.data))
    model = whole_network.load(run, about, image, trained_on, backbone)
    values = scores(model, part, image, hardware.machine(task.card))
    if not np.isfinite(values).all():
        raise HistobenchError(
            f"{task.weights}: {int((~np.isfinite(values)).sum())} of {len(values)} patches of {task.data.name} get a "
            "score that is no number"
        )

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in runs.each_row(run / runs.PREDICTIONS):
            if row["split"] == "valid":
                yield tuple(row[name] for name in runs.PREDICTION_COLUMNS)
        columns = (part.ids, part.groups, part.labels.astype(int).tolist(), map(str, values))
        for row_of_test in zip(*columns, strict=True):
            yield "test", *row_of_test

    runs.write_predictions(folder / runs.PREDICTIONS, rows())
    made_of = {"weights_sha256": about["weights_sha256"], "patches_sha256": manifest(task.data)["patches_sha256"]}
    write_sealed(folder / runs.EXTERNAL, made_of)
    log.info("predicted %d patches of %s by %s", len(part), task.data.name, run)
