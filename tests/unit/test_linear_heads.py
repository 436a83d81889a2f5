"""Classifiers of cached features: heads without a dense layer, standardised features, runs of nearest neighbours."""

import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from histobench.core.features import Features
from histobench.core.job import Task
from histobench.core.recipes import Dense
from histobench.core.runs import read_json, read_rows
from histobench.train import initial_model, models, predict, run, standardization
from histobench.train.neighbours import Neighbours
from histobench.train.standardization import CHUNK, statistics
from support import jobs
from support.processes import assert_equal_runs, events
from support.small import Arrays, features_specification, model_specification, prepare, specification
from support.stops import stopped_at


@pytest.fixture
def train() -> Arrays:
    """Features with a large offset, of different scales; the third is constant."""
    rng = np.random.default_rng(1)
    features = rng.normal([1000, -3, 0.1, 0], [0.5, 20, 0, 1e-4], (CHUNK + 50, 4))
    return Arrays(features.astype(np.float32), np.zeros(len(features)))


def test_statistics_are_those_of_scikit_learn(train):
    found, expected = statistics(train), StandardScaler().fit(train.images.astype(np.float64))
    varying = [0, 1, 3]
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(found.scale[varying], 1 / np.sqrt(expected.var_[varying]), rtol=1e-6)
    standardized = found.of(train.images)
    assert standardized.dtype == np.float32
    np.testing.assert_allclose(standardized, expected.transform(train.images.astype(np.float64)), atol=1e-3)


def test_a_constant_feature_is_0_also_where_it_varies(train):
    found = statistics(train)
    assert found.mean[2] == train.images[0, 2]
    assert found.scale[2] == 0
    assert (found.of(train.images + 5)[:, 2] == 0).all()


def test_statistics_are_computed_once_for_a_part(train, monkeypatch):
    found = statistics(train)
    monkeypatch.setattr(Arrays, "take", None)
    assert statistics(train) is found


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_layer_standardizes_in_float32_and_its_weights_are_saved_with_the_head(train, tmp_path, policy):
    numbers = statistics(train)
    with models.policy(policy):
        head, other = (models.head(4, seed=seed, dense=Dense(0), standardize=True) for seed in (1, 2))
    head.layers[0].set_weights(list(numbers))
    np.testing.assert_array_equal(np.asarray(head.layers[0](train.images)), numbers.of(train.images))
    assert len(head.trainable_weights) == 2
    head.save_weights(tmp_path / "head.weights.h5")
    models.load(other, tmp_path / "head.weights.h5")
    np.testing.assert_array_equal(other.predict(train.images, verbose=0), head.predict(train.images, verbose=0))
    kernel, bias = head.layers[1].get_weights()
    if policy == "float32":
        expected = 1 / (1 + np.exp(-(numbers.of(train.images).astype(float) @ kernel + bias)))
        np.testing.assert_allclose(head.predict(train.images, verbose=0), expected, atol=1e-5)


def test_without_units_features_go_to_the_output_in_heads_and_whole_models():
    head = models.head(64, seed=1, dense=Dense(0))
    assert [type(layer) for layer in head.layers] == [keras.layers.Dense]
    assert head.count_params() == 65
    whole = models.build(model_specification("tiny"), "full", (32, 32, 3), seed=1, dense=Dense(0))
    assert len(whole.layers) == 2
    assert whole.layers[1].count_params() == whole.layers[0].output_shape[1] + 1
    dropped = models.head(64, seed=1, dense=Dense(0, 0.3))
    assert [type(layer) for layer in dropped.layers] == [keras.layers.Dropout, keras.layers.Dense]


