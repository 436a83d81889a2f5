"""What must hold for every CNN of the catalogue: `full` and `tl` train what they say, on a handful of patches.

One epoch is one step here, so what training leaves behind is what a step changed.
"""

import keras
import numpy as np

from histobench.core.prepared import Records
from histobench.core.runs import read_json, read_rows
from histobench.train import models
from histobench.train.batch_norm import calibrate
from support import jobs
from support.small import features_specification, specification

SIDE = 75  # the smallest that all of them take
SHAPE = (SIDE, SIDE, 3)
COUNTS = {"train": 8, "valid": 4, "test": 4}
RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "learning_rate": 0.01}}


def trained(spec, data, folder, features=None, weights=None):
    """Train for an epoch, look at the scores, and return the folder."""
    jobs.train(data, folder, spec, features, weights)
    assert len(read_rows(folder / "history.csv")) == 1
    scores = [float(row["score"]) for row in read_rows(folder / "predictions.csv")]
    assert len(scores) == COUNTS["valid"] + COUNTS["test"]
    assert all(0 <= score <= 1 for score in scores)
    return folder


def values(model):
    return {variable.path: np.array(variable) for variable in model.weights}


def moved(before, after):
    return {path for path, value in before.items() if not np.array_equal(value, after[path])}


def assert_full_moves_every_weight(key, data, folder):
    """Train a CNN in mode "full" for a step, on patches of SIDE px."""
    keras.backend.clear_session()  # graphs of twelve CNNs would add up to gigabytes
    spec = specification(key, "full", side=SIDE, **RECIPE)
    trained(spec, data, folder)
    model = models.build(spec["model"], "full", SHAPE, seed=1)
    assert (model.input_shape, model.output_shape) == ((None, *SHAPE), (None, 1))
    before = values(model)
    model.load_weights(folder / "best.weights.h5")
    assert moved(before, values(model)) == set(before)


def assert_tl_moves_the_head_alone(key, data, folder):
    """Train a CNN in mode "tl" for a step, end to end and on cached features."""
    keras.backend.clear_session()
    spec = specification(key, "tl", side=SIDE, transfer="end_to_end", **RECIPE)
    # A file of weights, as ImageNet's would be; of random ones, which carry no signal as they come.
    weights = folder / "backbone.weights.h5"
    backbone = models.backbone(spec["model"], SHAPE, seed=2)
    calibrate(backbone, Records(data, "train"), spec["input"])
    backbone.save_weights(weights)

    run_folder = trained(spec, data, folder / "end_to_end", weights=weights)
    model = models.build(spec["model"], "tl", SHAPE, seed=1, weights=weights)
    assert model.output_shape == (None, 1)
    before = values(model)
    model.load_weights(run_folder / "best.weights.h5")
    head = {weight.path for layer in model.layers[1:] for weight in layer.weights}
    assert len(head) == 4
    # No weight of the backbone and no statistic of its batch norm.
    assert moved(before, values(model)) == head

    features = folder / "features"
    jobs.extract(data, features, features_specification(key, side=SIDE), weights=weights)
    trained(specification(key, "tl", **RECIPE), data, folder / "cached", features)
    assert read_json(folder / "cached" / "run.json")["parameters"] == model.count_params()
