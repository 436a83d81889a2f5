"""Heads without a dense layer, and standardised features."""

import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from histobench.core.recipes import Dense
from histobench.train import initial_model, models, standardization
from histobench.train.standardization import CHUNK, statistics
from support.small import Arrays, model_specification


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