def test_standardizing_changes_no_initial_weight_of_the_layers_behind_it():
    plain, standardized = (models.head(8, seed=3, standardize=standardize) for standardize in (False, True))
    for own, other in zip(plain.get_weights(), standardized.get_weights()[2:], strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_run_starts_from_the_statistics_of_its_training_part(train, monkeypatch):
    monkeypatch.setattr(initial_model, "Features", Arrays)
    spec = {"run": {"mode": "tl", "seed": 1}, "recipe": {"standardize": True, "dense_units": 0}}
    model, calibrated = initial_model.build(spec, train, None)
    assert not calibrated
    for own, expected in zip(model.layers[0].get_weights(), standardization.statistics(train), strict=True):
        np.testing.assert_array_equal(own, expected)


LINEAR = {"epochs": 3, "batch_size": 8, "dense_units": 0, "standardize": True}
KNN = {"n_neighbors": 3, "metric": "cosine"}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A data set, and the features of a backbone."""
    folder = tmp_path_factory.mktemp("features")
    data = prepare(folder / "data", {"train": 40, "valid": 14, "test": 10}, (32, 32, 3))
    jobs.extract(data, folder / "features", features_specification("tiny", side=32))
    return data, folder / "features"


def neighbours_specification():
    recipe = {"transfer": "cached", "knn": KNN, "input_scaling": "paper", "standardize": True}
    return specification("tiny", "tl") | {"recipe": recipe}


def task(features, spec):
    return Task(spec, *features, code="c", threads=jobs.THREADS)


@pytest.mark.parametrize(
    ("spec", "step"),
    [
        (specification("tiny", "tl", transfer="cached", **LINEAR), "epoch-0002"),
        (neighbours_specification(), "outputs"),
    ],
)
def test_a_run_that_was_killed_ends_as_one_that_was_not(features, tmp_path, spec, step):
    jobs.train(features[0], tmp_path / "whole", spec, features[1])
    keras.backend.clear_session()
    with stopped_at(step, "within"):
        run.train(task(features, spec), tmp_path / "killed")
    keras.backend.clear_session()
    standardization.statistics.cache_clear()
    jobs.train(features[0], tmp_path / "killed", spec, features[1])
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")
    if step == "outputs":
        assert events(tmp_path / "killed").count("starting") == 2
    else:
        assert "going on after epoch 1" in events(tmp_path / "killed")


def test_a_linear_head_is_a_logistic_regression_of_standardised_features(features, tmp_path):
    jobs.train(features[0], tmp_path, specification("tiny", "tl", transfer="cached", **LINEAR), features[1])
    train, test = (Features(*features, split) for split in ("train", "test"))
    head = models.head(train.shape[0], seed=1, dense=Dense(0), standardize=True)
    head.load_weights(tmp_path / "best.weights.h5")
    mean, scale, kernel, bias = head.get_weights()
    for own, expected in zip((mean, scale), statistics(train), strict=True):
        np.testing.assert_array_equal(own, expected)
    expected = 1 / (1 + np.exp(-((test.take(np.arange(10)) - mean) * scale @ kernel + bias)))
    scores = [float(row["score"]) for row in read_rows(tmp_path / "predictions.csv") if row["split"] == "test"]
    np.testing.assert_allclose(scores, expected[:, 0], atol=1e-5)
    assert read_json(tmp_path / "run.json")["trainable_parameters"] == train.shape[0] + 1


def test_a_run_of_neighbours_scores_patches_by_the_features_of_training(features, tmp_path):
    spec = neighbours_specification()
    jobs.train(features[0], tmp_path, spec, features[1])
    train, valid, test = (Features(*features, split) for split in ("train", "valid", "test"))
    knn = Neighbours(train, KNN, statistics(train))
    rows = read_rows(tmp_path / "predictions.csv")
    for part in (valid, test):
        scores = [float(row["score"]) for row in rows if row["split"] == part.split]
        np.testing.assert_array_equal(np.float32(scores), knn.scores(part))
    about = read_json(tmp_path / "run.json")
    assert about["trainable_parameters"] == 0
    assert about["multiply_adds"] == {"forward": 40 * train.shape[0], "trained": 0}
    assert about["epoch_patches"] == {"train": 40, "valid": 14}
    history = read_rows(tmp_path / "history.csv")
    assert len(history) == 1
    assert history[0]["loss"] == ""
    assert 0 <= float(history[0]["val_auc"]) <= 1


def test_training_of_neighbours_opens_no_test_patches(features, tmp_path, monkeypatch):
    opened = []
    original = Features.__init__

    def noted(self, data, folder, split):
        opened.append(split)
        original(self, data, folder, split)

    monkeypatch.setattr(Features, "__init__", noted)
    made = task(features, neighbours_specification())
    run.train(made, tmp_path)
    assert set(opened) == {"train", "valid"}
    opened.clear()
    predict.predict(Task(made.spec, *features, tmp_path / "best.weights.h5"), tmp_path / "predictions.csv")
    assert set(opened) == {"train", "valid", "test"}
