"""Several heads that one job of the scheduler trains in one process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest

from histobench.core.job import HEADS, Task, heads_beside
from histobench.train import heads, predict
from support import jobs
from support.processes import assert_equal_runs, events
from support.project import ROOT
from support.small import features_specification, prepare, specification

SIDE = 32
RESTORE = """
import sys
from pathlib import Path
from histobench.core.job import Task
from histobench.train import heads
import json

spec, (data, features, folder) = json.loads(sys.argv[1]), map(Path, sys.argv[2:])
heads.train(Task(spec, data, features, code="c", threads=THREADS), folder)
assert not {"keras", "tensorflow"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> tuple[Path, Path]:
    """A data set, and the features of a backbone."""
    folder = tmp_path_factory.mktemp("features")
    data = prepare(folder / "data", {"train": 20, "valid": 6, "test": 6}, (SIDE, SIDE, 3))
    jobs.extract(data, folder / "features", features_specification("tiny", side=SIDE))
    return data, folder / "features"


@pytest.fixture
def tasks(features, tmp_path, monkeypatch) -> list[tuple[Task, Path]]:
    """Three heads of one job: two seeds, and another recipe."""
    data, cached = features
    specs = [specification("tiny", "tl", seed=seed, epochs=epochs, transfer="cached", batch_size=8)
             for seed, epochs in ((1, 2), (2, 2), (1, 3))]  # fmt: skip
    found = [
        (Task(spec, data, cached, code="c", threads=jobs.THREADS), tmp_path / f"head-{place}")
        for place, spec in enumerate(specs)
    ]
    known = {"data": str(data), "features": str(cached)}
    told = [{"spec": task.spec, "folder": str(folder)} | known for task, folder in found]
    told.append({"spec": {}, "folder": str(tmp_path / "other"), "data": "", "features": str(tmp_path / "others")})
    monkeypatch.setenv(HEADS, json.dumps(told))
    return found


def test_the_first_trains_all_as_if_each_had_been_alone_and_the_others_find_themselves_finished(tasks, tmp_path):
    (task, folder), *others = tasks
    assert heads_beside(task, folder) == others
    heads.train(task, folder)
    for number, (other, place) in enumerate(tasks):
        alone = tmp_path / f"alone-{number}"
        keras.backend.clear_session()
        jobs.train(other.data, alone, other.spec, other.features)
        predict.predict(replace(other, weights=place / "best.weights.h5"), place / "predictions.csv")
        assert_equal_runs(place, alone)
        (place / "run.json").unlink()
        heads.train(other, place)
        assert (place / "run.json").exists()
        assert events(place).count("finished before") == 1
        assert events(place).count("starting at epoch 1") == 1


def test_one_that_is_finished_needs_no_keras(tasks):
    task, folder = tasks[0]
    heads.train(task, folder)
    (folder / "run.json").unlink()
    arguments = [json.dumps(task.spec), str(task.data), str(task.features), str(folder)]
    code = RESTORE.replace("THREADS", str(task.threads))
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT / "workflow" / "scripts", check=True)
    assert (folder / "run.json").exists()


def test_one_that_fails_leaves_the_first_and_the_last_alone(tasks, monkeypatch):
    (task, folder), (_, bad), (_, last) = tasks
    told = json.loads(os.environ[HEADS])
    told[1]["spec"]["recipe"]["optimizer"] = {"name": "nonsense"}
    monkeypatch.setenv(HEADS, json.dumps(told))
    heads.train(task, folder)
    assert (folder / "run.json").exists()
    assert (last / "run.json").exists()
    assert not (bad / "run.json").exists()
    assert "nonsense" in events(bad)


def test_without_a_job_of_the_scheduler_a_head_is_alone(tasks, monkeypatch):
    monkeypatch.delenv(HEADS)
    task, folder = tasks[0]
    assert heads_beside(task, folder) == []
    assert heads_beside(replace(task, features=None), folder) == []
