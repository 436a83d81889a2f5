"""Every CNN of the paper passes through `full` and `tl` on a handful of patches; a step changes what the mode trains.

One epoch is one step here, so what training leaves behind is what a step changed.
"""

import keras
import numpy as np
import pytest

from histobench.catalogue import CATALOGUE
from histobench.datasets.prepared import Records
from histobench.runs import read_json, read_rows
from histobench.train import extract, models, predict, run
from histobench.train.calibration import calibrate
from support.small import features_specification, prepare, specification

SIDE = 75  # the smallest that all of them take
SHAPE = (SIDE, SIDE, 3)
COUNTS = {"train": 8, "valid": 4, "test": 4}
RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "learning_rate": 0.01}}
BACKBONES = [key for key, model in CATALOGUE.items() if model.application]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, SHAPE)


@pytest.fixture(autouse=True)
def forget():
    """Graphs of twelve CNNs would add up to gigabytes."""
    yield
    keras.backend.clear_session()


def trained(spec, data, folder, features=None, weights=None):
    common = {"spec": spec, "data": data, "features": features}
    run.train(**common, weights=weights, folder=folder, code="c", threads=2, card="")
    assert len(read_rows(folder / "history.csv")) == 1
    return folder


def predicted(spec, data, folder, features=None):
    common = {"spec": spec, "data": data, "features": features}
    predict.predict(**common, weights=folder / "best.weights.h5", output=folder / "predictions.csv", card="")
    scores = [float(row["score"]) for row in read_rows(folder / "predictions.csv")]
    assert len(scores) == COUNTS["valid"] + COUNTS["test"]
    assert all(0 <= score <= 1 for score in scores)


def values(model):
    return {variable.path: np.array(variable) for variable in model.weights}


def still(before, after):
    return {path for path, value in before.items() if np.array_equal(value, after[path])}


def each(keys):
    """The CNNs, the slow ones first and spread over processes."""
    ordered = sorted(keys, key=lambda key: "densenet" not in key)
    return pytest.mark.parametrize(
        "key", [pytest.param(key, marks=pytest.mark.xdist_group(f"twelve-{key}")) for key in ordered]
    )


@each(CATALOGUE)
def test_full_moves_every_weight(key, data, tmp_path):
    spec = specification(key, "full", side=SIDE, **RECIPE)
    folder = trained(spec, data, tmp_path)
    predicted(spec, data, folder)
    model = models.build(spec["model"], "full", SHAPE, seed=1)
    assert (model.input_shape, model.output_shape) == ((None, *SHAPE), (None, 1))
    before = values(model)
    model.load_weights(folder / "best.weights.h5")
    assert still(before, values(model)) == set()


@each(BACKBONES)
def test_tl_moves_the_head_alone(key, data, tmp_path):
    spec = specification(key, "tl", side=SIDE, transfer="end_to_end", **RECIPE)
    # A file of weights, as ImageNet's would be; of random ones, which carry no signal as they come.
    weights = tmp_path / "backbone.weights.h5"
    backbone = models.backbone(spec["model"], SHAPE, seed=2)
    calibrate(backbone, Records(data, "train"), spec["input"])
    backbone.save_weights(weights)

    folder = trained(spec, data, tmp_path / "end_to_end", weights=weights)
    model = models.build(spec["model"], "tl", SHAPE, seed=1, weights=weights)
    assert model.output_shape == (None, 1)
    before = values(model)
    model.load_weights(folder / "best.weights.h5")
    head = {weight.path for layer in model.layers[1:] for weight in layer.weights}
    assert len(head) == 4
    # No weight of the backbone and no statistic of its batch norm.
    assert still(before, values(model)) == set(before) - head

    features = tmp_path / "features"
    extract.extract(
        spec=features_specification(key, side=SIDE),
        data=data, weights=weights, folder=features, code="c", threads=2, card="",
    )  # fmt: skip
    spec = specification(key, "tl", **RECIPE)
    trained(spec, data, tmp_path / "cached", features)
    predicted(spec, data, tmp_path / "cached", features)
    assert read_json(tmp_path / "cached" / "run.json")["parameters"] == model.count_params()
