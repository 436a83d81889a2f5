"""Ten kills at random moments: training, and feature extraction, end as undisturbed ones do. So do all optimizers."""

import random

import pytest

from histobench.core import optimizers
from support import jobs
from support.kills import kill_at, kill_extraction, start_training
from support.processes import assert_equal_features, assert_equal_runs, events, finish
from support.small import features_specification, specification

EPOCHS = 24


def test_ten_kills_of_a_training(prepared_folder, tmp_path):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    finish(start_training(prepared_folder, undisturbed, EPOCHS))
    rng = random.Random(10)
    for _ in range(10):
        kill_at(start_training(prepared_folder, folder, EPOCHS), folder, rng.choice(["epoch", "save"]), rng)
    finish(start_training(prepared_folder, folder, EPOCHS))
    assert_equal_runs(folder, undisturbed)


def test_ten_kills_of_an_extraction(prepared_folder, tmp_path):
    jobs.run("extract", prepared_folder, tmp_path / "undisturbed", spec=features_specification("mobilenet"))
    done = kill_extraction("mobilenet", prepared_folder, tmp_path / "features", 10, chunk=2)
    assert done == sorted(set(done))
    assert_equal_features(tmp_path / "features", tmp_path / "undisturbed")


@pytest.mark.parametrize("name", optimizers.classes())
def test_a_run_that_is_stopped_whatever_its_optimizer(prepared_folder, tmp_path, name):
    optimizer = {"name": name, "learning_rate": 0.001, "weight_decay": 0.01, "gradient_accumulation_steps": 3}
    spec = specification("tiny", epochs=2, optimizer=optimizer)
    for folder, stop in (("undisturbed", None), ("run", ("epoch-0001", "after")), ("run", None)):
        jobs.run("train", prepared_folder, tmp_path / folder, stop, spec=spec)
    assert "going on after epoch 1" in events(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", tmp_path / "undisturbed")
