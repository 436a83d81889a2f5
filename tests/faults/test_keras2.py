"""Training under Keras 2.14, the last for the K80: here on the CPU, in `.venv-k80`.

It is as exact as under Keras 3: a killed run ends as an undisturbed one, and a head on cached features as one that was
trained end to end, to the bit.
"""

import csv
import math
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from histobench import searches
from histobench.datasets.prepared import Records
from histobench.features import Features
from histobench.runs import read_json, read_rows
from histobench.train import models, predict
from histobench.train.calibration import calibrate
from support.processes import assert_equal_runs, epochs_done, events, finish, job, log
from support.project import ROOT
from support.small import COUNTS, SHAPE, features_specification, search_specification, specification

# Dropout, and all augmentations.
B6 = {"epochs": 5, "augmentation": ["d4", "author", "stain"]}
FINETUNE = {"head_epochs": 1, "upper_layers": 0.3, "learning_rate": 0.0001}


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has TensorFlow 2.14, or a skip that says why."""
    path = ROOT / ".venv-k80" / "bin" / "python"
    if not path.exists():
        pytest.skip("no .venv-k80 with TensorFlow 2.14: `make test` builds it where it finds a Python 3.11")
    return path


@pytest.fixture(scope="module")
def start(python, prepared_folder):
    def started(name, folder, **arguments):
        return job(name, prepared_folder, folder, python=python, **arguments)

    return started


@pytest.fixture(scope="module")
def b6(start, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "b6"
    finish(start("train", folder, spec=specification("b6", **B6)), folder)
    return folder


def kill_after(process, folder, epoch) -> int:
    """Kill a run when it has finished an epoch, and return how many it has finished when it is dead."""
    while process.poll() is None and f"epoch-{epoch:04d}" not in epochs_done(folder):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log(folder)[-3000:]
    return int(epochs_done(folder)[-1].removeprefix("epoch-"))


def assert_resumed(start, spec, folder, reference, *, epoch):
    """Kill a run after an epoch, let it finish, and hold it against an undisturbed one."""
    finished = kill_after(start("train", folder, spec=spec), folder, epoch)
    finish(start("train", folder, spec=spec), folder)
    starts = [line.rpartition(": ")[2] for line in events(folder).splitlines() if "epoch" in line]
    assert starts == ["starting at epoch 1", f"going on after epoch {finished}"]
    rows = read_rows(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(spec["recipe"]["epochs"])]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert_equal_runs(folder, reference)


def test_b6_killed(start, b6, tmp_path):
    assert_resumed(start, specification("b6", **B6), tmp_path / "run", b6, epoch=2)


def test_a_search(start, tmp_path):
    features, folder = tmp_path / "features", tmp_path / "search"
    finish(start("extract", features, spec=features_specification("mobilenet")), features)
    spec = search_specification(max_epochs=2, factor=2)
    finish(start("tune", folder, spec=spec, features=str(features)), folder)
    trials = read_rows(folder / searches.TRIALS)
    assert [row["status"] for row in trials] == ["COMPLETED"] * 5
    # One of them went on from the weights of another.
    assert sorted((row["first_epoch"], row["last_epoch"]) for row in trials) == [
        *[("1", "1")] * 2, *[("1", "2")] * 2, ("2", "2"),
    ]  # fmt: skip
    assert searches.read_found(folder / searches.FOUND)["optimizer"]["name"] == "adam"


def test_b2_killed_under_mixed_precision(start, tmp_path):
    spec = specification("b2", epochs=2, precision="mixed_float16")
    finish(start("train", tmp_path / "undisturbed", spec=spec), tmp_path / "undisturbed")
    assert_resumed(start, spec, tmp_path / "run", tmp_path / "undisturbed", epoch=1)


@pytest.mark.parametrize(
    ("mode", "recipe", "epoch"),
    [
        ("full", {"epochs": 2}, 1),
        ("finetune", {"epochs": 3, "finetune": FINETUNE}, 2),  # in its second stage
    ],
)
def test_mobilenet_killed(mode, recipe, epoch, start, tmp_path):
    spec = specification("mobilenet", mode, **recipe)
    finish(start("train", tmp_path / "undisturbed", spec=spec), tmp_path / "undisturbed")
    assert_resumed(start, spec, tmp_path / "run", tmp_path / "undisturbed", epoch=epoch)


def test_cached_features_are_those_of_end_to_end_training(start, prepared_folder, tmp_path):
    features, cached, whole = (tmp_path / name for name in ("features", "cached", "end_to_end"))
    finish(start("extract", features, spec=features_specification("mobilenet")), features)
    values = Features(prepared_folder, features, "train").take(np.arange(COUNTS["train"]))
    assert values.std(axis=0).mean() > 1e-3  # from patch to patch
    spec = specification("mobilenet", "tl", transfer="cached")
    finish(start("train", cached, spec=spec, features=str(features)), cached)
    finish(start("train", whole, spec=specification("mobilenet", "tl", transfer="end_to_end")), whole)
    for name in ("history.csv", "predictions.csv"):
        assert (cached / name).read_bytes() == (whole / name).read_bytes()
    losses = [float(row["loss"]) for row in read_rows(cached / "history.csv")]
    assert losses[-1] < losses[0]


# Beside Keras 3.


def header(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return next(csv.reader(file))


def test_a_run_folder_is_that_of_keras_3(b6, prepared_folder, tmp_path):
    folder = tmp_path / "keras_3"
    finish(job("train", prepared_folder, folder, spec=specification("b6", **B6 | {"epochs": 1})), folder)
    assert read_json(b6 / "run.json")["versions"]["keras"] == "2.14.0"
    assert read_json(folder / "run.json")["versions"]["keras"] == keras.__version__
    assert sorted(path.name for path in b6.iterdir()) == sorted(path.name for path in folder.iterdir())
    for name in ("history.csv", "timing.csv", "predictions.csv"):
        assert header(b6 / name) == header(folder / name)
    about, about_3 = read_json(b6 / "run.json"), read_json(folder / "run.json")
    assert about.keys() == about_3.keys()
    for name in ("parameters", "trainable_parameters", "inputs_sha256"):
        assert about[name] == about_3[name]


def test_keras_3_reads_the_weights_of_a_run(b6, prepared_folder, tmp_path):
    """As `explain` does, whatever the run was trained with."""
    spec = specification("b6", **B6)
    predict.predict(
        spec=spec,
        data=prepared_folder,
        features=None,
        weights=b6 / "best.weights.h5",
        output=tmp_path / "p.csv",
        card="",
    )
    ours, theirs = read_rows(tmp_path / "p.csv"), read_rows(b6 / "predictions.csv")
    scores = [[float(row.pop("score")) for row in rows] for rows in (ours, theirs)]
    assert ours == theirs
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert np.std(scores) > 1e-3


@pytest.fixture(scope="module")
def backbone(prepared_folder) -> keras.Model:
    """A MobileNet of Keras 3 that has something to say of the patches."""
    spec = features_specification("mobilenet")
    backbone = models.backbone(spec["model"], SHAPE, seed=7)
    calibrate(backbone, Records(prepared_folder, "train"), spec["input"])
    return backbone


def test_pretrained_weights_of_keras_applications_are_read(start, backbone, prepared_folder, tmp_path):
    backbone.save(tmp_path / "weights.h5")
    features, spec = tmp_path / "features", features_specification("mobilenet")
    finish(start("extract", features, spec=spec, weights=str(tmp_path / "weights.h5")), features)
    images = Records(prepared_folder, "test").take(np.arange(COUNTS["test"])) / np.float32(255)
    expected = backbone.predict(images, verbose=0)
    assert expected.std(axis=0).mean() > 0.1
    np.testing.assert_allclose(np.load(features / "test.npy"), expected, atol=1e-3)


def test_pretrained_weights_in_the_format_of_keras_3_are_refused(start, backbone, tmp_path):
    backbone.save_weights(tmp_path / "w.weights.h5")
    features, spec = tmp_path / "features", features_specification("mobilenet")
    assert start("extract", features, spec=spec, weights=str(tmp_path / "w.weights.h5")).wait(timeout=100) == 1
    assert "w.weights.h5: written by Keras 3 in a format that Keras 2.14.0 cannot read" in log(features)
