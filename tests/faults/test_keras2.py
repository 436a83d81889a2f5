"""Training under Keras 2.14, the last for the K80: here on the CPU, in `.venv-k80`.

It is as exact as under Keras 3: a stopped or killed run ends as an undisturbed one, and a head on cached features as
one that was trained end to end, to the bit. One process does all jobs but those that are killed: it takes that Keras
seconds to start.
"""

import json
import math
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from histobench.core.features import Features
from histobench.core.job import Task
from histobench.core.prepared import Records
from histobench.core.runs import read_json, read_rows
from histobench.train import models, predict
from histobench.train.batch_norm import calibrate
from histobench.train.standardization import statistics
from histobench.tuning import search_files, tuned_recipe
from support import jobs
from support.processes import assert_equal_runs, epochs_done, events, finish, job, kill, start, wait_until
from support.project import ROOT
from support.small import COUNTS, EVERY_KEY, SHAPE, features_specification, search_specification, specification

pytestmark = pytest.mark.slow

# Dropout, augmentations, and all that a recipe can say of how training goes.
B6 = specification("b6", augmentation=["d4", "author-b6", "stain", "colour", "blur"], **EVERY_KEY)
MIXED = specification("tiny", epochs=2, precision="mixed_float16")
# Keras 2 keeps a part of its state apart.
NADAM = specification("tiny", epochs=2, optimizer={"name": "nadam", "learning_rate": 0.001, "weight_decay": 0.01})
FINETUNE = specification(
    "tiny", "finetune", epochs=3, finetune={"head_epochs": 1, "upper_layers": 0.3, "learning_rate": 0.0001}
)
# Classifiers of cached features.
LINEAR = specification("tiny", "tl", epochs=2, dense_units=0, standardize=True)
KNN = LINEAR | {"recipe": {"transfer": "cached", "knn": {"n_neighbors": 5, "metric": "euclidean"}, "standardize": True}}
# So many epochs that somebody can aim at one.
KILLED = specification("tiny", epochs=12)
# What is stopped, and after which epochs, in the second stage of fine-tuning, too.
STOPPED = {
    "b6": (B6, [("epoch-0001", "within"), ("epoch-0002", "after")]),
    "mixed": (MIXED, [("epoch-0001", "after")]),
    "nadam": (NADAM, [("epoch-0001", "after")]),
    "finetune": (FINETUNE, [("epoch-0001", "after"), ("epoch-0002", "after")]),
}


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has TensorFlow 2.14, or a skip that says why."""
    path = ROOT / ".venv-k80" / "bin" / "python"
    if not path.exists():
        pytest.skip("no .venv-k80 with TensorFlow 2.14: `make test` builds it where it finds a Python 3.11")
    return path


@pytest.fixture(scope="module")
def backbone(prepared_folder) -> keras.Model:
    """A backbone of Keras 3 that has something to say of the patches."""
    spec = features_specification("tiny")
    backbone = models.backbone(spec["model"], SHAPE, seed=7)
    calibrate(backbone, Records(prepared_folder, "train"), spec["input"])
    return backbone


@pytest.fixture(scope="module")
def done(python, prepared_folder, backbone, tmp_path_factory) -> Path:
    """A folder with what jobs under Keras 2.14 leave, each in a folder of its own."""
    root = tmp_path_factory.mktemp("keras2")
    backbone.save(root / "weights.h5")
    backbone.save_weights(root / "w.weights.h5")
    of_features, features = features_specification("tiny"), str(root / "features")
    asked = [
        *(
            {"name": "train", "folder": f"{name}-{folder}", "spec": spec, "stop": stop}
            for name, (spec, stops) in STOPPED.items()
            for folder, stop in (("undisturbed", None), *(("stopped", stop) for stop in stops), ("stopped", None))
        ),
        {"name": "train", "folder": "killed-undisturbed", "spec": KILLED},
        {"name": "extract", "folder": "features", "spec": of_features},
        {"name": "train", "folder": "cached", "spec": specification("tiny", "tl"), "features": features},
        {"name": "train", "folder": "linear", "spec": LINEAR, "features": features},
        {
            "name": "train",
            "folder": "linear-stopped",
            "spec": LINEAR,
            "features": features,
            "stop": ("epoch-0001", "after"),
        },
        {"name": "train", "folder": "linear-stopped", "spec": LINEAR, "features": features},
        {"name": "train", "folder": "knn", "spec": KNN, "features": features},
        {"name": "train", "folder": "end_to_end", "spec": specification("tiny", "tl", transfer="end_to_end")},
        {
            "name": "tune",
            "folder": "search",
            "spec": search_specification("tiny", max_epochs=2, factor=2),
            "features": features,
        },
        {"name": "optimizers", "folder": "optimizers"},
        {"name": "train", "folder": "lamb", "spec": specification(optimizer={"name": "lamb", "learning_rate": 0.001})},
        {"name": "extract", "folder": "pretrained", "spec": of_features, "weights": str(root / "weights.h5")},
        {"name": "extract", "folder": "refused", "spec": of_features, "weights": str(root / "w.weights.h5")},
    ]
    for each in asked:
        each |= {"folder": str(root / each["folder"]), "data": str(prepared_folder)}
    process = start([python, "-m", "support.jobs", "several", json.dumps(asked)], root / "log")
    finish(process, seconds=900)  # of many jobs
    return root


def log(folder: Path) -> str:
    return (folder / "log").read_text()


def finished(folder: Path) -> Path:
    """Return the folder of a job, which must have ended well."""
    assert not (folder / "log").exists(), log(folder)[-3000:]
    return folder


@pytest.mark.parametrize("name", STOPPED)
def test_a_run_that_is_stopped_ends_as_an_undisturbed_one(name, done):
    spec, stops = STOPPED[name]
    folder = finished(done / f"{name}-stopped")
    assert events(folder).count("going on after epoch") == sum(stop != ("epoch-0001", "within") for stop in stops)
    rows = read_rows(folder / "history.csv")
    last = 3 if "early_stopping" in spec["recipe"] else spec["recipe"]["epochs"]
    assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(last)]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert_equal_runs(folder, finished(done / f"{name}-undisturbed"))


def test_a_run_that_is_killed_twice(python, prepared_folder, done, tmp_path):
    arguments = {"spec": KILLED, "python": python}
    for epoch in (1, 4):
        process = job("train", prepared_folder, tmp_path, **arguments)
        wait_until(lambda epoch=epoch: f"epoch-{epoch:04d}" in epochs_done(tmp_path), process, pause=0.001)
        kill(process)
    finish(job("train", prepared_folder, tmp_path, **arguments))
    assert events(tmp_path).count("starting at epoch 1") == 1
    assert events(tmp_path).count("going on after epoch") == 2
    assert_equal_runs(tmp_path, finished(done / "killed-undisturbed"))


def test_a_search(done):
    folder = finished(done / "search")
    trials = read_rows(folder / search_files.TRIALS)
    assert [row["status"] for row in trials] == ["COMPLETED"] * 5
    # One of them went on from the weights of another.
    assert sorted((row["first_epoch"], row["last_epoch"]) for row in trials) == [
        *[("1", "1")] * 2, *[("1", "2")] * 2, ("2", "2"),
    ]  # fmt: skip
    assert tuned_recipe.read(folder / search_files.RECIPE)["optimizer"]["name"] == "adam"


def test_optimizers_are_those_of_this_keras(done):
    found = read_json(finished(done / "optimizers") / "optimizers.json")
    assert found["source"] == found["signatures"]
    assert "adamw" in found["source"]
    assert "recipes.r.optimizer.name: Keras 2.14.0 has no 'lamb'" in log(done / "lamb")
    assert not epochs_done(done / "lamb")


def test_cached_features_are_those_of_end_to_end_training(prepared_folder, done):
    values = Features(prepared_folder, finished(done / "features"), "train").take(np.arange(COUNTS["train"]))
    assert values.std(axis=0).mean() > 1e-3  # from patch to patch
    cached, whole = finished(done / "cached"), finished(done / "end_to_end")
    for name in ("history.csv", "predictions.csv"):
        assert (cached / name).read_bytes() == (whole / name).read_bytes()
    losses = [float(row["loss"]) for row in read_rows(cached / "history.csv")]
    assert losses[-1] < losses[0]


# Beside Keras 3.


def test_a_linear_head_on_standardised_features_is_that_of_keras_3(done, prepared_folder, tmp_path):
    folder, features = finished(done / "linear"), finished(done / "features")
    assert_equal_runs(folder, finished(done / "linear-stopped"))
    task = Task(LINEAR, prepared_folder, features, folder / "best.weights.h5")
    predict.predict(task, tmp_path / "p.csv")
    ours, theirs = (
        [float(row["score"]) for row in read_rows(path)] for path in (tmp_path / "p.csv", folder / "predictions.csv")
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.std(ours) > 1e-3
    with h5py.File(folder / "best.weights.h5") as file:
        found = []
        file.visititems(lambda name, item: found.append(item[:]) if "standardization/vars/" in name else None)
    expected = statistics(Features(prepared_folder, features, "train"))
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_neighbours_are_those_of_keras_3(done, prepared_folder, tmp_path):
    jobs.train(prepared_folder, tmp_path, KNN, finished(done / "features"))
    for name in ("predictions.csv", "best.weights.h5"):
        assert (tmp_path / name).read_bytes() == (finished(done / "knn") / name).read_bytes()


def test_a_run_folder_is_that_of_keras_3(done, prepared_folder, tmp_path):
    b6 = done / "b6-undisturbed"
    jobs.run("train", prepared_folder, tmp_path, spec=B6 | {"recipe": B6["recipe"] | {"epochs": 2}})
    assert read_json(b6 / "run.json")["versions"]["keras"] == "2.14.0"
    assert read_json(tmp_path / "run.json")["versions"]["keras"] == keras.__version__
    assert sorted(path.name for path in b6.iterdir()) == sorted(path.name for path in tmp_path.iterdir())
    for name in ("history.csv", "timing.csv", "predictions.csv"):
        assert list(read_rows(b6 / name)[0]) == list(read_rows(tmp_path / name)[0])
    about, about_3 = read_json(b6 / "run.json"), read_json(tmp_path / "run.json")
    assert about.keys() == about_3.keys()
    for name in ("parameters", "trainable_parameters", "inputs_sha256"):
        assert about[name] == about_3[name]


def test_keras_3_reads_the_weights_of_a_run(done, prepared_folder, tmp_path):
    """As `explain` does, whatever the run was trained with."""
    b6 = done / "b6-undisturbed"
    predict.predict(Task(B6, prepared_folder, weights=b6 / "best.weights.h5"), tmp_path / "p.csv")
    ours, theirs = read_rows(tmp_path / "p.csv"), read_rows(b6 / "predictions.csv")
    scores = [[float(row.pop("score")) for row in rows] for rows in (ours, theirs)]
    assert ours == theirs
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert np.std(scores) > 1e-3


def test_pretrained_weights_of_keras_applications_are_read(done, backbone, prepared_folder):
    images = Records(prepared_folder, "test").take(np.arange(COUNTS["test"])) / np.float32(255)
    expected = backbone.predict(images, verbose=0)
    assert expected.std(axis=0).mean() > 0.05
    np.testing.assert_allclose(np.load(finished(done / "pretrained") / "test.npy"), expected, atol=1e-3)


def test_pretrained_weights_in_the_format_of_keras_3_are_refused(done):
    assert not (done / "refused" / "test.npy").exists()
    assert "w.weights.h5: written by Keras 3 in a format that Keras 2.14.0 cannot read" in log(done / "refused")
