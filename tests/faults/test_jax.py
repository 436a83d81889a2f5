"""Training by Keras on JAX: as exact on a CPU as on TensorFlow.

A stopped or killed run ends as an undisturbed one, and a head on cached features as one that was trained end to end, to
the bit. One process does all jobs but those that are killed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from histobench.core.features import Features
from histobench.core.job import Task
from histobench.core.runs import read_json, read_rows
from histobench.train import models, predict
from histobench.tuning import search_files
from support import jobs
from support.processes import assert_equal_runs, epochs_done, events, finish, job, kill, start, wait_until
from support.small import COUNTS, EVERY_KEY, features_specification, search_specification, specification

pytestmark = pytest.mark.slow

# Dropout, augmentations, and all that a recipe can say of how training goes; six patches are left over by 16 a batch,
# fewer than a batch may hold there.
RUN = specification("tiny", dropout=0.3, augmentation=["d4", "author-b6", "stain", "colour", "blur"], **EVERY_KEY)
KILLED = specification("tiny", epochs=12)
LINEAR = specification("tiny", "tl", dense_units=0, standardize=True)
KNN = LINEAR | {"recipe": {"transfer": "cached", "knn": {"n_neighbors": 5, "metric": "cosine"}, "standardize": True}}


@pytest.fixture(scope="module")
def done(prepared_folder, tmp_path_factory) -> Path:
    """A folder with what jobs on JAX leave, each in a folder of its own."""
    root = tmp_path_factory.mktemp("jax")
    features = str(root / "features")
    asked = [
        *(
            {"name": "train", "folder": folder, "spec": RUN, "stop": stop}
            for folder, stop in (("undisturbed", None), ("stopped", ("epoch-0001", "after")), ("stopped", None))
        ),
        {"name": "train", "folder": "killed-undisturbed", "spec": KILLED},
        {"name": "extract", "folder": "features", "spec": features_specification("tiny"), "chunk": 24},
        {"name": "train", "folder": "cached", "spec": specification("tiny", "tl"), "features": features},
        {"name": "train", "folder": "linear", "spec": LINEAR, "features": features},
        {"name": "train", "folder": "knn", "spec": KNN, "features": features},
        {"name": "train", "folder": "end_to_end", "spec": specification("tiny", "tl", transfer="end_to_end")},
    ]
    for each in asked:
        each |= {"folder": str(root / each["folder"]), "data": str(prepared_folder)}
    process = start([sys.executable, "-m", "support.jobs", "several", json.dumps(asked)], root / "log", backend="jax")
    finish(process, seconds=900)  # of many jobs
    return root


def finished(folder: Path) -> Path:
    """Return the folder of a job, which must have ended well."""
    assert not (folder / "log").exists(), (folder / "log").read_text()[-3000:]
    return folder


def test_it_is_jax_that_ran(done):
    about = read_json(finished(done / "undisturbed") / "run.json")
    assert about["settings"]["backend"] == "jax"
    assert {"jax", "jaxlib", "keras"} <= about["versions"].keys()
    assert about["jit_compile"] is True


def test_a_run_that_is_stopped_ends_as_an_undisturbed_one(done):
    folder = finished(done / "stopped")
    assert events(folder).count("going on after epoch") == 1
    assert_equal_runs(folder, finished(done / "undisturbed"))


def test_classifiers_of_features_are_those_of_tensorflow(done, prepared_folder, tmp_path):
    features, linear = finished(done / "features"), finished(done / "linear")
    jobs.train(prepared_folder, tmp_path, KNN, features)
    # To the bit, though JAX has no float64.
    assert (tmp_path / "predictions.csv").read_bytes() == (finished(done / "knn") / "predictions.csv").read_bytes()
    # Of a head on standardised features its weights say all.
    predict.predict(Task(LINEAR, prepared_folder, features, linear / "best.weights.h5"), tmp_path / "p.csv")
    ours, theirs = (
        [float(row["score"]) for row in read_rows(path)] for path in (tmp_path / "p.csv", linear / "predictions.csv")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.std(ours) > 1e-3


def killed(times: int, prepared_folder: Path, done: Path, folder: Path) -> None:
    """Kill a run so often, each time after another epoch; it must end as the undisturbed one."""
    arguments = {"spec": KILLED, "backend": "jax"}
    for epoch in np.linspace(1, 11, times).astype(int):
        process = job("train", prepared_folder, folder, **arguments)
        wait_until(lambda epoch=epoch: f"epoch-{epoch:04d}" in epochs_done(folder), process, pause=0.001)
        kill(process)
    finish(job("train", prepared_folder, folder, **arguments))
    assert events(folder).count("going on after epoch") == times
    assert_equal_runs(folder, finished(done / "killed-undisturbed"))


def test_a_run_that_is_killed(prepared_folder, done, tmp_path):
    killed(1, prepared_folder, done, tmp_path)


@pytest.mark.long
def test_a_run_that_is_killed_ten_times(prepared_folder, done, tmp_path):
    killed(10, prepared_folder, done, tmp_path)


def test_cached_and_end_to_end_heads_are_equal(done):
    cached, whole = finished(done / "cached"), finished(done / "end_to_end")
    for name in ("history.csv", "predictions.csv"):
        assert (cached / name).read_bytes() == (whole / name).read_bytes()


def test_its_weights_and_features_are_those_of_any_backend(done, prepared_folder):
    """Here on TensorFlow."""
    cached = finished(done / "cached")
    part = Features(prepared_folder, finished(done / "features"), "test")
    head = models.head(part.shape[0], seed=1)
    models.load(head, cached / "best.weights.h5")
    scores = head.predict(part.take(np.arange(COUNTS["test"])), verbose=0)[:, 0]
    expected = [float(row["score"]) for row in read_rows(cached / "predictions.csv") if row["split"] == "test"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.long
def test_a_search(prepared_folder, done, tmp_path):
    spec = search_specification("tiny", max_epochs=2, factor=2)
    features = str(finished(done / "features"))
    finish(job("tune", prepared_folder, tmp_path, spec=spec, features=features, backend="jax"))
    trials = read_rows(tmp_path / search_files.TRIALS)
    assert [row["status"] for row in trials] == ["COMPLETED"] * 5
