"""What must hold for every CNN of the catalogue: `full` and `tl` train what they say, on a handful of patches.

One epoch is one step here, so what training leaves behind is what a step changed. `make test-full` shows it of a CNN of
each kind in mode "full", `make test-long` of all; `test_transfer.py` holds for some what "tl" does.
"""

import keras
import pytest

from histobench.core.catalogue import CATALOGUE
from histobench.core.prepared import Records
from histobench.core.runs import read_json, read_rows
from histobench.train import models
from histobench.train.batch_norm import calibrate
from support import jobs
from support.cnns import moved, values
from support.small import features_specification, prepare, specification

SIDE = 75  # the smallest that all of them take
SHAPE = (SIDE, SIDE, 3)
COUNTS = {"train": 8, "valid": 4, "test": 4}
RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "learning_rate": 0.01}}
# One of the author's own, a plain one, and one with drop-connect.
KINDS = {"b6": (), "mobilenet": (), "efficientnetv2b0": pytest.mark.slow}
TWELVE = [key for key in CATALOGUE if key not in ("p4m", "z2")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("prepared"), COUNTS, SHAPE)


def trained(spec, data, folder, features=None, weights=None):
    """Train for an epoch, look at the scores, and return the folder."""
    jobs.train(data, folder, spec, features, weights)
    assert len(read_rows(folder / "history.csv")) == 1
    scores = [float(row["score"]) for row in read_rows(folder / "predictions.csv")]
    assert len(scores) == COUNTS["valid"] + COUNTS["test"]
    assert all(0 <= score <= 1 for score in scores)
    return folder


@pytest.mark.parametrize("key", [pytest.param(key, marks=KINDS.get(key, pytest.mark.long)) for key in TWELVE])
def test_full_moves_every_weight(key, data, tmp_path):
    keras.backend.clear_session()  # graphs of twelve CNNs would add up to gigabytes
    spec = specification(key, "full", side=SIDE, **RECIPE)
    trained(spec, data, tmp_path)
    model = models.build(spec["model"], "full", SHAPE, seed=1)
    assert (model.input_shape, model.output_shape) == ((None, *SHAPE), (None, 1))
    before = values(model)
    model.load_weights(tmp_path / "best.weights.h5")
    assert moved(before, values(model)) == set(before)


@pytest.mark.long
@pytest.mark.parametrize("key", [key for key, model in CATALOGUE.items() if model.application])
def test_tl_moves_the_head_alone(key, data, tmp_path):
    """End to end and on cached features."""
    keras.backend.clear_session()
    spec = specification(key, "tl", side=SIDE, transfer="end_to_end", **RECIPE)
    # A file of weights, as ImageNet's would be; of random ones, which carry no signal as they come.
    weights = tmp_path / "backbone.weights.h5"
    backbone = models.backbone(spec["model"], SHAPE, seed=2)
    calibrate(backbone, Records(data, "train"), spec["input"])
    backbone.save_weights(weights)

    run_folder = trained(spec, data, tmp_path / "end_to_end", weights=weights)
    model = models.build(spec["model"], "tl", SHAPE, seed=1, weights=weights)
    assert model.output_shape == (None, 1)
    before = values(model)
    model.load_weights(run_folder / "best.weights.h5")
    head = {weight.path for layer in model.layers[1:] for weight in layer.weights}
    assert len(head) == 4
    # No weight of the backbone and no statistic of its batch norm.
    assert moved(before, values(model)) == head

    features = tmp_path / "features"
    jobs.extract(data, features, features_specification(key, side=SIDE), weights=weights)
    trained(specification(key, "tl", **RECIPE), data, tmp_path / "cached", features)
    assert read_json(tmp_path / "cached" / "run.json")["parameters"] == model.count_params()
