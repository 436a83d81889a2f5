"""Heads that are trained on cached features, compared with those of end-to-end training."""

import keras
import numpy as np

from histobench.core.features import Features
from histobench.core.runs import read_json
from histobench.train import models
from support import jobs
from support.small import features_specification, specification

SIDE = 80  # InceptionV3 needs 75
# None is a multiple of a batch size that tests train with.
COUNTS = {"train": 69, "valid": 22, "test": 19}


def extracted(model, data, folder, **options):
    jobs.extract(data, folder, features_specification(model, side=SIDE), **options)
    return folder


def trained(spec, data, folder, features=None, weights=None):
    jobs.train(data, folder, spec, features, weights)
    return folder


def train_both(cached, whole, data, folder, features, weights=None):
    """Train a head by two specifications, which must give the same weights, losses and scores; return both folders."""
    one = trained(cached, data, folder / "cached", features)
    two = trained(whole, data, folder / "end_to_end", weights=weights)
    side = whole["input"]["side"]
    cnn = models.build(whole["model"], "tl", (side, side, 3), seed=1)
    head = models.head(cnn.layers[0].output_shape[-1], seed=1)
    fresh = head.get_weights()
    head.load_weights(one / "best.weights.h5")
    cnn.load_weights(two / "best.weights.h5")
    for before, a, b in zip(fresh, head.get_weights(), cnn.get_weights()[-4:], strict=True):
        assert np.abs(a - b).max() == 0
        assert np.abs(a - before).max() > 0
    for name in ("history.csv", "predictions.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    return one, two


def assert_heads_are_equal(model, batch_size, data, folder):
    """Train a head in both ways, on patches of SIDE px, and compare weights, losses and scores."""
    keras.backend.clear_session()
    features = extracted(model, data, folder / "features", chunk=24)
    of_training = Features(data, features, "train").take(np.arange(COUNTS["train"]))
    assert of_training.std() > 1e-3
    assert of_training.std(axis=0).mean() > 1e-3  # from patch to patch, not only from feature to feature
    recipe = {"batch_size": batch_size, "epochs": 2}
    cached = specification(model, "tl", transfer="cached", **recipe)
    whole = specification(model, "tl", side=SIDE, transfer="end_to_end", **recipe)
    one, two = train_both(cached, whole, data, folder, features)
    about, about_two = read_json(one / "run.json"), read_json(two / "run.json")
    for fact in ("parameters", "trainable_parameters", "best_epoch", "random_backbone_calibrated"):
        assert about[fact] == about_two[fact]
    assert about["features"]["extraction_seconds"]["train"] > 0
